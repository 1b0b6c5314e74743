// Engines against the libraries one could take instead, in one run, in turn, on the same networks with random weights:
//
//   node bench/engines.js [--networks resnet50,…] [--batches 1,8] [--only ort,torch] [--rounds 5] [--threads 2] [--turn 250]
//
// Each contender is a process of its own; while one works the others sleep (contenders.js). Those that cannot run here are
// left out, with the reason. With ONEDNN3=FOLDER our engine runs on oneDNN 3 too (scripts/onednn3.sh). What was measured is written to bench/results/engines.json, which report.js reads.
import { availableParallelism } from 'node:os';
import { commandOf, onednn3, roundRobin, startContender } from './contenders.js';
import { onnxFile, quantizedFile } from './networks.js';
import { arguments_, keepResults, progress } from './results.js';
import { median } from './tables.js';

const all = 'resnet50,resnet18,resnet34,resnet101,resnet152,wide_resnet50_2,resnext50_32x4d';
const options = arguments_({
  networks: all,
  batches: '1,8',
  only: '',
  rounds: '5',
  threads: `${availableParallelism()}`,
  turn: '250',
});
const [rounds, threads, turn] = [options.rounds, options.threads, options.turn].map(Number);
const batches = options.batches.split(',').map(Number);

/** By their names in the results. */
const contenders = {
  'onnx f32': (network) => ['residual', 'onnx', 'f32', network],
  'onednn f32': (network) => ['residual', 'onednn', 'f32', network],
  'onednn bf16': (network) => ['residual', 'onednn', 'bf16', network],
  'onednn int8': (network) => ['residual', 'onednn', 'int8', network],
  ...(onednn3 && {
    'onednn3 f32': (network) => ['residual3', 'onednn', 'f32', network],
    'onednn3 bf16': (network) => ['residual3', 'onednn', 'bf16', network],
    'onednn3 int8': (network) => ['residual3', 'onednn', 'int8', network],
  }),
  'ort f32': async (network) => ['ort', await onnxFile(network)],
  'ort int8': async (network) => ['ort', await quantizedFile(network)],
  'ort-web f32': async (network) => ['ort-web', await onnxFile(network)],
  'tfjs f32': (network) => ['tfjs', network],
  'torch eager': (network) => ['torch', 'eager', network],
  'torch jit': (network) => ['torch', 'jit', network],
  'torch bf16': (network) => ['torch', 'bf16', network],
};
const wanted = Object.entries(contenders).filter(
  ([name]) => !options.only || options.only.split(',').some((word) => name.includes(word)),
);

const rows = [];
const left = [];
const say = progress();
for (const network of options.networks.split(',')) {
  const started = [];
  for (const [name, words] of wanted)
    try {
      say(`${network}: starting ${name}`);
      started.push(await startContender(name, commandOf(await words(network)), threads));
    } catch (error) {
      left.push({ network, name, reason: error.message.split('\n')[0] });
    }
  const found = new Map();
  let turns = 0;
  await roundRobin(
    started,
    { batches, rounds, turn },
    {
      onTurn({ name, about }, batch, { times, measured = [] }) {
        say(`${network}: turn ${++turns} of ${started.length * batches.length * rounds}`);
        const key = `${name} ${batch}`;
        const row = found.get(key) ?? { network, name, batch, runtime: about.runtime, times: [], measured: [] };
        row.times.push(...times);
        row.measured.push(...measured);
        found.set(key, row);
      },
      onFailure: ({ name }, batch, error) => left.push({ network, name, batch, reason: error.message }),
    },
  );
  await Promise.all(started.map((one) => one.end()));
  for (const { measured, ...row } of found.values()) {
    const pairs = measured.filter(({ convolutions }) => convolutions !== undefined);
    rows.push({
      ...row,
      median: median(row.times),
      least: Math.min(...row.times),
      ...(pairs.length && {
        convolutions: median(pairs.map(({ convolutions }) => convolutions)),
        overConvolutions: median(pairs.map(({ run, convolutions }) => run / convolutions)),
      }),
      ...(measured.at(-1)?.slow && { slow: measured.at(-1).slow }),
    });
  }
  // After each network: a run that is cut short leaves what it has.
  say();
  keepResults('engines', { threads, rounds, rows, left });
}
for (const { network, name, batch, reason } of left)
  console.error(`${network}, ${name}${batch ? `, batch ${batch}` : ''}: ${reason}`);
for (const { network, name, batch, median, least } of rows)
  console.log(
    `${network.padEnd(16)} ${name.padEnd(12)} batch ${batch}  median ${median.toFixed(2)} ms, least ${least.toFixed(2)} ms`,
  );
