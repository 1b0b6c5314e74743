import { unknownName } from '../errors.js';
import {
  avgPool,
  batchNorm,
  dense,
  dropout,
  flatten,
  globalAvgPool,
  network,
  relu,
  softmax,
  type Value,
} from '../graph/build.js';
import type { Graph } from '../graph/graph.js';
import { type BlockOptions, basicBlock, bottleneck, preActivationBlock } from './blocks.js';
import { checkConfig, depths, type ResNetConfig, torchvision } from './config.js';
import { layerNames } from './layer-names.js';
import { stem } from './stem.js';
import { timm } from './timm.js';

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
  ...timm,
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

export type { ResNetConfig } from './config.js';
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
  checkConfig(config);
  const { depths, classes } = config;
  const names = layerNames[config.spelling];

  const features: Record<string, Value> = {};
  let x = stem(config);
  features.stem = x;
  let dilation = 1;
  depths.forEach((blocks, s) => {
    const strides = s > 0;
    const dilated = strides && config.stem !== 'cifar' && 4 * 2 ** s > config.outputStride;
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
  const options: BlockOptions = { ...config, ...at, name, convBias: config.convBias === true };
  if (config.block === 'basic') return basicBlock(x, planes, options);
  // ResNeXt and wide ResNets widen the 3×3 only (torchvision's `width_per_group`).
  const inner = Math.floor((planes * config.widthPerGroup) / config.width) * config.groups;
  return bottleneck(x, inner, { ...options, filters: 4 * planes });
}

/** AveragePooling2D(7) and Flatten of the tutorials; a smaller picture takes a smaller window. */
function tutorialPool(x: Value): Value {
  const kernel = [Math.min(7, x.shape[2]), Math.min(7, x.shape[3])] as const;
  return flatten(avgPool(x, { name: 'avg_pool', kernel }), { name: 'flatten', channelsLast: true });
}
