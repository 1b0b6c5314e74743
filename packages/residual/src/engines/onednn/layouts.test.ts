import { afterEach, expect, test } from 'vitest';
import { kernels } from '../reference/kernels.js';
import { argument } from './dnnl.js';
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

const floats = ['f32', 'bf16'] as const;

withLibrary('reorders', () => {
  test('to every layout and back, the numbers stay', () => {
    for (const shape of [
      [2, 20, 3, 5],
      [40, 24, 3, 3],
    ]) {
      const x = numbersOf(shape, 1);
      for (const layout of ['plain', 'channelsLast', 'blocked'] as const)
        for (const dtype of floats) expect(fetch(store(dnnl.describe(shape, dtype, layout), x))).toEqual(x);
    }
  });

  test('to 8 bits: rounds to the nearest, clips, one scale for all or for each index', () => {
    const x = Float32Array.of(0, 0.26, -0.26, 1, -1, 40, -40, 0.6);
    const s8 = dnnl.describe([2, 4], 's8', 'plain');
    const view = (data: Float32Array, options: Parameters<typeof store>[2], desc = s8) =>
      [...new Int8Array(dnnl.view(store(desc, data, options).address, 8))].map((v) =>
        desc.dtype === 'u8' ? v & 255 : v,
      );
    expect(view(x, { scales: Float32Array.of(0.25) })).toEqual([0, 1, -1, 4, -4, 127, -128, 2]);
    expect(view(x, { scales: Float32Array.of(0.25, 0.5), axis: 0 })).toEqual([0, 1, -1, 4, -2, 80, -80, 1]);
    const columns = Float32Array.of(0.25, 0.5, 1, 2);
    expect(view(x, { scales: columns, axis: 1 })).toEqual([0, 1, 0, 0, -4, 80, -40, 0]);
    const u8 = dnnl.describe([2, 4], 'u8', 'plain');
    expect(view(x, { scales: Float32Array.of(0.25) }, u8)).toEqual([0, 1, 0, 4, 0, 160, 0, 2]);
  });

  test('f32 to bf16 rounds to nearest, ties to even', () => {
    const x = Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -7, -1 - 2 ** -9);
    expect([...fetch(store(dnnl.describe([4], 'bf16', 'plain'), x))]).toEqual([1, 1 + 2 ** -6, 1 + 2 ** -7, -1]);
  });
});

