import { expect, test } from 'vitest';
import { masksOf } from './masks.js';

const depth = { name: 'add.kept', kind: 'depth', rate: 0.25, shape: [1000, 3, 1, 1] } as const;
const dropout = { name: 'dropout.mask', kind: 'dropout', rate: 0.5, shape: [100, 64] } as const;

test('masks keep their share, with the mean of 1, and whole branches', () => {
  const { [depth.name]: branches, [dropout.name]: elements } = masksOf([depth, dropout], 7, 2, 3);
  expect(branches.shape).toEqual(depth.shape);
  const values = [...branches.data];
  expect(new Set(values)).toEqual(new Set([0, Math.fround(4 / 3)]));
  for (let i = 0; i < values.length; i += 3) expect(new Set(values.slice(i, i + 3)).size).toBe(1);
  const mean = (data: Float32Array) => data.reduce((sum, x) => sum + x, 0) / data.length;
  expect(Math.abs(mean(branches.data) - 1)).toBeLessThan(0.08);
  expect(Math.abs(mean(elements.data) - 1)).toBeLessThan(0.06);
});

test('the same for the same step, others for another', () => {
  const of = (...key: [number, number, number]) => [...masksOf([dropout], ...key)[dropout.name].data];
  expect(of(1, 2, 3)).toEqual(of(1, 2, 3));
  for (const other of [of(2, 2, 3), of(1, 3, 3), of(1, 2, 4)]) expect(other).not.toEqual(of(1, 2, 3));
});
