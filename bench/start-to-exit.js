// Whole processes from start to exit, in turn, medians: help against bare Node, one photograph against PyTorch.
//
//   node bench/start-to-exit.js resnet50.pth photo.jpg [runs] [quantised weights]
//
// Written to bench/results/start-to-exit.json. PyTorch runs when Debian's python3-torch and python3-torchvision are installed.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { keepResults } from './results.js';

const [weights, photo, runs = '11', quantised] = process.argv.slice(2);
if (!photo) {
  console.error('usage: node bench/start-to-exit.js WEIGHTS PHOTO [RUNS] [QUANTISED]');
  process.exit(2);
}

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const residual = [process.execPath, path('../packages/cli/bin/residual.js')];
const commands = {
  node: [process.execPath, '-e', '0'],
  help: [...residual, '--help'],
  residual: [...residual, 'classify', '--weights', weights, photo],
  ...(quantised && { quantised: [...residual, 'classify', '--weights', quantised, photo] }),
  pytorch: ['/usr/bin/python3', path('classify-pytorch.py'), weights, photo],
};

/** Seconds from start to exit; undefined when the program fails. */
function time([program, ...args]) {
  const start = process.hrtime.bigint();
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) console.error(`${program} ${args.join(' ')}: ${stderr.trim().split('\n').at(-1)}`);
  return status === 0 ? Number(process.hrtime.bigint() - start) / 1e9 : undefined;
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

const works = Object.entries(commands).filter(([, command]) => time(command) !== undefined);
const seconds = Object.fromEntries(works.map(([name]) => [name, []]));
for (let run = 0; run < Number(runs); run++) for (const [name, command] of works) seconds[name].push(time(command));

for (const [name, values] of Object.entries(seconds))
  console.log(`${name.padEnd(9)} median ${median(values).toFixed(3)} s, least ${Math.min(...values).toFixed(3)} s`);
const ratio = (a, b) => median(seconds[a].map((value, i) => value / seconds[b][i])).toFixed(2);
console.log(`help / node ${ratio('help', 'node')}`);
if (seconds.pytorch) console.log(`pytorch / residual ${ratio('pytorch', 'residual')}`);
const rows = Object.entries(seconds).map(([name, values]) => ({
  name,
  seconds: median(values),
  least: Math.min(...values),
}));
keepResults('start-to-exit', { runs: Number(runs), rows });
