import { afterEach, expect, test } from 'vitest';
import { type Shape, sizeOf } from '../../tensor.js';
import { compute } from '../reference/training-kernels.js';
import { argument, type Desc, type Pooling } from './dnnl.js';
import {
  bound,
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

const plain = (shape: Shape): Desc => dnnl.describe(shape, 'f32', 'plain');

const floats = ['f32', 'bf16'] as const;
const layouts = ['channelsLast', 'blocked', 'plain'] as const;

/** What plain loops make of an op; the results have the shapes given. */
const loops = (
  op: string,
  inputs: readonly (readonly [shape: Shape, data: Float32Array])[],
  shapes: readonly Shape[],
  attributes = {},
) =>
  compute(
    { op, attributes } as never,
    inputs.map(([shape, data]) => ({ shape, data })),
    shapes,
  );

const show = (...what: unknown[]) => process.env.SHOW && console.log(...what);

withLibrary('BatchNorm in training', () => {
  const epsilon = 1e-3;

  for (const dtype of floats)
    for (const relu of [false, true])
      for (const channels of [32, 20])
        test(`${dtype}${relu ? ', with a ReLU' : ''}, ${channels} channels: forward, and backward in place`, () => {
          const shape = [3, channels, 5, 6];
          const [x, dy] = [numbersOf(shape, 1, dtype), numbersOf(shape, 2, dtype)];
          const [gamma, beta] = [numbersOf([channels], 3).map((v) => v + 1.5), numbersOf([channels], 4)];
          const [normal, mean, variance] = loops(
            'batchNormTraining',
            [
              [shape, x],
              [[channels], gamma],
              [[channels], beta],
            ],
            [shape, [channels], [channels]],
            { epsilon },
          );
          const y = Float32Array.from(normal, (v) => (relu ? Math.max(0, v) : v));
          const passed = relu ? dy.map((v, i) => (normal[i] > 0 ? v : 0)) : dy;
          const [dx, dGamma, dBeta] = loops(
            'batchNormGradient',
            [
              [shape, passed],
              [shape, x],
              [[channels], Float32Array.from(mean)],
              [[channels], Float32Array.from(variance)],
              [[channels], gamma],
            ],
            [shape, [channels], [channels]],
            { epsilon },
          );

          for (const layout of layouts) {
            const desc = dnnl.describe(shape, dtype, layout);
            const forward = must(dnnl.batchNormTraining({ src: desc, dst: desc, epsilon, relu }));
            const [dst, means, variances] = [desc, plain([channels]), plain([channels])].map((of) => place(of));
            const src = store(desc, x);
            expect(forward.workspace !== undefined).toBe(relu);
            const workspace = forward.workspace && place(forward.workspace);
            const scale = store(plain([channels]), gamma);
            run(forward, [
              [argument.src, src],
              [argument.scale, scale],
              [argument.shift, store(plain([channels]), beta)],
              [argument.dst, dst],
              [argument.mean, means],
              [argument.variance, variances],
              ...(workspace ? [[argument.workspace, workspace] as const] : []),
            ]);
            expect(relativeError(fetch(dst), y)).toBeLessThan(bound[dtype]);
            expect(relativeError(fetch(means), mean)).toBeLessThan(1e-5);
            expect(relativeError(fetch(variances), variance)).toBeLessThan(1e-5);

            const backward = must(dnnl.batchNormBackward({ src: desc, diffSrc: desc, diffDst: desc, epsilon, relu }));
            show('bn', dtype, relu, layout, forward.implementation, backward.implementation, forward.workspace);
            const gradient = store(desc, dy);
            const [scales, shifts] = [plain([channels]), plain([channels])].map((of) => place(of));
            run(backward, [
              [argument.src, src],
              [argument.mean, means],
              [argument.variance, variances],
              [argument.scale, scale],
              [argument.diffDst, gradient],
              ...(workspace ? [[argument.workspace, workspace] as const] : []),
              [argument.diffSrc, gradient],
              [argument.diffScale, scales],
              [argument.diffShift, shifts],
            ]);
            expect(relativeError(fetch(gradient), dx)).toBeLessThan(bound[dtype]);
            expect(relativeError(fetch(scales), dGamma)).toBeLessThan(1e-5);
            expect(relativeError(fetch(shifts), dBeta)).toBeLessThan(1e-5);
          }
        });
});

withLibrary('pooling in training', () => {
  const windows: Record<string, Pick<Pooling, 'kernel' | 'stride' | 'padding'>> = {
    'two by two': { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0] },
    padded: { kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1] },
    'padded at the end': { kernel: [3, 3], stride: [2, 2], padding: [0, 0, 1, 1] },
    global: { kernel: [8, 8], stride: [8, 8], padding: [0, 0, 0, 0] },
  };
  for (const dtype of floats)
    for (const [name, window] of Object.entries(windows))
      test(`${name}, ${dtype}`, () => {
        const src = [2, 32, 8, 8];
        const { kernel, stride, padding } = window;
        const side = Math.floor((8 + padding[0] + padding[2] - kernel[0]) / stride[0]) + 1;
        const dst = [2, 32, side, side];
        // Few different numbers: many a window holds its largest more than once.
        const x = numbersOf(src, 1).map((v) => Math.round(v * 4) / 4 + 0);
        const dy = numbersOf(dst, 2, dtype);
        for (const kind of ['max', 'mean', 'mean with padding'] as const) {
          const attributes = { kernel, stride, padding, countPadding: kind === 'mean with padding' };
          const given = [
            [dst, dy],
            [src, x],
          ] as const;
          const [expected] = loops(kind === 'max' ? 'maxPoolGradient' : 'avgPoolGradient', given, [src], attributes);
          for (const layout of layouts) {
            const [from, to] = [src, dst].map((of) => dnnl.describe(of, dtype, layout));
            const backward = must(dnnl.poolingBackward({ diffSrc: from, diffDst: to, kind, ...window }));
            expect(backward.workspace !== undefined).toBe(kind === 'max');
            const workspace = backward.workspace && place(backward.workspace);
            const diffSrc = place(backward.diffSrc);
            if (workspace) {
              const forward = must(dnnl.poolingTraining({ src: from, dst: to, kind, ...window }));
              show('pool', name, kind, dtype, layout, forward.implementation, forward.workspace);
              expect(dnnl.areEqual(forward.workspace!, backward.workspace!)).toBe(true);
              const y = place(to);
              run(forward, [
                [argument.src, store(from, x)],
                [argument.dst, y],
                [argument.workspace, workspace],
              ]);
              const [pooled] = loops('maxPool', [[src, x]], [dst], attributes);
              expect(fetch(y)).toEqual(Float32Array.from(pooled));
            }
            show('pool', name, kind, dtype, layout, backward.implementation);
            run(backward, [
              [argument.diffDst, store(to, dy)],
              ...(workspace ? [[argument.workspace, workspace] as const] : []),
              [argument.diffSrc, diffSrc],
            ]);
            expect(relativeError(fetch(diffSrc), expected)).toBeLessThan(bound[dtype]);
          }
        }
      });
});

