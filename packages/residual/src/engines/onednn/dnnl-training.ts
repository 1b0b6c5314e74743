import type { Convolution, Desc, Pooling, Primitive, Ready } from './dnnl.js';

/** A primitive of training with the descriptors `K`, as the library chose them where `any` was given. */
export type Backward<K extends 'src' | 'weights' | 'dst' | 'diffSrc' | 'diffWeights' | 'diffDst'> = Ready &
  Readonly<Record<K, Desc>>;

type Geometry = Pick<Convolution, 'stride' | 'dilation' | 'padding' | 'algorithm'>;
type Window = Pick<Pooling, 'kernel' | 'stride' | 'padding' | 'kind'>;

/**
 * What training needs beyond inference. `diffX` is the loss's gradient by X. Gradients of bf16 activations are bf16; of
 * weights, biases and statistics always f32. Forward passes are those of inference but for the two that leave more
 * behind. Everything runs in the same order whenever it runs with as many threads: the same bits come out.
 */
export interface TrainingOps {
  /** Arguments: `diffDst`, `weights` → `diffSrc`. */
  convolutionBackwardData(
    op: Geometry & { diffSrc: Desc; weights: Desc; diffDst: Desc },
  ): Backward<'diffSrc' | 'weights' | 'diffDst'> | undefined;
  /** Arguments: `src`, `diffDst` → `diffWeights`, and `diffBias` where one is given. */
  convolutionBackwardWeights(
    op: Geometry & { src: Desc; diffWeights: Desc; diffBias?: Desc; diffDst: Desc },
  ): Backward<'src' | 'diffWeights' | 'diffDst'> | undefined;

  /** Arguments: `diffDst`, `weights` → `diffSrc`. */
  innerProductBackwardData(op: {
    diffSrc: Desc;
    weights: Desc;
    diffDst: Desc;
  }): Backward<'diffSrc' | 'weights' | 'diffDst'> | undefined;
  /** Arguments: `src`, `diffDst` → `diffWeights`, and `diffBias` where one is given. */
  innerProductBackwardWeights(op: {
    src: Desc;
    diffWeights: Desc;
    diffBias?: Desc;
    diffDst: Desc;
  }): Backward<'src' | 'diffWeights' | 'diffDst'> | undefined;

  /**
   * Normalises by the batch. Arguments: `src`, `scale`, `shift` → `dst`, `mean`, `variance` (biased), and `workspace`
   * with a ReLU: which elements it kept.
   */
  batchNormTraining(op: { src: Desc; dst: Desc; epsilon: number; relu: boolean }): Primitive | undefined;
  /**
   * Arguments: `src`, `mean`, `variance`, `scale`, `diffDst`, and `workspace` with a ReLU → `diffSrc`, which may be
   * `diffDst`'s memory, `diffScale`, `diffShift`.
   */
  batchNormBackward(op: {
    src: Desc;
    diffSrc: Desc;
    diffDst: Desc;
    epsilon: number;
    relu: boolean;
  }): Backward<'src' | 'diffSrc' | 'diffDst'> | undefined;

  /** Arguments: `src` → `dst`, and `workspace` for the maximum: where it was. */
  poolingTraining(op: Pooling): Primitive | undefined;
  /** Arguments: `diffDst`, and `workspace` for the maximum → `diffSrc`. */
  poolingBackward(op: Window & { diffSrc: Desc; diffDst: Desc }): Backward<'diffSrc' | 'diffDst'> | undefined;

  /** Arguments: `dst` (the forward result), `diffDst` → `diffSrc`, which may be `diffDst`'s memory. */
  eltwiseBackward(op: {
    dst: Desc;
    diffSrc: Desc;
    diffDst: Desc;
    kind: 'relu' | 'sigmoid';
  }): Backward<'dst' | 'diffSrc' | 'diffDst'> | undefined;
  /** Arguments: `dst` (the forward result), `diffDst` → `diffSrc`. `log`: of the softmax's logarithm. */
  softmaxBackward(op: {
    dst: Desc;
    diffSrc: Desc;
    diffDst: Desc;
    axis: number;
    log?: boolean;
  }): Backward<'dst' | 'diffSrc' | 'diffDst'> | undefined;
  /** Half-pixel coordinates. Arguments: `diffDst` → `diffSrc`. */
  resamplingBackward(op: {
    diffSrc: Desc;
    diffDst: Desc;
    kind: 'nearest' | 'linear';
  }): Backward<'diffSrc' | 'diffDst'> | undefined;

  /**
   * dst = Σ scales[i] · srcs[i], in this order. Arguments: `multipleSrc + i` → `dst`, which may be the first source's
   * memory.
   */
  sum(op: { srcs: readonly Desc[]; scales: readonly number[]; dst: Desc }): Backward<'dst'> | undefined;
  /** Over the axes that are 1 in `dst` and not in `src`. Arguments: `src` → `dst`. */
  reduction(op: { src: Desc; dst: Desc; kind: 'sum' | 'mean' }): Backward<'src' | 'dst'> | undefined;
}
