import { afterEach, expect, test } from 'vitest';
import { type Shape, sizeOf } from '../../tensor.js';
import { argument, type Desc } from './dnnl.js';
import {
  bound,
  dnnl,
  fetch,
  loops,
  must,
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
            const primitive = quick(dnnl.eltwiseBackward({ dst: desc, diffSrc: desc, diffDst: desc, kind }));
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
        const add = quick(dnnl.binary({ src: desc, src1: desc, dst: desc, kind: 'add', postOps: [{ op: 'relu' }] }));
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
      const forward = quick(dnnl.softmax({ src: desc, dst: desc, axis: 1, log }));
      const dst = place(desc);
      run(forward, [
        [argument.src, store(desc, x)],
        [argument.dst, dst],
      ]);
      const [soft] = loops('softmax', [[rows, x]], [rows]);
      const y = Float32Array.from(soft, (v) => (log ? Math.log(v) : v));
      expect(relativeError(fetch(dst), y)).toBeLessThan(bound.f32);
      const backward = quick(dnnl.softmaxBackward({ dst: desc, diffSrc: desc, diffDst: desc, axis: 1, log }));
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
            const primitive = quick(dnnl.resamplingBackward({ diffSrc, diffDst, kind }));
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
    for (const count of [1, 2, 3, 9]) {
      const size = 1000 + count;
      const desc = plain([size]);
      const data = Array.from({ length: count }, (_, i) => numbersOf([size], i + 1));
      const scales = data.map((_, i) => 0.9 - 0.3 * i);
      const primitive = quick(dnnl.sum({ srcs: data.map(() => desc), scales, dst: desc }));
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
        const primitive = quick(dnnl.sum({ srcs: data.map(() => desc), scales: [1, 1, 1], dst: desc }));
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
