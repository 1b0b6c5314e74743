import { formatShape, type Shape, sameShape, sizeOf } from '../tensor.js';
import { misfit, type OpAttributes, type OpRow } from './ops.js';

type None = Record<never, never>;

/**
 * What a training step computes beyond the network itself: normalisation by the batch, losses, and the gradients of the
 * ops. `dy` is the loss's gradient by an op's result, `dx` by its input. A ° marks an input of which only the shape
 * matters. Inputs are in this order: activations, then parameters.
 */
export interface TrainingOpAttributes {
  /**
   * [x, gamma, beta] → [y, mean, variance]: normalised by the mean and the biased variance of the batch, which come out
   * too, `[C]` (Ioffe and Szegedy 2015, algorithm 1).
   */
  batchNormTraining: { epsilon: number };
  /** [logits, targets] → [loss `[1]`]: −Σ targets · log softmax(logits), the mean over the batch; both `[N, K]`. */
  crossEntropy: None;
  /** [logits, targets] → [loss `[1]`] of independent classes, the mean over all N · K (PyTorch's BCEWithLogitsLoss). */
  binaryCrossEntropy: None;
  /** [logits, targets] → [d logits], for a loss whose own gradient is 1. */
  crossEntropyGradient: None;
  binaryCrossEntropyGradient: None;
  /** [dy, x°, weight] → [dx]. */
  conv2dInputGradient: OpAttributes['conv2d'];
  /** [dy, x] → [d weight]. */
  conv2dWeightGradient: OpAttributes['conv2d'];
  /** [dy] → [d bias]: the sum over all axes but the second. */
  channelSum: None;
  /** [dy, x, mean, variance, gamma] → [dx, d gamma, d beta]: the statistics are the batch's and depend on x. */
  batchNormGradient: { epsilon: number };
  /** [dy, gamma, variance] → [dx]: dy · gamma / sqrt(variance + epsilon), for statistics that stay as they are. */
  frozenBatchNormGradient: { epsilon: number };
  /** [dy, y] → [dx]. */
  reluGradient: None;
  /** [dy, y] → [dx]. */
  sigmoidGradient: None;
  /** [dy, y] → [dx]. */
  softmaxGradient: None;
  /** [dy, x] → [dx]: to the first largest of each window, row by row, as PyTorch does. */
  maxPoolGradient: OpAttributes['maxPool'];
  /** [dy, x°] → [dx]. */
  avgPoolGradient: OpAttributes['avgPool'];
  globalAvgPoolGradient: None;
  blurPoolGradient: OpAttributes['blurPool'];
  resizeGradient: OpAttributes['resize'];
  /** [dy, x°] → [dx]: back to the shape before `flatten` or `reshape`. */
  unflatten: { channelsLast: boolean };
  /** [x] → [x without its first `before` and last `after` indices along `axis`]. */
  trim: { axis: number; before: number; after: number };
  /** `[N, C, H, W]` → `[N, C, 1, 1]`. */
  spatialSum: None;
  /** [dy, weight] → [dx]. */
  denseInputGradient: None;
  /** [dy, x] → [d weight]. */
  denseWeightGradient: None;
}

export type TrainingOpName = keyof TrainingOpAttributes;

/** As a row of the op table; of the inputs in `mirrored` only the shape matters. */
export interface TrainingOpRow<K extends TrainingOpName> extends Omit<OpRow<never>, 'layer' | 'shapes'> {
  activations: number;
  mirrored?: readonly number[];
  shapes(inputs: readonly Shape[], attributes: TrainingOpAttributes[K], name: string): Shape[];
}

const free = () => 0;
/** A gradient by an input has that input's shape. */
const likeSecond = { activations: 2, parameters: [], macs: free } as const;
const mirror = { ...likeSecond, mirrored: [1], shapes: ([, x]: readonly Shape[]): Shape[] => [x] } as const;
const elementwise = {
  ...likeSecond,
  shapes([dy, y]: readonly Shape[], _attributes: unknown, name: string): Shape[] {
    if (!sameShape(dy, y)) throw misfit(name, `it takes the gradient of ${formatShape(y, true)}`, dy);
    return [y];
  },
} as const;
const loss = {
  ...likeSecond,
  shapes(inputs: readonly Shape[], _attributes: unknown, name: string): Shape[] {
    elementwise.shapes(inputs, _attributes, name);
    return [[1]];
  },
} as const;

/** The ops of a training step that no network holds: the op table's second half. */
export const trainingOps: { [K in TrainingOpName]: TrainingOpRow<K> } = {
  batchNormTraining: {
    activations: 1,
    parameters: ['gamma', 'beta'],
    shapes([x, gamma], _attributes, name) {
      if (x[1] !== gamma[0]) throw misfit(name, `it normalises ${gamma[0]} channels`, x);
      return [x, gamma, gamma];
    },
    macs: free,
  },
  crossEntropy: loss,
  binaryCrossEntropy: loss,
  crossEntropyGradient: elementwise,
  binaryCrossEntropyGradient: elementwise,
  conv2dInputGradient: {
    activations: 2,
    mirrored: [1],
    parameters: ['weight'],
    shapes: ([, x]) => [x],
    macs: ([dy, , weight]) => sizeOf(dy) * sizeOf(weight.slice(1)),
  },
  conv2dWeightGradient: {
    ...likeSecond,
    shapes: ([dy, x], { kernel, groups }) => [[dy[1], x[1] / groups, ...kernel]],
    macs: ([dy], [weight]) => sizeOf(dy) * sizeOf(weight.slice(1)),
  },
  channelSum: { activations: 1, parameters: [], shapes: ([dy]) => [[dy[1]]], macs: free },
  batchNormGradient: {
    activations: 4,
    parameters: ['gamma'],
    shapes: ([, x, , , gamma]) => [x, gamma, gamma],
    macs: free,
  },
  frozenBatchNormGradient: {
    activations: 1,
    parameters: ['gamma', 'variance'],
    shapes: ([dy]) => [dy],
    macs: free,
  },
  reluGradient: elementwise,
  sigmoidGradient: elementwise,
  softmaxGradient: elementwise,
  maxPoolGradient: { ...likeSecond, shapes: ([, x]) => [x] },
  avgPoolGradient: mirror,
  globalAvgPoolGradient: mirror,
  blurPoolGradient: mirror,
  resizeGradient: mirror,
  unflatten: mirror,
  trim: {
    activations: 1,
    parameters: [],
    shapes([x], { axis, before, after }, name) {
      const left = x[axis] - before - after;
      if (!(left > 0)) throw misfit(name, `it takes ${before} and ${after} from the ends of axis ${axis}`, x);
      return [x.with(axis, left)];
    },
    macs: free,
  },
  spatialSum: { activations: 1, parameters: [], shapes: ([[n, c]]) => [[n, c, 1, 1]], macs: free },
  denseInputGradient: {
    activations: 1,
    parameters: ['weight'],
    shapes: ([dy, weight]) => [[dy[0], weight[1]]],
    macs: ([dy, weight]) => dy[0] * sizeOf(weight),
  },
  denseWeightGradient: {
    ...likeSecond,
    shapes: ([dy, x]) => [[dy[1], x[1]]],
    macs: ([dy, x]) => dy[0] * dy[1] * x[1],
  },
};
