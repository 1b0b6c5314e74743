import { ResidualError } from '../errors.js';
import type { Shortcut } from './blocks.js';
import type { Spelling } from './layer-names.js';

/** Everything that tells one ResNet from another. A row of the family is one of these. */
export interface ResNetConfig {
  /** Two 3×3 convolutions; 1×1, 3×3, 1×1; or the latter with BatchNorm and ReLU in front (Keras' V2). */
  block: 'basic' | 'bottleneck' | 'preActivation';
  /** Blocks in each stage: He et al. 2015a, table 1 (three stages: their section 4.2, CIFAR). */
  depths: readonly number[];
  /** Channels of the first stage (and of its stem); every stage doubles them. */
  width: number;
  groups: number;
  /** Channels of a group in the first stage: 64 is the plain ResNet, 128 "wide", 4 or 8 ResNeXt. */
  widthPerGroup: number;
  /** The first convolution of a bottleneck has its width divided by this (SENet-154: 2). */
  reduceFirst: 1 | 2;
  /**
   * 7×7 with stride 2 and a pool; three 3×3 in its place ("deep": He et al. 2018, figure 2b), the first of which is
   * narrower ("deepTiered"); or one 3×3 as the paper uses on CIFAR.
   */
  stem: 'imagenet' | 'deep' | 'deepTiered' | 'cifar';
  /** Channels inside a deep stem; its last convolution has twice as many. */
  stemWidth: number;
  /**
   * What lies around the picture in the stem's max pool: −∞ (torchvision), zeros (Keras), nothing (Keras 2015), −∞ at
   * the bottom and right (Caffe, which rounds up); or a 3×3 convolution with stride 2 in its place (ResNet-RS: Bello
   * et al. 2021, section 4).
   */
  stemPool: 'padded' | 'zeroPadded' | 'unpadded' | 'ceil' | 'conv';
  strideOn: '1x1' | '3x3';
  /** What stands before a stride to keep it from aliasing: a mean of 2×2, or a blur (Zhang 2019), which then strides. */
  antiAlias: 'none' | 'mean' | 'blur';
  shortcut: Exclude<Shortcut, 'identity'>;
  /** How a projection strides: its 1×1 does, a mean of 2×2 before it (ResNet-D), or its kernel is 3×3 (SENet-154). */
  projection: 'strided' | 'averaged' | '3x3';
  /** Squeeze and excitation (Hu et al. 2018) or efficient channel attention (Wang et al. 2020) on every block. */
  attention: 'none' | 'se' | 'eca';
  /** Channels inside squeeze and excitation, as a share of the block's; rounded to a multiple of eight. */
  seRatio: number;
  /** Biases on all convolutions, on none, or on the stem's alone (He's ResNet-50 in Caffe). */
  convBias: boolean | 'stem';
  /** BatchNorm's. */
  epsilon: number;
  /** Share dropped before the classifier; 0 puts no layer there. */
  dropout: number;
  /** 0 leaves the classifier away: the network ends with the pooled features. */
  classes: number;
  /** A softmax layer at the end, as Keras' classifiers have it. */
  softmax: boolean;
  channels: number;
  /** Side, or height and width, of the pictures it is built for. */
  size: number | readonly [height: number, width: number];
  /** 32 as in the paper; 16 or 8 dilate the last one or two stages instead of striding (Yu et al. 2017). */
  outputStride: 32 | 16 | 8;
  /** Start every block as the identity. */
  zeroInitLast: boolean;
  spelling: Spelling;
}

/** What torchvision's ResNets have in common, and all others are told from. */
export const torchvision: ResNetConfig = {
  block: 'bottleneck',
  depths: [3, 4, 6, 3],
  width: 64,
  groups: 1,
  widthPerGroup: 64,
  reduceFirst: 1,
  stem: 'imagenet',
  stemWidth: 64,
  stemPool: 'padded',
  strideOn: '3x3',
  antiAlias: 'none',
  shortcut: 'projection',
  projection: 'strided',
  attention: 'none',
  seRatio: 1 / 16,
  convBias: false,
  epsilon: 1e-5,
  dropout: 0,
  classes: 1000,
  softmax: false,
  channels: 3,
  size: 224,
  outputStride: 32,
  zeroInitLast: false,
  spelling: 'torchvision',
};

