// Trains a ResNet on 32 × 32 pixels that fits 2 MB in bf16 (convert --bf16): the model that is to come with the library.
//
//   tar xJf cifar10-jpeg.tar.xz -C DIR
//   node scripts/train-bundled.js DIR RUN [EPOCHS]      goes on where it was stopped; three minutes of one core an epoch
//
// Photographs are no CIFAR pictures: whatever stands in them is larger, smaller, cut off or in another light. Crops of
// every size and jitter make the network expect that; test accuracy on CIFAR's own pictures is what it costs.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { build, createModel, preset } from '../packages/residual/dist/index.js';
import { evaluate, open, resume, train } from '../packages/residual/dist/train.js';

const [data, out, epochs = '40'] = process.argv.slice(2);
if (out === undefined) {
  console.error('usage: node scripts/train-bundled.js CIFAR RUN [EPOCHS]');
  process.exit(2);
}

const recipe = {
  epochs: Number(epochs),
  batch: 128,
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

const graph = build('resnet20', { width: 32, widthPerGroup: 32, depths: [2, 2, 3] });
const plan = preset('cifar', { height: 32, width: 32 });
const begins = createModel(graph, { architecture: 'resnet16', preprocess: 'cifar', plan }, { seed: 0 });
// The last weights count, not the best in a test: the test pictures choose nothing.
const run = existsSync(join(out, 'config.json'))
  ? await resume(out, pictures, watched)
  : await train(begins, pictures, { recipe, out, seed: 0, ...watched });
const model = await run.last();
const { top1, loss } = await evaluate(model, pictures, { part: 'validation' });
console.log(JSON.stringify({ top1, loss }));
await model.dispose();
