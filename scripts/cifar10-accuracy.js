// Top-1 accuracy on CIFAR-10's test pictures saved as JPEG (one folder a class):
//
//   tar xJf cifar10-jpeg.tar.xz -C DIR
//   node scripts/cifar10-accuracy.js DIR/test resnet20-12fca82f.th resnet56-4bfd9763.th resnet16-cifar10
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bundled, cifar10Classes, classify, load } from '../packages/residual/dist/index.js';

const [folder, ...models] = process.argv.slice(2);
if (!folder || models.length === 0) {
  console.error('usage: node scripts/cifar10-accuracy.js FOLDER MODEL…');
  process.exit(2);
}

const classes = cifar10Classes.map(({ label }) => label);
const files = classes.flatMap((label) => readdirSync(join(folder, label)).map((name) => join(folder, label, name)));
const truth = classes.flatMap((label, index) => readdirSync(join(folder, label)).map(() => index));

for (const name of models) {
  const model = await load(name, { preprocess: Object.hasOwn(bundled, name) ? undefined : 'cifar' });
  let right = 0;
  let seen = 0;
  for await (const { predictions, error } of classify.each(model, files, { top: 1, batch: 100 })) {
    if (error) throw error;
    if (predictions[0].index === truth[seen++]) right++;
    if (process.stderr.isTTY && seen % 500 === 0) process.stderr.write(`\r${name} ${seen} of ${files.length}`);
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  await model.dispose();
  console.log(`${name}\t${((100 * right) / seen).toFixed(2)} %\t${right} of ${seen}`);
}