withLibrary('parts of a tensor', () => {
  for (const layout of ['channelsLast', 'blocked', 'plain'] as const)
    test(`two convolutions write and one reads parts of one memory, ${layout}`, () => {
      const shape = [2, 64, 6, 5];
      const all = place(dnnl.describe(shape, 'f32', layout));
      dnnl.clear(all.address, all.desc.bytes);
      const halves = [0, 32].map((offset) => dnnl.part(all.desc, [0, offset, 0, 0], [2, 32, 6, 5]));
      const geometry = { stride: [1, 1], dilation: [1, 1], padding: [1, 1, 1, 1], algorithm: 'direct' } as const;
      const src = dnnl.describe([2, 16, 6, 5], 'f32', layout);
      const x = numbersOf([2, 16, 6, 5], 1);
      const parts = halves.map((dst, i) => {
        expect(dst).toBeDefined();
        const w = numbersOf([32, 16, 3, 3], 10 + i);
        const weights = dnnl.describe([32, 16, 3, 3], 'f32', 'any');
        const primitive = must(dnnl.convolution({ src, weights, dst: dst!, ...geometry }));
        run(primitive, [
          [argument.src, store(src, x)],
          [argument.weights, store(primitive.weights!, w)],
          [argument.dst, place(primitive.dst, all.address)],
        ]);
        const operands = [
          { shape: [2, 16, 6, 5], data: x },
          { shape: [32, 16, 3, 3], data: w },
        ];
        const attributes = { kernel: [3, 3], groups: 1, ...geometry };
        return kernels.conv2d(operands, attributes as never, [2, 32, 6, 5]);
      });
      const operands = parts.map((data) => ({ shape: [2, 32, 6, 5], data }));
      const joined = kernels.concat(operands, { axis: 1 } as never, shape);
      expect(relativeError(fetch(all), joined)).toBeLessThan(bound.f32);
      const second = fetch(place(halves[1]!, all.address));
      expect(relativeError(second, parts[1])).toBeLessThan(bound.f32);

      const pooled = dnnl.describe([2, 32, 3, 2], 'f32', layout);
      const window = { kernel: [2, 2], stride: [2, 2], padding: [0, 0, 0, 0], kind: 'max' } as const;
      const pool = must(dnnl.pooling({ src: halves[1]!, dst: pooled, ...window }));
      const to = place(pooled);
      run(pool, [
        [argument.src, place(pool.src, all.address)],
        [argument.dst, to],
      ]);
      const wanted = kernels.maxPool([operands[1]], window as never, [2, 32, 3, 2]);
      expect(relativeError(fetch(to), wanted)).toBeLessThan(bound.f32);
    });

  test('a window of the picture, and a part of a part', () => {
    const x = numbersOf([1, 16, 6, 6], 1);
    for (const layout of ['channelsLast', 'blocked', 'plain'] as const) {
      const all = store(dnnl.describe([1, 16, 6, 6], 'f32', layout), x);
      const inner = dnnl.part(all.desc, [0, 0, 1, 2], [1, 16, 4, 3])!;
      const smaller = dnnl.part(inner, [0, 0, 1, 1], [1, 16, 2, 2])!;
      const at = (c: number, y: number, z: number) => x[c * 36 + y * 6 + z];
      const expected = Float32Array.from({ length: 64 }, (_, i) => at(i >> 2, 2 + ((i >> 1) & 1), 3 + (i & 1)));
      expect(fetch(place(smaller, all.address))).toEqual(expected);
    }
  });

  for (const dtype of ['f32', 'bf16', 'u8'] as const)
    test(`one part is copied to another, and nothing between, ${dtype}`, () => {
      const shape = [2, 16, 6, 7];
      const x = numbersOf(shape, 1, dtype);
      const scale = dtype === 'u8' ? 1 / 127 : 1;
      for (const layout of ['channelsLast', 'plain'] as const)
        for (const [box, from, to] of [
          [
            [4, 1],
            [1, 2],
            [1, 0],
          ],
          [
            [1, 7],
            [2, 0],
            [0, 0],
          ],
          [
            [3, 4],
            [0, 0],
            [3, 3],
          ],
        ] as const) {
          const all = store(dnnl.describe(shape, dtype, layout), x, { scales: Float32Array.of(scale) });
          const boxes = [from, to].map((at) => dnnl.part(all.desc, [0, 0, ...at], [2, 16, ...box])!);
          const [src, dst] = boxes.map((desc) => place(desc, all.address));
          run(must(dnnl.reorder({ src: src.desc, dst: dst.desc })), [
            [argument.src, src],
            [argument.dst, dst],
          ]);
          const at = (plane: number, [y, z]: readonly [number, number], i: number, j: number) =>
            (plane * 6 + y + i) * 7 + z + j;
          const expected = x.slice();
          for (let plane = 0; plane < 32; plane++)
            for (let i = 0; i < box[0]; i++)
              for (let j = 0; j < box[1]; j++) expected[at(plane, to, i, j)] = x[at(plane, from, i, j)];
          expect(farthest(fetch(all, scale), expected)).toBeLessThan(1e-6);
        }
    });

  test('undefined where the layout does not allow it', () => {
    const blocked = dnnl.describe([1, 32, 4, 4], 'f32', 'blocked');
    expect(dnnl.part(blocked, [0, 5, 0, 0], [1, 16, 4, 4])).toBeUndefined();
  });
});
