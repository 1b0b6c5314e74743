import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { storedValues, toEightBitTensor, weightsOfEightBits } from '../graph/eight-bits.js';
import type { Graph } from '../graph/graph.js';
import { type OpName, ops } from '../graph/ops.js';
import { foldBatchNorm, prune } from '../graph/passes.js';
import type { ActivationScale } from '../graph/quantisation.js';
import { build, type FamilyName, type ResNetOptions } from '../models/resnet.js';
import { type Tensor, tensor, type Weights } from '../tensor.js';
import { difference } from './check.js';
import type { CompileOptions, Engine } from './engine.js';
import { engines } from './index.js';
import { randomLayer, randomNetwork } from './random.test.graphs.js';
import { noise, noiseTensor, noiseWeights, sketch } from './sketch.js';

async function run(engine: Engine, graph: Graph, image: Tensor, options: CompileOptions) {
  const executable = await engine.compile(graph, options);
  try {
    return await executable.run({ [graph.inputs[0].name]: image });
  } finally {
    await executable.dispose();
  }
}

/**
 * The largest difference over all values kept in 8 bits, in units of their grids, how many of them differ at all, and
 * their root mean square. `rounding` is how far 8 bits themselves are from float32, at most and as a root mean square.
 */
async function compare(whole: Graph, all: Weights, image: Tensor, float: readonly string[] = []) {
  const { graph, weights } = foldBatchNorm(prune(whole), all);
  const stored = storedValues(graph, float);
  const outputs = graph.nodes.map(({ name, outputs: [value] }) => ({ name, value }));
  const inside = { ...graph, outputs, features: {} };
  const seen = await run(engines.reference, inside, image, { weights });
  const activations: Record<string, ActivationScale> = {};
  const nameOf = new Map(stored.map(({ value, name }) => [value, name]));
  for (const { name, dtype, like } of stored) {
    const { data } = seen[nameOf.get(like) as string] ?? image;
    const largest = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0) || 1;
    activations[name] = { scale: Math.fround(largest / (dtype === 'u8' ? 255 : 127)), dtype };
  }
  const kept = new Set([...nameOf.keys(), ...graph.outputs.map(({ value }) => value)]);
  const wanted = outputs.filter(({ value }) => kept.has(value));
  expect(wanted).not.toEqual([]);
  const options = { weights, precision: 'int8', quantisation: { activations, float } } as const;
  const [expected, received] = [
    await run(engines.reference, inside, image, options),
    await run(engines.onnx, { ...inside, outputs: wanted }, image, options),
  ];
  let [worst, differing, count, apart] = [0, 0, 0, 0];
  const rounding = { worst: 0, mean: 0 };
  for (const [name, { scale }] of Object.entries(activations)) {
    if (!expected[name]) continue;
    expect(received[name].shape).toEqual(expected[name].shape);
    expected[name].data.forEach((x, i) => {
      const units = Math.abs(x - received[name].data[i]) / scale;
      const rounded = Math.abs(x - seen[name].data[i]) / scale;
      worst = Math.max(worst, units);
      rounding.worst = Math.max(rounding.worst, rounded);
      if (units > 0.5) differing++;
      apart += units ** 2;
      rounding.mean += rounded ** 2;
      count++;
    });
  }
  const total = Math.max(1, count);
  rounding.mean = Math.sqrt(rounding.mean / total);
  return {
    worst,
    mean: Math.sqrt(apart / total),
    rounding,
    share: differing / total,
    stored: Object.keys(activations).length,
    seen,
    expected,
  };
}

describe('onnx in 8 bits computes what plain loops do', () => {
  const names = Object.keys(ops).filter((op) => op !== 'dropout') as OpName[]; // Nothing is left of a dropout.
  test.each(names)('%s', async (op) => {
    await fc.assert(
      fc.asyncProperty(randomLayer(op), fc.nat(), async ({ graph, image }, seed) => {
        const { worst } = await compare(graph, noiseWeights(graph, seed), image);
        expect(worst).toBeLessThan(1.01);
      }),
      { numRuns: 6 },
    );
  });

  test('random networks', async () => {
    await fc.assert(
      fc.asyncProperty(randomNetwork, fc.nat(), async ({ graph, image }, seed) => {
        fc.pre(graph.nodes.some(({ op }) => op !== 'dropout'));
        const { worst, mean, rounding } = await compare(graph, noiseWeights(graph, seed), image);
        // A unit of one layer's grid may be many of the next one's; rounding to 8 bits is amplified as much.
        expect(worst).toBeLessThan(1.01 + 2 * rounding.worst);
        expect(mean).toBeLessThan(0.5 + rounding.mean);
      }),
      { numRuns: 12 },
    );
  });

  const small: ResNetOptions = { classes: 3, size: 32, width: 8, widthPerGroup: 8, depths: [1, 1, 1, 1] };
  test.each<[FamilyName, ResNetOptions]>([
    ['resnet18', small],
    ['resnet50', small],
    ['resnet20', { classes: 3, depths: [1, 1, 1] }],
    ['keras-resnet50v2', small],
    ['resnext50_32x4d', { ...small, groups: 4, widthPerGroup: 4 }],
  ])('%s', async (name, options) => {
    const graph = build(name, options);
    const image = noiseTensor([2, ...graph.inputs[0].shape.slice(1)], noise(3));
    // Ties that float32 and float64 round to different sides go on through the layers behind them.
    const { worst, share, expected, seen } = await compare(graph, noiseWeights(graph), image);
    expect(worst).toBeLessThan(6.01);
    expect(share).toBeLessThan(0.15);
    // What is rounded is still the network, and no longer the same.
    const [logits, exact] = [expected, seen].map((found) => found[graph.nodes.at(-1)?.name ?? ''].data);
    const noisePower = logits.reduce((sum, x, i) => sum + (x - exact[i]) ** 2, 0);
    const power = exact.reduce((sum, x) => sum + x * x, 0);
    expect(noisePower / power).toBeLessThan(0.02);
    expect(noisePower / power).toBeGreaterThan(1e-9);
  });
});

