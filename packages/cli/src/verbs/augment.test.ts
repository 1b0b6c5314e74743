import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { residual } from '../running.js';

const samples = fileURLToPath(new URL('../../samples', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'residual-augment-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('writes a contact sheet of pictures by a recipe', async () => {
  const file = join(folder, 'sheet.png');
  const { status, out, err } = await residual(
    'augment',
    samples,
    '--preview',
    file,
    '--recipe',
    'airbench',
    '--pictures',
    '2',
    '--epochs',
    '3',
  );
  expect({ status, err }).toEqual({ status: 0, err: '' });
  expect(out).toBe(
    `${file}: 2 of 5 pictures, first as in a test, then in 3 epochs of seed 0: reflect-crop 2, flip-alternating\n`,
  );
  const png = await readFile(file);
  // Width and height of the PNG: tiles of 224 with 4 between them, and 8 more behind the first.
  expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([4 + 4 * 228 + 8, 4 + 2 * 228]);
});

test("steps of one's own, as a JPEG", async () => {
  const file = join(folder, 'sheet.jpg');
  const flags = ['--augment', 'flip 1, rotate 15', '--size', '32', '--pictures', '1', '--epochs', '1'];
  const { status, out } = await residual('augment', join(samples, 'cat.jpg'), '--preview', file, ...flags);
  expect([status, out]).toEqual([0, expect.stringContaining('1 of 1 pictures')]);
  expect([...(await readFile(file)).subarray(0, 3)]).toEqual([0xff, 0xd8, 0xff]);
});

test.each([
  [[samples], 'ARGUMENT', 'nothing to do without --preview FILE'],
  [
    [samples, '--preview', 'x.gif'],
    'ARGUMENT',
    'Expected a file that ends in .png or .jpg for --preview but received x.gif',
  ],
  [
    [samples, '--preview', 'x.png', '--augment', 'flop'],
    'ARGUMENT',
    'there is no augmentation "flop"; did you mean "flip"?',
  ],
  [[samples, '--preview', 'x.png', '--recipe', 'finetone'], 'UNKNOWN_NAME', 'did you mean "finetune"?'],
  [['/no/such', '--preview', join(tmpdir(), 'x.png')], 'FILE', '/no/such: there is no such file or folder'],
  [[join(samples, 'cat.jpg'), '--preview', '/no/such/x.png'], 'FILE', 'cannot be written'],
])('%j is refused', async (args, _, message) => {
  const { status, out, err } = await residual('augment', ...args);
  expect([status === 0, out]).toEqual([false, '']);
  expect(err).toContain(message);
});
