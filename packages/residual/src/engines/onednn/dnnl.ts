import type { Shape } from '../../tensor.js';
import type { TrainingOps } from './dnnl-training.js';

export type DataType = 'f32' | 'bf16' | 's32' | 's8' | 'u8';

/**
 * How a tensor lies in memory: `plain` row by row, `channelsLast` with the channels of a pixel together (`[N, H, W, C]`),
 * `blocked` with 16 channels of a pixel together (8 where the processor has no AVX-512), `any` as the library likes.
 */
export type Layout = 'any' | 'plain' | 'channelsLast' | 'blocked';

/** A tensor's shape, numbers and layout, as the library knows it. Logical shapes: `[N, C, H, W]`, `[O, I, H, W]`. */
export interface Desc {
  readonly shape: Shape;
  readonly dtype: DataType;
  /** Bytes of memory it needs, padding and hidden sums included. */
  readonly bytes: number;
}

/** What is done to a result before it is stored, in this order. */
export type PostOp =
  /** Adds what the destination holds, times `scale`, read as `dtype`. */
  | { readonly op: 'sum'; readonly scale?: number; readonly dtype?: DataType }
  | { readonly op: 'relu' }
  | { readonly op: 'sigmoid' }
  /**
   * Adds or multiplies by another tensor; a run passes it as argument `postOpArgument(i)`. Version 2 takes none of
   * shape `[N, C, 1, 1]` with N above 1 into a convolution: it computes that wrongly.
   */
  | { readonly op: 'add' | 'mul'; readonly by: Desc };

/** An int8 op's numbers: real value = stored number · scale. */
export interface Int8Scales {
  readonly src: number;
  /** One for every output channel. */
  readonly weights: Float32Array;
  /** 1 for a result in f32. */
  readonly dst: number;
  /** Of what the destination holds, for the post-op `sum`; its own `scale` is then left out. */
  readonly residual?: number;
}

export interface Attributes {
  readonly postOps?: readonly PostOp[];
  readonly scales?: Int8Scales;
  /** Lets an f32 op compute in bf16 inside (v3 with AMX or AVX512-BF16); `false` when left out. */
  readonly fastMath?: boolean;
}

export interface Convolution extends Attributes {
  readonly src: Desc;
  /** `[O, I, H, W]`, or `[G, O/G, I/G, H, W]` for a grouped convolution. */
  readonly weights: Desc;
  /** f32 `[O]`, also in bf16 and int8. */
  readonly bias?: Desc;
  readonly dst: Desc;
  readonly stride: readonly [number, number];
  /** 1 is a dense window, as everywhere in this library; the C API counts from 0. */
  readonly dilation: readonly [number, number];
  /** Zeros: `[top, left, bottom, right]`. */
  readonly padding: readonly [number, number, number, number];
  readonly algorithm: 'direct' | 'winograd';
  /** Version 2 then leaves the weights of Winograd's algorithm as a gradient of theirs lies; `false` when left out. */
  readonly training?: boolean;
}

export interface Pooling {
  readonly src: Desc;
  readonly dst: Desc;
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number, number, number];
  /** The mean leaves the padding out, or counts it as zeros. */
  readonly kind: 'max' | 'mean' | 'mean with padding';
}

/** What every op has that the library made ready. */
export interface Ready {
  readonly handle: bigint;
  /** Which of the library's kernels: `brgconv:avx512_core`, `jit:avx512_core`, … `ref:any` is a slow one. */
  readonly implementation: string;
  /** Bytes of scratch memory that a run needs: argument `SCRATCHPAD`, shared by all primitives. */
  readonly scratchpad: number;
  /** What a run must pass beside its tensors (v3 takes scales so); these live as long as the primitive. */
  readonly constants: readonly Argument[];
  /** What a forward pass of training leaves to its backward pass, where there is such a thing. */
  readonly workspace?: Desc;
  destroy(): void;
}

/** An op made ready by the library. */
export interface Primitive extends Ready {
  /** As the library chose them, where `any` was given. */
  readonly src: Desc;
  readonly weights?: Desc;
  readonly dst: Desc;
  /** What to multiply the plain bias with before it is stored for this primitive (v2 in int8); absent for 1. */
  readonly biasFactor?: Float32Array;
}

/** A memory object, passed as one of `argument`'s ids. */
export type Argument = readonly [id: number, memory: bigint];

