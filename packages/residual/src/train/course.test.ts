import { expect, test } from 'vitest';
import { courseOf, updateAt } from './course.js';
import { resolveRecipe } from './recipes.js';
import { presets } from './settings.js';

test('whole batches and whole updates', () => {
  expect(courseOf({ ...presets, batch: 32, accumulate: 4 }, 1000)).toMatchObject({ batch: 32, steps: 28, updates: 7 });
  expect(courseOf({ ...presets, batch: 32, accumulate: 4 }, 70)).toMatchObject({
    batch: 32,
    accumulate: 2,
    steps: 2,
    updates: 1,
  });
  expect(courseOf({ ...presets, batch: 32 }, 20)).toMatchObject({ batch: 20, steps: 1, updates: 1 });
});

test('he2015-cifar: falls at half and three quarters, however long it is', async () => {
  for (const epochs of [182, 30]) {
    const recipe = await resolveRecipe('he2015-cifar', { epochs });
    const course = courseOf(recipe, 45_000);
    expect(course.updates).toBe(351);
    const rate = (share: number) => updateAt(course, recipe, Math.floor(share * epochs * course.updates), []).rate;
    expect([rate(0), rate(0.499), rate(0.51), rate(0.76)].map((x) => Number(x.toPrecision(3)))).toEqual([
      0.1, 0.1, 0.01, 0.001,
    ]);
  }
});

test('the average moves every so many updates', async () => {
  const recipe = await resolveRecipe('torchvision-v2');
  const course = courseOf(recipe, 1_281_167);
  expect(updateAt(course, recipe, 0, []).averageDecay).toBeUndefined();
  expect(updateAt(course, recipe, 31, []).averageDecay).toBeCloseTo(0.99891, 5);
  expect(updateAt(course, recipe, 0, []).rate).toBeCloseTo(0.005, 9);
});

test('milestones that are none', () => {
  const bad = { ...presets, schedule: 'multi-step', milestones: '30 60' } as const;
  expect(() => courseOf(bad, 100)).toThrow(/shares of the run from 0 to 1/);
});