test('a bias that is huge beside its channel’s weights fits all the same', async () => {
  const net = sketch('dead', [1, 2, 3, 3]);
  const conv = net.add(
    'conv2d',
    [net.image],
    { kernel: [1, 1], stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 },
    [[3, 2, 1, 1], [3]],
    'conv',
  );
  const graph = net.finish({ out: conv });
  const weights = new Map([
    ['conv.weight', tensor([1e-20, 1e-20, 0, 0, 1, -1], [3, 2, 1, 1])],
    ['conv.bias', tensor([1, 2, 3], [3])],
  ]);
  const image = tensor(
    Array.from({ length: 18 }, (_, i) => i / 18),
    [1, 2, 3, 3],
  );
  const quantisation = { activations: { image: { scale: 1 / 127, dtype: 's8' } }, float: [] } as const;
  const { data } = (await run(engines.onnx, graph, image, { weights, precision: 'int8', quantisation })).out;
  for (let i = 0; i < 9; i++) {
    expect(data[i]).toBeCloseTo(1, 6);
    expect(data[9 + i]).toBeCloseTo(2, 6);
    expect(data[18 + i]).toBeCloseTo(2.5, 1);
  }
});

test.each(['onnx', 'onednn'] as const)('8 bits make no number of NaN and infinity, on %s', async (engine) => {
  if (!(await engines[engine].available({ precision: 'int8' })).ok) return;
  const net = sketch('unsound', [1, 2, 4, 4]);
  const attributes = { kernel: [1, 1], stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 } as const;
  const graph = net.finish({ out: net.add('conv2d', [net.image], attributes, [[2, 2, 1, 1]], 'first') });
  const quantisation = { activations: { image: { scale: 1 / 127, dtype: 's8' } }, float: [] } as const;
  const options = { weights: noiseWeights(graph), precision: 'int8', quantisation } as const;
  const image = noiseTensor([3, 2, 4, 4], noise(1));
  const { data: sound } = (await run(engines[engine], graph, image, options)).out;
  image.data[5] = Number.NaN;
  image.data[70] = Number.NEGATIVE_INFINITY;
  const { data } = (await run(engines[engine], graph, image, options)).out;
  data.forEach((x, i) => void expect(x).toBe(i >= 32 && i < 64 ? sound[i] : Number.NaN));
});

test('a weight that a layer in float reads too stays as it is', async () => {
  const net = sketch('shared', [1, 2, 4, 4]);
  const attributes = { kernel: [1, 1], stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 } as const;
  const first = net.add('conv2d', [net.image], attributes, [[2, 2, 1, 1]], 'first');
  const second = net.add('conv2d', [first], attributes, [[2, 2, 1, 1]], 'second');
  const built = net.finish({ out: second });
  // Both read the first weight.
  const [kept] = built.parameters;
  const nodes = built.nodes.map((node) => ({ ...node, inputs: [node.inputs[0], kept.value] }) as typeof node);
  const graph = { ...built, nodes, parameters: [kept] };
  const quantisation = {
    activations: { image: { scale: 1 / 127, dtype: 's8' }, first: { scale: 1 / 64, dtype: 's8' } },
    float: ['second'],
  } as const;
  expect(weightsOfEightBits(graph, quantisation)).toEqual(new Set());
  expect(weightsOfEightBits(graph, { ...quantisation, float: [] })).toEqual(new Set(['first.weight']));
  const weights = new Map([['first.weight', toEightBitTensor(tensor([0.5, 0.3, -0.2, 0.7], [2, 2, 1, 1]))]]);
  const image = noiseTensor([1, 2, 4, 4], noise(2));
  const options = { weights, precision: 'int8', quantisation } as const;
  const [a, b] = [await run(engines.onnx, graph, image, options), await run(engines.reference, graph, image, options)];
  expect(difference(a.out, b.out)).toBeLessThan(0.03);
});
