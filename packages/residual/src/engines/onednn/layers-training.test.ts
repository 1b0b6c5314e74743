import { afterEach, expect, test } from 'vitest';
import { type Shape, sizeOf } from '../../tensor.js';
import { argument, type Desc, type Pooling } from './dnnl.js';
import {
  bound,
  dnnl,
  fetch,
  loops,
  numbersOf,
  place,
  quick,
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
            const forward = quick(dnnl.batchNormTraining({ src: desc, dst: desc, epsilon, relu }));
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

            const backward = quick(dnnl.batchNormBackward({ src: desc, diffSrc: desc, diffDst: desc, epsilon, relu }));
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
            const backward = quick(dnnl.poolingBackward({ diffSrc: from, diffDst: to, kind, ...window }));
            expect(backward.workspace !== undefined).toBe(kind === 'max');
            const workspace = backward.workspace && place(backward.workspace);
            const diffSrc = place(backward.diffSrc);
            if (workspace) {
              const forward = quick(dnnl.poolingTraining({ src: from, dst: to, kind, ...window }));
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
        const data = quick(
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
        const weights = quick(
          dnnl.innerProductBackwardWeights({
            src: dnnl.describe(src, dtype, 'channelsLast'),
            diffWeights: dnnl.describe(weight, 'f32', 'any'),
            diffBias: diffBias.desc,
            diffDst,
          }),
        );
        const diffWeights = place(weights.diffWeights);
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
