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
  run(weight, [
    [argument.src, store(weight.src, x)],
    [argument.diffDst, store(weight.diffDst, dy)],
    [argument.diffWeights, diffWeights],
    [argument.diffBias, diffBias],
  ]);
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

withLibrary("convolutions' gradients", () => {
  for (const [name, of] of Object.entries(cases))
    for (const dtype of floats)
      test(`${name}, ${dtype}`, () => {
        for (const layout of ['channelsLast', 'plain', 'blocked'] as const) {
          if (layout === 'blocked' && of.src[1] % 16 > 0) continue; // A picture is not laid out so.
          const result = gradients(of, dtype, layout);
          expectNear(result, dtype);
        }
      });

  test('Winograd: in version 2, and not in channels-last', () => {
    for (const src of [[1, 32, 14, 14] as const, [8, 64, 14, 14] as const, [2, 32, 7, 9] as const]) {
      const of: Case = { src, out: 64, kernel: [3, 3], padding: [1, 1, 1, 1] };
      for (const layout of ['any', 'channelsLast'] as const)
        if (dnnl.major === 3 || layout === 'channelsLast')
          expect(() => gradients(of, 'f32', layout, 'winograd')).toThrow('no implementation');
        else {
          const { got, expected, implementations } = gradients(of, 'f32', layout, 'winograd');
          for (const name of implementations) expect(name).toContain('wino');
          expect(relativeError(got.diffSrc, expected.diffSrc)).toBeLessThan(1e-5);
          expect(relativeError(got.diffWeights, expected.diffWeights)).toBeLessThan(1e-5);
          expect(relativeError(got.diffBias, expected.diffBias)).toBeLessThan(bound.f32);
        }
    }
  });
});
