import { ResidualError } from '../errors.js';
import type { OnnxNetwork } from '../models/onnx-network.js';
import { type AnyTensor, bytesPerElement, type DataOf, type DType, type Shape, sizeOf } from '../tensor.js';
import type { ByteSource } from './source.js';

export type WeightFormat =
  | 'torch-zip'
  | 'torch-legacy'
  | 'torch-tar'
  | 'numpy-pickle'
  | 'safetensors'
  | 'keras-h5'
  | 'keras-archive'
  | 'onnx';

/** One tensor of a weight file's table of contents. */
export interface TensorInfo {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** Gives so many bytes, beginning at a multiple of 8. */
export type Memory = (length: number) => Uint8Array;

/** What is not a tensor: numbers, strings and lists that stand in the file beside the weights. */
export type Metadata = Readonly<Record<string, unknown>>;

/**
 * A weight file, open: named tensors whose table of contents is known and whose bytes are read on demand. Nested
 * dictionaries are flattened with dots (`state_dict.module.conv1.weight`); names are the file's own, undecoded.
 */
export interface Checkpoint {
  readonly format: WeightFormat;
  /** Why the format was recognised: `zip with a data.pkl`. */
  readonly reason: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Metadata;
  /** Keras 3's weights by themselves: layers are called by class and number, `conv2d_3`, not by their names. */
  readonly numbered?: true;
  /** Each file it is read from and what tells whether it is still the same; absent where it cannot be read again. */
  readonly versions?: ReadonlyMap<string, string>;
  /** The graph of an ONNX model. */
  readonly network?: OnnxNetwork;
  /** Where tensors stand in other files: looks whether they can be read, as `read` would, without reading. */
  check?(): Promise<void>;
  /**
   * One tensor, contiguous, in its own element type. Formats that can read straight into memory take it from `memory`.
   * Throws UNKNOWN_NAME, WEIGHTS_FORMAT.
   */
  read(name: string, memory?: Memory): Promise<AnyTensor>;
  close(): Promise<void>;
}

const arrayOf: { [D in DType]: new (buffer: ArrayBufferLike, offset: number, length: number) => DataOf[D] } = {
  float64: Float64Array,
  float32: Float32Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int16: Int16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

/** Sees little-endian `bytes`, which begin at a multiple of the element size, as a tensor; copies nothing. */
export function tensorOver({ dtype, shape }: TensorInfo, bytes: Uint8Array): AnyTensor {
  const data = new arrayOf[dtype](bytes.buffer, bytes.byteOffset, bytes.byteLength / bytesPerElement[dtype]);
  return { dtype, shape, data } as AnyTensor;
}

/** Bytes of a tensor's values. */
export const byteLength = ({ dtype, shape }: TensorInfo): number => sizeOf(shape) * bytesPerElement[dtype];

/**
 * Refuses a table of contents whose tensors together are out of proportion to the file: views that repeat one
 * storage a thousand times, compression bombs, datasets that were never written. Weights that share storage or are
 * compressed stay far below eight times the file.
 * @throws WEIGHTS_FORMAT
 */
export function checkTotal(source: Pick<ByteSource, 'name' | 'size'>, tensors: Iterable<TensorInfo>): void {
  let total = 0;
  for (const info of tensors) total += byteLength(info);
  const limit = 8 * source.size + 2 ** 28;
  if (total <= limit) return;
  throw new ResidualError(
    'WEIGHTS_FORMAT',
    `${source.name}: its tensors claim ${total} bytes, more than a file of ${source.size} bytes can mean (limit ${limit}); it is damaged or made to exhaust memory`,
    { file: source.name, total, limit },
  );
}
