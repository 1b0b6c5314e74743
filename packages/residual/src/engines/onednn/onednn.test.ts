import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { inferShapes, type Parameter } from '../../graph/graph.js';
import { type OpName, ops } from '../../graph/ops.js';
import { foldedGraph, planFolding, prune } from '../../graph/passes.js';
import { build } from '../../models/resnet.js';
import { tensor } from '../../tensor.js';
import type { Backend, BackendOptions } from '../backend.js';
import { checkGraph, difference, selfCheck } from '../check.js';

import { engines } from '../index.js';
import { randomLayer, randomNetwork } from '../random.test.graphs.js';
import { reference } from '../reference/run.js';
import { noise, noiseTensor, noiseWeights, type Sketch, sketch } from '../sketch.js';
import { candidatesOf, compilePlan, kindOf } from './compile.js';
import { direct, type Job, makeConvolution, type Variant, ways } from './convolve.js';
import type { Attributes } from './dnnl.js';
import { fuse } from './fuse.js';
import { openDnnl } from './library.js';
import { packWeights } from './packed.js';
import { onednn } from './session.js';

type Case = typeof randomNetwork extends fc.Arbitrary<infer T> ? T : never;

/** In this thread: the engine's own, with its queue and its care for memory, is another test's subject. */
async function run(backend: Backend, { graph, image }: Case, seed: number, options: BackendOptions = {}) {
  const pruned = prune(graph);
  const [{ name }] = pruned.inputs;
  const program = await backend.compile(pruned, noiseWeights(pruned, seed), {
    shapes: { [name]: image.shape },
    ...options,
  });
  try {
    return await program.run({ [name]: image });
  } finally {
    await program.dispose();
  }
}

/** The image with every number moved by at most half a rounding of float32. */
const rounded = ({ graph, image }: Case): Case => {
  const next = noise(11);
  return { graph, image: { ...image, data: image.data.map((x) => x * (1 + 6e-8 * next())) } };
};

/**
 * Both engines give the same names, shapes and, within 1e-4 of the largest, numbers; no closer than a hundred times what
 * rounding the image alone moves them by: a mean near 0, say.
 */