/** Argument ids that both versions share. */
export const argument = {
  src: 1,
  /** The second operand of a binary op. */
  src1: 2,
  dst: 17,
  weights: 33,
  bias: 41,
  mean: 49,
  variance: 50,
  scale: 51,
  shift: 52,
  workspace: 64,
  scratchpad: 80,
  diffSrc: 129,
  diffDst: 145,
  diffWeights: 161,
  diffBias: 169,
  diffScale: 255,
  diffShift: 256,
  /** The first source of a sum; the next ones follow. */
  multipleSrc: 1024,
} as const;

/** Arguments laid out as the C API takes them. */
export interface Arguments {
  readonly address: bigint;
  readonly count: number;
}

/**
 * The part of oneDNN's C API that the engine uses, the same over versions 2 and 3. Whoever makes a primitive gets
 * `undefined` where the library has no implementation of it; other failures throw ENGINE with the library's status.
 * All of it belongs to one thread.
 */
export interface Dnnl extends TrainingOps {
  /** `2.6.3`. */
  readonly version: string;
  readonly major: 2 | 3;
  /** The file it was loaded from, or the name the system's loader found it by. */
  readonly file: string;
  /** What the library makes of this processor. */
  readonly processor: {
    /** Such as `avx512_core_bf16`. */
    readonly isa: string;
    readonly avx2: boolean;
    readonly avx512: boolean;
    readonly bf16: boolean;
    /** Multiplies u8 by s8 without saturating in 16 bits. */
    readonly vnni: boolean;
    readonly amx: boolean;
  };
  /** Before primitives are made, and to the same number before they run. */
  setThreads(threads: number): void;

  describe(shape: Shape, dtype: DataType, layout: Layout): Desc;
  /** The box of `shape` at `offsets` inside a tensor, in its memory; undefined where the layout does not allow it. */
  part(of: Desc, offsets: readonly number[], shape: Shape): Desc | undefined;
  areEqual(a: Desc, b: Desc): boolean;

  /** Aligned memory outside of JavaScript's heap, not cleared. Throws ENGINE when there is none. */
  allocate(bytes: number): bigint;
  free(address: bigint): void;
  /** That memory as JavaScript sees it; must not be used after `free`. */
  view(address: bigint, bytes: number): ArrayBuffer;
  clear(address: bigint, bytes: number): void;
  /** Calls `use` with the address of JavaScript's own numbers, which stay where they are meanwhile. */
  using<T>(data: Float32Array | Int8Array, use: (address: bigint) => T): T;

  /** A memory object over memory that the caller keeps. */
  memory(desc: Desc, address: bigint): bigint;
  destroyMemory(memory: bigint): void;

  convolution(op: Convolution): Primitive | undefined;
  /** x · weightᵀ + bias: `[N, I]` and `[O, I]`. */
  innerProduct(op: Pick<Convolution, 'src' | 'weights' | 'bias' | 'dst'> & Attributes): Primitive | undefined;
  pooling(op: Pooling): Primitive | undefined;
  /** Inference form, with mean, variance, scale and shift as arguments, f32 `[C]`. */
  batchNorm(op: { src: Desc; dst: Desc; epsilon: number; relu: boolean }): Primitive | undefined;
  eltwise(op: { src: Desc; dst: Desc; kind: 'relu' | 'sigmoid' }): Primitive | undefined;
  /**
   * Element by element; `src1` may be 1 where `src` is not. `greater` is 1 where `src` is above `src1`, else 0.
   * With post-ops, version 2 must not write over `src` where blocks of channels are not full: it computes that wrongly.
   */
  binary(
    op: { src: Desc; src1: Desc; dst: Desc; kind: 'add' | 'mul' | 'greater' } & Pick<Attributes, 'postOps'>,
  ): Primitive | undefined;
  /** `log`: the softmax's logarithm. */
  softmax(op: { src: Desc; dst: Desc; axis: number; log?: boolean }): Primitive | undefined;
  /** Half-pixel coordinates. */
  resampling(op: { src: Desc; dst: Desc; kind: 'nearest' | 'linear' }): Primitive | undefined;
  /**
   * Another layout or other numbers: dst = src / scales, one scale for all or one for each index of `axis` (of `[0, 1]`
   * for the weights of a grouped convolution).
   */
  reorder(op: {
    src: Desc;
    dst: Desc;
    scales?: Float32Array;
    axis?: number | readonly number[];
  }): Primitive | undefined;

  postOpArgument(index: number): number;
  arguments(list: readonly Argument[]): Arguments;
  freeArguments(of: Arguments): void;
  /** Throws ENGINE with the library's status. */
  execute(primitive: bigint, of: Arguments): void;
  wait(): void;
}
