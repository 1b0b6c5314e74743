import { expect, test } from 'vitest';
import { summary } from '../graph/summary.js';
import { initialise } from '../models/initialise.js';
import { build } from '../models/resnet.js';
import { tensor } from '../tensor.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { inspect } from './inspect.js';

test('parameters are counted as the field does: running statistics apart', async () => {
  const graph = build('resnet20');
  const { totals } = summary(graph);
  const file = Buffer.concat([...safetensorsBytes(initialise(graph))]);
  expect(await inspect(file)).toMatchObject({ parameters: totals.trainable, statistics: totals.nonTrainable });
  expect(totals).toMatchObject({ trainable: 269_722, nonTrainable: 1_376 }); // as akamaster/pytorch_resnet_cifar10 says
});

test('in a file of no known dialect they are told by their names', async () => {
  const names = ['a.running_var', 'b/moving_mean:0', 'bn_running_std_1:0', 'c.weight', 'running_meanness'];
  const file = Buffer.concat([...safetensorsBytes(new Map(names.map((name) => [name, tensor([1, 2], [2])])))]);
  expect(await inspect(file)).toMatchObject({ parameters: 4, statistics: 6 });
});
