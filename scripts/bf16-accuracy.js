// What bf16 costs in accuracy on the engine onednn:
//
//   node scripts/bf16-accuracy.js SHARED resnet50-pqf.pth resnet56-4bfd9763.th CIFAR
//
// SHARED: the folder of shared test material; CIFAR: its cifar10-jpeg.tar.xz, unpacked. ResNet-50 is judged on
// imagenet-40: the same best class wherever the two best of f32 are more than 0.02 apart; ResNet-56 by its accuracy on
// the 10,000 test pictures. A dash for a model leaves it out.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { cifar10Classes, classify, load } from '../packages/residual/dist/index.js';

const [shared, imagenetModel, cifarModel, cifar] = process.argv.slice(2);
if (!cifar) {
  console.error('usage: node scripts/bf16-accuracy.js SHARED RESNET50 RESNET56 CIFAR');
  process.exit(2);
}
const margin = 0.02;

/** The two best of every picture. */
async function answers(file, options, pictures, batch) {
  const model = await load(file, { engine: 'onednn', ...options });
  const found = [];
  for await (const { predictions, error } of classify.each(model, pictures, { top: 2, batch })) {
    if (error) throw error;
    found.push(predictions);
  }
  await model.dispose();
  return found;
}

if (imagenetModel !== '-') {
  const folder = join(shared, 'data', 'imagenet-40');
  const pictures = readdirSync(folder)
    .filter((name) => /\.jpe?g$/i.test(name))
    .map((name) => join(folder, name));
  const f32 = await answers(imagenetModel, {}, pictures, 8);
  const bf16 = await answers(imagenetModel, { precision: 'bf16' }, pictures, 8);
  const clear = f32.map(([a, b]) => a.probability - b.probability > margin);
  const same = f32.map(([best], i) => best.index === bf16[i][0].index);
  const far = Math.max(
    ...f32.map(([best], i) =>
      Math.abs(best.probability - (bf16[i].find((p) => p.index === best.index)?.probability ?? 0)),
    ),
  );
  console.log(
    `imagenet-40\tsame best class on ${same.filter((is, i) => is && clear[i]).length} of ${clear.filter(Boolean).length} clear pictures, ${same.filter(Boolean).length} of ${same.length} in all; its probability differs by at most ${far.toFixed(4)}`,
  );
}
if (cifarModel !== '-') {
  const of = cifar10Classes.map(({ label }) => join(cifar, 'test', label));
  const pictures = of.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)));
  const truth = of.flatMap((folder, index) => readdirSync(folder).map(() => index));
  for (const precision of ['f32', 'bf16']) {
    const found = await answers(cifarModel, { preprocess: 'cifar', precision }, pictures, 100);
    const right = found.filter(([best], i) => best.index === truth[i]).length;
    console.log(`CIFAR-10\t${precision}\t${((100 * right) / truth.length).toFixed(2)} %\t${right} of ${truth.length}`);
  }
}