/** Depths of He et al. 2015a, table 1; 26 and 200 after them. */
export const depths = {
  18: [2, 2, 2, 2],
  26: [2, 2, 2, 2],
  34: [3, 4, 6, 3],
  50: [3, 4, 6, 3],
  101: [3, 4, 23, 3],
  152: [3, 8, 36, 3],
  200: [3, 24, 36, 3],
  269: [3, 30, 48, 8],
} as const;

/**
 * Settings that contradict each other are refused, not ignored.
 * @throws ARGUMENT
 */
export function checkConfig(config: ResNetConfig): void {
  const { block, groups, widthPerGroup, width, outputStride, classes, dropout, depths } = config;
  const { stem, stemPool, stemWidth, strideOn, zeroInitLast, shortcut, convBias, spelling } = config;
  const { antiAlias, projection, attention, seRatio, reduceFirst } = config;
  const refuse = (why: string) => {
    throw new ResidualError('ARGUMENT', why);
  };
  if (block !== 'bottleneck' && (groups !== 1 || widthPerGroup !== width || reduceFirst !== 1))
    refuse(
      `groups ${groups}, widthPerGroup ${widthPerGroup} and reduceFirst ${reduceFirst} need block "bottleneck" but received "${block}"`,
    );
  if (block === 'preActivation' && outputStride !== 32)
    refuse('outputStride 16 and 8 are not defined for block "preActivation"');
  if (stem === 'cifar' && outputStride !== 32) refuse('outputStride 16 and 8 are not defined for the stem "cifar"');
  if (block === 'basic' && strideOn !== '3x3')
    refuse(`strideOn "${strideOn}" needs block "bottleneck" but received "basic"`);
  if (
    block === 'preActivation' &&
    (zeroInitLast || shortcut !== 'projection' || convBias !== true || strideOn !== '1x1')
  )
    refuse('zeroInitLast, shortcut, convBias and strideOn cannot be changed for block "preActivation"');
  const newer = Object.entries({
    stem: stem.startsWith('deep') && stem,
    stemPool: stemPool === 'conv' && stemPool,
    antiAlias: antiAlias !== 'none' && antiAlias,
    projection: projection !== 'strided' && projection,
    attention: attention !== 'none' && attention,
  }).find(([, value]) => value);
  if (newer && (spelling !== 'torchvision' || block === 'preActivation'))
    refuse(`${newer.join(' "')}" needs the spelling "torchvision" and block "basic" or "bottleneck"`);
  if (outputStride !== 32 && (antiAlias !== 'none' || projection !== 'strided'))
    refuse(`outputStride ${outputStride} is not defined for antiAlias "${antiAlias}" and projection "${projection}"`);
  if (antiAlias !== 'none' && (strideOn !== '3x3' || stem === 'cifar' || stemPool !== 'padded'))
    refuse('antiAlias needs strideOn "3x3", a stem for large pictures and stemPool "padded"');
  if (!(seRatio > 0 && seRatio <= 1)) refuse(`expected a seRatio above 0, up to 1, but received ${seRatio}`);
  if (stem === 'deepTiered' && stemWidth % 4)
    refuse(`stem "deepTiered" needs a stemWidth that is a multiple of 4 but received ${stemWidth}`);
  if (!Number.isInteger(classes) || classes < 0)
    refuse(`expected a whole number of classes, 0 or more, but received ${classes}`);
  if (!(dropout >= 0 && dropout < 1)) refuse(`expected a dropout rate from 0 to below 1 but received ${dropout}`);
  if (!depths.length || depths.some((n) => !Number.isInteger(n) || n < 1))
    refuse(`expected positive integers for depths but received [${depths.join(', ')}]`);
}
