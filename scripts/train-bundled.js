// Trains the model that comes with the library: a ResNet that fits 2 MB in bf16.
//
//   tar xJf cifar10-jpeg.tar.xz -C DIR
//   node scripts/train-bundled.js DIR RUN      goes on where it was stopped; three minutes of one core an epoch
//   npx residual convert RUN/checkpoints/last.safetensors resnet16-cifar10.residual --bf16
//
// Photographs are no CIFAR pictures: whatever stands in them is larger, smaller, cut off or in another light. Crops of
// every size and jitter make the network expect that; test accuracy on CIFAR's own pictures is what it costs.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { build, createModel, family, preset } from '../packages/residual/dist/index.js';
import { evaluate, open, resume, train } from '../packages/residual/dist/train.js';

const [data, out, epochs = '30'] = process.argv.slice(2);
if (out === undefined) {
  console.error('usage: node scripts/train-bundled.js CIFAR RUN [EPOCHS]');
  process.exit(2);
}

const recipe = {
  epochs: Number(epochs),
  batch: 128,
  size: 32,
  precision: 'bf16',
  rate: 0.2,
  nesterov: true,
  weightDecay: 5e-4,
  schedule: 'one-cycle',
  smoothing: 0.1,
  augment: 'random-resized-crop 0.4 1, flip, jitter 0.3 0.3 0.3 0.05, grey 0.05',
};

const found = await open(data, { seed: 0 });
const pictures = { ...found, validation: found.test };
const watched = {
  threads: 1,
  workers: 1,
  cache: 'ram',
  onRow: (row) => row.kind === 'epoch' && console.log(JSON.stringify(row)),
};

// Random crops show things larger than whole pictures do: it learns from 32 × 32 pixels and is used at 40 × 40
// (Touvron et al. 2019).
const size = { width: 32, widthPerGroup: 32, depths: [2, 2, 3], size: 40 };
const plan = preset('cifar', { height: 40, width: 40 });
const record = { architecture: 'resnet16', config: { ...family.resnet20, ...size }, preprocess: 'cifar', plan };
const begins = createModel(build('resnet20', size), record, { seed: 0 });
// The last weights count, not the best in a test: the test pictures choose nothing.
const run = existsSync(join(out, 'config.json'))
  ? await resume(out, pictures, watched)
  : await train(begins, pictures, { recipe, out, seed: 0, ...watched });
const model = await run.last();
const { top1, loss } = await evaluate(model, pictures, { part: 'validation' });
console.log(JSON.stringify({ top1, loss }));
await model.dispose();
