import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset } from '../data/dataset.js';
import { isHidden, isPicture } from '../data/tree.js';
import { ResidualError } from '../errors.js';
import { findClasses, ownNames } from '../models/class-map.js';
import type { ClassLabel } from '../models/classes.js';

/**
 * A flat folder of pictures with a file that says what they show: one line a picture, `1.jpg 65`, `1.jpg,tench`, or the
 * class alone, in the order of the pictures' names (digits by their number, as ImageNet's validation set is handed on).
 *
 * @param classes those of the model: a class is an index, a WordNet id or a label
 * @throws FILE; DATA naming the line that fits no picture, or how many lines are missing; CLASSES.
 * @example const data = await groundTruth('val/', 'val.txt', await imagenetClasses());
 */
export async function groundTruth(folder: string, file: string, classes: readonly ClassLabel[]): Promise<Dataset> {
  const [names, text] = await Promise.all([listed(folder), readText(file)]);
  const lines = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line, i) => line !== '' && !(i === 0 && title.test(line)));
  const known = new Set(names);
  const refuse = (what: string) => {
    throw new ResidualError('DATA', `${file}: ${what}`, { file });
  };
  if (!named.test(lines[0] ?? '') && lines.length !== names.length)
    refuse(`has ${lines.length} lines for the ${names.length} pictures of ${folder}; give one a picture, or name them`);
  const pairs = lines.map((line, i): [name: string, label: string] => {
    const [, name, label] = named.exec(line) ?? [];
    if (name === undefined) return [names[i], line];
    const bare = name.replace(/^.*[/\\]/, '');
    if (!known.has(bare)) refuse(`line ${i + 1} names ${name}, which is not in ${folder}`);
    return [bare, label];
  });
  const given = new Set<string>();
  for (const [i, [name]] of pairs.entries()) {
    if (given.has(name)) refuse(`line ${i + 1} names ${name} a second time`);
    given.add(name);
  }
  const unnamed = names.filter((name) => !given.has(name));
  if (pairs.length === 0) refuse('says nothing; give one line a picture');
  const labels = [...new Set(pairs.map(([, label]) => label))];
  const indices = findClasses(labels, classes, file);
  const indexOf = new Map(labels.map((label, i) => [label, indices[i]]));
  return {
    classes: ownNames(classes),
    labels: 'one',
    train: [],
    test: pairs.map(([name, label]) => ({
      id: join(folder, name),
      source: { kind: 'file', path: join(folder, name) },
      target: indexOf.get(label) as number,
    })),
    notes: unnamed.length
      ? [`${file}: ${unnamed.length} pictures of ${folder} are not named and left out, such as ${unnamed[0]}`]
      : [],
  };
}

/** What a table of names and labels begins with. */
const title = /^"?(path|file|filename|image)"?[,;\t]/i;

/** A picture's name, and what it shows. */
const named = /^(.+?\.\w{3,4})[\s,;]+(.+)$/;

async function listed(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((cause: NodeJS.ErrnoException) => {
    throw new ResidualError(
      'FILE',
      `${folder}: cannot be listed (${cause.code}); check the path`,
      { file: folder },
      { cause },
    );
  });
  return names
    .filter((name) => isPicture(name) && !isHidden(name))
    .sort(new Intl.Collator('en', { numeric: true }).compare);
}

const readText = (file: string): Promise<string> =>
  readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new ResidualError('FILE', `${file}: cannot be read (${cause.code}); check the path`, { file }, { cause });
  });
