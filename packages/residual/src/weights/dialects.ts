import type { ResNetConfig } from '../models/config.js';
import { type Rule, translation } from './rules.js';

/** How a file lays out its kernels: PyTorch `[out, in, kh, kw]`, Keras `[kh, kw, in, out]`. */
export type Layout = 'pytorch' | 'keras';

/** One way of spelling tensor names. */
export interface Dialect {
  readonly layout: Layout;
  /** A tensor that every file of this dialect has; the first group is what stands before the names. */
  readonly sign: RegExp;
  /** Another that it must have, which tells it from dialects with the same sign. */
  readonly also?: RegExp;
  readonly because: string;
  /** Names of a network's trunk. A tensor of such a name that has no place belongs to another network. */
  readonly trunk: RegExp;
  /** What networks in this dialect customarily have that neither names nor shapes tell. */
  readonly custom?: Partial<ResNetConfig>;
  /** The parameter a tensor is (`layer1.0.conv1.weight`), `'ignored'` for what inference does not need, else undefined. */
  parameter(name: string): string | undefined;
  /**
   * The reverse: the name of a parameter of this network in a file of this dialect, with what customarily stands
   * before it; undefined when the dialect has no name for it.
   */
  spell(parameter: string, config: ResNetConfig): string | undefined;
}

/** torchvision's modules. */
const trunk: readonly Rule[] = [
  ['conv1.{role}', 'conv1.{role}'],
  ['bn1.{role}', 'bn1.{role}'],
  ['layer{s}.{b}.conv{u}.{role}', 'layer{s}.{b}.conv{u}.{role}'],
  ['layer{s}.{b}.bn{u}.{role}', 'layer{s}.{b}.bn{u}.{role}'],
  ['layer{s}.{b}.downsample.{i}.{role}', 'layer{s}.{b}.downsample.{i}.{role}'],
];
const classifier: Rule = ['fc.{role}', 'fc.{role}'];
/** A network of the user's own has names of its own in files of this kind. */
const anything: Rule = ['{rest}.{role}', '{rest}.{role}', 'read'];

/** What timm's variants have beyond torchvision's. */
const switches: readonly Rule[] = [
  ['conv1.{i}.{role}', 'conv1.{i}.{role}'],
  ['maxpool.{i}.{role}', 'maxpool.{i}.{role}'],
  ['layer{s}.{b}.se.fc{i}.{role}', 'layer{s}.{b}.se.fc{i}.{role}'],
  ['layer{s}.{b}.se.conv.{role}', 'layer{s}.{b}.se.conv.{role}'],
];

/** What has weights in other networks and none in ours: activations such as PReLU, and GeM pooling with its exponent. */
const weighted = '^(([Pp]|[Ll](eaky_?)?)?[Rr]e[Ll][Uu]|act|act_fn|activation|non_?lin(earity)?)_?\\d*\\.|\\.p$';

const below = (prefix: string, rules: readonly Rule[]): Rule[] =>
  rules.map(([ours, theirs]) => [ours, `${prefix}${theirs}`]);

const huggingface: readonly Rule[] = [
  ['conv1.{role}', '(resnet.)embedder.embedder.convolution.{role}'],
  ['bn1.{role}', '(resnet.)embedder.embedder.normalization.{role}'],
  ['layer{s}.{b}.conv{u}.{role}', '(resnet.)encoder.stages.{s-1}.layers.{b}.layer.{u-1}.convolution.{role}'],
  ['layer{s}.{b}.bn{u}.{role}', '(resnet.)encoder.stages.{s-1}.layers.{b}.layer.{u-1}.normalization.{role}'],
  ['layer{s}.{b}.downsample.0.{role}', '(resnet.)encoder.stages.{s-1}.layers.{b}.shortcut.convolution.{role}'],
  ['layer{s}.{b}.downsample.1.{role}', '(resnet.)encoder.stages.{s-1}.layers.{b}.shortcut.normalization.{role}'],
  ['fc.{role}', 'classifier.1.{role}'],
];

/** Detectron2 counts stages from the stem's, 1; a norm belongs to its convolution. */
const detectron2: readonly Rule[] = [
  ['bn1.{role}', 'stem.conv1.norm.{role}'],
  ['conv1.{role}', 'stem.conv1.{role}'],
  ['layer{s}.{b}.bn{u}.{role}', 'res{s+1}.{b}.conv{u}.norm.{role}'],
  ['layer{s}.{b}.conv{u}.{role}', 'res{s+1}.{b}.conv{u}.{role}'],
  ['layer{s}.{b}.downsample.1.{role}', 'res{s+1}.{b}.shortcut.norm.{role}'],
  ['layer{s}.{b}.downsample.0.{role}', 'res{s+1}.{b}.shortcut.{role}'],
  ['fc.{role}', 'linear.{role}'],
  // Its convert-torchvision-to-d2.py puts whatever is no stage into the stem.
  ['fc.{role}', 'stem.fc.{role}', 'read'],
];

