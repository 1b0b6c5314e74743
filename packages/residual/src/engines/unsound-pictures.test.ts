import fc from 'fast-check';
import { expect, test } from 'vitest';
import { tensor } from '../tensor.js';
import { largestOfEach, unsound } from './unsound-pictures.js';

const bitsOf = (numbers: readonly number[]): Int32Array => new Int32Array(Float32Array.from(numbers).buffer);

test('the largest magnitude of each picture is read off the bits', () => {
  const float = fc.float({ noDefaultInfinity: false, noNaN: true });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), fc.array(float, { minLength: 1, maxLength: 11 }), (pictures, row) => {
      const batch = Array.from({ length: pictures }, (_, i) => row.map((x) => (i % 2 ? -x / 2 : x)));
      const expected = batch.map((numbers) => Math.max(...Float32Array.from(numbers).map(Math.abs)));
      expect([...largestOfEach(bitsOf(batch.flat()), pictures)]).toEqual(expected);
    }),
  );
  expect([...largestOfEach(bitsOf([1, Number.NaN, 2, -0]), 2)]).toEqual([Number.NaN, 2]);
  const upper = Uint16Array.from(bitsOf([1, -3, 2, -0, 0, -0]), (x) => x >>> 16);
  expect([...largestOfEach(upper, 3)]).toEqual([3, 2, 0]);
});

test('pictures with what is no number are found, whichever input holds it', () => {
  const left = tensor([0, 1, Number.NaN, 0, 1, 1], [3, 2]);
  const right = tensor([1, 1, Number.NEGATIVE_INFINITY], [3, 1]);
  expect(unsound({ left, right })).toEqual(new Set([1, 2]));
});
