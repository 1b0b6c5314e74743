// A whole training step (forward, backward, SGD with momentum) against PyTorch's, in turn, with the memory each takes:
//
//   node bench/training.js [--jobs resnet50@32,resnet20@128,resnet50@16] [--only onednn,torch] [--rounds 3] [--threads 2]
//
// ResNet-20 reads 32×32 pictures, others 224×224. Each contender is a process of its own; while one works the others sleep
// (contenders.js). The engine onednn also tells the time of its convolutions alone, forward and both backward, on the same
// memory right after each step. Memory is the most that the process ever had resident, the runtime's own included. With
// ONEDNN3=FOLDER it runs on oneDNN 3 too (scripts/onednn3.sh). Written to bench/results/training.json.
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { onednn3, roundRobin, startContender, trainingCommandOf } from './contenders.js';
import { arguments_, keepResults, progress } from './results.js';
import { median } from './tables.js';

const options = arguments_({
  jobs: 'resnet50@32,resnet20@128,resnet50@16',
  only: '',
  rounds: '3',
  threads: `${availableParallelism()}`,
  turn: '1000',
});
const [rounds, threads, turn] = [options.rounds, options.threads, options.turn].map(Number);

/** By their names in the results. */
const contenders = {
  'onednn f32': ['residual', 'onednn', 'f32'],
  'onednn bf16': ['residual', 'onednn', 'bf16'],
  ...(onednn3 && {
    'onednn3 f32': ['residual3', 'onednn', 'f32'],
    'onednn3 bf16': ['residual3', 'onednn', 'bf16'],
  }),
  'onnx f32': ['residual', 'onnx', 'f32'],
  'onnx-wasm f32': ['residual', 'onnx-wasm', 'f32'],
  'torch channels last': ['torch', 'channels-last'],
  'torch contiguous': ['torch', 'contiguous'],
  'torch bf16': ['torch', 'bf16'],
};
const wanted = Object.entries(contenders).filter(
  ([name]) => !options.only || options.only.split(',').some((word) => name.includes(word)),
);

/** The most memory that a process ever had resident, in MB. */
const peakOf = (pid) => Number(/VmHWM:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1e3;

const rows = [];
const left = [];
const say = progress();
for (const job of options.jobs.split(',')) {
  const [network, batch] = [job.split('@')[0], Number(job.split('@')[1])];
  const started = [];
  for (const [name, words] of wanted) {
    // All of them are in memory at once: 16 GB without it.
    if (name.startsWith('onnx') && network === 'resnet50' && batch > 16) continue;
    try {
      say(`${job}: starting ${name}`);
      started.push(await startContender(name, trainingCommandOf([...words, network]), threads));
    } catch (error) {
      left.push({ network, batch, name, reason: error.message.split('\n')[0] });
    }
  }
  const found = new Map();
  let turns = 0;
  await roundRobin(
    started,
    { batches: [batch], rounds, turn },
    {
      onTurn({ name, about, pid }, _, { times, convolutions = [], loss }) {
        say(`${job}: turn ${++turns} of ${started.length * rounds}`);
        const row = found.get(name) ?? { network, batch, name, runtime: about.runtime, times: [], convolutions: [] };
        row.times.push(...times);
        row.convolutions.push(...convolutions);
        found.set(name, { ...row, loss, peak: peakOf(pid) });
      },
      onFailure: ({ name }, _, error) => left.push({ network, batch, name, reason: error.message }),
    },
  );
  await Promise.all(started.map((one) => one.end()));
  for (const { convolutions, ...row } of found.values())
    rows.push({
      ...row,
      median: median(row.times),
      least: Math.min(...row.times),
      ...(convolutions.length && {
        convolutions: median(convolutions),
        overConvolutions: median(row.times.map((time, i) => time / convolutions[i])),
      }),
    });
  // After each job: a run that is cut short leaves what it has.
  say();
  keepResults('training', { threads, rounds, rows, left });
}
for (const { network, batch, name, reason } of left) console.error(`${network}, batch ${batch}, ${name}: ${reason}`);
for (const { network, batch, name, median, least, overConvolutions, peak } of rows)
  console.log(
    `${network} batch ${batch}  ${name.padEnd(20)} median ${median.toFixed(1)} ms, least ${least.toFixed(1)} ms` +
      `${overConvolutions ? `, over its convolutions ${overConvolutions.toFixed(3)}` : ''}, peak ${peak.toFixed(0)} MB`,
  );
