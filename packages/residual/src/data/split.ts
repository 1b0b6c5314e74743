import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, relative, resolve, sep } from 'node:path';
import { ResidualError } from '../errors.js';
import { random, shuffle } from '../random.js';
import type { Dataset, Example } from './dataset.js';

/**
 * Some of the examples: a share below 1 or a whole number of them, drawn by the seed; their paths in the data set; or a
 * text file with one path a line.
 */
export type Some = number | string | readonly string[];

export interface SplitOptions {
  /** What is set aside to watch the training by. A validation part that the data bring along goes first. */
  readonly validation?: Some | undefined;
  /** What is set aside to judge by in the end. The same. */
  readonly test?: Some | undefined;
  /** Of the shares drawn; 0 when left out. */
  readonly seed?: number | undefined;
}

/**
 * Sets examples aside as the options say. A share is drawn class by class, so that every class has it (as near as whole
 * pictures can), and every class keeps a picture to learn from; of pictures with several labels it is drawn from all.
 *
 * @param pathOf the path of an example in its data set, for lists
 * @throws ARGUMENT for a share that is none or sets no picture aside, FILE for a list that cannot be read, DATA for a path in it that is no example.
 */
export async function splitOff(
  dataset: Dataset,
  { validation, test, seed = 0 }: SplitOptions,
  pathOf: (example: Example) => string,
): Promise<Dataset> {
  let changed = dataset;
  for (const [part, some] of [
    ['test', test],
    ['validation', validation],
  ] as const) {
    if (some === undefined) continue;
    if (changed[part]) {
      const note = `the data have their own ${part} part, which is kept (pictures: ${changed[part].length})`;
      changed = { ...changed, notes: [...changed.notes, note] };
      continue;
    }
    const aside =
      typeof some === 'number' ? drawn(changed, some, seed, part) : await listed(changed.train, some, part, pathOf);
    changed = {
      ...changed,
      train: changed.train.filter((example) => !aside.has(example)),
      [part]: changed.train.filter((example) => aside.has(example)),
    };
  }
  return changed;
}

function drawn({ train, classes, labels }: Dataset, some: number, seed: number, part: string): Set<Example> {
  const isCount = Number.isInteger(some) && some >= 1 && some < train.length;
  if (!isCount && !(some > 0 && some < 1))
    throw new ResidualError(
      'ARGUMENT',
      `expected a share above 0 and below 1, a number of the ${train.length} pictures, or a list of paths for ${part} but received ${some}`,
    );
  const share = isCount ? some / train.length : some;
  const groups: Example[][] = labels === 'one' ? classes.map(() => []) : [[]];
  for (const example of train) groups[labels === 'one' ? (example.target as number) : 0].push(example);
  // Whole pictures, and the total as near as it can be: those with the largest remainder are rounded up.
  const exact = groups.map(({ length }) => length * share);
  const counts = exact.map(Math.floor);
  let left = Math.round(train.length * share) - counts.reduce((sum, n) => sum + n, 0);
  const byRemainder = [...groups.keys()].sort((a, b) => exact[b] - counts[b] - (exact[a] - counts[a]) || a - b);
  for (const group of byRemainder)
    if (left > 0 && counts[group] + 1 < groups[group].length) {
      counts[group]++;
      left--;
    }
  const aside = groups.flatMap((group, i) => shuffle([...group], random(seed, 'split', part, i)).slice(0, counts[i]));
  if (aside.length === 0)
    throw new ResidualError(
      'ARGUMENT',
      `${some} of the ${train.length} pictures for ${part} sets none aside: every class keeps one to learn from; name a larger share or number, or leave it out`,
    );
  return new Set(aside);
}

async function listed(
  examples: readonly Example[],
  some: string | readonly string[],
  part: string,
  pathOf: (example: Example) => string,
): Promise<Set<Example>> {
  const [paths, from] = typeof some === 'string' ? [await readList(some), some] : [some, `the list for ${part}`];
  const byPath = new Map(examples.map((example) => [pathOf(example), example]));
  const byId = new Map(examples.map((example) => [resolve(example.id), example]));
  // The list may lie anywhere; its lines are paths in the data set, from the root, or from where it lies.
  const base = typeof some === 'string' ? dirname(resolve(some)) : process.cwd();
  const aside = new Set<Example>();
  const lost: string[] = [];
  for (const path of paths) {
    const found = byPath.get(tidy(path)) ?? byId.get(isAbsolute(path) ? resolve(path) : resolve(base, path));
    if (found) aside.add(found);
    else lost.push(path);
  }
  if (lost.length > 0)
    throw new ResidualError(
      'DATA',
      `${from}: of its ${paths.length} paths ${lost.length} lead to no picture of the data set, such as ${lost[0]}; expected paths such as ${byPath.keys().next().value}`,
      { list: from, lost: lost.slice(0, 20) },
    );
  if (aside.size === 0) throw new ResidualError('DATA', `${from}: names no picture`, { list: from });
  return aside;
}

async function readList(file: string): Promise<string[]> {
  try {
    const text = await readFile(file, 'utf8');
    return text
      .split(/\r?\n/)
      .map((line) => line.trim())
      .filter(Boolean);
  } catch (cause) {
    throw new ResidualError(
      'FILE',
      `${file}: the list cannot be read: ${(cause as Error).message}`,
      { file },
      { cause },
    );
  }
}

/** A path with forward slashes, without `./` in front. */
const tidy = (path: string): string => path.replaceAll('\\', '/').replace(/^(\.\/)+/, '');

/** The path of a file in a folder, with forward slashes. */
export const pathIn = (folder: string, file: string): string => relative(folder, file).replaceAll(sep, '/');
