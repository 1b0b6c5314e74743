import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { difference } from '../engines/check.js';
import { randomNetwork } from '../engines/random.test.graphs.js';
import { reference } from '../engines/reference/run.js';
import { noise, noiseTensor, noiseWeights, sketch } from '../engines/sketch.js';
import type { Graph } from './graph.js';
import { foldBatchNorm, prune } from './passes.js';

const conv = { kernel: [3, 3], stride: [1, 1], padding: 'same', dilation: [1, 1], groups: 1 } as const;
const four = (channels: number) => Array(4).fill([channels]) as number[][];
const opsOf = (graph: Graph) => graph.nodes.map((node) => node.op);
const parametersOf = (graph: Graph) => graph.parameters.map((parameter) => parameter.name);

/** image → conv → BatchNorm → relu → dropout → [N, 2] → dense → BatchNorm, and an unread branch beside it. */
function sample(): Graph {
  const net = sketch('sample', [1, 3, 5, 5]);
  const conv1 = net.add('conv2d', [net.image], conv, [[2, 3, 3, 3]], 'conv1');
  const bn1 = net.add('batchNorm', [conv1], { epsilon: 1e-5 }, four(2), 'bn1');
  const relu = net.add('relu', [bn1], {}, [], 'relu');
  const side = net.add('conv2d', [relu], conv, [[1, 2, 3, 3]], 'side');
  const dropped = net.add('dropout', [relu], { rate: 0.5 }, [], 'dropout');
  const pooled = net.add('globalAvgPool', [dropped], { keepDims: false }, [], 'pool');
  const fc1 = net.add('dense', [pooled], {}, [[4, 2], [4]], 'fc');
  const bn2 = net.add('batchNorm', [fc1], { epsilon: 1e-3 }, four(4), 'bn2');
  return { ...net.finish({ logits: bn2, side }), features: { dropped, conv1 } };
}

describe('prune', () => {
  test('drops dropout, and what nothing wanted depends on', () => {
    const pruned = prune(sample(), ['logits']);
    expect(opsOf(pruned)).toEqual(['conv2d', 'batchNorm', 'relu', 'globalAvgPool', 'dense', 'batchNorm']);
    expect(parametersOf(pruned)).not.toContain('side.weight');
    expect(pruned.outputs.map(({ name }) => name)).toEqual(['logits']);
  });

  test('stops at a feature, also one that is the result of dropout', () => {
    expect(opsOf(prune(sample(), ['dropped']))).toEqual(['conv2d', 'batchNorm', 'relu']);
    expect(opsOf(prune(sample(), ['conv1', 'bn1']))).toEqual(['conv2d', 'batchNorm']);
  });

  test('keeps all of a graph whose own outputs are wanted, and features that are left', () => {
    const pruned = prune(sample());
    expect(pruned.outputs.map(({ name }) => name)).toEqual(['logits', 'side']);
    expect(Object.keys(pruned.features)).toEqual(['dropped', 'conv1']);
    expect(Object.keys(prune(sample(), ['conv1']).features)).toEqual(['conv1']);
  });

  test('names the nearest when a name is unknown', () => {
    expect(() => prune(sample(), ['logit'])).toThrow(/unknown layer of sample "logit"; did you mean "logits"/);
  });
});

