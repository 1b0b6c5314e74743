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
  /** Eight results of eight numbers each, in groups, may be computed of `s8`. */
  readonly eightByEight8: boolean;
  /** One channel (of each group) may be read with steps to the right, but not down, by windows of which one fits side by side. */
  readonly narrowSteps: boolean;
  /** The columns of a window may all lie in the zeros left and right of a picture. */
  readonly emptyColumns: boolean;
  /** The rows of a window may all lie in the zeros above and below, where the result is added to what is there. */
  readonly emptyRowsInSums: boolean;
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
    op: Geometry & { training: boolean; src: Md; weights: Md; bias: Md | null; dst: Md },
  ): MaybeHandle;
  innerProduct(attr: bigint, src: Md, weights: Md, bias: Md | null, dst: Md): MaybeHandle;
  pooling(attr: bigint, op: Window & { src: Md; dst: Md }): MaybeHandle;
  batchNorm(attr: bigint, src: Md, dst: Md, epsilon: number, flags: number): MaybeHandle;
  eltwiseOp(attr: bigint, kind: number, src: Md, dst: Md): MaybeHandle;
  binary(attr: bigint, kind: number, src: Md, src1: Md, dst: Md): MaybeHandle;
  softmax(attr: bigint, kind: number, src: Md, dst: Md, axis: number): MaybeHandle;
  resampling(attr: bigint, kind: number, src: Md, dst: Md): MaybeHandle;

  readonly training: VersionTraining;
}

/** A convolution's steps, windows and padding. */
export interface Geometry {
  readonly algorithm: number;
  readonly strides: BigInt64Array;
  readonly dilates: BigInt64Array;
  readonly before: BigInt64Array;
  readonly after: BigInt64Array;
}

/** A pooling's. */
export interface Window {
  readonly kind: number;
  readonly strides: BigInt64Array;
  readonly kernel: BigInt64Array;
  readonly before: BigInt64Array;
  readonly after: BigInt64Array;
}

/** The ops of training. Where `weights` stands beside `diffWeights`, it is the forward op's, of `any` layout. */
export interface VersionTraining {
  /** BatchNorm's backward pass takes the shift, which it does not need. */
  readonly shiftBackward: boolean;
  convolutionBackwardData(attr: bigint, op: Geometry & { diffSrc: Md; weights: Md; diffDst: Md }): MaybeHandle;
  convolutionBackwardWeights(
    attr: bigint,
    op: Geometry & { src: Md; weights: Md; diffWeights: Md; diffBias: Md | null; diffDst: Md },
  ): MaybeHandle;
  innerProductBackwardData(attr: bigint, diffSrc: Md, weights: Md, diffDst: Md): MaybeHandle;
  innerProductBackwardWeights(
    attr: bigint,
    op: { src: Md; weights: Md; diffWeights: Md; diffBias: Md | null; diffDst: Md },
  ): MaybeHandle;
  batchNorm(attr: bigint, src: Md, dst: Md, epsilon: number, flags: number): MaybeHandle;
  batchNormBackward(
    attr: bigint,
    op: { src: Md; diffSrc: Md; diffDst: Md; epsilon: number; flags: number },
  ): MaybeHandle;
  pooling(attr: bigint, op: Window & { src: Md; dst: Md }): MaybeHandle;
  poolingBackward(attr: bigint, op: Window & { diffSrc: Md; diffDst: Md }): MaybeHandle;
  eltwiseBackward(attr: bigint, kind: 'relu' | 'sigmoid', dst: Md, diffSrc: Md, diffDst: Md): MaybeHandle;
  softmaxBackward(attr: bigint, kind: number, op: { dst: Md; diffSrc: Md; diffDst: Md; axis: number }): MaybeHandle;
  resamplingBackward(attr: bigint, kind: number, diffSrc: Md, diffDst: Md): MaybeHandle;
  sum(attr: bigint, srcs: readonly Md[], scales: Float32Array, dst: Md): MaybeHandle;
  reduction(attr: bigint, kind: number, src: Md, dst: Md): MaybeHandle;
}
