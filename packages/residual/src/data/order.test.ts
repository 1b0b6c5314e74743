import fc from 'fast-check';
import { expect, test } from 'vitest';
import { byCodePoint } from './classes.js';
import type { Example } from './dataset.js';
import { epochOrder, inOrder } from './order.js';
import { classWeights } from './targets.js';

const example = (target: number): Example => ({ id: '', source: { kind: 'file', path: '' }, target });
const uneven = [...Array(90).fill(0), ...Array(10).fill(1)].map(example);

test('a plain epoch has every example once, otherwise in every epoch', () => {
  const first = epochOrder(uneven, 2, { seed: 1, epoch: 0 });
  expect([...first].sort((a, b) => a - b)).toEqual([...inOrder(100)]);
  expect(epochOrder(uneven, 2, { seed: 1, epoch: 0 })).toEqual(first);
  expect(epochOrder(uneven, 2, { seed: 1, epoch: 1 })).not.toEqual(first);
  expect(epochOrder(uneven, 2, { seed: 1, epoch: 0, wholeBatches: 32 })).toEqual(first.subarray(0, 96));
});

test('balanced sampling shows every class equally often', () => {
  const order = epochOrder(uneven, 2, { seed: 1, epoch: 0, sampling: 'balanced' });
  expect(order.filter((index) => index >= 90)).toHaveLength(50);
  // And every picture of a class as often as another, give or take one.
  const times = order
    .filter((index) => index >= 90)
    .reduce((all, index) => all.map((n, i) => n + Number(i === index - 90)), Array(10).fill(0));
  expect(Math.max(...times) - Math.min(...times)).toBeLessThanOrEqual(1);
  expect(() => epochOrder(uneven, 2, { seed: 1, epoch: 0, sampling: new Float64Array(3) })).toThrow(
    'expected 100 weights',
  );
  expect(() => epochOrder(uneven, 2, { seed: 1, epoch: 0, sampling: new Float64Array(100) })).toThrow(
    'all weights are 0',
  );
});

test('repeated augmentation shows fewer examples more often', () => {
  const order = epochOrder(uneven, 2, { seed: 1, epoch: 0, repeats: 4 });
  expect(order).toHaveLength(100);
  expect(new Set(order).size).toBe(25);
  // An update of four batches of ten has every repeat of a picture in another batch.
  const apart = epochOrder(uneven, 2, { seed: 1, epoch: 0, repeats: 4, accumulate: 4, wholeBatches: 10 });
  for (let at = 0; at < 80; at += 10) expect(new Set(apart.subarray(at, at + 10)).size).toBe(10);
  expect(new Set(apart.subarray(0, 40)).size).toBe(10);
  // In one batch they do not stand side by side, first and last included.
  for (const wholeBatches of [20, undefined]) {
    const one = epochOrder(uneven, 2, { seed: 1, epoch: 0, repeats: 4, wholeBatches });
    const batch = one.subarray(0, wholeBatches ?? one.length);
    batch.forEach((index, i) => void expect(index).not.toBe(batch[(i + 1) % batch.length]));
  }
});

test('class weights make up for unequal sizes', () => {
  const weights = classWeights(uneven, 3);
  expect(weights[1] / weights[0]).toBeCloseTo(9, 5);
  expect((90 * weights[0] + 10 * weights[1]) / 100).toBeCloseTo(1, 6);
  expect(weights[2]).toBe(0);
});

test('code points order what UTF-16 does not', () => {
  const strings = fc.array(fc.string({ unit: 'binary' }));
  fc.assert(
    fc.property(strings, (list) => {
      const bytes = (text: string) => Buffer.from(text).toString('hex');
      // UTF-8 keeps the order of code points.
      expect(list.toSorted(byCodePoint).map(bytes)).toEqual(list.map(bytes).toSorted());
    }),
  );
});
