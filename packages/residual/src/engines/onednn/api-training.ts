import type { Make } from './api.js';
import type { MadeAttributes } from './attributes.js';
import { geometry, numbers, poolsPixels, window } from './calls.js';
import { argument, type DataType, type Desc, type Layout } from './dnnl.js';
import type { TrainingOps } from './dnnl-training.js';
import type { Md, Version, VersionTraining } from './version.js';

interface Parts {
  readonly make: Make;
  readonly version: VersionTraining;
  readonly normalise: Version['normalise'];
  attributes(): MadeAttributes;
  describe(shape: Desc['shape'], dtype: DataType, layout: Layout): Desc;
  md(desc: Desc): Md;
}

/** The ops of training, joined from what both versions have alike and what one of them has for itself. */
export function trainingApi({ make, attributes, describe, md, version, normalise }: Parts): TrainingOps {
  const orNull = (desc: Desc | undefined): Md | null => (desc ? md(desc) : null);
  /** The weights of the forward op whose gradient is `diffWeights`. */
  const forwardWeights = ({ src, diffWeights }: { src: Desc; diffWeights: Desc }): Md =>
    md(describe(diffWeights.shape, src.dtype, 'any'));
  const flags = (relu: boolean): number => normalise.scale | normalise.shift | (relu ? normalise.relu : 0);

  const isEven = ([top, left, bottom, right]: readonly number[]): boolean => top === bottom && left === right;

  return {
    convolutionBackwardData({ diffSrc, weights, diffDst, ...op }) {
      // 2.6.3 computes it wrongly there.
      if (op.algorithm === 'winograd' && !isEven(op.padding)) return undefined;
      const made = make({ diffSrc, weights, diffDst }, attributes(), (attr) =>
        version.convolutionBackwardData(attr, {
          ...geometry(op),
          diffSrc: md(diffSrc),
          weights: md(weights),
          diffDst: md(diffDst),
        }),
      );
      // Two channels are multiplied at once: 2.6.3 takes a number from beside the last picture for the one that is missing.
      const isOdd = diffDst.shape[1] % 2 === 1 && made?.implementation.startsWith('jit_bf16_1x1') === true;
      if (!isOdd) return made;
      made?.destroy();
      return undefined;
    },
    convolutionBackwardWeights({ src, diffWeights, diffBias, diffDst, ...op }) {
      const made = make({ src, diffWeights, diffDst }, attributes(), (attr) =>
        version.convolutionBackwardWeights(attr, {
          ...geometry(op),
          src: md(src),
          weights: forwardWeights({ src, diffWeights }),
          diffWeights: md(diffWeights),
          diffBias: orNull(diffBias),
          diffDst: md(diffDst),
        }),
      );
      // 2.6.3 and 3.7.2 then add what lies beside the picture; their kernels by matrix products do not.
      const narrow = src.dtype === 'bf16' && src.shape[3] < op.stride[1] && (diffWeights.shape.at(-1) as number) > 1;
      if (made === undefined || !narrow || /gemm|ref/.test(made.implementation)) return made;
      made.destroy();
      return undefined;
    },
    innerProductBackwardData: ({ diffSrc, weights, diffDst }) =>
      make({ diffSrc, weights, diffDst }, attributes(), (attr) =>
        version.innerProductBackwardData(attr, md(diffSrc), md(weights), md(diffDst)),
      ),
    innerProductBackwardWeights: ({ src, diffWeights, diffBias, diffDst }) =>
      make({ src, diffWeights, diffDst }, attributes(), (attr) =>
        version.innerProductBackwardWeights(attr, {
          src: md(src),
          weights: forwardWeights({ src, diffWeights }),
          diffWeights: md(diffWeights),
          diffBias: orNull(diffBias),
          diffDst: md(diffDst),
        }),
      ),
    batchNormTraining: ({ src, dst, epsilon, relu }) =>
      make({ src, dst }, attributes(), (attr) => version.batchNorm(attr, md(src), md(dst), epsilon, flags(relu))),
    batchNormBackward({ src, diffSrc, diffDst, epsilon, relu }) {
      const shift = { argument: argument.shift, values: new Float32Array(src.shape[1]) };
      return make(
        { src, diffSrc, diffDst },
        attributes(),
        (attr) =>
          version.batchNormBackward(attr, {
            src: md(src),
            diffSrc: md(diffSrc),
            diffDst: md(diffDst),
            epsilon,
            flags: flags(relu),
          }),
        version.shiftBackward ? [shift] : [],
      );
    },
    poolingTraining: ({ src, dst, ...op }) =>
      poolsPixels(op)
        ? make({ src, dst }, attributes(), (attr) =>
            version.pooling(attr, { ...window(op), src: md(src), dst: md(dst) }),
          )
        : undefined,
    poolingBackward: ({ diffSrc, diffDst, ...op }) =>
      poolsPixels(op)
        ? make({ diffSrc, diffDst }, attributes(), (attr) =>
            version.poolingBackward(attr, { ...window(op), diffSrc: md(diffSrc), diffDst: md(diffDst) }),
          )
        : undefined,
    eltwiseBackward: ({ dst, diffSrc, diffDst, kind }) =>
      make({ dst, diffSrc, diffDst }, attributes(), (attr) =>
        version.eltwiseBackward(attr, kind, md(dst), md(diffSrc), md(diffDst)),
      ),
    softmaxBackward: ({ dst, diffSrc, diffDst, axis, log = false }) =>
      make({ dst, diffSrc, diffDst }, attributes(), (attr) =>
        version.softmaxBackward(attr, numbers.softmax[log ? 'log' : 'plain'], {
          dst: md(dst),
          diffSrc: md(diffSrc),
          diffDst: md(diffDst),
          axis,
        }),
      ),
    resamplingBackward: ({ diffSrc, diffDst, kind }) =>
      make({ diffSrc, diffDst }, attributes(), (attr) =>
        version.resamplingBackward(attr, numbers.resampling[kind], md(diffSrc), md(diffDst)),
      ),
    sum: ({ srcs, scales, dst }) =>
      make({ dst }, attributes(), (attr) => version.sum(attr, srcs.map(md), Float32Array.from(scales), md(dst))),
    reduction: ({ src, dst, kind }) =>
      make({ src, dst }, attributes(), (attr) => version.reduction(attr, numbers.reduction[kind], md(src), md(dst))),
  };
}
