import { ResidualError } from 'residual/errors';
import { augmentText, contactSheet, type Example, open, parseAugment, resolveRecipe } from 'residual/train';
import { checkWritable, writeWhole } from '../files.js';
import type { augmentFlags, OptionsOf } from '../flags.js';
import { expandInputs } from '../inputs.js';
import { print, printable } from '../terminal.js';

type Options = OptionsOf<typeof augmentFlags>;

/** `residual augment --preview`: a contact sheet of augmented pictures. */
export async function run(args: readonly string[], options: Options): Promise<number> {
  const { preview, pictures, epochs, seed } = options;
  if (preview === undefined)
    throw new ResidualError(
      'ARGUMENT',
      'nothing to do without --preview FILE, such as sheet.png; see residual help augment',
    );
  const format = /\.png$/i.test(preview) ? 'png' : /\.jpe?g$/i.test(preview) ? 'jpeg' : undefined;
  if (format === undefined)
    throw new ResidualError(
      'ARGUMENT',
      `Expected a file that ends in .png or .jpg for --preview but received ${preview}`,
    );
  const recipe = await resolveRecipe(options.recipe);
  const augment = parseAugment(options.augment ?? recipe.augment);
  await checkWritable(preview);
  const examples = await examplesOf(args);
  const size = options.size ?? (recipe.size || undefined);
  await writeWhole(preview, await contactSheet(examples, { augment, size, seed, pictures, epochs, format }));
  const rows = Math.min(pictures, examples.length);
  await print(
    `${printable(preview)}: ${rows} of ${examples.length} pictures, first as in a test, then in ${epochs} epochs of seed ${seed}: ${augmentText(augment)}\n`,
  );
  return 0;
}

/** Pictures by name, or those of a data set. */
async function examplesOf(args: readonly string[]): Promise<readonly Example[]> {
  const { files, errors } = await expandInputs(args);
  const named = files.length > 0 && /\.(jpe?g|png|webp|avif|gif|tiff?|bmp)$/i.test(files[0]);
  if (args.length === 1 && !named) return (await open(args[0])).train;
  if (errors.length > 0) throw errors[0];
  return files.map((path) => ({ id: path, source: { kind: 'file', path }, target: 0 }));
}
