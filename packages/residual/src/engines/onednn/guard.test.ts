import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Graph, inferShapes } from '../../graph/graph.js';
import { planFolding, prune } from '../../graph/passes.js';
import { type Tensor, tensor, type Weights } from '../../tensor.js';
import type { Backend, BackendOptions } from '../backend.js';
import { difference } from '../check.js';
import { randomNetwork } from '../random.test.graphs.js';
import { reference } from '../reference/run.js';
import { noise, noiseTensor, noiseWeights, sketch } from '../sketch.js';
import { fuse } from './fuse.js';
import { boundsOf, chooseStations, guardOf, isSafe, learnUsual } from './guard.js';
import { openDnnl } from './library.js';
import { onednn } from './session.js';

async function run(backend: Backend, graph: Graph, weights: Weights, image: Tensor, options: BackendOptions = {}) {
  const [{ name }] = graph.inputs;
  const program = await backend.compile(graph, weights, { shapes: { [name]: image.shape }, ...options });
  try {
    return await program.run({ [name]: image });
  } finally {
    await program.dispose();
  }
}

const largest = ({ data }: Tensor): number => data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
const times = ({ data, shape }: Tensor, factor: number): Tensor =>
  tensor(
    data.map((x) => x * factor),
    shape,
  );

const precisions: readonly BackendOptions[] = [
  {},
  { deterministic: true },
  ...(openDnnl().processor.bf16 ? [{ precision: 'bf16' as const }] : []),
];

test('values of random networks stay within their bounds', async () => {
  const factor = fc.constantFrom(1e-3, 1, 1e4);
  await fc.assert(
    fc.asyncProperty(randomNetwork, fc.nat(), factor, factor, async (network, seed, bright, strong) => {
      const graph = prune(network.graph);
      const weights = new Map(
        Array.from(noiseWeights(graph, seed), ([name, weight]) => [
          name,
          name.endsWith('var') ? weight : times(weight, strong),
        ]),
      );
      const image = times(network.image, bright);
      const folding = planFolding(graph, weights);
      const guard = guardOf(folding, fuse(folding.graph));
      const bounds = boundsOf(guard, new Map([[graph.inputs[0].value, largest(image)]]));
      const results = await run(reference, graph, weights, image);
      for (const { name, value } of folding.graph.outputs) {
        const bound = bounds.get(value) as number;
        // Beyond what float32 holds a result is infinite or none, and the bound need not be.
        if (bound < 2 ** 127) expect(largest(results[name])).toBeLessThanOrEqual(bound);
      }
    }),
    { numRuns: 200 },
  );
});

/** Convolutions, each behind a ReLU and every other with what it reads added; by each, values may grow by 16 times the weights' largest. */
function deep(layers: number): Graph {
  const net = sketch('deep', [1, 16, 5, 5]);
  const attributes = { kernel: [1, 1], stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 } as const;
  let value = net.image;
  for (let i = 0; i < layers; i++) {
    const made = net.add('conv2d', [value], attributes, [[16, 16, 1, 1]]);
    value = net.add('relu', [i % 2 ? net.add('add', [made, value], {}) : made], {});
  }
  const mean = net.add('globalAvgPool', [value], { keepDims: false });
  return net.finish({ y: net.add('dense', [mean], {}, [[3, 16]]) });
}

const strengthened = (graph: Graph, factor: number): Weights =>
  new Map(Array.from(noiseWeights(graph), ([name, weight]) => [name, times(weight, factor / largest(weight))]));

