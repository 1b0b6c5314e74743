import { afterEach, expect, test } from 'vitest';
import { sizeOf } from '../../tensor.js';
import { kernels } from '../reference/kernels.js';
import { argument, type Pooling } from './dnnl.js';
import {
  bound,
  dnnl,
  farthest,
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

const plain = (shape: readonly number[]) => dnnl.describe(shape, 'f32', 'plain');

const floats = ['f32', 'bf16'] as const;

withLibrary('dense layers', () => {
  for (const dtype of floats)
    test(`x · weightᵀ + bias in ${dtype}, with a ReLU; from a picture`, () => {
      for (const src of [
        [3, 40],
        [2, 8, 3, 3],
      ]) {
        const features = sizeOf(src.slice(1));
        const [x, w, b] = [numbersOf(src, 1, dtype), numbersOf([21, features], 2, dtype), numbersOf([21], 3)];
        const primitive = must(
          dnnl.innerProduct({
            src: dnnl.describe(src, dtype, 'channelsLast'),
            weights: dnnl.describe([21, ...src.slice(1)], dtype, 'any'),
            bias: plain([21]),
            dst: dnnl.describe([src[0], 21], 'f32', 'plain'),
            postOps: [{ op: 'relu' }],
          }),
        );
        const to = place(primitive.dst);
        run(primitive, [
          [argument.src, store(primitive.src, x)],
          [argument.weights, store(primitive.weights!, w)],
          [argument.bias, store(plain([21]), b)],
          [argument.dst, to],
        ]);
        const operands = [x, w, b].map((data, i) => ({ shape: [[src[0], features], [21, features], [21]][i], data }));
        const expected = kernels.dense(operands, { features: 21 } as never, [src[0], 21]).map((v) => Math.max(0, v));
        expect(relativeError(fetch(to), expected)).toBeLessThan(bound.f32 * 10);
      }
    });

  test('in 8 bits, to f32', () => {
    const [x, w, b] = [numbersOf([2, 64], 1, 'u8'), numbersOf([10, 64], 2, 's8'), numbersOf([10], 3)];
    const scales = { src: 1 / 127, weights: new Float32Array(10).map((_, o) => (1 + (o % 2)) / 127), dst: 1 };
    const primitive = must(
      dnnl.innerProduct({
        src: dnnl.describe([2, 64], 'u8', 'plain'),
        weights: dnnl.describe([10, 64], 's8', 'any'),
        bias: plain([10]),
        dst: plain([2, 10]),
        scales,
      }),
    );
    const to = place(primitive.dst);
    run(primitive, [
      [argument.src, store(primitive.src, x, { scales: Float32Array.of(1 / 127) })],
      [
        argument.weights,
        store(
          primitive.weights!,
          w.map((v, i) => v * (1 + (Math.floor(i / 64) % 2))),
          { scales: scales.weights, axis: 0 },
        ),
      ],
      [
        argument.bias,
        store(
          plain([10]),
          b.map((v, o) => v * (primitive.biasFactor?.[o] ?? 1)),
        ),
      ],
      [argument.dst, to],
    ]);
    const expected = Float32Array.from({ length: 20 }, (_, i) => {
      const o = i % 10;
      let sum = 0;
      for (let k = 0; k < 64; k++) sum += x[Math.floor(i / 10) * 64 + k] * w[o * 64 + k] * (1 + (o % 2));
      return sum + b[o];
    });
    expect(relativeError(fetch(to), expected)).toBeLessThan(1e-5);
  });
});

withLibrary('pooling', () => {
  const windows: Record<string, Pick<Pooling, 'kernel' | 'stride' | 'padding'>> = {
    'two by two': { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
    padded: { kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1] },
    'padded at the end': { kernel: [3, 3], stride: [2, 2], padding: [0, 0, 1, 1] },
    global: { kernel: [8, 8], stride: [8, 8], padding: [0, 0, 0, 0] },
  };
  for (const dtype of ['f32', 'bf16', 'u8', 's8'] as const)
    for (const [name, window] of Object.entries(windows))
      test(`${name}, ${dtype}`, () => {
        const src = [2, 32, 8, 8];
        const x = numbersOf(src, 1, dtype);
        const { kernel, stride, padding } = window;
        const side = Math.floor((8 + padding[0] + padding[2] - kernel[0]) / stride[0]) + 1;
        const dst = [2, 32, side, side];
        for (const kind of ['max', 'mean', 'mean with padding'] as const) {
          const whole = dtype === 'u8' || dtype === 's8';
          const scale = whole ? { scales: Float32Array.of(1 / 127) } : undefined;
          const of = { kernel, stride, padding };
          const input = [{ shape: src, data: x }];
          const expected =
            kind === 'max'
              ? kernels.maxPool(input, of as never, dst)
              : kernels.avgPool(input, { ...of, countPadding: kind === 'mean with padding' } as never, dst);
          for (const layout of ['channelsLast', 'blocked'] as const) {
            const primitive = dnnl.pooling({
              src: dnnl.describe(src, dtype, layout),
              dst: dnnl.describe(dst, dtype, layout),
              kind,
              ...window,
            });
            // Version 2 pools whole numbers channels-last only.
            if (primitive === undefined && whole && layout === 'blocked') continue;
            must(primitive);
            const to = place(primitive!.dst);
            run(primitive!, [
              [argument.src, store(primitive!.src, x, scale)],
              [argument.dst, to],
            ]);
            const got = fetch(to, whole ? 1 / 127 : 1);
            if (whole) expect(farthest(got, expected)).toBeLessThan(0.51 / 127);
            else expect(relativeError(got, expected)).toBeLessThan(bound[dtype]);
          }
        }
      });
});

withLibrary('pooling of nothing', () => {
  test('a window in nothing but the padding is refused', () => {
    const [src, dst] = [
      [2, 16, 4, 4],
      [2, 16, 7, 4],
    ].map((shape) => dnnl.describe(shape, 'f32', 'channelsLast'));
    for (const kind of ['max', 'mean'] as const) {
      const op = { src, dst, kind, kernel: [2, 1], stride: [1, 1], padding: [2, 0, 2, 0] } as const;
      expect(dnnl.pooling(op)).toBeUndefined();
      expect(dnnl.poolingTraining(op)).toBeUndefined();
      expect(dnnl.poolingBackward({ ...op, diffSrc: src, diffDst: dst })).toBeUndefined();
    }
  });
});

withLibrary('element by element', () => {
  const shape = [2, 16, 5, 6];

  for (const dtype of floats)
    test(`BatchNorm with and without ReLU, ${dtype}`, () => {
      const x = numbersOf(shape, 1, dtype);
      const parameters = [4, 5, 6, 7].map((seed) => numbersOf([16], seed).map((v) => v + 1.5));
      const [gamma, beta, mean, variance] = parameters;
      const operands = [x, ...parameters].map((data, i) => ({ shape: i === 0 ? shape : [16], data }));
      const expected = kernels.batchNorm(operands, { epsilon: 1e-3 } as never, shape);
      for (const relu of [false, true])
        for (const layout of ['channelsLast', 'blocked', 'plain'] as const) {
          const desc = dnnl.describe(shape, dtype, layout);
          const primitive = must(dnnl.batchNorm({ src: desc, dst: desc, epsilon: 1e-3, relu }));
          const to = place(desc);
          run(primitive, [
            [argument.src, store(desc, x)],
            [argument.mean, store(plain([16]), mean)],
            [argument.variance, store(plain([16]), variance)],
            [argument.scale, store(plain([16]), gamma)],
            [argument.shift, store(plain([16]), beta)],
            [argument.dst, to],
          ]);
          const wanted = relu ? expected.map((v) => Math.max(0, v)) : expected;
          expect(relativeError(fetch(to), wanted)).toBeLessThan(bound[dtype]);
        }
    });

  for (const dtype of floats)
    test(`ReLU and sigmoid, in place too, ${dtype}`, () => {
      const x = numbersOf(shape, 1, dtype);
      for (const kind of ['relu', 'sigmoid'] as const)
        for (const inPlace of [false, true]) {
          const desc = dnnl.describe(shape, dtype, 'channelsLast');
          const primitive = must(dnnl.eltwise({ src: desc, dst: desc, kind }));
          const from = store(desc, x);
          const to = inPlace ? from : place(desc);
          run(primitive, [
            [argument.src, from],
            [argument.dst, to],
          ]);
          const expected = kernels[kind]([{ shape, data: x }]);
          expect(relativeError(fetch(to), expected)).toBeLessThan(bound[dtype]);
        }
    });

  for (const dtype of floats)
    test(`add and mul, of equal shapes or a gate of one number a channel, then ReLU, ${dtype}`, () => {
      for (const kind of ['add', 'mul'] as const)
        for (const second of [shape, [2, 16, 1, 1], [1, 16, 1, 1]])
          for (const layout of ['channelsLast', 'blocked'] as const) {
            const [x, y] = [numbersOf(shape, 1, dtype), numbersOf(second, 2, dtype)];
            const [src, src1] = [dnnl.describe(shape, dtype, layout), dnnl.describe(second, dtype, layout)];
            const primitive = must(dnnl.binary({ src, src1, dst: src, kind, postOps: [{ op: 'relu' }] }));
            const to = place(src);
            run(primitive, [
              [argument.src, store(src, x)],
              [argument.src1, store(src1, y)],
              [argument.dst, to],
            ]);
            const plane = second[2] === 1 ? 30 : 1;
            const expected = x.map((v, i) => {
              const other = y[Math.floor(i / plane) % y.length];
              return Math.max(0, kind === 'add' ? v + other : v * other);
            });
            expect(relativeError(fetch(to), expected)).toBeLessThan(bound[dtype]);
          }
    });

  test('softmax of rows and of channels', () => {
    for (const dtype of floats)
      for (const [of, axis] of [
        [[3, 1000], 1],
        [[2, 16, 4, 5], 1],
      ] as const) {
        const x = numbersOf(of, 1, dtype).map((v) => v * 8);
        const src = dnnl.describe(of, dtype, 'channelsLast');
        const dst = dnnl.describe(of, 'f32', 'channelsLast');
        // Version 2 makes f32 of bf16 by its slow kernels or not at all.
        const primitive = dnnl.softmax({ src, dst, axis });
        if (primitive === undefined && dtype === 'bf16') continue;
        must(primitive);
        const to = place(dst);
        run(primitive!, [
          [argument.src, store(src, x)],
          [argument.dst, to],
        ]);
        const inner = sizeOf(of.slice(2));
        const rounded = fetch(store(src, x));
        const expected = rounded.map((_, i) => {
          const first = Math.floor(i / (of[1] * inner)) * of[1] * inner + (i % inner);
          let sum = 0;
          for (let k = 0; k < of[1]; k++) sum += Math.exp(rounded[first + k * inner]);
          return Math.exp(rounded[i]) / sum;
        });
        expect(relativeError(fetch(to), expected)).toBeLessThan(1e-5);
      }
  });

  test('resampling at half-pixel places', () => {
    const from = [1, 16, 5, 4];
    for (const to of [
      [1, 16, 10, 8],
      [1, 16, 7, 9],
    ])
      for (const kind of ['nearest', 'linear'] as const) {
        const x = numbersOf(from, 1);
        const [src, dst] = [from, to].map((shape) => dnnl.describe(shape, 'f32', 'channelsLast'));
        const primitive = must(dnnl.resampling({ src, dst, kind }));
        const out = place(dst);
        run(primitive, [
          [argument.src, store(src, x)],
          [argument.dst, out],
        ]);
        const attributes = {
          to: { sizes: [to[2], to[3]] },
          mode: kind,
          coordinates: 'half_pixel',
          nearest: 'round_prefer_ceil',
        };
        const expected = kernels.resize([{ shape: from, data: x }], attributes as never, to);
        expect(relativeError(fetch(out), expected)).toBeLessThan(bound.f32);
      }
  });
});
