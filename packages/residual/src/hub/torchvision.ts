import type { FamilyName } from '../models/resnet.js';
import type { HubEntry } from './catalogue.js';

type Row = readonly [version: 1 | 2, hash: string, top1: number, top5: number, mebibytes: number];

/**
 * torchvision/models/resnet.py: the files' names end in the first digits of their SHA-256, `_file_size` is in MiB.
 * V1 files want a resize to 256 and V2 files one to 232, but for resnext101_64x4d, whose one file wants 232.
 */
const files: readonly (readonly [architecture: FamilyName, parameters: number, rows: readonly Row[]])[] = [
  ['resnet18', 11_689_512, [[1, 'f37072fd', 69.758, 89.078, 44.661]]],
  ['resnet34', 21_797_672, [[1, 'b627a593', 73.314, 91.42, 83.275]]],
  [
    'resnet50',
    25_557_032,
    [
      [1, '0676ba61', 76.13, 92.862, 97.781],
      [2, '11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca', 80.858, 95.434, 97.79],
    ],
  ],
  [
    'resnet101',
    44_549_160,
    [
      [1, '63fe2227', 77.374, 93.546, 170.511],
      [2, 'cd907fc2', 81.886, 95.78, 170.53],
    ],
  ],
  [
    'resnet152',
    60_192_808,
    [
      [1, '394f9c45', 78.312, 94.046, 230.434],
      [2, 'f82ba261', 82.284, 96.002, 230.474],
    ],
  ],
  [
    'resnext50_32x4d',
    25_028_904,
    [
      [1, '7cdf4587', 77.618, 93.698, 95.789],
      [2, '1a0047aa', 81.198, 95.34, 95.833],
    ],
  ],
  [
    'resnext101_32x8d',
    88_791_336,
    [
      [1, '8ba56ff5', 79.312, 94.526, 339.586],
      [2, '110c445d', 82.834, 96.228, 339.673],
    ],
  ],
  ['resnext101_64x4d', 83_455_272, [[1, '173b62eb', 83.246, 96.454, 319.318]]],
  [
    'wide_resnet50_2',
    68_883_240,
    [
      [1, '95faca4d', 78.468, 94.086, 131.82],
      [2, '9ba9bcbe', 81.602, 95.758, 263.124],
    ],
  ],
  [
    'wide_resnet101_2',
    126_886_696,
    [
      [1, '32ee1156', 78.848, 94.284, 242.896],
      [2, 'd733dc28', 82.51, 96.02, 484.747],
    ],
  ],
];

export const torchvision: readonly HubEntry[] = files.flatMap(([architecture, parameters, rows]) =>
  rows.map(([version, sha256, top1, top5, mebibytes]): HubEntry => {
    const resize = version === 2 || architecture === 'resnext101_64x4d' ? 232 : 256;
    return {
      id: `${architecture}-v${version}`,
      collection: 'torchvision',
      architecture,
      url: `https://download.pytorch.org/models/${architecture}-${sha256.slice(0, 8)}.pth`,
      sha256,
      bytes: Math.round(mebibytes * 2 ** 20),
      licence: 'BSD-3-Clause',
      parameters,
      classes: 1000,
      size: 224,
      preprocess: resize === 232 ? 'torchvision-v2' : 'torchvision',
      metrics: [{ top1, top5, size: 224, crop: 224 / resize }],
    };
  }),
);
