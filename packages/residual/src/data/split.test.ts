import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Dataset, Example } from './dataset.js';
import { counts, message, tree } from './dataset.test.helper.js';
import { open } from './open.js';
import { splitOff } from './split.js';
import { countClasses } from './targets.js';

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

describe('splits', () => {
  const paths = [...Array(30)].map((_, i) => `a/${i}.jpg`).concat([...Array(10)].map((_, i) => `b/${i}.jpg`));

  test('a share is drawn class by class, by the seed', async () => {
    const root = tree(...paths);
    const data = await open(root, { validation: 0.2, seed: 1 });
    expect(counts(data)).toEqual([32, 8, undefined]);
    expect([...countClasses(data.validation ?? [], 2)]).toEqual([6, 2]);
    const ids = (set: Dataset) => set.validation?.map(({ id }) => id);
    expect(ids(await open(root, { validation: 0.2, seed: 1 }))).toEqual(ids(data));
    expect(ids(await open(root, { validation: 0.2, seed: 2 }))).not.toEqual(ids(data));
    expect(counts(await open(root, { validation: 0.25, test: 0.5 }))).toEqual([15, 5, 20]);
    expect(counts(await open(root, { test: 4 }))).toEqual([36, undefined, 4]);
  });

  test('any share keeps a picture of every class and comes as near as it can', () => {
    return fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 2, maxLength: 6 }),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        async (sizes, share) => {
          fc.pre(Math.round(sum(sizes) * share) > 0 && Math.max(...sizes) > 1);
          const train = sizes.flatMap((size, target) =>
            Array.from(
              { length: size },
              (_, i): Example => ({ id: `${target} ${i}`, source: { kind: 'file', path: '' }, target }),
            ),
          );
          const data: Dataset = { classes: sizes.map(String), labels: 'one', train, notes: [] };
          const split = await splitOff(data, { validation: share }, ({ id }) => id);
          const left = countClasses(split.train, sizes.length);
          expect(Math.min(...left)).toBeGreaterThan(0);
          sizes.forEach((size, i) => {
            expect(Math.abs(size - left[i] - size * share)).toBeLessThanOrEqual(1);
          });
          expect([...split.train, ...(split.validation ?? [])].map(({ id }) => id).sort()).toEqual(
            train.map(({ id }) => id).sort(),
          );
        },
      ),
      { numRuns: 40 },
    );
  });

  test('a share that sets no picture aside is refused: nothing would be judged, or what was learnt', async () => {
    expect(await message(open(tree(...paths), { validation: 0.01 }))).toMatch(
      /^ARGUMENT 0\.01 of the 40 pictures for validation sets none aside: .* a larger share/,
    );
    expect(await message(open(tree('a/1.jpg', 'b/1.jpg'), { test: 0.9 }))).toContain('sets none aside');
    expect(counts(await open(tree(...paths), { validation: 0.013 }))).toEqual([39, 1, undefined]);
  });

  test('a list sets pictures aside; a part that is there stays', async () => {
    const root = tree(...paths);
    const list = join(root, 'held.txt');
    writeFileSync(list, 'a/3.jpg\r\n./b/1.jpg\n\n');
    const data = await open(root, { test: list, validation: ['a/7.jpg', join(root, 'a/8.jpg')] });
    expect(data.test?.map(({ id }) => id.slice(root.length + 1))).toEqual(['a/3.jpg', 'b/1.jpg']);
    expect(counts(data)).toEqual([36, 2, 2]);
    expect(await message(open(root, { test: ['a/3.jpg', 'a/300.jpg'] }))).toContain(
      'DATA the list for test: of its 2 paths 1 lead to no picture of the data set, such as a/300.jpg',
    );
    expect(await message(open(root, { test: join(root, 'no.txt') }))).toContain('FILE');
    expect(await message(open(root, { validation: 40 }))).toBe(
      'ARGUMENT expected a share above 0 and below 1, a number of the 40 pictures, or a list of paths for validation but received 40',
    );
    const given = await open(tree('train/a/1.jpg', 'train/b/1.jpg', 'val/a/2.jpg'), { validation: 0.5 });
    expect(counts(given)).toEqual([2, 1, undefined]);
    expect(given.notes).toEqual(['the data have their own validation part, which is kept (pictures: 1)']);
  });
});
