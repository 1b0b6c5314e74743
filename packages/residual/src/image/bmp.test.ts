import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ResidualError } from '../errors.js';
import { decodeBmp } from './bmp.js';

/** A BMP by its fields; rows come as bytes, in the order of the file. */
function bmp(fields: {
  width: number;
  height: number;
  bits: number;
  compression?: number;
  extra?: number[];
  body: number[];
}): Uint8Array {
  const extra = fields.extra ?? [];
  const bytes = new Uint8Array(54 + extra.length + fields.body.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x42, 0x4d]);
  view.setUint32(10, 54 + extra.length, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, fields.width, true);
  view.setInt32(22, fields.height, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, fields.bits, true);
  view.setUint32(30, fields.compression ?? 0, true);
  bytes.set(extra, 54);
  bytes.set(fields.body, 54 + extra.length);
  return bytes;
}

const rgb = (bytes: Uint8Array): number[] => [...decodeBmp(bytes, 'x.bmp', 1e8).pixels.data];
const little = (value: number): number[] => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];

test('rows from the bottom up, or from the top down when the height is negative', () => {
  const body = [3, 2, 1, 0, 6, 5, 4, 0];
  expect(rgb(bmp({ width: 1, height: 2, bits: 24, body }))).toEqual([4, 5, 6, 1, 2, 3]);
  expect(rgb(bmp({ width: 1, height: -2, bits: 24, body }))).toEqual([1, 2, 3, 4, 5, 6]);
});

test('16 bits: five or six bits a channel, spread over 0–255; masks in any order', () => {
  expect(rgb(bmp({ width: 2, height: 1, bits: 16, body: [0xff, 0x7f, 0x10, 0x42] }))).toEqual([
    255, 255, 255, 131, 131, 131,
  ]);
  const masks = [0xf800, 0x7e0, 0x1f].flatMap(little);
  expect(
    rgb(bmp({ width: 2, height: 1, bits: 16, compression: 3, extra: masks, body: [0xe0, 0x07, 0x1f, 0xf8] })),
  ).toEqual([0, 255, 0, 255, 0, 255]);
  const swapped = [0xff, 0xff00, 0xff0000].flatMap(little);
  expect(rgb(bmp({ width: 1, height: 1, bits: 32, compression: 3, extra: swapped, body: [9, 8, 7, 0] }))).toEqual([
    9, 8, 7,
  ]);
});

test('a palette shorter than its numbers gives black, not a crash', () => {
  const bytes = bmp({ width: 2, height: 1, bits: 8, extra: [10, 20, 30, 0], body: [0, 200, 0, 0] });
  new DataView(bytes.buffer).setUint32(46, 1, true);
  expect(rgb(bytes)).toEqual([30, 20, 10, 0, 0, 0]);
});

test.each([
  ['cut off', bmp({ width: 100, height: 100, bits: 24, body: [1, 2, 3] }), /cut off, 29\d{3} bytes are missing/],
  ['no size', bmp({ width: 0, height: 5, bits: 24, body: [] }), /says it is 0×5/],
  ['depth', bmp({ width: 1, height: 1, bits: 23, body: [] }), /unknown BMP depth of 23 bits/],
  ['JPEG inside', bmp({ width: 1, height: 1, bits: 24, compression: 4, body: [] }), /BMP compression 4/],
  [
    'bomb',
    bmp({ width: 0x7fffffff, height: 0x7fffffff, bits: 8, compression: 1, body: [] }),
    /over the limit of 100000000 pixels/,
  ],
  ['short', Uint8Array.of(0x42, 0x4d, 1), /ends after 3 bytes/],
])('%s: one clear line', (_, bytes, message) => {
  expect(() => rgb(bytes)).toThrow(message);
});

test('whatever the bytes, there is a picture or a ResidualError', () => {
  const start = bmp({
    width: 5,
    height: 4,
    bits: 8,
    compression: 1,
    extra: new Array(1024).fill(7),
    body: [5, 1, 0, 0, 0, 4, 1, 2, 3, 4, 0, 2, 1, 1, 9, 9, 0, 1],
  });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 6 }),
      fc.nat(start.length),
      (changes, length) => {
        const bytes = start.slice(0, Math.max(2, length));
        for (const [at, value] of changes) if (at >= 2 && at < bytes.length) bytes[at] = value;
        try {
          const { pixels } = decodeBmp(bytes, 'x.bmp', 1e6);
          expect(pixels.data.length).toBe(pixels.width * pixels.height * 3);
        } catch (error) {
          expect(error).toBeInstanceOf(ResidualError);
        }
      },
    ),
    { numRuns: 1000 },
  );
});
