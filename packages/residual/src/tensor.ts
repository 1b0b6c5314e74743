import { ResidualError } from './errors.js';

/** Element types that weight files store. 16-bit floats are kept as their bits. */
export interface DataOf {
  float64: Float64Array;
  float32: Float32Array;
  float16: Uint16Array;
  bfloat16: Uint16Array;
  int64: BigInt64Array;
  int32: Int32Array;
  int16: Int16Array;
  int8: Int8Array;
  uint8: Uint8Array;
  bool: Uint8Array;
}

export type DType = keyof DataOf;
export type Shape = readonly number[];

/** Row-major numbers with a shape. Pictures and activations are `[N, C, H, W]`, convolution weights `[out, in, kh, kw]`. */
export interface Tensor<D extends DType = 'float32'> {
  readonly dtype: D;
  readonly shape: Shape;
  readonly data: DataOf[D];
  /** The very same numbers, for a weight that is kept in 8 bits. */
  readonly eightBits?: EightBits;
}

/** Whole numbers from −127 to 127, each worth the scale of its output channel (the first axis). */
export interface EightBits {
  readonly whole: Int8Array;
  readonly scales: Float32Array;
}

/** A tensor of whichever type: what a weight file gives. */
export type AnyTensor = { [D in DType]: Tensor<D> }[DType];

/** A named, immutable set of float32 tensors: the weights of a network. */
export type Weights = ReadonlyMap<string, Tensor>;

/** Weights, or how to have them for as long as they are needed: read from their file again. */
export type WeightSource = Weights | (() => Promise<Weights>);

export const weightsOf = async (source: WeightSource): Promise<Weights> =>
  typeof source === 'function' ? source() : source;

export const bytesPerElement: Record<DType, number> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint8: 1,
  bool: 1,
};

/** Number of elements of a shape; 1 for the scalar `[]`. */
export const sizeOf = (shape: Shape): number => shape.reduce((product, n) => product * n, 1);

/** `[64, 3, 7, 7]`; with `batch`, the first dimension is written N. */
export const formatShape = (shape: Shape, batch = false): string =>
  `[${shape.map((n, axis) => (batch && axis === 0 ? 'N' : n)).join(', ')}]`;

export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((n, axis) => n === b[axis]);

/**
 * Wraps `data` as a float32 tensor.
 * @throws ARGUMENT when the shape does not hold as many elements as `data`.
 */
export function tensor(data: Float32Array | readonly number[], shape: Shape): Tensor {
  const values = data instanceof Float32Array ? data : Float32Array.from(data);
  if (sizeOf(shape) !== values.length)
    throw new ResidualError(
      'ARGUMENT',
      `shape ${formatShape(shape)} holds ${sizeOf(shape)} elements but received ${values.length}`,
    );
  return { dtype: 'float32', shape, data: values };
}

/** The sum of the magnitudes at each index of the first axis; NaN or infinite where one of the numbers is. */
export function magnitudesOf({ data, shape }: { data: Float32Array | Int8Array; shape: Shape }): Float64Array {
  const rows = shape[0] ?? 1;
  const row = data.length / rows;
  if (row === 1) return Float64Array.from(data, Math.abs);
  return Float64Array.from({ length: rows }, (_, i) => magnitude(data.subarray(i * row, (i + 1) * row)));
}

/** Four sums need not wait for each other. */
function magnitude(numbers: Float32Array | Int8Array): number {
  let [a, b, c, d] = [0, 0, 0, 0];
  const fours = numbers.length - (numbers.length % 4);
  for (let i = 0; i < fours; i += 4) {
    a += Math.abs(numbers[i]);
    b += Math.abs(numbers[i + 1]);
    c += Math.abs(numbers[i + 2]);
    d += Math.abs(numbers[i + 3]);
  }
  for (let i = fours; i < numbers.length; i++) a += Math.abs(numbers[i]);
  return a + b + c + d;
}

/**
 * Memory for tensors that several threads read: shared where the platform allows it (Node; a cross-origin isolated
 * page), so that passing it to a worker copies nothing.
 */
export function sharedBytes(length: number): Uint8Array {
  return new Uint8Array(
    typeof SharedArrayBuffer === 'undefined' ? new ArrayBuffer(length) : new SharedArrayBuffer(length),
  );
}

/** `count` float32 zeros in memory that threads can share. */
export const sharedFloats = (count: number): Float32Array => new Float32Array(sharedBytes(count * 4).buffer);

/** Converts to float32: exact for every type but float64 and 32- and 64-bit integers, which are rounded to nearest. */
export function toFloat32(t: AnyTensor): Tensor {
  if (t.dtype === 'float32') return t;
  const data = sharedFloats(t.data.length);
  if (t.dtype === 'float16') for (let i = 0; i < data.length; i++) data[i] = float16ToNumber(t.data[i]);
  else if (t.dtype === 'bfloat16') {
    const bits = new Uint32Array(data.buffer);
    for (let i = 0; i < bits.length; i++) bits[i] = t.data[i] << 16;
  } else if (t.dtype === 'int64') for (let i = 0; i < data.length; i++) data[i] = Number(t.data[i]);
  else data.set(t.data);
  return { dtype: 'float32', shape: t.shape, data };
}

/** Rounds to the upper half of a float32's bits: to nearest, to even where two are as near; NaN stays one. */
export function toBfloat16({ shape, data }: Tensor): Tensor<'bfloat16'> {
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
  const rounded = (x: number): number =>
    (x & 0x7fffffff) > 0x7f800000 ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
  return { dtype: 'bfloat16', shape, data: Uint16Array.from(bits, rounded) };
}

/** The value of an IEEE 754 half given as 16 bits. */
function float16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
