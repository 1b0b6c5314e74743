// Measures the table of docs/parity.md: random checkpoints of the reference programs, loaded by content, against what
// PyTorch and an independent float64 program compute with them; and the real ImageNet checkpoints on forty photographs.
//
//   RESIDUAL_SHARED=../shared node scripts/parity.js
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { difference } from '../packages/residual/dist/engines/check.js';
import { classify, load } from '../packages/residual/dist/index.js';
import { oracle, python, readTensors, shared, temporaryFolder } from '../packages/residual/dist/testing.js';

if (!shared) {
  console.error('set RESIDUAL_SHARED to the folder of shared test material');
  process.exit(2);
}

const torchvision = [
  ...['resnet18', 'resnet34', 'resnet50', 'resnet101', 'resnet152'],
  ...['resnext50_32x4d', 'resnext101_32x8d', 'wide_resnet50_2', 'wide_resnet101_2'],
];
const keras = [
  ['keras2015', []],
  ['keras2015', ['--names', 'w0']],
  ['keras2015', ['--names', 'kernel', '--whole-model']],
  ['keras2015', ['--names', 'keras3']],
  ['keras2015', ['--size', '64', '--classes', '6']],
  ['resnet50', []],
  ['resnet50', ['--names', 'keras3']],
  ['resnet50', ['--names', 'w']],
  ['resnet50v2', []],
  ['resnet50v2', ['--names', 'keras3']],
  ['resnet50v2', ['--names', 'w0', '--whole-model']],
];

/** Indices of the five largest of each row. */
const topFive = ({ shape: [rows, classes], data }) =>
  Array.from({ length: rows }, (_, row) =>
    Array.from(data.subarray(row * classes, (row + 1) * classes), (value, index) => ({ value, index }))
      .sort((a, b) => b.value - a.value)
      .slice(0, 5)
      .map(({ index }) => index),
  );

const agreement = (a, b) => {
  const [x, y] = [topFive(a), topFive(b)];
  const same = x.flatMap((row, i) => row.filter((index, k) => index === y[i][k])).length;
  return `${same} of ${x.flat().length}`;
};

const short = (value) => value.toExponential(1);
const worst = (values) => short(Math.max(...values));
const row = (...cells) => console.log(`| ${cells.join(' | ')} |`);

console.log('| dialect | file | logits, relative | features, relative | softmax, absolute | top-5 in order |');
console.log('| --- | --- | --- | --- | --- | --- |');
for (const architecture of torchvision) await against('torchvision', architecture, ['pth', 'safetensors'], [], 'NCHW');
for (const [topology, options] of keras) await against('keras', topology, ['h5'], options, 'NHWC');

async function against(family, name, containers, options, layout) {
  const folder = temporaryFolder();
  oracle(`${family}_oracle.py`, name, folder.path, ...options);
  const stages =
    layout === 'NCHW'
      ? { stem: 'stem', layer1: 'layer1', layer2: 'layer2', layer3: 'layer3', layer4: 'layer4', pooled: 'avgpool' }
      : { stem: 'stem', stage2: 'layer1', stage3: 'layer2', stage4: 'layer3', stage5: 'layer4', pooled: 'avgpool' };
  const expected = await readTensors(
    join(folder.path, 'expected.safetensors'),
    ['input', 'logits', ...Object.keys(stages), ...(layout === 'NHWC' ? ['softmax'] : [])],
    layout,
  );
  const size = options.includes('--size') ? 64 : 224;
  for (const container of containers) {
    const model = await load(join(folder.path, `${name}.${container}`), { size });
    const softmax = expected.softmax ? ['probabilities'] : [];
    const found = await model.run(expected.input, ['logits', ...Object.values(stages), ...softmax]);
    const features = Object.entries(stages).map(([stage, ours]) => difference(found[ours], expected[stage]));
    const absolute = expected.softmax?.data.map((p, i) => Math.abs(p - found.probabilities.data[i])) ?? [];
    row(
      model.record.architecture,
      `random, .${container} ${options.join(' ')}`.trim(),
      short(difference(found.logits, expected.logits)),
      worst(features),
      absolute.length ? worst(absolute) : '–',
      agreement(found.logits, expected.logits),
    );
    await model.dispose();
  }
  folder.remove();
}

const folder = temporaryFolder();
execFileSync(python, [join(shared, 'make-weights'), folder.path], { stdio: 'ignore' });
const pictures = join(shared, 'data/imagenet-40');
const { files } = JSON.parse(readFileSync(join(pictures, 'expected.json'), 'utf8'));
console.log('\n| weights | photographs | same best class | same five in order | largest difference of a probability |');
console.log('| --- | --- | --- | --- | --- |');
for (const name of ['resnet50-pqf', 'resnet18-pqf']) {
  const model = await load(join(folder.path, `${name}.pth`), { decode: 'pillow' });
  let [best, five, most] = [0, 0, 0];
  for (const [file, expected] of Object.entries(files)) {
    const predictions = await classify(model, join(pictures, file), { top: 1000 });
    const listed = expected[name];
    if (predictions[0].index === listed[0][0]) best++;
    if (listed.every(([index], i) => predictions[i].index === index)) five++;
    for (const [index, probability] of listed)
      most = Math.max(most, Math.abs(probability - predictions.find((p) => p.index === index).probability));
  }
  await model.dispose();
  const all = Object.keys(files).length;
  row(`${name}.pth`, all, `${best} of ${all}`, `${five} of ${all}`, short(most));
}
folder.remove();
