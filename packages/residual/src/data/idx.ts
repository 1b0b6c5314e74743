import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ResidualError } from '../errors.js';
import { sharedBytes } from '../tensor.js';
import type { Dataset, Example } from './dataset.js';
import { readUnpacked } from './packed.js';
import { type SplitOptions, splitOff } from './split.js';

/** Names of the four files: `train-images-idx3-ubyte.gz`, `t10k-labels.idx1-ubyte`; the test files are `t10k` or `test`. */
const pattern = /^(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?$/;

/** Whether names of files are those of an IDX data set. */
export const isIdx = (names: readonly string[]): boolean =>
  names.some((name) => pattern.exec(name)?.[1] === 'train' && name.includes('images'));

/**
 * MNIST's kind of data set: IDX files in a folder, gzip or not. The numbers of its classes are their names, but for
 * Fashion-MNIST, which is known by its labels.
 *
 * @param options `classes`: names for the numbers from 0
 * @throws FILE, DATA for a file that is missing, damaged or of another kind; CLASSES when names are missing.
 */
export async function idx(
  folder: string,
  options: SplitOptions & { readonly classes?: readonly string[] } = {},
): Promise<Dataset> {
  const names = await readdir(folder).catch((cause: Error) => {
    throw new ResidualError('FILE', `${folder}: cannot be listed: ${cause.message}`, { file: folder }, { cause });
  });
  const found = new Map<string, string>();
  for (const name of names.toSorted()) {
    const [, part, what] = pattern.exec(name) ?? [];
    if (part) found.set(`${part === 'train' ? 'train' : 'test'} ${what}`, join(folder, name));
  }
  const read = async (part: 'train' | 'test') => {
    const [images, labels] = [found.get(`${part} images`), found.get(`${part} labels`)];
    if (images === undefined || labels === undefined)
      throw new ResidualError(
        'DATA',
        `${folder}: the ${images === undefined ? 'pictures' : 'labels'} of the ${part} part are missing; expected ${part === 'train' ? 'train' : 't10k'}-${images === undefined ? 'images-idx3' : 'labels-idx1'}-ubyte, or the same with .gz`,
        { file: folder },
      );
    return readPart(part, images, labels);
  };
  const train = await read('train');
  const test = found.has('test images') || found.has('test labels') ? await read('test') : undefined;
  const highest = [...train.labels, ...(test?.labels ?? [])].reduce((a, b) => Math.max(a, b), 0);
  const isFashion = createHash('sha256').update(train.labels).digest('hex') === fashionLabels;
  const classes = options.classes ?? (isFashion ? fashion : Array.from({ length: highest + 1 }, (_, i) => String(i)));
  if (classes.length <= highest)
    throw new ResidualError(
      'CLASSES',
      `${folder}: its labels go up to ${highest} but ${classes.length} classes are named; name ${highest + 1}`,
      { file: folder },
    );
  const dataset: Dataset = {
    classes,
    labels: 'one',
    train: train.examples,
    ...(test && { test: test.examples }),
    notes: [],
  };
  return splitOff(dataset, options, ({ id }) => id);
}

/** Of the 60,000 labels of zalandoresearch/fashion-mnist. */
const fashionLabels = '657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7';
const fashion = [
  'T-shirt/top',
  'Trouser',
  'Pullover',
  'Dress',
  'Coat',
  'Sandal',
  'Shirt',
  'Sneaker',
  'Bag',
  'Ankle boot',
];

async function readPart(
  part: string,
  images: string,
  labels: string,
): Promise<{ examples: Example[]; labels: Uint8Array }> {
  const pictures = parse(images, await readUnpacked(images), 3);
  const numbers = parse(labels, await readUnpacked(labels), 1);
  const [count, height, width] = pictures.sides;
  if (numbers.sides[0] !== count)
    throw new ResidualError('DATA', `${labels}: has ${numbers.sides[0]} labels; ${images} has ${count} pictures`, {
      file: labels,
    });
  if (count === 0 || height === 0 || width === 0)
    throw new ResidualError('DATA', `${images}: has no pictures (${count} of ${width}×${height})`, { file: images });
  const bytes = sharedBytes(pictures.data.length);
  bytes.set(pictures.data);
  const examples = Array.from(
    numbers.data,
    (target, i): Example => ({
      id: `${part}[${i}]`,
      source: { kind: 'pixels', bytes, offset: i * height * width, height, width, channels: 1, planar: false },
      target,
    }),
  );
  return { examples, labels: numbers.data };
}

/** The IDX format (yann.lecun.com/exdb/mnist): 0, 0, type, number of sides, each side in 32 bits, values. */
function parse(file: string, bytes: Uint8Array, dimensions: number): { sides: number[]; data: Uint8Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const head = 4 + 4 * dimensions;
  const magic = bytes.length >= 4 ? view.getUint32(0) : -1;
  if (magic !== 0x0800 + dimensions || bytes.length < head)
    throw new ResidualError(
      'DATA',
      `${file}: expected an IDX file of bytes with ${dimensions} dimension${dimensions > 1 ? 's' : ''} (magic number ${0x0800 + dimensions}) but received ${magic < 0 ? 'an empty file' : `magic number ${magic}`}`,
      { file },
    );
  const sides = Array.from({ length: dimensions }, (_, i) => view.getUint32(4 + 4 * i));
  const size = sides.reduce((product, side) => product * side, 1);
  if (bytes.length !== head + size)
    throw new ResidualError(
      'DATA',
      `${file}: should have ${head + size} bytes for [${sides.join(', ')}] but has ${bytes.length}; it is damaged or cut off, fetch it again`,
      { file },
    );
  return { sides, data: bytes.subarray(head) };
}
