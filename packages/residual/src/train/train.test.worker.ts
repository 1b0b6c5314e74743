// For tests: a run in a process of its own, which is killed. Arguments: the folder, and `resume` where it goes on, or
// `head-first` where a new classifier learns alone before.
import { resume, train } from './train.js';
import { tinyData, tinyModel, tinyRecipe } from './train.test.helper.js';

const [, , out, how] = process.argv;
// A checkpoint after every update, so that many a kill comes while one is written.
const options = {
  engine: 'reference',
  saveEvery: 0,
  onStep: ({ epoch, step }: { epoch: number; step: number }) => void process.stdout.write(`${epoch}.${step}\n`),
} as const;
if (how === 'resume') await resume(out, tinyData(), options);
else if (how === 'head-first')
  await train(tinyModel(5), tinyData(), { ...options, recipe: { ...tinyRecipe, headFirst: 300 }, seed: 3, out });
else await train(tinyModel(), tinyData(), { ...options, recipe: tinyRecipe, seed: 3, out });
process.stdout.write('done\n');
process.exit(0);