describe('what overflows is NaN, never an answer', () => {
  const graph = deep(12);
  const ordinary = noiseTensor([3, 16, 5, 5], noise(3));
  const image = tensor(
    ordinary.data.map((x, i) => x * (i >= 400 && i < 800 ? 1e-25 : 1e8)),
    ordinary.shape,
  );

  test.each(precisions)('%j: of each picture by itself', async (options) => {
    const weights = strengthened(graph, 1e3);
    const [{ y: received }, { y: expected }] = [
      await run(onednn, graph, weights, image, options),
      await run(reference, graph, weights, image),
    ];
    expect([...received.data].map(Number.isNaN)).toEqual([0, 1, 2].flatMap((i) => Array(3).fill(i !== 1)));
    const of = ({ data }: Tensor) => tensor(data.slice(3, 6), [3]);
    expect(difference(of(received), of(expected))).toBeLessThan(options.precision ? 0.1 : 1e-4);
  });

  test.each(precisions)('%j: and large numbers that do not overflow are right', async (options) => {
    const weights = strengthened(graph, 2);
    for (const bright of [1, 1e6, 1e12]) {
      const given = times(noiseTensor([2, 16, 5, 5], noise(3)), bright);
      const { y: received } = await run(onednn, graph, weights, given, options);
      const { y: expected } = await run(reference, graph, weights, given);
      expect(difference(received, expected)).toBeLessThan(options.precision ? 0.1 : 1e-4);
    }
  });

  test('some values are looked at, and no more than it takes', () => {
    const [{ name, value }] = graph.inputs;
    const shapes = inferShapes(graph, { [name]: image.shape });
    const stationsAt = (strength: number) => {
      const folding = planFolding(graph, strengthened(graph, strength));
      const guard = guardOf(folding, fuse(graph));
      const stations = chooseStations(guard, graph, shapes);
      expect(isSafe(guard, new Map([value, ...stations].map((v) => [v, 2 ** 10])))).toBe(true);
      return stations.size;
    };
    expect(stationsAt(1)).toBe(0);
    expect(stationsAt(100)).toBe(1);
    expect(stationsAt(1e5)).toBeGreaterThan(2);
    expect(stationsAt(1e5)).toBeLessThan(12);
  });
});

test('values that were larger than is taken for granted are learnt once, and from then on enough is looked at', () => {
  const graph = deep(24);
  const shapes = inferShapes(graph, { [graph.inputs[0].name]: [1, 16, 5, 5] });
  const guard = guardOf(planFolding(graph, strengthened(graph, 30)), fuse(graph));
  const usual = new Map<number, number>();
  const before = chooseStations(guard, graph, shapes, usual);
  // Values that grow ten times from step to step, as those of deep networks with random weights may.
  const seen = new Map(
    [graph.inputs[0].value, ...guard.steps.map(({ output }) => output)].map((value, i) => [value, 10 ** (1 + i)]),
  );
  const lookingAt = (stations: ReadonlySet<number>) =>
    new Map([...seen].filter(([value]) => value === graph.inputs[0].value || stations.has(value)));
  expect(isSafe(guard, seen)).toBe(true);
  expect(isSafe(guard, lookingAt(before))).toBe(false);
  expect(learnUsual(usual, seen)).toBe(true);
  expect(learnUsual(usual, seen)).toBe(false);
  const after = chooseStations(guard, graph, shapes, usual);
  expect(isSafe(guard, lookingAt(after))).toBe(true);
  expect(after.size).toBeLessThan(guard.steps.length);
});

describe('weights that are no numbers or let any picture overflow are refused', () => {
  const net = sketch('net', [1, 3, 8, 8]);
  const attributes = { kernel: [3, 3], stride: [1, 1], padding: 'same', dilation: [1, 1], groups: 1 } as const;
  const norm = (from: number, name: string) =>
    net.add('batchNorm', [from], { epsilon: 1e-5 }, Array(4).fill([4]) as number[][], name);
  const first = net.add('conv2d', [net.image], attributes, [[4, 3, 3, 3], [4]], 'conv1');
  const lone = norm(net.add('relu', [first], {}), 'lone');
  const folded = norm(net.add('conv2d', [lone], attributes, [[4, 4, 3, 3]], 'conv2'), 'folded');
  const graph = net.finish({ y: net.add('relu', [folded], {}) });
  const names = graph.parameters.map(({ name }) => name);
  const folds = names.filter((name) => name.startsWith('folded'));

  test.each(names.flatMap((name) => [Number.NaN, Number.NEGATIVE_INFINITY, 3e38].map((x) => [name, x] as const)))(
    '%s: %d',
    async (name, x) => {
      const weights = new Map(noiseWeights(graph));
      const { data, shape } = weights.get(name) as Tensor;
      weights.set(name, tensor(data.with(1, x), shape));
      // A large variance makes small factors.
      if (x === 3e38 && graph.parameters.find((p) => p.name === name)?.role === 'variance')
        return void (await run(onednn, graph, weights, noiseTensor([1, 3, 8, 8], noise(1))));
      await expect(onednn.compile(graph, weights, {})).rejects.toMatchObject({
        code: 'NUMERICS',
        details: { parameter: folds.includes(name) ? expect.stringMatching(/^conv2\./) : name },
      });
    },
  );
});
