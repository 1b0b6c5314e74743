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
    expect(compute('globalAvgPool', [count([1, 2, 1, 2])], { keepDims: false })).toEqual([
      [1, 2],
      [0.5, 2.5],
    ]);
    expect(compute('globalAvgPool', [count([1, 2, 1, 2])], { keepDims: true })).toEqual([
      [1, 2, 1, 1],
      [0.5, 2.5],
    ]);
  });
  test('sigmoid', () => {
    expect(compute('sigmoid', [row(0, 1000, -1000, Math.log(3))], {})[1]).toEqual([0.5, 1, 0, expect.closeTo(0.75, 7)]);
  });
  test('mul, of equals and of one factor a channel, in either order', () => {
    const picture = count([1, 2, 1, 2], 1); // 1 2 | 3 4
    const gate = { shape: [1, 2, 1, 1], data: Float32Array.from([10, 100]) };
    expect(compute('mul', [picture, picture], {})[1]).toEqual([1, 4, 9, 16]);
    expect(compute('mul', [picture, gate], {})).toEqual([
      [1, 2, 1, 2],
      [10, 20, 300, 400],
    ]);
    expect(compute('mul', [gate, picture], {})).toEqual(compute('mul', [picture, gate], {}));
    expect(() => compute('mul', [picture, count([1, 1, 1, 1])], {})).toThrow(
      'it multiplies [N, 2, 1, 2] but received [N, 1, 1, 1]',
    );
  });
  test('concat, along channels and along the width', () => {
    const [a, b] = [count([2, 1, 1, 2]), count([2, 2, 1, 2], 10)]; // 0 1 / 2 3 and 10 11 | 12 13 / 14 15 | 16 17
    expect(compute('concat', [a, b], { axis: 1 })).toEqual([
      [2, 3, 1, 2],
      [0, 1, 10, 11, 12, 13, 2, 3, 14, 15, 16, 17],
    ]);
    expect(compute('concat', [a, a, a], { axis: 3 })).toEqual([
      [2, 1, 1, 6],
      [0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3],
    ]);
    expect(() => compute('concat', [a, b], { axis: 3 })).toThrow('joins [N, 1, 1, 2] along axis 3 but received [N, 2');
    expect(() => compute('concat', [a], { axis: 0 })).toThrow('it joins along axis 0');
  });
  test('blurPool mirrors the rim and keeps the mean', () => {
    const filter = { kernel: 3, stride: 2 };
    // Rows mirrored to 1 0 1 2 1: (1 + 0 + 1) / 4 and (1 + 4 + 1) / 4.
    const picture = { shape: [1, 1, 2, 3], data: Float32Array.from([0, 1, 2, 0, 1, 2]) };
    expect(compute('blurPool', [picture], filter)).toEqual([
      [1, 1, 1, 2],
      [0.5, 1.5],
    ]);
    expect(compute('blurPool', [count([1, 1, 3, 3])], { kernel: 3, stride: 1 })[1][4]).toBe(4);
    expect(() => compute('blurPool', [count([1, 1, 1, 3])], filter)).toThrow('mirrors 1 pixels at the rim');
  });
  describe('resize', () => {
    const line = { shape: [1, 1, 1, 4], data: Float32Array.from([10, 20, 30, 40]) };
    const wide = (attributes: Partial<OpAttributes['resize']>, scale: number) =>
      compute('resize', [line], {
        to: { scales: [1, scale] },
        mode: 'nearest',
        coordinates: 'asymmetric',
        nearest: 'floor',
        ...attributes,
      })[1];
    test('nearest repeats, or takes every second', () => {
      expect(wide({}, 2)).toEqual([10, 10, 20, 20, 30, 30, 40, 40]);
      expect(wide({}, 0.5)).toEqual([10, 30]);
      expect(wide({ nearest: 'ceil' }, 2)).toEqual([10, 20, 20, 30, 30, 40, 40, 40]);
      // Centres 0.5 and 2.5, between two pixels.
      expect(wide({ coordinates: 'half_pixel', nearest: 'round_prefer_floor' }, 0.5)).toEqual([10, 30]);
      expect(wide({ coordinates: 'half_pixel', nearest: 'round_prefer_ceil' }, 0.5)).toEqual([20, 40]);
    });
    test('places are counted in float32, as in ONNX Runtime: 3.5 / 0.7 is 5', () => {
      const attributes = { mode: 'nearest', coordinates: 'half_pixel', nearest: 'round_prefer_floor' } as const;
      expect(
        compute('resize', [count([1, 1, 1, 6])], { to: { scales: [1, 0.699999988079071] }, ...attributes }),
      ).toEqual([
        [1, 1, 1, 4],
        [0, 2, 3, 4],
      ]);
    });
    test('bilinear by the four rules', () => {
      const bilinear = (coordinates: OpAttributes['resize']['coordinates'], size: number) =>
        wide({ mode: 'bilinear', coordinates, to: { sizes: [1, size] } }, 1);
      expect(bilinear('half_pixel', 8)).toEqual([10, 12.5, 17.5, 22.5, 27.5, 32.5, 37.5, 40]);
      expect(bilinear('align_corners', 7)).toEqual([10, 15, 20, 25, 30, 35, 40]);
      expect(bilinear('asymmetric', 8)).toEqual([10, 15, 20, 25, 30, 35, 40, 40]);
      expect(bilinear('half_pixel', 1)).toEqual([25]);
      expect(bilinear('pytorch_half_pixel', 1)).toEqual([10]);
      expect(bilinear('pytorch_half_pixel', 2)).toEqual([15, 35]);
    });
    test('both directions', () => {
      const picture = { shape: [1, 1, 2, 2], data: Float32Array.from([0, 4, 8, 12]) };
      const attributes = { mode: 'bilinear', coordinates: 'half_pixel', nearest: 'floor' } as const;
      expect(compute('resize', [picture], { ...attributes, to: { sizes: [4, 2] } })).toEqual([
        [1, 1, 4, 2],
        [0, 4, 2, 6, 6, 10, 8, 12],
      ]);
    });
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
  test('reshape', () => {
    expect(compute('reshape', [count([2, 2, 1, 1])], { shape: [1, 2] })).toEqual([
      [2, 1, 2],
      [0, 1, 2, 3],
    ]);
    expect(() => compute('reshape', [count([2, 2, 1, 1])], { shape: [3] })).toThrow(
      'it makes [N, 3] but received [N, 2',
    );
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
