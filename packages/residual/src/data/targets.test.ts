import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Target } from './dataset.js';
import { writeTarget } from './targets.js';

const row = (target: Target, smoothing: number): number[] => {
  // What stood there before must not show through.
  const values = new Float32Array(4).fill(9);
  writeTarget(target, values, smoothing, 'x.jpg');
  return [...values].map((value) => Math.round(value * 1e6) / 1e6);
};

test('one class, several and shares, plain and smoothed', () => {
  expect(row(2, 0)).toEqual([0, 0, 1, 0]);
  // As torch.nn.CrossEntropyLoss(label_smoothing=0.1) spreads it.
  expect(row(2, 0.1)).toEqual([0.025, 0.025, 0.925, 0.025]);
  expect(row([0, 3], 0)).toEqual([1, 0, 0, 1]);
  expect(row([], 0)).toEqual([0, 0, 0, 0]);
  // As keras.losses.BinaryCrossentropy(label_smoothing=0.1).
  expect(row([0, 3], 0.1)).toEqual([0.95, 0.05, 0.05, 0.95]);
  expect(row(Float32Array.of(0.5, 0.5, 0, 0), 0.2)).toEqual([0.45, 0.45, 0.05, 0.05]);
});

test('smoothing keeps the sum of one class and of shares', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 3 }), fc.double({ min: 0, max: 0.99, noNaN: true }), (target, smoothing) => {
      expect(row(target, smoothing).reduce((a, b) => a + b, 0)).toBeCloseTo(1, 4);
    }),
  );
});

test.each([[4], [-1], [0.5], [[1, 9]]])('class %j of 4 is refused', (target) => {
  expect(() => row(target, 0)).toThrow(/^x\.jpg: shows class .*; there are 4, from 0$/);
});

test('shares of another number of classes are refused', () => {
  expect(() => row(Float32Array.of(1, 0), 0)).toThrow('x.jpg: has shares of 2 classes; expected 4');
});
