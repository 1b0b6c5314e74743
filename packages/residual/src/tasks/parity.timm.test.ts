import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { difference } from '../engines/check.js';
import { engines } from '../engines/index.js';
import { noise, noiseTensor, noiseWeights } from '../engines/sketch.js';
import { build, type FamilyName, family, type ResNetOptions } from '../models/resnet.js';
import { type Tensor, tensor } from '../tensor.js';
import { oneThread, python, shared, temporaryFolder } from '../testing.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { timmForward } from './timm.test.helper.js';

const narrow = { width: 16, widthPerGroup: 16 };

/** Members that have each switch at least once, with shorter stages; odd sizes where they are allowed. */
const members: [FamilyName, ResNetOptions][] = [
  ['resnet50d', { depths: [1, 2, 1, 1], size: [70, 61], ...narrow }],
  ['resnet18d', { size: 64, ...narrow }],
  ['resnet10t', { size: [63, 75], ...narrow }],
  ['resnet101s', { depths: [1, 1, 2, 1], size: 64, ...narrow }],
  ['seresnet18', { depths: [1, 1, 1, 1], size: [65, 64] }],
  ['seresnext26t_32x4d', { depths: [1, 1, 1, 1], size: 64, width: 32 }],
  ['senet154', { depths: [2, 1, 1, 1], size: [48, 67], groups: 16, width: 32 }],
  ['ecaresnet26t', { depths: [1, 2, 1, 1], size: 48, width: 32, widthPerGroup: 32 }],
  ['resnetaa50', { depths: [1, 1, 1, 2], size: 64, ...narrow }],
  ['seresnetaa50d', { depths: [1, 1, 1, 1], size: 96, ...narrow }],
  ['resnetblur18', { size: [66, 75], ...narrow }],
  ['resnetblur50d', { depths: [1, 1, 1, 1], size: [75, 64], ...narrow }],
  ['resnetrs50', { depths: [1, 1, 1, 1], size: [64, 70], ...narrow }],
];

describe.skipIf(!shared)('timm: logits and the features of every stage', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);

  const cases = members.map(([name, options]) => {
    const graph = build(name, { ...options, classes: 10 });
    const [, ...shape] = graph.inputs[0].shape;
    const { groups, antiAlias } = { ...family[name], ...options };
    return {
      name,
      groups,
      antiAlias,
      graph,
      weights: noiseWeights(graph, 3),
      input: noiseTensor([2, ...shape], noise(5), 2),
    };
  });
  const expected = new Map<FamilyName, Record<string, { shape: number[]; data: number[] }>>();

  beforeAll(() => {
    const list = cases.map(({ name, groups, antiAlias, weights, input }) => {
      const file = join(folder.path, `${name}.safetensors`);
      writeFileSync(file, Buffer.concat([...safetensorsBytes(new Map([...weights, ['input', input]]))]));
      return { file, groups, antiAlias };
    });
    const printed = execFileSync(python, ['-c', timmForward, JSON.stringify(list)], {
      env: oneThread,
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
    });
    const lines = printed.trim().split('\n');
    for (const [i, { name }] of cases.entries()) expected.set(name, JSON.parse(lines[i]));
  }, 60_000);

  test.each(cases)('$name', async ({ name, graph, weights, input }) => {
    const results = Object.entries(expected.get(name) ?? {});
    const outputs = results.map(([output]) => output);
    expect(outputs).toEqual(['stem', 'layer1', 'layer2', 'layer3', 'layer4', 'logits']);
    for (const engine of [engines.reference, engines.onnx]) {
      const executable = await engine.compile(graph, { weights, outputs });
      const received: Record<string, Tensor> = await executable.run({ input });
      await executable.dispose();
      for (const [output, { shape, data }] of results)
        expect(difference(received[output], tensor(data, shape)), output).toBeLessThan(1e-4);
    }
  });
});
