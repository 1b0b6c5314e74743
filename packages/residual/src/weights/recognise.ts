import { family, type ResNetConfig } from '../models/resnet.js';
import type { Shape } from '../tensor.js';
import type { Naming } from './names.js';

/** The network that a set of tensors was made for. */
export interface Architecture {
  /** The family's name for it when it has one, else a description: `resnet of 2, 2, 2 basic blocks`. */
  readonly name: string;
  readonly config: ResNetConfig;
}

/**
 * Reads the architecture off names and shapes. What weights cannot tell (stride placement, BatchNorm's epsilon, a
 * shortcut without parameters) is the dialect's custom. Undefined when the tensors are no ResNet of ours.
 */
export function recogniseArchitecture(
  naming: Naming,
  shapeOf: (parameter: string) => Shape | undefined,
): Architecture | undefined {
  const config = naming.dialect === 'torchvision' ? torchvisionConfig(naming, shapeOf) : kerasConfig(naming, shapeOf);
  return config && { name: nameOf(config), config };
}

function torchvisionConfig(
  naming: Naming,
  shapeOf: (parameter: string) => Shape | undefined,
): ResNetConfig | undefined {
  const has = (parameter: string) => naming.tensors.has(parameter);
  const depths = countBlocks(naming, /^layer(\d+)\.(\d+)\.conv1\.weight$/);
  const stem = shapeOf('conv1.weight');
  const second = shapeOf('layer1.0.conv2.weight');
  // A network without BatchNorm is no ResNet, whatever its layers are called.
  if (!depths.length || !stem || !second || !has('layer1.0.bn1.weight')) return undefined;
  const base = stem[2] >= 7 ? family.resnet50 : family.resnet20;
  const width = stem[0];
  const bottleneck = has('layer1.0.conv3.weight');
  const groups = bottleneck ? Math.round(second[0] / second[1]) : 1;
  return {
    ...base,
    block: bottleneck ? 'bottleneck' : 'basic',
    depths,
    width,
    groups,
    widthPerGroup: bottleneck ? Math.round(second[0] / groups) : width,
    shortcut: has('layer2.0.downsample.0.weight')
      ? has('layer1.1.downsample.0.weight')
        ? 'projectAll'
        : 'projection'
      : 'pad',
    convBias: has('conv1.bias'),
    classes: shapeOf('fc.weight')?.[0] ?? 0,
    channels: stem[1],
  };
}

function kerasConfig(naming: Naming, shapeOf: (parameter: string) => Shape | undefined): ResNetConfig | undefined {
  if (naming.dialect === 'keras2015') {
    const width = shapeOf('conv1.weight')?.[0] ?? 64;
    const classifier = [...naming.tensors.keys()].find((name) => /^fc\d+\.weight$/.test(name));
    return {
      ...family['keras2015-resnet50'],
      depths: countLetters(naming),
      width,
      widthPerGroup: width,
      channels: shapeOf('conv1.weight')?.[1] ?? 3,
      classes: classifier ? (shapeOf(classifier)?.[0] ?? 0) : 0,
    };
  }
  const width = shapeOf('conv1_conv.weight')?.[0] ?? 64;
  const v2 = naming.tensors.has('post_bn.weight');
  const depths = countBlocks(naming, /^conv(\d+)_block(\d+)_1_conv\.weight$/);
  return {
    ...family[v2 ? 'keras-resnet50v2' : 'keras-resnet50'],
    depths,
    width,
    widthPerGroup: width,
    channels: shapeOf('conv1_conv.weight')?.[1] ?? 3,
    classes: shapeOf('predictions.weight')?.[0] ?? 0,
  };
}

/** Blocks of each stage, from names whose groups are stage and block. */
function countBlocks(naming: Naming, pattern: RegExp): number[] {
  const counts = new Map<number, number>();
  for (const name of naming.tensors.keys()) {
    const match = pattern.exec(name);
    if (match) counts.set(Number(match[1]), (counts.get(Number(match[1])) ?? 0) + 1);
  }
  return [...counts].sort(([a], [b]) => a - b).map(([, blocks]) => blocks);
}

/** The same for Keras 2015's `res2a_branch2a`. */
const countLetters = (naming: Naming): number[] => countBlocks(naming, /^res(\d)([a-z]\d*)_branch2a\.weight$/);

/** Settings that do not change which member of the family it is. */
const incidental: readonly (keyof ResNetConfig)[] = [
  'classes',
  'size',
  'channels',
  'dropout',
  'zeroInitLast',
  'softmax',
];

function nameOf(config: ResNetConfig): string {
  for (const [name, row] of Object.entries(family)) if (!differingSettings(config, row).length) return name;
  return `resnet of ${config.depths.join(', ')} ${config.block} blocks`;
}

/** The settings in which two members of the family are different networks. */
export function differingSettings(a: ResNetConfig, b: ResNetConfig): readonly (keyof ResNetConfig)[] {
  const settings = Object.keys(a) as (keyof ResNetConfig)[];
  return settings.filter((key) => !incidental.includes(key) && String(a[key]) !== String(b[key]));
}
