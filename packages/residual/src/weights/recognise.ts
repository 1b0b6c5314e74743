import { type FamilyName, family, type ResNetConfig } from '../models/resnet.js';
import type { Shape } from '../tensor.js';
import { type Dialect, dialects } from './dialects.js';
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
export function recogniseArchitecture(naming: Naming, shapeOf: ShapeOf): Architecture | undefined {
  const config = naming.layout === 'pytorch' ? torchConfig(naming, shapeOf) : kerasConfig(naming, shapeOf);
  if (!config) return undefined;
  const name = familyName(config);
  // Names do not tell what is put against aliasing; where only a member that has it fits, it is that one.
  const [only, ...others] = name === undefined ? lookalikes(config) : [];
  if (only !== undefined && !others.length)
    return { name: only, config: { ...config, antiAlias: family[only].antiAlias } };
  return { name: nameOf(config), config };
}

/** Members of the family that have the same tensors: all that differs is what is put against aliasing. */
export const lookalikes = (config: ResNetConfig): FamilyName[] =>
  (['none', 'mean', 'blur'] as const).flatMap((antiAlias) => {
    const name = antiAlias === config.antiAlias ? undefined : familyName({ ...config, antiAlias });
    return name === undefined ? [] : [name];
  });

type ShapeOf = (parameter: string) => Shape | undefined;

/** torchvision's ResNets and what timm's and others' have beyond them; parameters have torchvision's and timm's names. */
function torchConfig(naming: Naming, shapeOf: ShapeOf): ResNetConfig | undefined {
  const has = (parameter: string) => naming.tensors.has(parameter);
  const depths = countBlocks(naming, /^layer(\d+)\.(\d+)\.conv1\.weight$/);
  const stem = shapeOf('conv1.weight') ?? shapeOf('conv1.0.weight');
  const [first, second] = [shapeOf('layer1.0.conv1.weight'), shapeOf('layer1.0.conv2.weight')];
  // A network without BatchNorm is no ResNet, whatever its layers are called.
  if (!depths.length || !stem || !first || !second || !has('layer1.0.bn1.weight')) return undefined;
  const deep = has('conv1.0.weight');
  const base = stem[2] >= 7 || deep ? family.resnet50 : family.resnet20;
  const bottleneck = has('layer1.0.conv3.weight');
  const groups = bottleneck ? Math.max(1, Math.round(first[0] / second[1])) : 1;
  const width = bottleneck ? Math.round((shapeOf('layer1.0.conv3.weight')?.[0] ?? 0) / 4) : first[0];
  const { custom }: Dialect = dialects[naming.author ?? naming.dialect];
  return {
    ...base,
    // ResNeXt strides on its 3×3 wherever it comes from (Xie et al. 2016; STRIDE_IN_1X1 False in Detectron2's configs).
    ...(custom && (bottleneck && groups === 1 ? custom : { ...custom, strideOn: '3x3' })),
    block: bottleneck ? 'bottleneck' : 'basic',
    depths,
    width,
    groups,
    widthPerGroup: bottleneck ? Math.round(second[0] / groups) : width,
    reduceFirst: bottleneck && 2 * first[0] === second[0] ? 2 : 1,
    ...(deep && deepStem(stem, shapeOf)),
    ...(has('maxpool.0.weight') && { stemPool: 'conv' }),
    shortcut: projects(2, 0, shapeOf) ? (projects(1, 1, shapeOf) ? 'projectAll' : 'projection') : 'pad',
    projection: projects(2, 0, shapeOf) ?? 'strided',
    ...attention(depths.length, shapeOf),
    // Older files of timm hold the filters of their blurs.
    antiAlias: naming.ignored.some((name) => name.endsWith('.aa.filt')) ? 'blur' : 'none',
    convBias: has('layer1.0.conv1.bias') || (has('conv1.bias') && 'stem'),
    classes: shapeOf('fc.weight')?.[0] ?? 0,
    channels: stem[1],
  };
}

function deepStem([first]: Shape, shapeOf: ShapeOf): Partial<ResNetConfig> {
  const stemWidth = shapeOf('conv1.3.weight')?.[0] ?? 0;
  return { stem: first === stemWidth ? 'deep' : 'deepTiered', stemWidth };
}

/** What a block's shortcut has: a strided 1×1 or 3×3, or a 1×1 that timm counts behind a mean. */
function projects(stage: number, block: number, shapeOf: ShapeOf): ResNetConfig['projection'] | undefined {
  const [zeroth, first] = [0, 1].map((i) => shapeOf(`layer${stage}.${block}.downsample.${i}.weight`));
  if (zeroth?.length === 4) return zeroth[2] === 3 ? '3x3' : 'strided';
  return first?.length === 4 ? 'averaged' : undefined;
}

function attention(stages: number, shapeOf: ShapeOf): Partial<ResNetConfig> {
  // In the last stage, where rounding to eight channels changes nothing.
  const squeeze = shapeOf(`layer${stages}.0.se.fc1.weight`);
  if (squeeze) return { attention: 'se', seRatio: squeeze[0] / squeeze[1] };
  return shapeOf('layer1.0.se.conv.weight') ? { attention: 'eca' } : {};
}

function kerasConfig(naming: Naming, shapeOf: ShapeOf): ResNetConfig | undefined {
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

/** The member of the family that a configuration is. */
export const familyName = (config: ResNetConfig): FamilyName | undefined =>
  (Object.keys(family) as FamilyName[]).find((name) => !differingSettings(config, family[name]).length);

/** What a network is called: as the family calls it, or what it is made of. */
export const nameOf = (config: ResNetConfig): string =>
  familyName(config) ?? `resnet of ${config.depths.join(', ')} ${config.block} blocks`;

/** The settings in which two members of the family are different networks. */
export function differingSettings(a: ResNetConfig, b: ResNetConfig): readonly (keyof ResNetConfig)[] {
  const settings = Object.keys(a) as (keyof ResNetConfig)[];
  return settings.filter((key) => !incidental.includes(key) && String(a[key]) !== String(b[key]));
}
