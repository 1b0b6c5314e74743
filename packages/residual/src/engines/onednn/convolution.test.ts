import { afterEach, expect, test } from 'vitest';
import { kernels } from '../reference/kernels.js';
import { argument, type Convolution, type DataType, type Layout, type PostOp, type Primitive } from './dnnl.js';
import {
  bound,
  type Case,
  cases,
  dnnl,
  farthest,
  fetch,
  must,
  numbersOf,
  place,
  relativeError,
  release,
  run,
  type Stored,
  store,
  withLibrary,
} from './dnnl.test.helper.js';

const relu = { op: 'relu' } as const;

/** All that a test needs of a case: operands, descriptors, and what plain loops make of it, before post-ops. */
function prepare(of: Case, dtype: DataType) {
  const { src, out, kernel, stride = [1, 1], dilation = [1, 1], padding = [0, 0, 0, 0], groups = 1 } = of;
  const weightShape = [out, src[1] / groups, ...kernel];
  const x = numbersOf(src, 1, dtype);
  const w = numbersOf(weightShape, 2, dtype === 'u8' ? 's8' : dtype);
  const b = numbersOf([out], 3);
  const sides = [0, 1].map(
    (i) => Math.floor((src[2 + i] + padding[i] + padding[i + 2] - dilation[i] * (kernel[i] - 1) - 1) / stride[i]) + 1,
  );
  const dst = [src[0], out, ...sides];
  const expected = kernels.conv2d(
    [
      { shape: src, data: x },
      { shape: weightShape, data: w },
      { shape: [out], data: b },
    ],
    { kernel, stride, padding, dilation, groups, filters: out, bias: true } as Parameters<typeof kernels.conv2d>[1],
    dst,
  );
  const weights = groups === 1 ? weightShape : [groups, out / groups, ...weightShape.slice(1)];
  return { x, w, b, dst, expected, weights, geometry: { stride, dilation, padding } };
}

type Operands = { src: Stored; weights: Stored; bias: Stored; dst: Stored };

const runConvolution = (primitive: Primitive, { src, weights, bias, dst }: Operands, more: [number, Stored][] = []) =>
  run(primitive, [
    [argument.src, src],
    [argument.weights, weights],
    [argument.bias, bias],
    [argument.dst, dst],
    ...more,
  ]);

/** Runs a case in one float type; `dst` begins with `before` where a sum is wanted. */
function compute(
  of: Case,
  dtype: 'f32' | 'bf16',
  layout: Layout,
  options: Partial<Pick<Convolution, 'algorithm' | 'postOps' | 'fastMath'>> & { before?: Float32Array } = {},
) {
  const { x, w, b, dst, expected, weights, geometry } = prepare(of, dtype);
  const primitive = must(
    dnnl.convolution({
      src: dnnl.describe(of.src, dtype, layout),
      weights: dnnl.describe(weights, dtype, 'any'),
      bias: dnnl.describe([of.out], 'f32', 'plain'),
      dst: dnnl.describe(dst, dtype, layout),
      algorithm: options.algorithm ?? 'direct',
      ...geometry,
      ...(options.postOps && { postOps: options.postOps }),
      ...(options.fastMath && { fastMath: true }),
    }),
  );
  const to = options.before ? store(primitive.dst, options.before) : place(primitive.dst);
  runConvolution(primitive, {
    src: store(primitive.src, x),
    weights: store(primitive.weights!, w),
    bias: store(dnnl.describe([of.out], 'f32', 'plain'), b),
    dst: to,
  });
  return { got: fetch(to), expected, primitive, dst };
}

afterEach(release);

