import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { summary } from '../graph/summary.js';
import { initialise } from '../models/initialise.js';
import { build } from '../models/resnet.js';
import { tensor } from '../tensor.js';
import { temporaryFolder } from '../testing.js';
import { modelOf } from '../weights/onnx.test.helper.js';
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

describe('an ONNX model with weights in another file', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);
  const at = (name: string) => join(folder.path, name);
  writeFileSync(at('weights.bin'), new Uint8Array(108));
  symlinkSync('/dev/zero', at('link.bin'));
  const look = (external: Record<string, string>, from?: 'bytes') => {
    const model = modelOf({
      inputs: { x: ['N', 3, 8, 8] },
      outputs: ['y'],
      nodes: [{ type: 'Conv', inputs: ['x', 'w'], outputs: ['y'] }],
      tensors: [{ name: 'w', dims: [9, 3, 1, 1], external }],
    });
    if (from) return inspect(model);
    writeFileSync(at('model.onnx'), model);
    return inspect(at('model.onnx'));
  };

  test('that is there has no trouble', async () => {
    expect(await look({ location: 'weights.bin' })).not.toHaveProperty('trouble');
  });

  test.each([
    ['../weights.bin', /not inside its folder/],
    ['/etc/hostname', /not inside its folder/],
    ['link.bin', /a link out of its folder/],
    ['nothing.bin', /there is no such file/],
  ])('%s: the trouble that load would have', async (location, message) => {
    expect(await look({ location })).toMatchObject({ architecture: 'made', trouble: expect.stringMatching(message) });
  });

  test('that is too short, or of bytes', async () => {
    expect((await look({ location: 'weights.bin', offset: '4' })).trouble).toMatch(/needs 108 bytes at 4 but/);
    expect((await look({ location: 'weights.bin' }, 'bytes')).trouble).toMatch(/give the path of the file/);
  });
});
