// A folder of photographs from JPEG files to labels, by ResNet-50, against transformers.js' pipeline: wall time, in turn.
//
//   node bench/pictures.js FOLDER [--photographs 1000] [--rounds 5] [--only onednn,…] [--threads 2]
//     [--weights resnet50.pth] [--quantised resnet50-int8.residual]
//
// The folder's pictures are repeated until there are as many as asked for; each round does its share of them. Both sides
// preprocess as torchvision does. Weights are random unless given, and so are our scales in int8. Written to
// bench/results/pictures.json.
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { atRest, pictureCommandOf, startContender } from './contenders.js';
import { arguments_, keepResults, progress } from './results.js';
import { median } from './tables.js';

const options = arguments_({
  photographs: '1000',
  rounds: '5',
  weights: '',
  quantised: '',
  only: '',
  threads: `${availableParallelism()}`,
});
const [folder] = options.rest;
if (!folder) {
  console.error(
    'usage: node bench/pictures.js FOLDER [--photographs N] [--rounds N] [--weights FILE] [--quantised FILE] [--only WORDS]',
  );
  process.exit(2);
}
if (options.weights) process.env.RESNET50 = resolve(options.weights);
if (options.quantised) process.env.RESNET50_INT8 = resolve(options.quantised);
const photographs = Number(options.photographs);
const rounds = Number(options.rounds);
const pictures = readdirSync(folder)
  .filter((name) => /\.jpe?g$/i.test(name))
  .map((name) => resolve(join(folder, name)));
if (pictures.length === 0) throw new Error(`${folder} holds no JPEG`);

const contenders = {
  'transformers f32': ['transformers', 'fp32', '1'],
  'transformers f32, 8 together': ['transformers', 'fp32', '8'],
  'transformers int8': ['transformers', 'q8', '1'],
  'transformers int8, 8 together': ['transformers', 'q8', '8'],
  'onnx f32': ['residual', 'onnx', 'f32', '4'],
  'onednn f32': ['residual', 'onednn', 'f32', '4'],
  'onednn bf16': ['residual', 'onednn', 'bf16', '4'],
  'onednn int8': ['residual', 'onednn', 'int8', '4'],
};
const say = progress();
const started = [];
const left = [];
for (const [name, words] of Object.entries(contenders)) {
  if (options.only && !options.only.split(',').some((word) => name.includes(word))) continue;
  try {
    say(`starting ${name}`);
    started.push(await startContender(name, pictureCommandOf(words), Number(options.threads)));
  } catch (error) {
    left.push({ name, reason: error.message });
  }
}

const rows = new Map(started.map(({ name, about }) => [name, { name, runtime: about.runtime, rates: [], labels: [] }]));
const share = Math.ceil(photographs / rounds);
for (const one of started) await one.ask({ files: pictures.slice(0, 8) });
for (let round = 0; round < rounds; round++) {
  const files = Array.from({ length: share }, (_, i) => pictures[(round * share + i) % pictures.length]);
  for (const one of started) {
    say(`round ${round + 1} of ${rounds}: ${one.name}`);
    const { milliseconds, labels } = await one.ask({ files });
    await atRest(one.pid);
    const row = rows.get(one.name);
    row.rates.push((1000 * files.length) / milliseconds);
    row.labels.push(...labels);
  }
}
await Promise.all(started.map((one) => one.end()));
say();

const first = [...rows.values()][0];
const done = [...rows.values()].map(({ name, runtime, rates, labels }) => ({
  name,
  runtime,
  perSecond: median(rates),
  rates,
  /** How often the best label is that of the first contender. */
  agreement: labels.filter((label, i) => label === first.labels[i]).length / labels.length,
}));
for (const { name, reason } of left) console.error(`${name}: ${reason}`);
for (const { name, perSecond, agreement } of done)
  console.log(
    `${name.padEnd(30)} ${perSecond.toFixed(1)} photographs/s, same label as ${first.name}: ${(100 * agreement).toFixed(1)} %`,
  );
keepResults('pictures', {
  photographs: share * rounds,
  distinct: pictures.length,
  calibrated: options.quantised !== '',
  rounds,
  rows: done,
  left,
});