withLibrary("dense layers' gradients", () => {
  for (const dtype of floats)
    test(`by source, weight and bias, ${dtype}; from a picture`, () => {
      for (const src of [
        [3, 40],
        [2, 8, 3, 3],
      ]) {
        const features = sizeOf(src.slice(1));
        const [n, weight] = [src[0], [21, ...src.slice(1)]];
        const [x, w, dy] = [src, weight, [n, 21]].map((of, i) => numbersOf(of, i + 1, dtype));
        const diffDst = dnnl.describe([n, 21], dtype, 'plain');
        const data = must(
          dnnl.innerProductBackwardData({
            diffSrc: dnnl.describe(src, dtype, 'channelsLast'),
            weights: dnnl.describe(weight, dtype, 'any'),
            diffDst,
          }),
        );
        const diffSrc = place(data.diffSrc);
        run(data, [
          [argument.diffDst, store(diffDst, dy)],
          [argument.weights, store(data.weights, w)],
          [argument.diffSrc, diffSrc],
        ]);
        const flat = [
          [[n, 21], dy],
          [[21, features], w],
        ] as const;
        const [dx] = loops('denseInputGradient', flat, [[n, features]]);
        expect(relativeError(fetch(diffSrc), dx)).toBeLessThan(bound[dtype]);

        const diffBias = place(plain([21]));
        const weights = must(
          dnnl.innerProductBackwardWeights({
            src: dnnl.describe(src, dtype, 'channelsLast'),
            diffWeights: dnnl.describe(weight, 'f32', 'any'),
            diffBias: diffBias.desc,
            diffDst,
          }),
        );
        const diffWeights = place(weights.diffWeights);
        show('dense', dtype, src, data.implementation, weights.implementation);
        run(weights, [
          [argument.src, store(weights.src, x)],
          [argument.diffDst, store(diffDst, dy)],
          [argument.diffWeights, diffWeights],
          [argument.diffBias, diffBias],
        ]);
        const given = [
          [[n, 21], dy],
          [[n, features], x],
        ] as const;
        const [dw] = loops('denseWeightGradient', given, [[21, features]]);
        expect(relativeError(fetch(diffWeights), dw)).toBeLessThan(bound.f32);
        expect(relativeError(fetch(diffBias), loops('channelSum', [[[n, 21], dy]], [[21]])[0])).toBeLessThan(bound.f32);
      }
    });
});

