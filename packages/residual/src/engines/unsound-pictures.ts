import type { Tensor } from '../tensor.js';

type Tensors = Readonly<Record<string, Tensor>>;

/** NaN for whatever a picture of a batch gave: some kernels, and whole numbers of 8 bits, make a number of what is none. */
export function spoil(results: Tensors, picture: number): void {
  for (const { data, shape } of Object.values(results)) {
    const size = data.length / shape[0];
    data.fill(Number.NaN, picture * size, (picture + 1) * size);
  }
}

/** Pictures of a batch that hold NaN or infinity. */
export function unsound(inputs: Tensors): ReadonlySet<number> {
  const found = Object.values(inputs).flatMap(({ data, shape }) =>
    Array.from(largestOfEach(new Int32Array(data.buffer, data.byteOffset, data.length), shape[0])).flatMap(
      (most, picture) => (Number.isFinite(most) ? [] : picture),
    ),
  );
  return new Set(found);
}

/** The largest magnitude of each picture's numbers, which lie in f32 or bf16 in whichever layout; NaN where one is. */
export function largestOfEach(bits: Int32Array | Uint16Array, pictures: number): Float64Array {
  const size = bits.length / pictures;
  const most = new Int32Array(pictures);
  for (let i = 0; i < pictures; i++) {
    const own = bits.subarray(i * size, (i + 1) * size);
    most[i] = bits.BYTES_PER_ELEMENT === 4 ? largestBits(own, 0x7fffffff) : largestBits(own, 0x7fff) << 16;
  }
  return new Float64Array(new Float32Array(most.buffer));
}

/**
 * Without their sign floats are in the order of their bits. Four do not wait for each other. (A mask that is a
 * parameter, and no array of four zeros: V8's code is three times as fast.)
 */
function largestBits(bits: Int32Array | Uint16Array, magnitude: number): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  const fours = bits.length - (bits.length % 4);
  for (let i = 0; i < fours; i += 4) {
    a = Math.max(a, bits[i] & magnitude);
    b = Math.max(b, bits[i + 1] & magnitude);
    c = Math.max(c, bits[i + 2] & magnitude);
    d = Math.max(d, bits[i + 3] & magnitude);
  }
  for (let i = fours; i < bits.length; i++) a = Math.max(a, bits[i] & magnitude);
  return Math.max(a, b, c, d);
}
