import type { Shape } from '../../tensor.js';
import type { DataType, Desc, Int8Scales } from './dnnl.js';

/** What the C API takes for a memory descriptor: in version 2 the structure itself, in version 3 a handle. */
export type Md = Uint8Array | bigint;

/** A `Desc` with what stands behind it. */
export interface Described extends Desc {
  readonly md: Md;
  /** Bytes from the memory's start to this part of it. */
  readonly offset: number;
  /** The library is to choose the layout. */
  readonly open: boolean;
}

/** A descriptor as the version makes it. */
export type Made = Pick<Described, 'md' | 'offset'>;

/** The layouts by the C API's names; `undefined` for what a version cannot have. */
export type Tag =
  | 'any'
  | 'a'
  | 'ab'
  | 'abc'
  | 'abcd'
  | 'abcde'
  | 'abcdef'
  | 'acb'
  | 'acdb'
  | `aBc${8 | 16}b`
  | `aBcd${8 | 16}b`;

/** A handle that the C API made, or `undefined` where the library has no implementation. */
export type MaybeHandle = bigint | undefined;

/** How an op's int8 scales are given. */
export interface ScaledAttributes {
  /** Of the post-op `sum`. */
  readonly sum: number;
  /** Multiplies the result after all post-ops; 1 where nothing is to be done. */
  readonly last: number;
  readonly biasFactor?: Float32Array;
  /** Made when the attributes are; scales that are given with a run. */
  readonly runtime: readonly { readonly argument: number; readonly values: Float32Array }[];
}

/**
 * All that differs between version 2 and version 3 of the C API. A primitive descriptor comes back as a handle that the
 * caller destroys.
 */
export interface Version {
  readonly eltwise: { readonly relu: number; readonly sigmoid: number; readonly linear: number };
  readonly normalise: { readonly scale: number; readonly shift: number; readonly relu: number };
  readonly postOpBase: number;
  /** Post-ops of convolutions may take a number for each channel of each picture, `[N, C, 1, 1]`. */
  readonly perPicturePostOps: boolean;
  /** Grouped convolutions of `s8` may be padded left or right where nothing is added above and below. */
  readonly sidePadding8: boolean;
  /** A kernel for reorders that takes every tensor for one without gaps. */
  readonly gaplessCopy: string | undefined;
  readonly tags: Readonly<Record<Tag, number>>;

  /** By tag. */
  describe(shape: Shape, dtype: DataType, tag: number): Made;
  part(of: Described, offsets: readonly number[], shape: Shape): Made | undefined;
  /** A copy of a descriptor that belongs to the library. */
  copy(pointer: bigint): Made;
  /** Shape and numbers of a descriptor. */
  read(md: Md): { shape: Shape; dtype: DataType };

  appendSum(postOps: bigint, scale: number, dtype: number): void;
  appendEltwise(postOps: bigint, kind: number, alpha: number): void;
  /**
   * Sets an op's int8 scales. `plain` says that all post-ops commute with a scale, `grouped` that the weights have a
   * first axis of groups.
   */
  setScales(attr: bigint, scales: Int8Scales, options: { plain: boolean; grouped: boolean }): ScaledAttributes;
  /** dst = src / scales, one for each index of the axes in `mask`. */
  setReorderScales(attr: bigint, scales: Float32Array, mask: number): ScaledAttributes['runtime'];

  convolution(
    attr: bigint,
    op: {
      algorithm: number;
      src: Md;
      weights: Md;
      bias: Md | null;
      dst: Md;
      strides: BigInt64Array;
      dilates: BigInt64Array;
      before: BigInt64Array;
      after: BigInt64Array;
    },
  ): MaybeHandle;
  innerProduct(attr: bigint, src: Md, weights: Md, bias: Md | null, dst: Md): MaybeHandle;
  pooling(
    attr: bigint,
    op: {
      kind: number;
      src: Md;
      dst: Md;
      strides: BigInt64Array;
      kernel: BigInt64Array;
      before: BigInt64Array;
      after: BigInt64Array;
    },
  ): MaybeHandle;
  batchNorm(attr: bigint, src: Md, dst: Md, epsilon: number, flags: number): MaybeHandle;
  eltwiseOp(attr: bigint, kind: number, src: Md, dst: Md): MaybeHandle;
  binary(attr: bigint, kind: number, src: Md, src1: Md, dst: Md): MaybeHandle;
  softmax(attr: bigint, src: Md, dst: Md, axis: number): MaybeHandle;
  resampling(attr: bigint, kind: number, src: Md, dst: Md): MaybeHandle;
}
