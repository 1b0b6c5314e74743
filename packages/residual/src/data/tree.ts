import { ResidualError } from '../errors.js';
import { byCodePoint, classList } from './classes.js';
import type { Dataset, Example, Source } from './dataset.js';

/** A picture and its path in the data set, `train/cat/1.jpg`. */
export interface Found {
  readonly path: string;
  readonly id: string;
  readonly source: Source;
}

/** What counts as a picture inside a folder or an archive. */
const picture = /\.(jpe?g|png|webp|avif|gif|tiff?|bmp)$/i;
export const isPicture = (path: string): boolean => picture.test(path);

/** Hidden files, and what macOS puts into archives. */
export const isHidden = (path: string): boolean => /(^|\/)(\.|__MACOSX(\/|$))/.test(path);

const parts = new Map<string, 'train' | 'validation' | 'test'>([
  ['train', 'train'],
  ['val', 'validation'],
  ['valid', 'validation'],
  ['validation', 'validation'],
  ['test', 'test'],
]);

/**
 * A data set out of pictures in a folder for each class. Where there is `train/` beside nothing but `val/`,
 * `validation/` or `test/`, these are the parts and the classes are inside.
 *
 * @param folders the paths of all folders, to find those without pictures
 * @throws DATA when no picture is in a class; CLASSES for an empty class, names that differ in case only,
 * and classes that `train/` does not have.
 */
export function datasetOfTree(where: string, pictures: readonly Found[], folders: readonly string[]): Dataset {
  const root = commonRoot(pictures);
  const inside = pictures.map(({ path, ...found }) => ({ ...found, path: path.slice(root.length) }));
  const tops = new Set(inside.filter(({ path }) => path.includes('/')).map(({ path }) => path.split('/')[0]));
  const split = tops.has('train') && [...tops].every((name) => parts.has(name)) && inside.some(isDeep);
  const notes: string[] = [];
  const loose: string[] = [];
  const placed: { part: 'train' | 'validation' | 'test'; name: string; found: Found }[] = [];
  for (const found of inside) {
    const steps = found.path.split('/');
    const part = split ? parts.get(steps[0]) : 'train';
    const name = steps.at(split ? 1 : 0) as string;
    if (part === undefined || steps.length < (split ? 3 : 2)) loose.push(found.path);
    else placed.push({ part, name, found });
  }
  if (placed.length === 0)
    throw new ResidualError(
      'DATA',
      pictures.length === 0
        ? `${where}: holds no pictures; expected a folder for each class with its pictures inside`
        : `${where}: the pictures in it (${pictures.length}) lie in no folder; expected a folder for each class, or a CSV or JSONL file that says what each shows`,
      { file: where },
    );
  if (loose.length > 0) notes.push(`pictures in no class's folder are left out: ${loose.length}, such as ${loose[0]}`);
  const named = placed.filter(({ part }) => part === 'train').map(({ name }) => name);
  const empty = emptyClasses(folders, root, split, new Set(named));
  if (empty.length > 0)
    throw new ResidualError(
      'CLASSES',
      `${where}: no picture is in ${empty.map((name) => `"${name}"`).join(', ')}; put some there or remove the folder`,
      { classes: empty },
    );
  const classes = classList(named, where);
  const index = new Map(classes.map((name, i) => [name, i]));
  const examples: Record<'train' | 'validation' | 'test', { path: string; example: Example }[]> = {
    train: [],
    validation: [],
    test: [],
  };
  for (const { part, name, found } of placed) {
    const target = index.get(name);
    if (target === undefined)
      throw new ResidualError(
        'CLASSES',
        `${where}: "${name}" is a class of the ${part} part that train/ does not have; the pictures of a class must be in both`,
        { classes: [name] },
      );
    examples[part].push({ path: found.path, example: { id: found.id, source: found.source, target } });
  }
  const list = (part: 'train' | 'validation' | 'test') =>
    examples[part].sort((a, b) => (a.path < b.path ? -1 : 1)).map(({ example }) => example);
  return {
    classes,
    labels: 'one',
    train: list('train'),
    ...(examples.validation.length > 0 && { validation: list('validation') }),
    ...(examples.test.length > 0 && { test: list('test') }),
    notes,
  };
}

const isDeep = ({ path }: { path: string }): boolean => path.split('/').length > 2;

/** Folders that all pictures are in and that are neither a class nor a part: `cifar10/` of `cifar10/train/cat/1.jpg`. */
function commonRoot(pictures: readonly Found[]): string {
  let root = '';
  for (;;) {
    const rest = pictures.map(({ path }) => path.slice(root.length).split('/'));
    const [top] = rest[0] ?? [''];
    const common = rest.length > 0 && rest.every((steps) => steps.length > 2 && steps[0] === top);
    if (!common || top === 'train') return root;
    root += `${top}/`;
  }
}

function emptyClasses(folders: readonly string[], root: string, split: boolean, full: ReadonlySet<string>): string[] {
  const prefix = split ? `${root}train/` : root;
  return folders
    .filter((path) => path.startsWith(prefix))
    .map((path) => path.slice(prefix.length))
    .filter((name) => name !== '' && !name.includes('/') && !full.has(name))
    .sort(byCodePoint);
}