withLibrary('convolutions', () => {
  for (const [name, of] of Object.entries(cases))
    for (const dtype of ['f32', 'bf16'] as const)
      test(`${name}, ${dtype}`, () => {
        for (const layout of ['channelsLast', 'plain'] as const) {
          const { got, expected } = compute(of, dtype, layout);
          expect(relativeError(got, expected)).toBeLessThan(bound[dtype]);
        }
      });

  for (const name of ['three by three', 'dilated', 'grouped', 'depthwise', 'more padding at the end'])
    test(`${name}, blocked`, () => {
      const { got, expected } = compute(cases[name], 'f32', 'blocked');
      expect(relativeError(got, expected)).toBeLessThan(bound.f32);
    });

  test('Winograd, with a sum: in version 2, and not in channels-last', () => {
    for (const src of [[1, 32, 14, 14] as const, [8, 32, 14, 14] as const]) {
      const of: Case = { src, out: 32, kernel: [3, 3], padding: [1, 1, 1, 1] };
      for (const layout of ['any', 'channelsLast'] as const)
        if (dnnl.major === 3 || layout === 'channelsLast') {
          const desc = dnnl.describe(src, 'f32', layout);
          const weights = dnnl.describe([32, 32, 3, 3], 'f32', 'any');
          const { geometry } = prepare(of, 'f32');
          expect(
            dnnl.convolution({ src: desc, weights, dst: desc, algorithm: 'winograd', ...geometry }),
          ).toBeUndefined();
        } else {
          const before = numbersOf([src[0], 32, 14, 14], 4);
          const postOps: PostOp[] = [{ op: 'sum' }, relu];
          const { got, expected, primitive } = compute(of, 'f32', layout, { algorithm: 'winograd', before, postOps });
          expect(primitive.implementation).toContain('wino');
          expect(relativeError(got, rectified(expected, before))).toBeLessThan(1e-5);
          expect(dnnl.areEqual(primitive.src, dnnl.describe(src, 'f32', 'blocked'))).toBe(dnnl.processor.avx512);
        }
    }
  });

  for (const dtype of ['f32', 'bf16'] as const)
    test(`post-ops in their order, ${dtype}`, () => {
      const of = cases['three by three'];
      const shape = prepare(of, dtype).dst;
      const before = numbersOf(shape, 4, dtype);
      const summed = compute(of, dtype, 'channelsLast', { before, postOps: [{ op: 'sum', scale: 0.5 }, relu] });
      expect(relativeError(summed.got, rectified(summed.expected, before, 0.5))).toBeLessThan(bound[dtype]);
      const sigmoid = compute(of, dtype, 'channelsLast', { postOps: [{ op: 'sigmoid' }] });
      const gated = sigmoid.expected.map((v) => 1 / (1 + Math.exp(-v)));
      expect(relativeError(sigmoid.got, gated)).toBeLessThan(bound[dtype]);
    });

  test('a post-op with another tensor: numbers of channels, of all pictures or of each, then all of them', () => {
    for (const pictures of [1, 2]) {
      const of = cases['three by three'];
      const { x, w, b, dst, expected, weights, geometry } = prepare(of, 'f32');
      const [n, c, h, wide] = dst;
      const few = [pictures, c, 1, 1];
      const gate = store(dnnl.describe(few, 'f32', 'plain'), numbersOf(few, 5));
      const other = store(dnnl.describe(dst, 'f32', 'channelsLast'), numbersOf(dst, 6));
      const made = dnnl.convolution({
        src: dnnl.describe(of.src, 'f32', 'channelsLast'),
        weights: dnnl.describe(weights, 'f32', 'any'),
        bias: dnnl.describe([of.out], 'f32', 'plain'),
        dst: dnnl.describe(dst, 'f32', 'channelsLast'),
        algorithm: 'direct',
        postOps: [{ op: 'mul', by: gate.desc }, { op: 'add', by: other.desc }, relu],
        ...geometry,
      });
      if (dnnl.major === 2 && pictures === n) {
        expect(made).toBeUndefined();
        continue;
      }
      const primitive = must(made);
      const to = place(primitive.dst);
      const operands = {
        src: store(primitive.src, x),
        weights: store(primitive.weights!, w),
        bias: store(dnnl.describe([of.out], 'f32', 'plain'), b),
        dst: to,
      };
      runConvolution(primitive, operands, [
        [dnnl.postOpArgument(0), gate],
        [dnnl.postOpArgument(1), other],
      ]);
      const [gates, others] = [fetch(gate), fetch(other)];
      const wanted = expected.map((v, i) =>
        Math.max(0, v * gates[Math.floor(i / (h * wide)) % (pictures * c)] + others[i]),
      );
      expect(relativeError(fetch(to), wanted)).toBeLessThan(bound.f32);
    }
  });

  test('one channel, steps to the right only, one window wide: in version 2', () => {
    const one: Case = { src: [2, 1, 5, 4], out: 16, kernel: [1, 3], stride: [1, 2], padding: [0, 0, 0, 0] };
    const ofEachGroup: Case = { src: [3, 16, 5, 3], out: 32, kernel: [3, 3], stride: [1, 2], groups: 16 };
    for (const of of [one, ofEachGroup])
      for (const dtype of ['f32', 'bf16'] as const) {
        const once = () => compute(of, dtype, 'channelsLast');
        if (dnnl.major === 3) expect(once).toThrow('no implementation');
        else expect(relativeError(once().got, once().expected)).toBeLessThan(bound[dtype]);
      }
  });

  test('rows of a window in nothing but zeros, added to what is there: in version 3', () => {
    const above: Case = { src: [2, 24, 3, 4], out: 16, kernel: [1, 2], padding: [1, 0, 0, 0] };
    const around: Case = { src: [2, 2, 1, 6], out: 2, kernel: [2, 1], dilation: [2, 1], padding: [1, 0, 1, 0] };
    for (const of of [above, around])
      for (const layout of ['channelsLast', 'plain'] as const) {
        const before = numbersOf(prepare(of, 'f32').dst, 4);
        const once = () => compute(of, 'f32', layout, { before, postOps: [{ op: 'sum' }] });
        if (dnnl.major === 2) expect(once).toThrow('no implementation');
        else {
          const { got, expected } = once();
          expect(
            relativeError(
              got,
              expected.map((v, i) => v + before[i]),
            ),
          ).toBeLessThan(bound.f32);
        }
        const alone = compute(of, 'f32', layout);
        expect(relativeError(alone.got, alone.expected)).toBeLessThan(bound.f32);
      }
  });

  test('columns of a window in nothing but zeros: in version 2', () => {
    const beside: Case = {
      src: [2, 2, 8, 1],
      out: 2,
      kernel: [3, 1],
      stride: [2, 2],
      dilation: [2, 2],
      padding: [0, 1, 2, 1],
    };
    const around: Case = { src: [2, 2, 8, 1], out: 2, kernel: [1, 2], dilation: [1, 2], padding: [0, 1, 0, 1] };
    for (const of of [beside, around]) {
      const once = () => compute(of, 'f32', 'channelsLast');
      if (dnnl.major === 3) expect(once).toThrow('no implementation');
      else expect(relativeError(once().got, once().expected)).toBeLessThan(bound.f32);
    }
  });

  test('fast arithmetic in f32 only where it is asked for: nothing changes in version 2', () => {
    const exact = compute(cases['three by three'], 'f32', 'channelsLast');
    const fast = compute(cases['three by three'], 'f32', 'channelsLast', { fastMath: true });
    const error = relativeError(fast.got, exact.expected);
    expect(error).toBeLessThan(dnnl.major === 2 ? bound.f32 : 1e-2);
  });

  test('in several threads, as many as were set when the primitive was made', () => {
    for (const threads of [2, 3, 1]) {
      dnnl.setThreads(threads);
      for (const name of ['a stem', 'three by three', 'depthwise'])
        for (const dtype of ['f32', 'bf16'] as const) {
          const { got, expected } = compute(cases[name], dtype, 'channelsLast');
          expect(relativeError(got, expected)).toBeLessThan(bound[dtype]);
        }
    }
  });

  test('library and plain loops differ where they must', () => {
    const { got, expected } = compute(cases.dilated, 'f32', 'channelsLast');
    expect(
      relativeError(
        got.map((v, i) => v + (i === 7 ? 0.1 : 0)),
        expected,
      ),
    ).toBeGreaterThan(bound.f32);
  });
});

