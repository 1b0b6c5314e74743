import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type OpName, ops } from '../../graph/ops.js';
import { tensor } from '../../tensor.js';
import { difference } from '../check.js';
import type { CompileOptions, Engine } from '../engine.js';
import { engines } from '../index.js';
import { randomLayer, randomNetwork } from '../random.test.graphs.js';
import { noise, noiseTensor, noiseWeights, sketch } from '../sketch.js';

type Case = typeof randomNetwork extends fc.Arbitrary<infer T> ? T : never;

async function run(engine: Engine, { graph, image }: Case, seed: number, options: Partial<CompileOptions> = {}) {
  const executable = await engine.compile(graph, { weights: noiseWeights(graph, seed), ...options });
  try {
    return await executable.run({ image });
  } finally {
    await executable.dispose();
  }
}

/** Both engines give the same names, shapes and, within `tolerance` of the largest, numbers. */
const agree =
  (options: Partial<CompileOptions>, tolerance = 1e-4) =>
  async (network: Case, seed: number): Promise<void> => {
    const shapes = { image: network.image.shape };
    const expected = await run(engines.reference, network, seed);
    const received = await run(engines.onednn, network, seed, { shapes, ...options });
    expect(Object.keys(received).toSorted()).toEqual(Object.keys(expected).toSorted());
    for (const [name, result] of Object.entries(expected)) {
      expect(received[name].shape).toEqual(result.shape);
      expect(difference(received[name], result)).toBeLessThan(tolerance);
    }
  };

describe('onednn computes what reference computes', () => {
  test.each(Object.keys(ops) as OpName[])('%s', async (op) => {
    const runs = ['conv2d', 'maxPool', 'avgPool'].includes(op) ? 200 : 25;
    await fc.assert(fc.asyncProperty(randomLayer(op), fc.nat(), agree({ deterministic: true })), { numRuns: runs });
  });

  test('random networks, with layers inside among the outputs', async () => {
    await fc.assert(fc.asyncProperty(randomNetwork, fc.nat(), agree({ deterministic: true })), { numRuns: 150 });
  });

  test('random networks, with kernels chosen by the clock', async () => {
    await fc.assert(fc.asyncProperty(randomNetwork, fc.nat(), agree({})), { numRuns: 40 });
  });
});

test('zeros around negative numbers win a MaxPool', async () => {
  const net = sketch('v2 stem', [1, 1, 2, 2]);
  const rim = net.add('pad', [net.image], { channels: [0, 0], spatial: [1, 1, 1, 1] });
  const pool = net.add('maxPool', [rim], { kernel: [3, 3], stride: [1, 1], padding: [0, 0, 0, 0] });
  const executable = await engines.onednn.compile(net.finish({ pool }), { weights: new Map() });
  const { data } = (await executable.run({ image: tensor([-1, -2, -3, -4], [1, 1, 2, 2]) })).pool;
  await executable.dispose();
  expect([...data]).toEqual([0, 0, 0, 0]);
});

test.each([true, false])(
  'a convolution is added to the very value that it reads, deterministic: %s',
  async (deterministic) => {
    const net = sketch('block of one', [1, 16, 12, 12]);
    const around = { kernel: [3, 3], stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1], groups: 1 } as const;
    const conv = net.add('conv2d', [net.image], around, [[16, 16, 3, 3]]);
    const graph = net.finish({ sum: net.add('add', [conv, net.image], {}) });
    await agree({ deterministic })({ graph, image: noiseTensor([1, 16, 12, 12], noise(1)) }, 1);
  },
);