/** He's Caffe layers, whose BatchNorm only measures: what it learns is a layer called scale. */
const caffe: readonly Rule[] = [
  ['conv1.{role}', 'conv1.{role}'],
  ['bn1.{running}', 'bn_conv1.{running}'],
  ['bn1.{affine}', 'scale_conv1.{affine}'],
  ['layer{s}.{b}.conv{u}.{role}', 'res{s+1}{b:letter}_branch2{u-1:letter}.{role}'],
  ['layer{s}.{b}.bn{u}.{running}', 'bn{s+1}{b:letter}_branch2{u-1:letter}.{running}'],
  ['layer{s}.{b}.bn{u}.{affine}', 'scale{s+1}{b:letter}_branch2{u-1:letter}.{affine}'],
  ['layer{s}.{b}.downsample.0.{role}', 'res{s+1}{b:letter}_branch1.{role}'],
  ['layer{s}.{b}.downsample.1.{running}', 'bn{s+1}{b:letter}_branch1.{running}'],
  ['layer{s}.{b}.downsample.1.{affine}', 'scale{s+1}{b:letter}_branch1.{affine}'],
  ['fc.{role}', 'fc1000.{role}'],
  // Where a conversion joined the two layers, or the classifier is another.
  ['bn1.{affine}', 'bn_conv1.{affine}', 'read'],
  ['layer{s}.{b}.bn{u}.{affine}', 'bn{s+1}{b:letter}_branch2{u-1:letter}.{affine}', 'read'],
  ['layer{s}.{b}.downsample.1.{affine}', 'bn{s+1}{b:letter}_branch1.{affine}', 'read'],
  ['fc.{role}', 'fc{classes}.{role}', 'read'],
];

/** A PyTorch state dict by its rules; `prefix` is what customarily stands before every name. */
function pytorch(rules: readonly Rule[], prefix = ''): Pick<Dialect, 'layout' | 'parameter' | 'spell'> {
  const { read, write } = translation(rules);
  return {
    layout: 'pytorch',
    // A filter against aliasing is the same in every file; ours is a constant.
    parameter: (name) => (/\.(num_batches_tracked|aa\.filt|maxpool\.\d\.filt)$/.test(name) ? 'ignored' : read(name)),
    spell(parameter, { depths }) {
      // He's networks of 101 and 152 layers count the blocks of their two long stages.
      const name = write(parameter, (stage) => (depths[2] ?? 0) > 6 && (stage === 2 || stage === 3));
      return name === undefined ? undefined : prefix + name;
    },
  };
}

/** The last word of a Keras weight's name: the parameter it is. `running_std` is the variance, in spite of its name. */
const kerasRoles: Record<string, string> = {
  W: 'weight',
  kernel: 'weight',
  b: 'bias',
  bias: 'bias',
  gamma: 'weight',
  beta: 'bias',
  running_mean: 'running_mean',
  moving_mean: 'running_mean',
  running_std: 'running_var',
  moving_variance: 'running_var',
};

/** `conv1/conv1_W_1:0`, `conv1/conv1_W:0`, `conv1_conv/conv1_conv/kernel:0`, `conv1_conv/kernel`: layer first, role last. */
const kerasName = new RegExp(`^([^/]+)/(?:.*[/_])?(${Object.keys(kerasRoles).join('|')})(?:_\\d+)?(?::0)?$`);

export function kerasParameter(name: string): string | undefined {
  const match = kerasName.exec(name);
  return match ? `${match[1]}.${kerasRoles[match[2]]}` : undefined;
}

/** Layer, role and whether it is a BatchNorm, of a parameter of a network in one of Keras' spellings. */
function kerasParts(parameter: string, layers: RegExp): [layer: string, role: string, norm: boolean] | undefined {
  const [, layer, role] = /^(.+)\.(weight|bias|running_mean|running_var)$/.exec(parameter) ?? [];
  return layer !== undefined && layers.test(layer) ? [layer, role, /(^|_)bn/.test(layer)] : undefined;
}

const kerasWords = { weight: 'kernel', bias: 'bias', running_mean: 'moving_mean', running_var: 'moving_variance' };
const words2015 = { weight: 'W', bias: 'b', running_mean: 'running_mean', running_var: 'running_std' };
const normWords = { weight: 'gamma', bias: 'beta' };

