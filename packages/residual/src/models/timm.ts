import { depths, type ResNetConfig, torchvision } from './config.js';

// The ResNets of timm (huggingface/pytorch-image-models, timm/models/resnet.py) that torchvision does not have: each is
// torchvision's with some switches. Their weights are spelled as torchvision's, with names of their own for what is new.

/** ResNet-C and S: a deep stem (s: wider). */
const c = { stem: 'deep', stemWidth: 32 } as const;
const s = { stem: 'deep', stemWidth: 64 } as const;
/** ResNet-D: a deep stem and means in the shortcuts (He et al. 2018, section 4). T: the stem grows in three steps. */
const d = { ...c, projection: 'averaged' } as const;
const t = { ...d, stem: 'deepTiered' } as const;
const se = { attention: 'se' } as const;
const eca = { attention: 'eca' } as const;
const aa = { antiAlias: 'mean' } as const;
const blur = { antiAlias: 'blur' } as const;
/** ResNet-RS (Bello et al. 2021). */
const rs = { ...d, stemPool: 'conv', attention: 'se', seRatio: 1 / 4 } as const;

const row = (blocks: readonly number[], ...switches: Partial<ResNetConfig>[]): ResNetConfig =>
  Object.assign({}, torchvision, { depths: blocks }, ...switches);
const basic = (blocks: readonly number[], ...switches: Partial<ResNetConfig>[]): ResNetConfig =>
  row(blocks, { block: 'basic' }, ...switches);
const groups = (count: number, width: number) => ({ groups: count, widthPerGroup: width });

export const timm = {
  resnet10t: basic([1, 1, 1, 1], t),
  resnet14t: row([1, 1, 1, 1], t),
  resnet18d: basic(depths[18], d),
  resnet26: row(depths[26]),
  resnet26d: row(depths[26], d),
  resnet26t: row(depths[26], t),
  resnet34d: basic(depths[34], d),
  resnet50c: row(depths[50], c),
  resnet50d: row(depths[50], d),
  resnet50s: row(depths[50], s),
  resnet50t: row(depths[50], t),
  resnet101c: row(depths[101], c),
  resnet101d: row(depths[101], d),
  resnet101s: row(depths[101], s),
  resnet152c: row(depths[152], c),
  resnet152d: row(depths[152], d),
  resnet152s: row(depths[152], s),
  resnet200: row(depths[200]),
  resnet200d: row(depths[200], d),
  resnext50d_32x4d: row(depths[50], groups(32, 4), d),
  resnext101_32x4d: row(depths[101], groups(32, 4)),
  resnext101_32x16d: row(depths[101], groups(32, 16)),
  resnext101_32x32d: row(depths[101], groups(32, 32)),
  resnext101_32x48d: row(depths[101], groups(32, 48)),
  seresnet18: basic(depths[18], se),
  seresnet34: basic(depths[34], se),
  seresnet50: row(depths[50], se),
  seresnet50t: row(depths[50], t, se),
  seresnet101: row(depths[101], se),
  seresnet152: row(depths[152], se),
  seresnet152d: row(depths[152], d, se),
  seresnet200d: row(depths[200], d, se),
  seresnet269d: row(depths[269], d, se),
  seresnext26d_32x4d: row(depths[26], groups(32, 4), d, se),
  seresnext26t_32x4d: row(depths[26], groups(32, 4), t, se),
  seresnext50_32x4d: row(depths[50], groups(32, 4), se),
  seresnext101_32x4d: row(depths[101], groups(32, 4), se),
  seresnext101_32x8d: row(depths[101], groups(32, 8), se),
  seresnext101d_32x8d: row(depths[101], groups(32, 8), d, se),
  seresnext101_64x4d: row(depths[101], groups(64, 4), se),
  senet154: row(depths[152], groups(64, 4), s, se, { projection: '3x3', reduceFirst: 2 }),
  ecaresnet26t: row(depths[26], t, eca),
  ecaresnet50d: row(depths[50], d, eca),
  ecaresnet50t: row(depths[50], t, eca),
  ecaresnetlight: row([1, 1, 11, 3], eca, { projection: 'averaged' }),
  ecaresnet101d: row(depths[101], d, eca),
  ecaresnet200d: row(depths[200], d, eca),
  ecaresnet269d: row(depths[269], d, eca),
  ecaresnext26t_32x4d: row(depths[26], groups(32, 4), t, eca),
  // Of 26 layers in spite of its name.
  ecaresnext50t_32x4d: row(depths[26], groups(32, 4), t, eca),
  resnetblur18: basic(depths[18], blur),
  resnetblur50: row(depths[50], blur),
  resnetblur50d: row(depths[50], d, blur),
  resnetblur101d: row(depths[101], d, blur),
  resnetaa34d: basic(depths[34], d, aa),
  resnetaa50: row(depths[50], aa),
  resnetaa50d: row(depths[50], d, aa),
  resnetaa101d: row(depths[101], d, aa),
  seresnetaa50d: row(depths[50], d, aa, se),
  seresnextaa101d_32x8d: row(depths[101], groups(32, 8), d, aa, se),
  seresnextaa201d_32x8d: row([3, 24, 36, 4], groups(32, 8), d, aa, se, { stemWidth: 64 }),
  resnetrs50: row(depths[50], rs),
  resnetrs101: row(depths[101], rs),
  resnetrs152: row(depths[152], rs),
  resnetrs200: row(depths[200], rs),
  resnetrs270: row([4, 29, 53, 4], rs),
  resnetrs350: row([4, 36, 72, 4], rs),
  resnetrs420: row([4, 44, 87, 4], rs),
};

/** ResNets of timm that the family cannot build, and what it lacks for them. */
export const timmLacks: Readonly<Record<string, string>> = {
  resnet50_gn: 'GroupNorm',
  ecaresnet50d_pruned: 'channel counts of its own in every layer',
  ecaresnet101d_pruned: 'channel counts of its own in every layer',
  test_resnet: 'stages of different blocks and of widths that do not double',
};
