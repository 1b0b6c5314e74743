import { ResidualError, unknownName } from '../errors.js';
import {
  avgPool,
  batchNorm,
  conv2d,
  dense,
  dropout,
  flatten,
  globalAvgPool,
  input,
  maxPool,
  network,
  relu,
  softmax,
  type Value,
  zeroPad,
} from '../graph/build.js';
import type { Graph } from '../graph/graph.js';
import { type BlockOptions, basicBlock, bottleneck, preActivationBlock, type Shortcut } from './blocks.js';
import { layerNames, type Spelling } from './layer-names.js';

/** Everything that tells one ResNet from another. A row of the family is one of these. */
export interface ResNetConfig {
  /** Two 3×3 convolutions; 1×1, 3×3, 1×1; or the latter with BatchNorm and ReLU in front (Keras' V2). */
  block: 'basic' | 'bottleneck' | 'preActivation';
  /** Blocks in each stage: He et al. 2015a, table 1 (three stages: their section 4.2, CIFAR). */
  depths: readonly number[];
  /** Channels of the stem and of the first stage; every stage doubles them. */
  width: number;
  groups: number;
  /** Channels of a group in the first stage: 64 is the plain ResNet, 128 "wide", 4 or 8 ResNeXt. */
  widthPerGroup: number;
  /** 7×7 with stride 2 and a pool, or one 3×3 as the paper uses on CIFAR. */
  stem: 'imagenet' | 'cifar';
  /** What lies around the picture in the stem's max pool: −∞ (torchvision), zeros (Keras), nothing (Keras 2015). */
  stemPool: 'padded' | 'zeroPadded' | 'unpadded';
  strideOn: '1x1' | '3x3';
  shortcut: Exclude<Shortcut, 'identity'>;
  convBias: boolean;
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

const torchvision: ResNetConfig = {
  block: 'bottleneck',
  depths: [3, 4, 6, 3],
  width: 64,
  groups: 1,
  widthPerGroup: 64,
  stem: 'imagenet',
  stemPool: 'padded',
  strideOn: '3x3',
  shortcut: 'projection',
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

const cifar: ResNetConfig = {
  ...torchvision,
  block: 'basic',
  width: 16,
  widthPerGroup: 16,
  stem: 'cifar',
  shortcut: 'pad',
  classes: 10,
  size: 32,
};

const keras: ResNetConfig = {
  ...torchvision,
  stemPool: 'zeroPadded',
  strideOn: '1x1',
  convBias: true,
  epsilon: 1.001e-5,
  softmax: true,
  spelling: 'keras',
};

const kerasV2: ResNetConfig = { ...keras, block: 'preActivation' };

/** Depths of He et al. 2015a, table 1. */
const depths = {
  18: [2, 2, 2, 2],
  34: [3, 4, 6, 3],
  50: [3, 4, 6, 3],
  101: [3, 4, 23, 3],
  152: [3, 8, 36, 3],
} as const;

/** Depth 6n + 2: n blocks of two convolutions in each of three stages (He et al. 2015a, section 4.2). */
const cifarDepths = (depth: number) => Array<number>(3).fill((depth - 2) / 6);

/** The family. A new member is a row. */
export const family = {
  resnet18: { ...torchvision, block: 'basic', depths: depths[18] },
  resnet34: { ...torchvision, block: 'basic', depths: depths[34] },
  resnet50: { ...torchvision, depths: depths[50] },
  resnet101: { ...torchvision, depths: depths[101] },
  resnet152: { ...torchvision, depths: depths[152] },
  resnext50_32x4d: { ...torchvision, depths: depths[50], groups: 32, widthPerGroup: 4 },
  resnext101_32x8d: { ...torchvision, depths: depths[101], groups: 32, widthPerGroup: 8 },
  resnext101_64x4d: { ...torchvision, depths: depths[101], groups: 64, widthPerGroup: 4 },
  wide_resnet50_2: { ...torchvision, depths: depths[50], widthPerGroup: 128 },
  wide_resnet101_2: { ...torchvision, depths: depths[101], widthPerGroup: 128 },
  plain18: { ...torchvision, block: 'basic', depths: depths[18], shortcut: 'none' },
  plain34: { ...torchvision, block: 'basic', depths: depths[34], shortcut: 'none' },
  resnet20: { ...cifar, depths: cifarDepths(20) },
  resnet32: { ...cifar, depths: cifarDepths(32) },
  resnet44: { ...cifar, depths: cifarDepths(44) },
  resnet56: { ...cifar, depths: cifarDepths(56) },
  resnet110: { ...cifar, depths: cifarDepths(110) },
  plain20: { ...cifar, depths: cifarDepths(20), shortcut: 'none' },
  plain32: { ...cifar, depths: cifarDepths(32), shortcut: 'none' },
  plain44: { ...cifar, depths: cifarDepths(44), shortcut: 'none' },
  plain56: { ...cifar, depths: cifarDepths(56), shortcut: 'none' },
  plain110: { ...cifar, depths: cifarDepths(110), shortcut: 'none' },
  'keras-resnet50': { ...keras, depths: depths[50] },
  'keras-resnet101': { ...keras, depths: depths[101] },
  'keras-resnet152': { ...keras, depths: depths[152] },
  'keras-resnet50v2': { ...kerasV2, depths: depths[50] },
  'keras-resnet101v2': { ...kerasV2, depths: depths[101] },
  'keras-resnet152v2': { ...kerasV2, depths: depths[152] },
  'keras2015-resnet50': { ...keras, depths: depths[50], stemPool: 'unpadded', epsilon: 1e-3, spelling: 'keras2015' },
} as const satisfies Record<string, ResNetConfig>;

export type FamilyName = keyof typeof family;
export type ResNetOptions = Partial<ResNetConfig>;

/**
 * A member of the family by name, changed by `options`.
 * @throws UNKNOWN_NAME with the nearest name; GRAPH when the options do not fit together.
 * @example const graph = build('resnet50', { classes: 5, size: [192, 256] });
 */
export function build(name: FamilyName | (string & {}), options: ResNetOptions = {}): Graph {
  if (!Object.hasOwn(family, name)) throw unknownName('model', name, Object.keys(family));
  const config: ResNetConfig = family[name as FamilyName];
  for (const option of Object.keys(options))
    if (!Object.hasOwn(config, option)) throw unknownName(`option of ${name}`, option, Object.keys(config));
  return resnet({ ...config, ...options }, name);
}

export const resnet18 = (options?: ResNetOptions): Graph => build('resnet18', options);
export const resnet34 = (options?: ResNetOptions): Graph => build('resnet34', options);
export const resnet50 = (options?: ResNetOptions): Graph => build('resnet50', options);
export const resnet101 = (options?: ResNetOptions): Graph => build('resnet101', options);
export const resnet152 = (options?: ResNetOptions): Graph => build('resnet152', options);

/** The network of a configuration: stem, stages of blocks, mean over the picture, classifier. */
export function resnet(config: ResNetConfig, name = 'resnet'): Graph {
  check(config);
  const { stem: kind, depths, classes } = config;
  const names = layerNames[config.spelling];
  const [height, width] = typeof config.size === 'number' ? [config.size, config.size] : config.size;

  const features: Record<string, Value> = {};
  let x =
    kind === 'imagenet'
      ? imagenetStem(input({ channels: config.channels, height, width }), config)
      : cifarStem(input({ channels: config.channels, height, width }), config);
  features.stem = x;
  let dilation = 1;
  depths.forEach((blocks, s) => {
    const strides = s > 0;
    const dilated = strides && kind === 'imagenet' && 4 * 2 ** s > config.outputStride;
    const before = dilation;
    if (dilated) dilation *= 2;
    for (let b = 0; b < blocks; b++) {
      const first = b === 0;
      x = block(x, config, {
        stage: s + 1,
        index: b,
        stride: first && strides && !dilated ? 2 : 1,
        dilation: first ? before : dilation,
      });
    }
    features[`layer${s + 1}`] = x;
  });
  if (config.block === 'preActivation')
    x = relu(batchNorm(x, { name: 'post_bn', epsilon: config.epsilon }), { name: 'post_relu' });
  x = config.spelling === 'keras2015' ? tutorialPool(x) : globalAvgPool(x, { name: names.pooled });
  features.avgpool = x;
  if (!classes) return network(name, { features: x }, features);
  if (config.dropout) x = dropout(x, config.dropout, { name: 'dropout' });
  const logits = dense(x, classes, { name: names.classifier(classes) });
  features.logits = logits;
  return network(name, config.softmax ? { probabilities: softmax(logits, { name: 'softmax' }) } : { logits }, features);
}

/** Settings that contradict each other are refused, not ignored. */
function check(config: ResNetConfig): void {
  const { block, groups, widthPerGroup, width, outputStride, classes, dropout, depths } = config;
  const { stem, strideOn, zeroInitLast, shortcut, convBias } = config;
  const refuse = (why: string) => {
    throw new ResidualError('ARGUMENT', why);
  };
  if (block !== 'bottleneck' && (groups !== 1 || widthPerGroup !== width))
    refuse(`groups ${groups} and widthPerGroup ${widthPerGroup} need block "bottleneck" but received "${block}"`);
  if (block === 'preActivation' && outputStride !== 32)
    refuse('outputStride 16 and 8 are not defined for block "preActivation"');
  if (stem === 'cifar' && outputStride !== 32) refuse('outputStride 16 and 8 are not defined for the stem "cifar"');
  if (block === 'basic' && strideOn !== '3x3')
    refuse(`strideOn "${strideOn}" needs block "bottleneck" but received "basic"`);
  if (block === 'preActivation' && (zeroInitLast || shortcut !== 'projection' || !convBias || strideOn !== '1x1'))
    refuse('zeroInitLast, shortcut, convBias and strideOn cannot be changed for block "preActivation"');
  if (!Number.isInteger(classes) || classes < 0)
    refuse(`expected a whole number of classes, 0 or more, but received ${classes}`);
  if (!(dropout >= 0 && dropout < 1)) refuse(`expected a dropout rate from 0 to below 1 but received ${dropout}`);
  if (!depths.length || depths.some((n) => !Number.isInteger(n) || n < 1))
    refuse(`expected positive integers for depths but received [${depths.join(', ')}]`);
}

/** 7×7 with stride 2, then a 3×3 max pool with stride 2: a quarter of the size. */
function imagenetStem(image: Value, { width, convBias, epsilon, stemPool, spelling, block }: ResNetConfig): Value {
  const { stem } = layerNames[spelling];
  let x = stem.pad ? zeroPad(image, 3, { name: stem.pad }) : image;
  x = conv2d(x, width, { name: stem.conv, kernel: 7, stride: 2, padding: stem.pad ? 0 : 3, bias: convBias });
  if (block !== 'preActivation') x = relu(batchNorm(x, { name: stem.norm, epsilon }), { name: stem.relu });
  if (stemPool === 'zeroPadded') x = zeroPad(x, 1, { name: stem.poolPad ?? 'pool_pad' });
  return maxPool(x, { name: stem.pool, kernel: 3, stride: 2, padding: stemPool === 'padded' ? 1 : 0 });
}

function cifarStem(image: Value, { width, convBias, epsilon, spelling }: ResNetConfig): Value {
  const { stem } = layerNames[spelling];
  const x = conv2d(image, width, { name: stem.conv, kernel: 3, padding: 1, bias: convBias });
  return relu(batchNorm(x, { name: stem.norm, epsilon }), { name: stem.relu });
}

function block(
  x: Value,
  config: ResNetConfig,
  at: { stage: number; index: number; stride: number; dilation: number },
): Value {
  const name = layerNames[config.spelling].block(at.stage, at.index);
  const planes = config.width * 2 ** (at.stage - 1);
  if (config.block === 'preActivation') {
    // Keras' V2 strides in the last block of a stage, not in the first (keras.applications.resnet, stack2).
    const last = at.index === config.depths[at.stage - 1] - 1;
    const stride = last && at.stage < config.depths.length ? 2 : 1;
    return preActivationBlock(x, planes, { name, stride, project: at.index === 0, epsilon: config.epsilon });
  }
  const { strideOn, shortcut, groups, convBias, epsilon, zeroInitLast, spelling } = config;
  const options: BlockOptions = { ...at, name, strideOn, shortcut, groups, convBias, epsilon, zeroInitLast, spelling };
  if (config.block === 'basic') return basicBlock(x, planes, options);
  // ResNeXt and wide ResNets widen the 3×3 only (torchvision's `width_per_group`).
  const inner = Math.floor((planes * config.widthPerGroup) / config.width) * groups;
  return bottleneck(x, inner, { ...options, filters: 4 * planes });
}

/** AveragePooling2D(7) and Flatten of the tutorials; a smaller picture takes a smaller window. */
function tutorialPool(x: Value): Value {
  const kernel = [Math.min(7, x.shape[2]), Math.min(7, x.shape[3])] as const;
  return flatten(avgPool(x, { name: 'avg_pool', kernel }), { name: 'flatten', channelsLast: true });
}
