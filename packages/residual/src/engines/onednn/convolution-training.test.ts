import { afterEach, expect, test } from 'vitest';
import type { Shape } from '../../tensor.js';
import { compute } from '../reference/training-kernels.js';
import { argument, type DataType, type Layout } from './dnnl.js';
import {
  bound,
  type Case,
  cases,
  dnnl,
  fetch,
  must,
  numbersOf,
  place,
  relativeError,
  release,
  run,
  store,
  withLibrary,
} from './dnnl.test.helper.js';

afterEach(release);

const floats = ['f32', 'bf16'] as const;

/** Operands of a case's gradients, and what plain loops make of them. */
function prepare(of: Case, dtype: DataType) {
  const { src, out, kernel, stride = [1, 1], dilation = [1, 1], padding = [0, 0, 0, 0], groups = 1 } = of;
  const weightShape = [out, src[1] / groups, ...kernel];
  const sides = [0, 1].map(
    (i) => Math.floor((src[2 + i] + padding[i] + padding[i + 2] - dilation[i] * (kernel[i] - 1) - 1) / stride[i]) + 1,
  );
  const dst = [src[0], out, ...sides];
  const [x, w, dy] = [src, weightShape, dst].map((shape, i) => ({ shape, data: numbersOf(shape, i + 1, dtype) }));
  const attributes = { kernel, stride, padding, dilation, groups, filters: out, bias: true };
  const by = (op: string, inputs: { shape: Shape; data: Float32Array }[], shape: Shape) =>
    compute({ op, attributes } as never, inputs, [shape])[0];
  return {
    x: x.data,
    w: w.data,
    dy: dy.data,
    dst,
    weights: groups === 1 ? weightShape : [groups, out / groups, ...weightShape.slice(1)],
    geometry: { stride, dilation, padding },
    expected: {
      diffSrc: by('conv2dInputGradient', [dy, x, w], src),
      diffWeights: by('conv2dWeightGradient', [dy, x], weightShape),
      diffBias: by('channelSum', [dy], [out]),
    },
  };
}

type Algorithm = 'direct' | 'winograd';

function gradients(of: Case, dtype: 'f32' | 'bf16', layout: Layout, algorithm: Algorithm = 'direct') {
  const { x, w, dy, dst, weights, geometry, expected } = prepare(of, dtype);
  const data = must(
    dnnl.convolutionBackwardData({
      diffSrc: dnnl.describe(of.src, dtype, layout),
      weights: dnnl.describe(weights, dtype, 'any'),
      diffDst: dnnl.describe(dst, dtype, layout),
      algorithm,
      ...geometry,
    }),
  );
  const diffSrc = place(data.diffSrc);
  run(data, [
    [argument.diffDst, store(data.diffDst, dy)],
    [argument.weights, store(data.weights, w)],
    [argument.diffSrc, diffSrc],
  ]);

  const diffBias = place(dnnl.describe([of.out], 'f32', 'plain'));
  const weight = must(
    dnnl.convolutionBackwardWeights({
      src: dnnl.describe(of.src, dtype, layout),
      diffWeights: dnnl.describe(weights, 'f32', 'any'),
      diffBias: diffBias.desc,
      diffDst: dnnl.describe(dst, dtype, layout),
      algorithm,
      ...geometry,
    }),
  );
  const diffWeights = place(weight.diffWeights);
  const raw = new Float32Array(dnnl.view(diffWeights.address, weight.diffWeights.bytes)).fill(Number.NaN);
  run(weight, [
    [argument.src, store(weight.src, x)],
    [argument.diffDst, store(weight.diffDst, dy)],
    [argument.diffWeights, diffWeights],
    [argument.diffBias, diffBias],
  ]);
  // What pads the layout is 0, so that updates may go over all of it.
  expect(raw.some(Number.isNaN)).toBe(false);
  expect(raw.filter((v) => v !== 0).length).toBeLessThanOrEqual(w.length);
  return {
    expected,
    got: { diffSrc: fetch(diffSrc), diffWeights: fetch(diffWeights), diffBias: fetch(diffBias) },
    implementations: [data.implementation, weight.implementation],
  };
}

function expectNear({ got, expected }: ReturnType<typeof gradients>, dtype: 'f32' | 'bf16'): void {
  expect(relativeError(got.diffSrc, expected.diffSrc)).toBeLessThan(bound[dtype]);
  // Sums in f32, whatever the operands.
  expect(relativeError(got.diffWeights, expected.diffWeights)).toBeLessThan(bound.f32);
  expect(relativeError(got.diffBias, expected.diffBias)).toBeLessThan(bound.f32);
}

/** Channels that no blocks hold without padding. */
const odd: Record<string, Case> = {
  'one by one of 20 channels': { src: [2, 20, 7, 9], out: 38, kernel: [1, 1] },
  'three by three of 20 channels': { src: [2, 20, 7, 9], out: 37, kernel: [3, 3], padding: [1, 1, 1, 1] },
};

