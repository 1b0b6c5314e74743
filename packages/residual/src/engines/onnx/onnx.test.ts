import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type OpName, ops } from '../../graph/ops.js';
import { tensor } from '../../tensor.js';
import { difference } from '../check.js';
import type { Engine } from '../engine.js';
import { engines } from '../index.js';
import { randomLayer, randomNetwork } from '../random.test.graphs.js';
import { noise, noiseTensor, noiseWeights, sketch } from '../sketch.js';
import { lower } from './lower.js';
import { modelParts } from './model.js';

type Case = typeof randomNetwork extends fc.Arbitrary<infer T> ? T : never;

async function run(engine: Engine, { graph, image }: Case, seed: number) {
  const executable = await engine.compile(graph, { weights: noiseWeights(graph, seed), threads: 1 });
  try {
    return await executable.run({ image });
  } finally {
    await executable.dispose();
  }
}

/** Both engines give the same names, shapes and, within 1e-4 of the largest, numbers. */
async function agree(network: Case, seed: number): Promise<void> {
  const [expected, received] = [await run(engines.reference, network, seed), await run(engines.onnx, network, seed)];
  expect(Object.keys(received).toSorted()).toEqual(Object.keys(expected).toSorted());
  for (const [name, result] of Object.entries(expected)) {
    expect(received[name].shape).toEqual(result.shape);
    expect(difference(received[name], result)).toBeLessThan(1e-4);
  }
}

describe('onnx computes what reference computes', () => {
  test.each(Object.keys(ops) as OpName[])('%s', async (op) => {
    const runs = ['conv2d', 'maxPool', 'avgPool'].includes(op) ? 200 : 25;
    await fc.assert(fc.asyncProperty(randomLayer(op), fc.nat(), agree), { numRuns: runs });
  });

  test('random networks, with layers inside among the outputs', async () => {
    await fc.assert(fc.asyncProperty(randomNetwork, fc.nat(), agree), { numRuns: 150 });
  });
});

test('zeros around negative numbers win a MaxPool', async () => {
  const net = sketch('v2 stem', [1, 1, 2, 2]);
  const rim = net.add('pad', [net.image], { channels: [0, 0], spatial: [1, 1, 1, 1] });
  const pool = net.add('maxPool', [rim], { kernel: [3, 3], stride: [1, 1], padding: [0, 0, 0, 0] });
  const executable = await engines.onnx.compile(net.finish({ pool }), { weights: new Map() });
  const { data } = (await executable.run({ image: tensor([-1, -2, -3, -4], [1, 1, 2, 2]) })).pool;
  await executable.dispose();
  for (const x of data) expect(x).toBeCloseTo(0, 30);
});

describe('what ONNX Runtime cannot do is refused by layer', () => {
  const net = sketch('odd', [1, 1, 9, 9]);
  const [kernel, stride, padding] = [[2, 2], [3, 3], 'same'] as const;
  test.each([
    [
      'maxPool',
      net.add('maxPool', [net.image], { kernel, stride, padding }, [], 'pool'),
      /"pool" has .* stride larger/,
    ],
    [
      'conv2d',
      net.add('conv2d', [net.image], { kernel, stride, padding, dilation: [2, 2], groups: 1 }, [[1, 1, 2, 2]], 'wide'),
      /"wide" has .* stride together with a dilation/,
    ],
  ])('%s', async (name, value, message) => {
    const graph = net.finish({ [name]: value });
    const weights = noiseWeights(graph);
    await expect(engines.onnx.compile(graph, { weights })).rejects.toMatchObject({ code: 'ENGINE', message });
    const executable = await engines.reference.compile(graph, { weights });
    expect((await executable.run({ image: noiseTensor([1, 1, 9, 9], Math.random) }))[name].shape).toEqual([1, 1, 3, 3]);
  });
});

test('weights stand apart in their own memory; small constants in the graph', () => {
  const values = new Float32Array(new SharedArrayBuffer(4 * 600));
  const initializer = (name: string, from: number, to: number) => ({
    name,
    shape: [to - from],
    data: values.subarray(from, to),
  });
  const initializers = [initializer('first', 0, 256), initializer('small', 256, 300), initializer('second', 300, 600)];
  const { graph, files } = modelParts({ name: 'parts', inputs: [], outputs: [], nodes: [], initializers });
  expect(files.map(({ path, data }) => [path, data.byteOffset, data.byteLength])).toEqual([
    ['weight-0', 0, 1024],
    ['weight-2', 1200, 1200],
  ]);
  for (const { data } of files) expect(data.buffer).toBe(values.buffer);
  const text = Buffer.from(graph).toString('latin1');
  for (const word of ['location', 'weight-0', 'weight-2', 'small']) expect(text).toContain(word);
  expect(graph.length).toBeLessThan(500);
});

test('names that would collide are kept apart, one value may have two names', async () => {
  const net = sketch('names', [1, 2, 3, 3]);
  const layer = net.add('relu', [net.image], {}, [], 'logits');
  const last = net.add('batchNorm', [layer], { epsilon: 0 }, Array(4).fill([2]), 'logits.gamma');
  const graph = net.finish({ logits: last, again: last, 'logits.beta': layer });
  const lowered = lower(graph, noiseWeights(graph));
  const names = [
    ...lowered.inputs.map(({ name }) => name),
    ...lowered.initializers.map(({ name }) => name),
    ...lowered.nodes.flatMap((node) => node.outputs),
  ];
  expect(new Set(names).size).toBe(names.length);
  expect(lowered.outputs.map(({ name }) => name)).toEqual(['logits', 'again', 'logits.beta']);
  await agree({ graph, image: noiseTensor([2, 2, 3, 3], noise(3)) }, 5);
});