const wordFor = (words: Record<string, string>, role: string, norm: boolean): string =>
  (norm ? { ...words, ...normWords } : words)[role];

/** The dialects, tried in order: those with a sign of their own before those that share torchvision's. A new one is a row. */
export const dialects = {
  moco: {
    ...pytorch(trunk, 'module.encoder_q.'),
    sign: /^(.*?(?:encoder_q|base_encoder)\.)layer1\.0\.conv1\.weight$/,
    because: 'it has the query encoder of MoCo',
    trunk: new RegExp(`^(conv|bn|layer)\\d|${weighted}`),
  },
  dino: {
    ...pytorch(trunk, 'teacher.backbone.'),
    sign: /^(.*?teacher\.(?:module\.)?backbone\.)layer1\.0\.conv1\.weight$/,
    because: 'it has the teacher of DINO',
    trunk: new RegExp(`^(conv|bn|layer)\\d|${weighted}`),
  },
  mmpretrain: {
    ...pytorch([['fc.{role}', 'head.fc.{role}'], ...below('backbone.', trunk)]),
    sign: /^(.*?)head\.fc\.weight$/,
    also: /(^|\.)backbone\.layer1\.0\.conv1\.weight$/,
    because: 'it has head.fc.weight',
    trunk: new RegExp(`^backbone\\.|${weighted}`),
  },
  huggingface: {
    ...pytorch(huggingface),
    sign: /^(.*?)(?:resnet\.)?embedder\.embedder\.convolution\.weight$/,
    because: 'it has embedder.embedder.convolution.weight',
    trunk: /^(resnet\.)?(embedder|encoder)\./,
  },
  detectron2: {
    ...pytorch(detectron2, 'backbone.bottom_up.'),
    sign: /^(.*?)res2\.0\.conv1\.norm\.weight$/,
    because: 'it has res2.0.conv1.norm.weight',
    trunk: /^(stem|res\d)\./,
    custom: { strideOn: '1x1' },
  },
  caffe: {
    ...pytorch(caffe),
    sign: /^(.*?)res2a_branch2a\.weight$/,
    because: 'it has res2a_branch2a.weight',
    trunk: /^(conv1|(bn|scale)_conv1|(res|bn|scale)\d)/,
    custom: { strideOn: '1x1', stemPool: 'ceil' },
  },
  timm: {
    ...pytorch([...trunk, ...switches, classifier, anything]),
    sign: /^(.*?)layer1\.0\.conv1\.weight$/,
    also: /(^|\.)(conv1\.0\.weight|maxpool\.0\.weight|layer1\.0\.(se\.(fc1|conv)|downsample\.2)\.weight)$/,
    because: 'it has layer1.0.conv1.weight',
    trunk: new RegExp(`^(conv|bn|layer)\\d|^maxpool\\.|${weighted}`),
  },
  torchvision: {
    // CIFAR code (akamaster/pytorch_resnet_cifar10) calls the classifier `linear`.
    ...pytorch([...trunk, classifier, ['fc.{role}', 'linear.{role}', 'read'], anything]),
    sign: /^(.*?)layer1\.0\.conv1\.weight$/,
    because: 'it has layer1.0.conv1.weight',
    trunk: new RegExp(`^(conv|bn|layer)\\d|${weighted}`),
  },
  keras: {
    layout: 'keras',
    sign: /^()conv2_block1_1_conv\//,
    because: 'it has the layer conv2_block1_1_conv',
    trunk: /^(conv\d|post_bn)/,
    parameter: kerasParameter,
    spell(parameter) {
      const [layer, role, norm] = kerasParts(parameter, /^(conv\d_|post_bn$|predictions$)/) ?? [];
      return layer && role && `${layer}/${layer}/${wordFor(kerasWords, role, norm === true)}:0`;
    },
  },
  keras2015: {
    layout: 'keras',
    sign: /^()res2a_branch2a\//,
    because: 'it has the layer res2a_branch2a',
    trunk: /^(conv1|(bn|scale)_conv1|(res|bn|scale)\d)/,
    parameter: kerasParameter,
    spell(parameter) {
      const [layer, role, norm] = kerasParts(parameter, /^(conv1|bn_conv1|(res|bn)\d\w*_branch\w+|fc\d+)$/) ?? [];
      return layer && role && `${layer}/${layer}_${wordFor(words2015, role, norm === true)}_1:0`;
    },
  },
} as const satisfies Record<string, Dialect>;

/** Who wrote a weight file, as far as its names tell. */
export type DialectName = keyof typeof dialects;
export const dialectNames = Object.keys(dialects) as DialectName[];