describe('foldBatchNorm', () => {
  const fold = (wanted?: readonly string[]) => {
    const graph = prune(sample(), wanted);
    return foldBatchNorm(graph, noiseWeights(sample()));
  };

  test('joins it with a convolution and with a dense layer; a bias is made where there was none', () => {
    const { graph, weights } = fold(['logits']);
    expect(opsOf(graph)).toEqual(['conv2d', 'relu', 'globalAvgPool', 'dense']);
    expect(parametersOf(graph).toSorted()).toEqual(['conv1.bias', 'conv1.weight', 'fc.bias', 'fc.weight']);
    expect([...weights.keys()].toSorted()).toEqual(parametersOf(graph).toSorted());
  });

  test('leaves a layer whose own result is wanted', () => {
    expect(opsOf(fold(['logits', 'conv1']).graph)).toContain('batchNorm');
  });

  test('leaves a BatchNorm before its convolution, and weights that two layers share', () => {
    const net = sketch('v2', [1, 2, 4, 4]);
    const bn = net.add('batchNorm', [net.image], { epsilon: 1e-5 }, four(2));
    const out = net.add('conv2d', [bn], conv, [[2, 2, 3, 3]]);
    const before = net.finish({ out });
    expect(opsOf(foldBatchNorm(before, noiseWeights(before)).graph)).toEqual(['batchNorm', 'conv2d']);

    const after = net.finish({ out: net.add('batchNorm', [out], { epsilon: 1e-5 }, four(2)) });
    const [first, second, last] = after.nodes;
    const shared = { ...second, name: 'again', inputs: [out, second.inputs[1]], outputs: [99] };
    const tied = {
      ...after,
      nodes: [first, second, shared, { ...last, inputs: [99, ...last.inputs.slice(1)] }],
    } as Graph;
    expect(opsOf(foldBatchNorm(tied, noiseWeights(tied)).graph)).toEqual(opsOf(tied));
  });

  test('rounds once: weight · gamma / sqrt(variance + epsilon) in float64', () => {
    const net = sketch('one', [1, 1, 1, 1]);
    const one = { ...conv, kernel: [1, 1] } as const;
    const bn = net.add(
      'batchNorm',
      [net.add('conv2d', [net.image], one, [[1, 1, 1, 1], [1]], 'c')],
      { epsilon: 1e-5 },
      four(1),
      'b',
    );
    const graph = net.finish({ bn });
    const given = noiseWeights(graph, 3);
    const [w, b, gamma, beta, mean, variance] = ['c.weight', 'c.bias', 'b.gamma', 'b.beta', 'b.mean', 'b.variance'].map(
      (name) => given.get(name)?.data[0] as number,
    );
    const { weights } = foldBatchNorm(graph, given);
    const scale = gamma / Math.sqrt(variance + 1e-5);
    expect(weights.get('c.weight')?.data[0]).toBe(Math.fround(w * scale));
    expect(weights.get('c.bias')?.data[0]).toBe(Math.fround((b - mean) * scale + beta));
  });
});

test('pruned and folded networks compute what they did', async () => {
  await fc.assert(
    fc.asyncProperty(randomNetwork, fc.nat(), async ({ graph, image }, seed) => {
      const weights = noiseWeights(graph, seed);
      const folded = foldBatchNorm(prune(graph), weights);
      const expected = await (await reference.compile(graph, weights, {})).run({ image });
      const received = await (await reference.compile(folded.graph, folded.weights, {})).run({ image });
      for (const [name, result] of Object.entries(expected))
        expect(difference(received[name], result)).toBeLessThan(1e-5);
    }),
    { numRuns: 300 },
  );
});

test('BatchNorm after BatchNorm is joined too', async () => {
  const net = sketch('twice', [1, 2, 4, 4]);
  let value = net.add('conv2d', [net.image], conv, [[3, 2, 3, 3], [3]]);
  for (let i = 0; i < 2; i++) value = net.add('batchNorm', [value], { epsilon: 1e-5 }, four(3));
  const graph = net.finish({ out: value });
  const weights = noiseWeights(graph);
  const folded = foldBatchNorm(graph, weights);
  expect(opsOf(folded.graph)).toEqual(['conv2d']);
  const image = noiseTensor([1, 2, 4, 4], noise(1));
  const expected = await (await reference.compile(graph, weights, {})).run({ image });
  const received = await (await reference.compile(folded.graph, folded.weights, {})).run({ image });
  expect(difference(received.out, expected.out)).toBeLessThan(1e-6);
});
