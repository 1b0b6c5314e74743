import { describe, expect, test } from 'vitest';
import type { Node } from '../../graph/graph.js';
import { nodeShapes } from '../../graph/graph.js';
import { type OpAttributes, type OpName, ops } from '../../graph/ops.js';
import { type Shape, sizeOf } from '../../tensor.js';
import { noiseTensor, noiseWeights, sketch } from '../sketch.js';
import { type Activation, kernels } from './kernels.js';
import { reference } from './run.js';

/** 0, 1, 2 … in a shape. */
const count = (shape: Shape, from = 0): Activation => ({
  shape,
  data: Float32Array.from({ length: sizeOf(shape) }, (_, i) => i + from),
});
const row = (...numbers: number[]): Activation => ({ shape: [numbers.length], data: Float32Array.from(numbers) });

function compute<K extends OpName>(op: K, inputs: Activation[], attributes: OpAttributes[K]): [Shape, number[]] {
  const node = { op, name: op, inputs: inputs.map((_, i) => i), outputs: [], attributes } as unknown as Node;
  const [shape] = nodeShapes(
    node,
    inputs.map((input) => input.shape),
  );
  const kernel = kernels[op] as unknown as (i: Activation[], a: OpAttributes[K], s: Shape) => Float64Array;
  return [shape, [...kernel(inputs, attributes, shape)]];
}

const plain = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 } as const;

test('there is a kernel for every op', () => {
  expect(Object.keys(kernels).toSorted()).toEqual(Object.keys(ops).toSorted());
});

describe('conv2d, by hand', () => {
  const picture = count([1, 1, 3, 3]); // 0 1 2 / 3 4 5 / 6 7 8
  test('is a correlation: the kernel is not turned', () => {
    const kernel = { shape: [1, 1, 2, 2], data: Float32Array.from([1, 10, 100, 1000]) };
    expect(compute('conv2d', [picture, kernel], { ...plain, kernel: [2, 2] })).toEqual([
      [1, 1, 2, 2],
      [4310, 5421, 7643, 8754],
    ]);
  });
  test('"same" with stride 2 pads at the bottom and right first', () => {
    const ones = { shape: [1, 1, 2, 2], data: new Float32Array(4).fill(1) };
    expect(
      compute('conv2d', [picture, ones], { ...plain, kernel: [2, 2], stride: [2, 2], padding: 'same' })[1],
    ).toEqual([8, 7, 13, 8]);
  });
  test('dilation spreads the kernel', () => {
    const kernel = { shape: [1, 1, 2, 2], data: Float32Array.from([1, 10, 100, 1000]) };
    expect(compute('conv2d', [picture, kernel], { ...plain, kernel: [2, 2], dilation: [2, 2] })[1]).toEqual([8620]);
  });
  test('groups see their own channels only; the bias is added once', () => {
    const two = count([1, 2, 1, 2], 1); // 1 2 | 3 4
    const kernel = { shape: [2, 1, 1, 1], data: Float32Array.from([10, 100]) };
    expect(compute('conv2d', [two, kernel, row(0.5, 0.25)], { ...plain, kernel: [1, 1], groups: 2 })[1]).toEqual([
      10.5, 20.5, 300.25, 400.25,
    ]);
  });
});

describe('the others, by hand', () => {
  const pool = { kernel: [2, 2], stride: [2, 2] } as const;
  const negative = { shape: [1, 1, 2, 2], data: Float32Array.from([-1, -2, -3, -4]) };
  test('maxPool: padding never wins', () => {
    expect(compute('maxPool', [negative], { ...pool, padding: [1, 1, 1, 1] })[1]).toEqual([-1, -2, -3, -4]);
  });
  test('avgPool: padding is counted or not', () => {
    const padding = [1, 1, 1, 1] as const;
    expect(compute('avgPool', [negative], { ...pool, padding, countPadding: false })[1]).toEqual([-1, -2, -3, -4]);
    expect(compute('avgPool', [negative], { ...pool, padding, countPadding: true })[1]).toEqual([
      -0.25, -0.5, -0.75, -1,
    ]);
  });
  test('globalAvgPool', () => {
    expect(compute('globalAvgPool', [count([1, 2, 1, 2])], {})).toEqual([
      [1, 2],
      [0.5, 2.5],
    ]);
  });
  test('batchNorm', () => {
    const inputs = [count([1, 2, 1, 2]), row(2, 1), row(0, 10), row(1, 0), row(3, 0)];
    expect(compute('batchNorm', inputs, { epsilon: 1 })[1]).toEqual([-1, 0, 12, 13]);
  });
  test('pad lays zeros around channels and picture', () => {
    expect(compute('pad', [count([1, 1, 1, 2], 1)], { channels: [1, 0], spatial: [0, 1, 1, 0] })).toEqual([
      [1, 2, 2, 3],
      [0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0],
    ]);
  });
  test('flatten as PyTorch and as Keras', () => {
    const picture = count([1, 2, 1, 2]);
    expect(compute('flatten', [picture], { channelsLast: false })[1]).toEqual([0, 1, 2, 3]);
    expect(compute('flatten', [picture], { channelsLast: true })).toEqual([
      [1, 4],
      [0, 2, 1, 3],
    ]);
  });
  test('dense', () => {
    expect(compute('dense', [count([1, 2], 1), count([2, 2]), row(100, 200)], {})[1]).toEqual([102, 208]);
  });
  test('relu, add, dropout', () => {
    expect(compute('relu', [row(-1, 2)], {})[1]).toEqual([0, 2]);
    expect(compute('add', [row(-1, 2), row(5, 5)], {})[1]).toEqual([4, 7]);
    expect(compute('dropout', [row(-1, 2)], { rate: 0.5 })[1]).toEqual([-1, 2]);
  });
  test('softmax does not overflow and adds up to 1 in each row', () => {
    const [, values] = compute('softmax', [{ shape: [2, 2], data: Float32Array.from([1000, 1000, 0, -1000]) }], {});
    expect(values).toEqual([0.5, 0.5, 1, 0]);
  });
});

test('what comes out shares no memory with what went in', async () => {
  const net = sketch('passthrough', [1, 1, 2, 2]);
  const graph = net.finish({ out: net.add('flatten', [net.image], { channelsLast: false }) });
  const image = noiseTensor([1, 1, 2, 2], Math.random);
  const { out } = await (await reference.compile(graph, noiseWeights(graph), {})).run({ image });
  expect(out.data).toEqual(image.data);
  expect(out.data.buffer).not.toBe(image.data.buffer);
});
