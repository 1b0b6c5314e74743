import { expect, test } from 'vitest';
import { blendFor, blendImages, blendTargets } from './mix.js';

const size = { height: 8, width: 10 };
const blends = (mixup: number, cutmix: number, count = 2000) =>
  Array.from({ length: count }, (_, batch) => blendFor({ mixup, cutmix }, { seed: 1, epoch: 0, batch }, size));

test('shares follow Beta(α, α), whose mean is ½ and variance 1 / (8α + 4)', () => {
  for (const alpha of [0.1, 0.2, 1, 4]) {
    const shares = blends(alpha, 0).map((blend) => blend?.share as number);
    const mean = shares.reduce((a, b) => a + b) / shares.length;
    const variance = shares.reduce((sum, x) => sum + (x - mean) ** 2, 0) / shares.length;
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.04);
    expect(Math.abs(variance * (8 * alpha + 4) - 1)).toBeLessThan(0.1);
  }
});

test('with both, half of the batches have one and half the other; with none, none', () => {
  const kinds = blends(0.2, 1).map((blend) => blend?.kind);
  const mixed = kinds.filter((kind) => kind === 'mixup').length;
  expect(Math.abs(mixed - 1000)).toBeLessThan(150);
  expect(blends(0, 1).every((blend) => blend?.kind === 'cutmix')).toBe(true);
  expect(blends(0, 0, 3)).toEqual([undefined, undefined, undefined]);
  expect(blends(0.2, 1, 5)).toEqual(blends(0.2, 1, 5));
});

test('mixup adds the picture before, by shares', () => {
  const images = Float32Array.of(1, 2, 10, 20, 100, 200);
  blendImages(images, [3, 1, 1, 2], { kind: 'mixup', share: 0.75 });
  expect([...images]).toEqual([25.75, 51.5, 7.75, 15.5, 77.5, 155]);
  const targets = Float32Array.of(1, 0, 0, 1, 1, 0);
  blendTargets(targets, 2, { kind: 'mixup', share: 0.75 });
  expect([...targets]).toEqual([1, 0, 0.25, 0.75, 0.75, 0.25]);
});

test('cutmix puts a rectangle of the picture before in place, and its share is what it covers', () => {
  const one = (value: number) => Array(2 * 80).fill(value);
  for (const blend of blends(0, 1, 200)) {
    if (blend?.kind !== 'cutmix') throw new Error('expected cutmix');
    const images = Float32Array.from([...one(1), ...one(2), ...one(3)]);
    blendImages(images, [3, 2, 8, 10], blend);
    [3, 1, 2].forEach((other, i) => {
      const own = i + 1;
      const picture = images.subarray(i * 160, (i + 1) * 160);
      expect(picture.every((value) => value === own || value === other)).toBe(true);
      const covered = picture.filter((value) => value === other).length / 160;
      expect(covered).toBeCloseTo(1 - blend.share, 6);
    });
  }
});