withLibrary("convolutions' gradients", () => {
  for (const [name, of] of Object.entries({ ...cases, ...odd }))
    for (const dtype of floats)
      test(`${name}, ${dtype}`, () => {
        for (const layout of ['channelsLast', 'plain', 'blocked'] as const) {
          if (layout === 'blocked' && of.src[1] < 16) continue; // A picture is not laid out so.
          const result = gradients(of, dtype, layout);
          expectNear(result, dtype);
          if (layout === 'channelsLast') for (const one of result.implementations) expect(one).not.toMatch(/^ref/);
        }
      });

  test('the same bits whenever they are computed in as many threads', () => {
    for (const threads of [2, 1]) {
      dnnl.setThreads(threads);
      const of: Case = { src: [4, 32, 7, 7], out: 32, kernel: [3, 3], padding: [1, 1, 1, 1] };
      for (const dtype of floats)
        for (const algorithm of ['direct', 'winograd'] as const) {
          if (algorithm === 'winograd' && (dnnl.major === 3 || dtype === 'bf16')) continue;
          const [first, ...others] = [1, 2, 3].map(() => gradients(of, dtype, 'blocked', algorithm));
          expectNear(first, dtype);
          for (const other of others) expect(other.got).toEqual(first.got);
        }
    }
  });

  test('Winograd: in version 2, and not in channels-last', () => {
    for (const src of [[1, 32, 14, 14] as const, [8, 32, 14, 14] as const, [2, 32, 7, 9] as const]) {
      const of: Case = { src, out: 32, kernel: [3, 3], padding: [1, 1, 1, 1] };
      for (const layout of ['any', 'channelsLast'] as const)
        if (dnnl.major === 3 || layout === 'channelsLast')
          expect(() => gradients(of, 'f32', layout, 'winograd')).toThrow('no implementation');
        else {
          const { got, expected, implementations } = gradients(of, 'f32', layout, 'winograd');
          for (const name of implementations) expect(name).toContain('wino');
          expectOneLayout(of);
          expect(relativeError(got.diffSrc, expected.diffSrc)).toBeLessThan(1e-5);
          expect(relativeError(got.diffWeights, expected.diffWeights)).toBeLessThan(1e-5);
          expect(relativeError(got.diffBias, expected.diffBias)).toBeLessThan(bound.f32);
        }
    }
  });
});

withLibrary('what the library computes wrongly is refused', () => {
  const none = 'no implementation';

  test('Winograd with more padding on one side: the gradient by the source', () => {
    const of: Case = { src: [1, 16, 6, 6], out: 16, kernel: [3, 3], padding: [1, 1, 0, 1] };
    expect(() => gradients(of, 'f32', 'any', 'winograd')).toThrow(none);
  });

  test('in bf16, windows of one number over an odd number of channels: the gradient by the source', () => {
    for (const [height, width] of [
      [5, 6],
      [9, 10],
      [1, 89],
    ])
      for (const out of [1, 5, 21]) {
        const of: Case = { src: [2, 16, height, width], out, kernel: [1, 1] };
        expect(() => gradients(of, 'bf16', 'channelsLast')).toThrow(none);
        for (const [dtype, layout] of [
          ['bf16', 'plain'],
          ['f32', 'channelsLast'],
        ] as const)
          expectNear(gradients(of, dtype, layout), dtype);
        const even = { ...of, out: out + 1 };
        expectNear(gradients(even, 'bf16', 'channelsLast'), 'bf16');
      }
  });

  test('in bf16, pictures narrower than a step: the gradient by the weight, but for the kernel by matrix products', () => {
    const of: Case = { src: [2, 32, 4, 1], out: 16, kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1] };
    for (const layout of ['blocked', 'channelsLast'] as const)
      expect(() => gradients(of, 'bf16', layout)).toThrow(none);
    expectNear(gradients(of, 'bf16', 'plain'), 'bf16');
    expectNear(gradients(of, 'f32', 'blocked'), 'f32');
  });
});

/** A weight lies in the same way wherever Winograd's algorithm takes or makes it. */
function expectOneLayout(of: Case): void {
  const { dst, weights, geometry } = prepare(of, 'f32');
  const [x, y] = [of.src, dst].map((shape) => dnnl.describe(shape, 'f32', 'blocked'));
  const w = dnnl.describe(weights, 'f32', 'any');
  const how = { algorithm: 'winograd', ...geometry } as const;
  const forward = must(dnnl.convolution({ src: x, weights: w, dst: y, ...how, training: true }));
  const data = must(dnnl.convolutionBackwardData({ diffSrc: x, weights: w, diffDst: y, ...how }));
  const gradient = must(dnnl.convolutionBackwardWeights({ src: x, diffWeights: w, diffDst: y, ...how }));
  expect(dnnl.areEqual(forward.weights!, gradient.diffWeights)).toBe(true);
  expect(dnnl.areEqual(data.weights, gradient.diffWeights)).toBe(true);
}