const agree =
  (options: BackendOptions) =>
  async (network: Case, seed: number): Promise<void> => {
    const expected = await run(reference, network, seed);
    const moved = await run(reference, rounded(network), seed);
    const received = await run(onednn, network, seed, options);
    expect(Object.keys(received).toSorted()).toEqual(Object.keys(expected).toSorted());
    for (const [name, result] of Object.entries(expected)) {
      expect(received[name].shape).toEqual(result.shape);
      const tolerance = Math.max(1e-4, 100 * difference(moved[name], result));
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

describe('every way to compute a convolution gives the same', () => {
  const whole = prune(build('resnet20', { depths: [1, 1, 1] }));
  const weights = noiseWeights(whole);
  const folding = planFolding(whole, weights);
  const steps = fuse(folding.graph);
  const variants = {
    ...ways,
    mixed: (_, i) => ({ layout: i % 2 ? 'blocked' : 'channelsLast', algorithm: 'direct' }),
  } satisfies Record<string, (job: Job, i: number) => Variant>;

  // Winograd's tiles are other ones for one picture than for many.
  test.each(
    Object.entries(variants).flatMap(([name, variantOf]) => [1, 8].map((batch) => [name, batch, variantOf] as const)),
  )('%s, batch %i', async (name, batch, variantOf) => {
    const dnnl = openDnnl();
    if (name === 'winograd' && dnnl.major === 3) return; // Version 3 has none.
    const image = noiseTensor([batch, 3, 32, 32], noise(batch));
    const shapes = inferShapes(folding.graph, { [whole.inputs[0].name]: image.shape });
    const network = { graph: folding.graph, steps, shapes, dtype: 'f32' } as const;
    const jobs = candidatesOf(network).map(({ job }) => job);
    const packed = packWeights(dnnl, { kept: new Map(), users: 0 });
    packed.supply(folding, weights);
    const plan = compilePlan(dnnl, network, packed, (i) => {
      const job = jobs[i];
      return job ? variantOf(job, i) : direct;
    });
    const [expected] = Object.values(await run(reference, { graph: whole, image }, 1));
    const [received] = Object.values(plan.run({ [whole.inputs[0].name]: image }));
    if (name === 'winograd')
      expect(plan.kernels.filter(({ implementation }) => implementation.includes('wino')).length).toBe(4);
    expect(plan.kernels.filter(({ implementation }) => implementation.startsWith('ref'))).toEqual([]);
    expect(difference(received, expected)).toBeLessThan(1e-5);
    plan.dispose();
    packed.dispose();
  });
});

test('the self-check goes through Winograd’s weights, wherever the clock may lead', async () => {
  const dnnl = openDnnl();
  expect(onednn.ways?.({})).toEqual(['direct', 'winograd']);
  expect(onednn.ways?.({ deterministic: true })).toEqual(['direct']);
  const graph = foldedGraph(checkGraph());
  const shapes = inferShapes(graph, { image: [2, 3, 13, 11] });
  const jobs = candidatesOf({ graph, steps: fuse(graph), shapes, dtype: 'f32' }).flatMap(({ job }) => job ?? []);
  const made = jobs.map((job) => makeConvolution(dnnl, job, ways.winograd(job)));
  const wino = made.filter((primitive) => primitive?.implementation.includes('wino'));
  for (const primitive of made) primitive?.destroy();
  expect(wino.length).toBe(dnnl.major === 2 ? 1 : 0);
  expect(await selfCheck('onednn', onednn, ['winograd'], {})).toBeLessThan(1e-5);
  // Close to what 2.6.3 does: one BatchNorm's factors are left out of the weights.
  const { name, shape } = checkGraph().parameters.findLast(({ role }) => role === 'gamma') as Parameter;
  const left = tensor(new Float32Array(shape[0]).fill(1), shape);
  const unscaled: Backend = {
    ...onednn,
    compile: (graph, weights, options) =>
      onednn.compile(graph, options.way === 'winograd' ? new Map([...weights, [name, left]]) : weights, options),
  };
  await expect(selfCheck('onednn', unscaled, ['direct', 'winograd'], {})).rejects.toThrow('computes wrong results');
});

describe('f32-bf16, which version 3 has where there is AMX', () => {
  const graph = prune(build('resnet20', { depths: [1, 1, 1] }));
  const weights = noiseWeights(graph);

  test('is never silently f32', async () => {
    const { major, processor, version } = openDnnl();
    const compiled = onednn.compile(graph, weights, { precision: 'f32-bf16' });
    if (major === 3 && processor.amx) return (await compiled).dispose();
    await expect(compiled).rejects.toMatchObject({
      code: 'ENGINE',
      message: expect.stringContaining(`needs oneDNN 3 and a processor with AMX, and this is oneDNN ${version}`),
    });
  });

  test('is asked for in every convolution and dense layer, and stays near f32', async () => {
    const asked: unknown[] = [];
    const opened = openDnnl();
    const noting =
      <Op extends Attributes, Made>(make: (op: Op) => Made) =>
      (op: Op): Made => {
        asked.push(op.fastMath);
        return make(op);
      };
    const dnnl = {
      ...opened,
      convolution: noting(opened.convolution),
      innerProduct: noting(opened.innerProduct),
    };
    const folding = planFolding(graph, weights);
    const image = noiseTensor([1, 3, 32, 32], noise(1));
    const shapes = inferShapes(folding.graph, { [graph.inputs[0].name]: image.shape });
    const packed = packWeights(dnnl, { kept: new Map(), users: 0 });
    packed.supply(folding, weights);
    const network = { graph: folding.graph, steps: fuse(folding.graph), shapes, ...kindOf('f32-bf16') };
    expect(candidatesOf(network).every(({ job }) => job === undefined || job.fastMath)).toBe(true);
    const plan = compilePlan(dnnl, network, packed, () => direct);
    expect(asked).toEqual(Array(8).fill(true));
    const [expected] = Object.values(await run(reference, { graph, image }, 1));
    const [received] = Object.values(plan.run({ [graph.inputs[0].name]: image }));
    expect(difference(received, expected)).toBeLessThan(1e-2);
    plan.dispose();
    packed.dispose();
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

const same = { kernel: [3, 3], stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1], groups: 1 } as const;
const sums = {
  'r·g + r': (net, r, gate) => net.add('add', [net.add('mul', [r, gate], {}), r], {}),
  'g·r + r': (net, r, gate) => net.add('add', [net.add('mul', [gate, r], {}), r], {}),
  'r·r + r': (net, r) => net.add('add', [net.add('mul', [r, r], {}), r], {}),
  '(r + p) + r': (net, r, _, p) => net.add('add', [net.add('add', [r, p], {}), r], {}),
  '(p + r) + r': (net, r, _, p) => net.add('add', [net.add('add', [p, r], {}), r], {}),
  'r + p·r, ReLU': (net, r, _, p) => net.add('relu', [net.add('add', [r, net.add('mul', [p, r], {})], {})], {}),
} satisfies Record<string, (net: Sketch, r: number, gate: number, p: number) => number>;

describe.each(Object.entries(sums))('%s: an operand is added once more', (_, sum) => {
  // 16 fill a block of channels, the others do not; 24 fill blocks of processors without AVX-512.
  test.each([7, 12, 16, 24])('%i channels', async (channels) => {
    for (const options of [{ way: 'blocked' }, { deterministic: true }]) {
      const net = sketch('twice', [2, 3, 9, 7]);
      const r = net.add('relu', [net.add('conv2d', [net.image], same, [[channels, 3, 3, 3]])], {});
      const gate = net.add('sigmoid', [net.add('globalAvgPool', [r], { keepDims: true })], {});
      const p = net.add('maxPool', [r], { kernel: [3, 3], stride: [1, 1], padding: [1, 1, 1, 1] });
      const graph = net.finish({ out: sum(net, r, gate, p) });
      await agree(options)({ graph, image: noiseTensor([2, 3, 9, 7], noise(1)) }, 1);
    }
  });
});

describe('windows in nothing but zeros', () => {
  test.each([{ deterministic: true }, { way: 'blocked' }])('a convolution, added to a picture, %o', async (options) => {
    const around = { kernel: [2, 2], stride: [1, 1], padding: [1, 1, 1, 1], dilation: [2, 2], groups: 1 } as const;
    for (const channels of [2, 16]) {
      const net = sketch('one row', [2, channels, 1, 6]);
      const conv = net.add('conv2d', [net.image], around, [[channels, channels, 2, 2], [channels]]);
      const graph = net.finish({ out: net.add('add', [conv, net.image], {}) });
      await agree(options)({ graph, image: noiseTensor([2, channels, 1, 6], noise(1)) }, 1);
    }
  });

  test('pooling', async () => {
    const net = sketch('pools', [1, 2, 4, 5]);
    const window = { kernel: [2, 1], stride: [1, 1], padding: [2, 1, 2, 0] } as const;
    const graph = net.finish({
      most: net.add('maxPool', [net.image], window),
      mean: net.add('avgPool', [net.image], { ...window, countPadding: false }),
      counted: net.add('avgPool', [net.image], { ...window, countPadding: true }),
    });
    const network = { graph, image: noiseTensor([1, 2, 4, 5], noise(1)) };
    expect(await run(onednn, network, 1)).toEqual(await run(reference, network, 1));
  });
});