/** In 8 bits: source and destination `u8` or `s8`, each weight row by a scale of its own. */
function compute8(of: Case, types: { src: 'u8' | 's8'; dst: 'u8' | 's8' | 'f32' }, postOps: readonly PostOp[]) {
  const { x, w, b, dst, expected, weights, geometry } = prepare(of, types.src);
  const sum = postOps.find((post) => post.op === 'sum');
  const rows = Float32Array.from({ length: of.out }, (_, o) => (1 + (o % 3)) / 127);
  // Rows are stretched by their scales, so that a scale in the wrong place shows.
  const stretch = (o: number): number => 127 * rows[o];
  const perRow = w.length / of.out;
  const stretched = w.map((v, i) => v * stretch(Math.floor(i / perRow)));
  const plane = dst[2] * dst[3];
  const channel = (i: number): number => Math.floor(i / plane) % of.out;
  const scales = {
    src: 1 / 127,
    weights: rows,
    dst: types.dst === 'f32' ? 1 : 1 / 16,
    ...(sum && { residual: 1 / 32 }),
  };
  const primitive = must(
    dnnl.convolution({
      src: dnnl.describe(of.src, types.src, 'channelsLast'),
      weights: dnnl.describe(weights, 's8', 'any'),
      bias: dnnl.describe([of.out], 'f32', 'plain'),
      dst: dnnl.describe(dst, types.dst, 'channelsLast'),
      algorithm: 'direct',
      scales,
      postOps,
      ...geometry,
    }),
  );
  const residual = numbersOf(dst, 9, 's8').map((v) => Math.round(v * 127) / 32);
  const held = sum?.dtype ?? 's8';
  const before = held === 'u8' ? residual.map(Math.abs) : residual;
  const to = place(primitive.dst);
  if (sum) {
    const kept = place(dnnl.describe(dst, held, 'channelsLast'), to.address);
    const from = store(kept.desc, before, { scales: Float32Array.of(1 / 32) });
    new Uint8Array(dnnl.view(kept.address, kept.desc.bytes)).set(
      new Uint8Array(dnnl.view(from.address, kept.desc.bytes)),
    );
  }
  runConvolution(primitive, {
    src: store(primitive.src, x, { scales: Float32Array.of(scales.src) }),
    weights: store(primitive.weights!, stretched, { scales: rows, axis: weights.length === 5 ? [0, 1] : 0 }),
    bias: store(
      dnnl.describe([of.out], 'f32', 'plain'),
      b.map((v, o) => v * (primitive.biasFactor?.[o] ?? 1)),
    ),
    dst: to,
  });
  let wanted = expected.map((v, i) => (v - b[channel(i)]) * stretch(channel(i)) + b[channel(i)]);
  for (const post of postOps)
    if (post.op === 'sum') wanted = wanted.map((v, i) => v + before[i]);
    else if (post.op === 'relu') wanted = wanted.map((v) => Math.max(0, v));
    else if (post.op === 'sigmoid') wanted = wanted.map((v) => 1 / (1 + Math.exp(-v)));
  const clip = { u8: [0, 255], s8: [-128, 127], f32: [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY] }[types.dst];
  const clipped = wanted.map((v) => Math.min(Math.max(v, clip[0] * scales.dst), clip[1] * scales.dst));
  return { got: fetch(to, scales.dst), wanted: clipped, step: scales.dst, primitive };
}

