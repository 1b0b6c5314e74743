// A network that knows ImageNet learns your own classes: a new classifier on what it sees already.
//
//   npx tsc -b && node examples/dist/finetune.js flowers/ resnet18 runs/flowers flowers.residual
import { pathToFileURL } from 'node:url';
import { load, save } from 'residual';
import { folder, train } from 'residual/train';

/** Fine-tunes the model `from` (a published name or a file) and saves the best of the run to `to`. */
export async function finetune(path: string, from: string, out: string, to: string) {
  const data = await folder(path, { validation: 0.2, seed: 1 });
  await using model = await load(from);
  const run = await train(model, data, {
    recipe: 'finetune',
    set: { epochs: 3 },
    out,
    onRow: (row) => {
      if (row.kind === 'epoch') console.log(JSON.stringify(row));
    },
  });
  await using best = await run.best();
  await save(best, to);
  return run;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [, , path, from, out, to] = process.argv;
  if (to === undefined) throw new Error('usage: node finetune.js FOLDER MODEL RUN-FOLDER OUTPUT');
  await finetune(path, from, out, to);
}
