import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Pixels } from './pixels.js';
import type { Filter } from './plan.js';
import { resize } from './resize.js';

/** The generator of scripts/pillow-hashes.py. */
function generated(width: number, height: number): Pixels {
  const data = new Uint8Array(width * height * 3);
  let state = width * 1000 + height;
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) | 0;
    data[i] = state >>> 16;
  }
  return { width, height, data };
}

const filters: Filter[] = ['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos'];

test('the bytes of Pillow, by hash', () => {
  const fixture = new URL('../../src/image/resize.fixture.json', import.meta.url);
  const rows: { from: [number, number]; to: [number, number]; filter: Filter; sha256: string }[] = JSON.parse(
    readFileSync(fixture, 'utf8'),
  );
  expect(rows.length).toBe(60);
  for (const { from, to, filter, sha256 } of rows) {
    const { data } = resize(generated(...from), { width: to[0], height: to[1] }, filter);
    expect(createHash('sha256').update(data).digest('hex'), `${from} → ${to} ${filter}`).toBe(sha256);
  }
});

test('a region holds the bytes of the whole', () => {
  const side = fc.integer({ min: 1, max: 40 });
  fc.assert(
    fc.property(
      fc.record({ w: side, h: side, toW: side, toH: side }),
      fc.constantFrom(...filters),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 4, maxLength: 4 }),
      ({ w, h, toW, toH }, filter, [a, b, c, d]) => {
        const picture = generated(w, h);
        const whole = resize(picture, { width: toW, height: toH }, filter);
        const [left, top] = [Math.floor(a * (toW - 1)), Math.floor(b * (toH - 1))];
        const [width, height] = [1 + Math.floor(c * (toW - left - 1)), 1 + Math.floor(d * (toH - top - 1))];
        const part = resize(picture, { width: toW, height: toH }, filter, { left, top, width, height });
        expect([part.width, part.height]).toEqual([width, height]);
        for (let y = 0; y < height; y++) {
          const from = ((y + top) * toW + left) * 3;
          expect(part.data.subarray(y * width * 3, (y + 1) * width * 3)).toEqual(
            whole.data.subarray(from, from + width * 3),
          );
        }
      },
    ),
  );
});

test('one colour stays that colour, whatever the size and filter', () => {
  const side = fc.integer({ min: 1, max: 300 });
  fc.assert(
    fc.property(side, side, side, side, fc.constantFrom(...filters), (w, h, toW, toH, filter) => {
      const { data } = resize(
        { width: w, height: h, data: new Uint8Array(w * h * 3).fill(200) },
        { width: toW, height: toH },
        filter,
      );
      expect(data.length).toBe(toW * toH * 3);
      expect(data.every((value) => value === 200)).toBe(true);
    }),
    { numRuns: 60 },
  );
});

test('a picture in many bands, and one at an odd place in its buffer', () => {
  const tall = generated(900, 2400);
  const shifted = new Uint8Array(tall.data.length + 7);
  shifted.set(tall.data, 7);
  const to = { width: 800, height: 31 };
  const inOne = resize({ ...tall, data: shifted.subarray(7) }, to, 'bicubic');
  const rows = [0, 30].map((top) => resize(tall, to, 'bicubic', { left: 0, top, width: 800, height: 1 }).data);
  expect(inOne.data.subarray(0, 2400)).toEqual(rows[0]);
  expect(inOne.data.subarray(30 * 2400)).toEqual(rows[1]);
});

test('sizes that are none, and results beyond reason, are refused', () => {
  const picture = generated(3, 2);
  for (const width of [0, -1, 1.5, Number.NaN])
    expect(() => resize(picture, { width, height: 1 }, 'box')).toThrow(/whole number ≥ 1 for width/);
  expect(() => resize(picture, { width: 1e6, height: 1e6 }, 'box')).toThrow(/over the limit of 100000000 pixels/);
  const corner = { left: 0, top: 0, width: 1, height: 1 };
  expect(() => resize(picture, { width: 1e15, height: 1 }, 'nearest', corner)).toThrow(/over the limit/);
});
