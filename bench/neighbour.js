// What a busy neighbour costs: each contender alone, then beside a process that keeps one core busy, in turn.
//
//   node bench/neighbour.js [--network resnet50] [--batches 1,8] [--rounds 5] [--only onednn,ort] [--threads 2]
//
// Written to bench/results/neighbour.json.
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { atRest, commandOf, startContender } from './contenders.js';
import { onnxFile } from './networks.js';
import { arguments_, keepResults, progress } from './results.js';
import { median } from './tables.js';

const options = arguments_({
  network: 'resnet50',
  batches: '1,8',
  rounds: '5',
  only: '',
  threads: `${availableParallelism()}`,
  turn: '500',
});
const { network } = options;
const [rounds, turn, threads] = [options.rounds, options.turn, options.threads].map(Number);
const contenders = {
  'ort f32': ['ort', await onnxFile(network)],
  'onnx f32': ['residual', 'onnx', 'f32', network],
  'onednn f32': ['residual', 'onednn', 'f32', network],
  'onednn bf16': ['residual', 'onednn', 'bf16', network],
  'onednn int8': ['residual', 'onednn', 'int8', network],
  'torch jit': ['torch', 'jit', network],
};
const say = progress();
const started = [];
const left = [];
for (const [name, words] of Object.entries(contenders)) {
  if (options.only && !options.only.split(',').some((word) => name.includes(word))) continue;
  try {
    say(`starting ${name}`);
    started.push(await startContender(name, commandOf(words), threads));
  } catch (error) {
    left.push({ name, reason: error.message });
  }
}

const neighbour = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
const busy = (is) => neighbour.kill(is ? 'SIGCONT' : 'SIGSTOP');
const rows = [];
try {
  busy(false);
  for (const batch of options.batches.split(',').map(Number)) {
    const found = started.map(({ name, about }) => ({ name, runtime: about.runtime, batch, alone: [], beside: [] }));
    for (let round = 0; round < rounds; round++)
      for (const [i, one] of started.entries()) {
        say(`batch ${batch}, round ${round + 1} of ${rounds}: ${one.name}`);
        found[i].alone.push(...(await one.ask({ batch, turn })).times);
        busy(true);
        found[i].beside.push(...(await one.ask({ batch, turn })).times);
        busy(false);
        await atRest(one.pid);
      }
    rows.push(...found);
  }
} finally {
  neighbour.kill('SIGKILL');
  await Promise.all(started.map((one) => one.end()));
}
say();
const done = rows.map(({ alone, beside, ...row }) => ({
  ...row,
  alone: median(alone),
  beside: median(beside),
  slower: median(beside) / median(alone),
}));
for (const { name, reason } of left) console.error(`${name}: ${reason}`);
for (const { name, batch, alone, beside, slower } of done)
  console.log(
    `${name.padEnd(12)} batch ${batch}  alone ${alone.toFixed(2)} ms, beside ${beside.toFixed(2)} ms, ${slower.toFixed(2)} times as long`,
  );
keepResults('neighbour', { network, threads, rounds, rows: done, left });
