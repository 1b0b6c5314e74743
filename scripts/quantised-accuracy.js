// Accuracy of two quantised models beside their float originals:
//
//   node scripts/quantised-accuracy.js SHARED resnet50-pqf.pth resnet56-4bfd9763.th CIFAR [METHOD…]
//
// SHARED: the folder of shared test material; CIFAR: its cifar10-jpeg.tar.xz, unpacked. ResNet-50 is calibrated on the
// shared photographs and pets and judged on imagenet-40; ResNet-56 on 500 training pictures and on the 10,000 of the test.
// A dash for a model leaves it out.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cifar10Classes, load, quantize } from '../packages/residual/dist/index.js';

const [shared, imagenetModel, cifarModel, cifar, ...methods] = process.argv.slice(2);
if (!cifar) {
  console.error('usage: node scripts/quantised-accuracy.js SHARED RESNET50 RESNET56 CIFAR [METHOD…]');
  process.exit(2);
}

const data = join(shared, 'data');
const pictures = (folder) =>
  readdirSync(folder)
    .filter((name) => /\.jpe?g$/i.test(name))
    .toSorted()
    .map((name) => join(folder, name));
const each = (list, step) => list.filter((_, i) => i % step === 0);

function imagenet() {
  const judge = pictures(join(data, 'imagenet-40'));
  const { files } = JSON.parse(readFileSync(join(data, 'imagenet-40', 'expected.json'), 'utf8'));
  const pets = ['cat', 'dog'].flatMap((kind) => each(pictures(join(data, 'cats-dogs', kind)), 12));
  const photographs = ['samples', 'samples/scenes'].flatMap((folder) => pictures(join(data, folder)));
  const expected = judge.map((file) => files[file.replace(/^.*[/\\]/, '')].index);
  return { model: imagenetModel, options: {}, calibrate: [...photographs, ...pets], judge, expected };
}

function cifar10() {
  const of = (part, step) => cifar10Classes.map(({ label }) => each(pictures(join(cifar, part, label)), step));
  const judge = of('test', 1);
  const expected = judge.flatMap((files, index) => files.map(() => index));
  return {
    model: cifarModel,
    options: { preprocess: 'cifar' },
    calibrate: of('train', 100).flat(),
    judge: judge.flat(),
    expected,
  };
}

const rows = [imagenetModel !== '-' && imagenet(), cifarModel !== '-' && cifar10()].filter(Boolean);
for (const { model: file, options, calibrate, judge, expected } of rows)
  for (const method of methods.length ? methods : [undefined]) {
    const model = await load(file, options);
    const { model: small, report } = await quantize(model, calibrate, { method, judge, expected });
    const { pictures: count, right, top1 } = report.agreement;
    const share = (n) => `${n} of ${count} (${((100 * n) / count).toFixed(2)} %)`;
    console.log(
      `${model.name}\t${report.method}, ${calibrate.length} pictures\tf32 ${share(right.before)}\tint8 ${share(right.after)}\tas f32 ${share(Math.round(top1 * count))}`,
    );
    await model.dispose();
    await small.dispose();
  }