withLibrary('gradients element by element', () => {
  const shape = [2, 16, 5, 6];

  for (const dtype of floats)
    test(`ReLU and sigmoid by their results, in place too, ${dtype}`, () => {
      for (const kind of ['relu', 'sigmoid'] as const) {
        const y = numbersOf(shape, 1, dtype).map((v) => (kind === 'relu' ? Math.max(0, v) : Math.abs(v)));
        const dy = numbersOf(shape, 2, dtype);
        const given = [
          [shape, dy],
          [shape, y],
        ] as const;
        const [expected] = loops(`${kind}Gradient`, given, [shape]);
        for (const layout of layouts)
          for (const inPlace of [false, true]) {
            const desc = dnnl.describe(shape, dtype, layout);
            const primitive = must(dnnl.eltwiseBackward({ dst: desc, diffSrc: desc, diffDst: desc, kind }));
            show('eltwise', kind, dtype, layout, primitive.implementation);
            const from = store(desc, dy);
            const to = inPlace ? from : place(desc);
            run(primitive, [
              [argument.dst, store(desc, y)],
              [argument.diffDst, from],
              [argument.diffSrc, to],
            ]);
            expect(relativeError(fetch(to), expected)).toBeLessThan(bound[dtype]);
          }
      }
    });

  for (const dtype of floats)
    test(`the residual sum with its ReLU, onto the first term, ${dtype}`, () => {
      const [x, y] = [numbersOf(shape, 1, dtype), numbersOf(shape, 2, dtype)];
      for (const layout of layouts) {
        const desc = dnnl.describe(shape, dtype, layout);
        const add = must(dnnl.binary({ src: desc, src1: desc, dst: desc, kind: 'add', postOps: [{ op: 'relu' }] }));
        show('add', dtype, layout, add.implementation);
        const first = store(desc, x);
        run(add, [
          [argument.src, first],
          [argument.src1, store(desc, y)],
          [argument.dst, first],
        ]);
        const expected = x.map((v, i) => Math.max(0, v + y[i]));
        expect(relativeError(fetch(first), expected)).toBeLessThan(bound[dtype]);
      }
    });

  test('softmax, its logarithm, and the gradients of both', () => {
    const rows = [5, 37];
    const desc = plain(rows);
    const [x, dy] = [numbersOf(rows, 1).map((v) => v * 4), numbersOf(rows, 2)];
    for (const log of [false, true]) {
      const forward = must(dnnl.softmax({ src: desc, dst: desc, axis: 1, log }));
      const dst = place(desc);
      run(forward, [
        [argument.src, store(desc, x)],
        [argument.dst, dst],
      ]);
      const [soft] = loops('softmax', [[rows, x]], [rows]);
      const y = Float32Array.from(soft, (v) => (log ? Math.log(v) : v));
      expect(relativeError(fetch(dst), y)).toBeLessThan(bound.f32);
      const backward = must(dnnl.softmaxBackward({ dst: desc, diffSrc: desc, diffDst: desc, axis: 1, log }));
      show('softmax', log, forward.implementation, backward.implementation);
      const to = place(desc);
      run(backward, [
        [argument.dst, dst],
        [argument.diffDst, store(desc, dy)],
        [argument.diffSrc, to],
      ]);
      // By log softmax: dy − softmax · Σ dy.
      const sums = loops('spatialSum', [[[5, 1, 1, 37], dy]], [[5, 1, 1, 1]])[0];
      const given = [
        [rows, dy],
        [rows, y],
      ] as const;
      const expected = log
        ? dy.map((v, i) => v - soft[i] * sums[Math.floor(i / 37)])
        : loops('softmaxGradient', given, [rows])[0];
      expect(relativeError(fetch(to), expected)).toBeLessThan(bound.f32 * 10);
    }
  });

  for (const dtype of floats)
    test(`resampling, ${dtype}`, () => {
      for (const kind of ['nearest', 'linear'] as const)
        for (const [from, to] of [
          [
            [2, 16, 4, 5],
            [2, 16, 8, 10],
          ],
          [
            [1, 16, 8, 8],
            [1, 16, 5, 3],
          ],
        ]) {
          const dy = numbersOf(to, 1, dtype);
          const attributes = {
            to: { sizes: [to[2], to[3]] },
            mode: kind,
            coordinates: 'half_pixel',
            nearest: 'round_prefer_ceil',
          };
          const given = [
            [to, dy],
            [from, new Float32Array(sizeOf(from))],
          ] as const;
          const [expected] = loops('resizeGradient', given, [from], attributes);
          for (const layout of layouts) {
            const [diffSrc, diffDst] = [from, to].map((of) => dnnl.describe(of, dtype, layout));
            const primitive = must(dnnl.resamplingBackward({ diffSrc, diffDst, kind }));
            show('resampling', kind, dtype, layout, primitive.implementation);
            const out = place(diffSrc);
            run(primitive, [
              [argument.diffDst, store(diffDst, dy)],
              [argument.diffSrc, out],
            ]);
            expect(relativeError(fetch(out), expected)).toBeLessThan(bound[dtype]);
          }
        }
    });
});

