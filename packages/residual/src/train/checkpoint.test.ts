import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { load } from '../tasks/load.js';
import { readCheckpoint } from './checkpoint.js';
import { tinyGraph } from './train.test.helper.js';

/** Written by the first release of the format: two updates of the tiny network, with momentum and an average. */
const first = fileURLToPath(new URL('../../fixtures/run.format1.safetensors', import.meta.url));

test('a checkpoint written by the first release of its format', async () => {
  const { weights, average, optimizer, updates, progress, record } = await readCheckpoint(first);
  const names = tinyGraph().parameters.map(({ name }) => name);
  expect([...weights.keys()].sort()).toEqual(names.toSorted());
  expect([...(average?.keys() ?? [])].sort()).toEqual(names.toSorted());
  expect([...optimizer.keys()]).toEqual(['momentum']);
  expect(optimizer.get('momentum')?.get('fc.bias')?.shape).toEqual([3]);
  expect(updates).toBe(2);
  expect(progress).toMatchObject({
    seed: 3,
    epoch: 0,
    step: 2,
    updates: 2,
    sums: { pictures: 8, steps: 2 },
    losses: [],
    best: null,
    classes: ['red', 'green', 'blue'],
  });
  expect(record).toMatchObject({
    architecture: 'tiny',
    classes: [{ label: 'red' }, { label: 'green' }, { label: 'blue' }],
  });
});

test('loads as a model: the average, or the weights as they are', async () => {
  const { weights, average } = await readCheckpoint(first);
  for (const [part, expected] of [
    [undefined, average],
    ['model', weights],
  ] as const) {
    await using model = await load(first, { part, engine: 'reference' });
    const found = await model.weights();
    for (const [name, { data }] of expected ?? []) expect([...(found.get(name)?.data ?? [])]).toEqual([...data]);
  }
});
