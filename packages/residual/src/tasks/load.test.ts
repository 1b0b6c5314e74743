import { expect, test } from 'vitest';
import { initialise } from '../models/initialise.js';
import { build } from '../models/resnet.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { load } from './load.js';

test('a network of one’s own gets the preparation that is customary for the file', async () => {
  const graph = { ...build('resnet20'), name: 'mine' };
  const file = Buffer.concat([...safetensorsBytes(initialise(graph))]);
  await using model = await load(file, { architecture: graph });
  expect(model.graph).toBe(graph);
  expect(model.record).toMatchObject({ architecture: 'mine', preprocess: 'cifar' });
});
