import fc from 'fast-check';
import { expect, test } from 'vitest';
import { tensor, toBfloat16, toFloat32 } from './tensor.js';

test('bf16 holds the nearest numbers, the even one of two; NaN and infinities stay', () => {
  const round = (x: number): number => toFloat32(toBfloat16(tensor([x], [1]))).data[0];
  fc.assert(
    fc.property(
      fc.float({ noNaN: true, noDefaultInfinity: true, min: Math.fround(-3e38), max: Math.fround(3e38) }),
      (x) => {
        const bits = new Uint32Array(Float32Array.of(x).buffer)[0] & 0xffff0000;
        const [low, high] = [bits, bits + 0x10000].map((half) => new Float32Array(Uint32Array.of(half).buffer)[0]);
        const [down, up] = [Math.abs(x - low), Math.abs(high - x)];
        const even = bits & 0x10000 ? high : low;
        expect(round(x)).toBe(down < up ? low : up < down ? high : even);
      },
    ),
  );
  for (const x of [0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) expect(round(x)).toBe(x);
  const allOnes = new Float32Array(Uint32Array.of(0x7fffffff, 0xffffffff).buffer);
  expect([...toFloat32(toBfloat16(tensor(allOnes, [2]))).data]).toEqual([Number.NaN, Number.NaN]);
});