withLibrary('sums', () => {
  test('of flat arrays, each times a number, onto the first one', () => {
    for (const count of [1, 2, 3, 9, 17]) {
      const size = 1000 + count;
      const desc = plain([size]);
      const data = Array.from({ length: count }, (_, i) => numbersOf([size], i + 1));
      const scales = data.map((_, i) => 0.9 - 0.3 * i);
      const primitive = must(dnnl.sum({ srcs: data.map(() => desc), scales, dst: desc }));
      show('sum', count, primitive.implementation);
      const stored = data.map((values) => store(desc, values));
      run(primitive, [
        ...stored.map((source, i) => [argument.multipleSrc + i, source] as const),
        [argument.dst, stored[0]],
      ]);
      const expected = data[0].map((_, i) => data.reduce((total, values, k) => total + scales[k] * values[i], 0));
      expect(relativeError(fetch(stored[0]), expected)).toBeLessThan(bound.f32);
    }
  });

  for (const dtype of floats)
    test(`of pictures of one kind, ${dtype}`, () => {
      const shape = [2, 16, 5, 6];
      const data = [1, 2, 3].map((seed) => numbersOf(shape, seed, dtype));
      for (const layout of layouts) {
        const desc = dnnl.describe(shape, dtype, layout);
        const primitive = must(dnnl.sum({ srcs: data.map(() => desc), scales: [1, 1, 1], dst: desc }));
        show('sum', dtype, layout, primitive.implementation);
        const stored = data.map((values) => store(desc, values));
        run(primitive, [
          ...stored.map((source, i) => [argument.multipleSrc + i, source] as const),
          [argument.dst, stored[0]],
        ]);
        const expected = data[0].map((v, i) => v + data[1][i] + data[2][i]);
        expect(relativeError(fetch(stored[0]), expected)).toBeLessThan(bound[dtype]);
      }
    });

  for (const dtype of floats)
    test(`over pictures and pixels, or pixels alone, ${dtype}`, () => {
      const shape = [3, 32, 5, 6];
      const x = numbersOf(shape, 1, dtype);
      for (const [op, to] of [
        ['channelSum', [1, 32, 1, 1]],
        ['spatialSum', [3, 32, 1, 1]],
      ] as const) {
        const [expected] = loops(op, [[shape, x]], [op === 'channelSum' ? [32] : to]);
        for (const layout of layouts) {
          const src = dnnl.describe(shape, dtype, layout);
          const primitive = must(dnnl.reduction({ src, dst: dnnl.describe(to, 'f32', layout), kind: 'sum' }));
          show('reduction', op, dtype, layout, primitive.implementation);
          const dst = place(primitive.dst);
          run(primitive, [
            [argument.src, store(src, x)],
            [argument.dst, dst],
          ]);
          expect(relativeError(fetch(dst), expected)).toBeLessThan(1e-5);
        }
      }
    });
});
