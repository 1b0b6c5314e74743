import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseAugment } from '../image/augment.js';
import { decode } from '../image/decode.js';
import { sharedBytes } from '../tensor.js';
import { refusal, scratch } from '../testing.js';
import type { Example } from './dataset.js';
import { contactSheet } from './preview.js';

/** Four pictures of one colour each, 20×10. */
const examples: Example[] = [10, 60, 120, 200].map((value, i) => {
  const bytes = sharedBytes(20 * 10).fill(value);
  return {
    id: String(i),
    source: { kind: 'pixels', bytes, offset: 0, height: 10, width: 20, channels: 1, planar: false },
    target: i,
  };
});

test('a sheet has a row for each picture, as it is and then in each epoch', async () => {
  const bytes = await contactSheet(examples, { augment: parseAugment('pad-crop 2'), pictures: 2, epochs: 3 });
  const { pixels, origin } = await decode(bytes, 'default');
  // Tiles of 5 × the picture; gaps of 4 pixels, 12 after the first column.
  expect([origin.format, pixels.width, pixels.height]).toEqual(['png', 4 + 4 * 104 + 8, 4 + 2 * 54]);
  const at = (x: number, y: number) => pixels.data[(y * pixels.width + x) * 3];
  expect([at(0, 0), at(54, 30), at(54, 84), at(108, 30), at(170, 30)]).toEqual([255, 10, 120, 255, 10]);
  const again = await contactSheet(examples, { augment: parseAugment('pad-crop 2'), pictures: 2, epochs: 3 });
  expect(again).toEqual(bytes);
});

test('it can be a JPEG of another size', async () => {
  const bytes = await contactSheet(examples, { augment: [], size: 100, pictures: 1, epochs: 1, format: 'jpeg' });
  const { origin } = await decode(bytes, 'default');
  expect([origin.format, origin.width, origin.height]).toEqual(['jpeg', 4 + 2 * 104 + 8, 4 + 104]);
});

test('no pictures, and a damaged one, are refused', async () => {
  expect((await refusal(contactSheet([], { augment: [] }))).code).toBe('DATA');
  const path = join(scratch(), 'a.jpg');
  writeFileSync(path, 'no picture');
  const broken: Example = { id: path, source: { kind: 'file', path }, target: 0 };
  expect((await refusal(contactSheet([broken], { augment: [] }))).code).toBe('IMAGE');
});
