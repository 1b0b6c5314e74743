import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { explainPreprocessing, load } from 'residual';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { jsonLines, mlperfResnet8, residual, samples } from '../running.js';

const pixels = ['-w', mlperfResnet8, '--preprocess', 'raw255', '--json'];
const [cat, ship] = [join(samples, 'cat.jpg'), join(samples, 'ship.jpg')];
let folder: string;

/** What np.save writes for uint8. */
function npy(shape: readonly number[], data: Uint8Array): Buffer {
  const header = Buffer.from(`{'descr': '|u1', 'fortran_order': False, 'shape': (${shape.join(', ')}), }\n`);
  return Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), Buffer.from([header.length, 0]), header, data]);
}

/** What the network sees of a picture, `[3, 32, 32]`. */
async function pictured(file: string): Promise<Uint8Array> {
  await using model = await load(mlperfResnet8, { preprocess: 'raw255' });
  const { png } = await explainPreprocessing(file, model.record.plan);
  const seen = await sharp(await png())
    .removeAlpha()
    .raw()
    .toBuffer();
  return Uint8Array.from({ length: 3072 }, (_, i) => seen[(i % 1024) * 3 + Math.floor(i / 1024)]);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'residual-arrays-'));
  const pair = await Promise.all([pictured(cat), pictured(ship)]);
  await writeFile(join(folder, 'one.npy'), npy([3, 32, 32], pair[0]));
  await writeFile(join(folder, 'two.npy'), npy([2, 3, 32, 32], Buffer.concat(pair)));
  await writeFile(join(folder, 'grey.npy'), npy([1, 32, 32], pair[0].subarray(0, 1024)));
  await writeFile(
    join(folder, 'dark.npy'),
    npy(
      [3, 32, 32],
      pair[0].map((value) => value >> 7),
    ),
  );
  await writeFile(join(folder, 'text.npy'), 'no array');
});
afterAll(() => rm(folder, { recursive: true }));

test('arrays among pictures: the answers of the pictures they were made of, in order', async () => {
  const [one, two] = ['one.npy', 'two.npy'].map((name) => join(folder, name));
  const { status, out, err } = await residual('classify', ...pixels, one, ship, two, cat);
  const rows = jsonLines(out);
  expect([status, rows.map(({ file }) => file)]).toEqual([0, [one, ship, `${two}[0]`, `${two}[1]`, cat]]);
  const [a, b, c, d, e] = rows.map(({ predictions }) => predictions);
  expect([a, b]).toEqual([e, d]);
  expect(c).toEqual(a);
  expect(jsonLines(err)).toContainEqual({ note: expect.stringContaining('no plan is applied') });
});

test('what is wrong with one array is its row; values of another range are told of', async () => {
  const files = ['text.npy', 'grey.npy', 'absent.npy', 'dark.npy'].map((name) => join(folder, name));
  const { status, out, err } = await residual('classify', ...pixels, ...files);
  expect([status, jsonLines(out).map(({ file }) => file)]).toEqual([1, [files[3]]]);
  expect(jsonLines(err).flatMap(({ code }) => code ?? [])).toEqual(['FILE', 'IMAGE', 'GRAPH']);
  expect(jsonLines(err)).toContainEqual({ note: expect.stringContaining('input values 0 … 1 do not fit the plan') });
});

test.each([['--explain-preprocessing'], ['--save-input', 'seen.png']])('%s takes no arrays', async (...flags) => {
  const { status, err } = await residual('classify', ...pixels, ...flags, join(folder, 'one.npy'));
  expect([status, JSON.parse(err)]).toEqual([
    2,
    expect.objectContaining({ message: expect.stringMatching(/takes pictures, but .*one\.npy is an array/) }),
  ]);
});
