import type { AnyTensor, DType, Shape } from '../tensor.js';

export type WeightFormat = 'torch-zip' | 'torch-legacy' | 'safetensors' | 'keras-h5';

/** One tensor of a weight file's table of contents. */
export interface TensorInfo {
  readonly dtype: DType;
  readonly shape: Shape;
}

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
  /** One tensor, contiguous, in its own element type. Throws UNKNOWN_NAME, WEIGHTS_FORMAT. */
  read(name: string): Promise<AnyTensor>;
  close(): Promise<void>;
}