withLibrary('convolutions in 8 bits', () => {
  const worst = ({ got, wanted }: ReturnType<typeof compute8>) => farthest(got, wanted);

  for (const name of Object.keys(cases))
    test(`${name}: u8 and s8 sources, u8, s8 and f32 results`, () => {
      for (const src of ['u8', 's8'] as const)
        for (const dst of ['u8', 's8', 'f32'] as const) {
          const result = compute8(cases[name], { src, dst }, dst === 'u8' ? [relu] : []);
          // Half a step from rounding, and a little for the sums.
          expect(worst(result)).toBeLessThan(dst === 'f32' ? 1e-3 : result.step * 0.51);
        }
    });

  test('groups of signed numbers, padded at the sides only: in version 2', () => {
    const of: Case = { src: [2, 8, 7, 13], out: 40, kernel: [5, 5], padding: [0, 1, 0, 1], groups: 8 };
    const once = () => compute8(of, { src: 's8', dst: 's8' }, []);
    if (dnnl.major === 3) expect(once).toThrow('no implementation');
    else expect(worst(once())).toBeLessThan(0.51 / 16);
  });

  test('groups of signed numbers, eight results of eight numbers each: in version 3', () => {
    const flat: Case = { src: [2, 64, 3, 4], out: 8, kernel: [1, 1], groups: 8 };
    const wide: Case = { src: [2, 4, 7, 6], out: 8, kernel: [2, 4], dilation: [2, 1], groups: 4 };
    for (const of of [flat, wide]) {
      const once = () => compute8(of, { src: 's8', dst: 's8' }, []);
      if (dnnl.major === 2) expect(once).toThrow('no implementation');
      else expect(worst(once())).toBeLessThan(0.51 / 16);
      expect(worst(compute8(of, { src: 'u8', dst: 's8' }, []))).toBeLessThan(0.51 / 16);
    }
  });

  test('a sum with what is there, of its own type and scale', () => {
    for (const dtype of ['s8', 'u8'] as const) {
      const result = compute8(cases['one by one'], { src: 'u8', dst: 'u8' }, [{ op: 'sum', dtype }, relu]);
      expect(worst(result)).toBeLessThan(result.step * 0.51);
    }
    const three = compute8(cases['three by three'], { src: 'u8', dst: 's8' }, [{ op: 'sum' }]);
    expect(worst(three)).toBeLessThan(three.step * 0.51);
  });

  test('a post-op that does not commute with the scale comes before it', () => {
    const result = compute8(cases['three by three'], { src: 'u8', dst: 'u8' }, [{ op: 'sigmoid' }]);
    expect(worst(result)).toBeLessThan(result.step * 0.51);
  });
});

function rectified(values: ArrayLike<number>, before: Float32Array, scale = 1): Float64Array {
  return Float64Array.from(values, (v, i) => Math.max(0, v + scale * before[i]));
}
