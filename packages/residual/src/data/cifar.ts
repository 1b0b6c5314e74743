import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ResidualError } from '../errors.js';
import { cifar10Classes } from '../models/classes.js';
import { sharedBytes } from '../tensor.js';
import type { Dataset, Example } from './dataset.js';
import { readUnpacked } from './packed.js';
import { type SplitOptions, splitOff } from './split.js';

const side = 32;
const pixels = 3 * side * side;

interface Kind {
  readonly train: RegExp;
  readonly test: string;
  /** Bytes of labels before each picture; the last is the one that counts. */
  readonly labels: number;
  readonly names: string;
  readonly classes: number;
}

/** The binary versions (www.cs.toronto.edu/~kriz/cifar.html): a label, or a coarse and a fine one, then red, green, blue. */
const kinds: readonly Kind[] = [
  { train: /^data_batch_\d+\.bin$/, test: 'test_batch.bin', labels: 1, names: 'batches.meta.txt', classes: 10 },
  { train: /^train\.bin$/, test: 'test.bin', labels: 2, names: 'fine_label_names.txt', classes: 100 },
];

/** Whether names of files are those of CIFAR's binary version. */
export const isCifar = (names: readonly string[]): boolean =>
  kinds.some(({ train }) => names.some((name) => train.test(name)));

/**
 * CIFAR-10 or CIFAR-100 (its 100 fine classes), the binary version, unpacked.
 * @throws FILE, DATA for a file that is missing or damaged; what `splitOff` throws.
 */
export async function cifar(folder: string, options: SplitOptions = {}): Promise<Dataset> {
  const names = await readdir(folder).catch((cause: Error) => {
    throw new ResidualError('FILE', `${folder}: cannot be listed: ${cause.message}`, { file: folder }, { cause });
  });
  const kind = kinds.find(({ train }) => names.some((name) => train.test(name)));
  if (kind === undefined)
    throw new ResidualError(
      'DATA',
      `${folder}: holds neither data_batch_1.bin … (CIFAR-10) nor train.bin (CIFAR-100); expected the binary version, unpacked`,
      { file: folder },
    );
  const files = names.filter((name) => kind.train.test(name)).sort();
  const dataset: Dataset = {
    classes: await classNames(folder, kind),
    labels: 'one',
    train: await read(folder, files, kind, 'train'),
    ...(names.includes(kind.test) && { test: await read(folder, [kind.test], kind, 'test') }),
    notes: [],
  };
  return splitOff(dataset, options, ({ id }) => id);
}

async function classNames(folder: string, { names, classes }: Kind): Promise<string[]> {
  const text = await readFile(join(folder, names), 'utf8').catch(() => '');
  const found = text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter(Boolean);
  if (found.length === classes) return found;
  return classes === 10
    ? cifar10Classes.map(({ label }) => label)
    : Array.from({ length: classes }, (_, i) => String(i));
}

async function read(folder: string, files: readonly string[], kind: Kind, part: string): Promise<Example[]> {
  const record = kind.labels + pixels;
  const contents: Uint8Array[] = [];
  for (const name of files) {
    const bytes = await readUnpacked(join(folder, name));
    if (bytes.length === 0 || bytes.length % record !== 0)
      throw new ResidualError(
        'DATA',
        `${join(folder, name)}: has ${bytes.length} bytes, which are not whole pictures of ${record}; it is damaged or cut off, fetch it again`,
        { file: join(folder, name) },
      );
    contents.push(bytes);
  }
  const all = sharedBytes(contents.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const bytes of contents) {
    all.set(bytes, at);
    at += bytes.length;
  }
  return Array.from({ length: all.length / record }, (_, i): Example => {
    const offset = i * record + kind.labels;
    const target = all[offset - 1];
    if (target >= kind.classes)
      throw new ResidualError(
        'DATA',
        `${folder}: ${part}[${i}] has label ${target}; expected 0 to ${kind.classes - 1}: these are no files of CIFAR-${kind.classes}`,
        { file: folder },
      );
    return {
      id: `${part}[${i}]`,
      source: { kind: 'pixels', bytes: all, offset, height: side, width: side, channels: 3, planar: true },
      target,
    };
  });
}
