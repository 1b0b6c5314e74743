import { ResidualError, unknownName } from '../errors.js';
import type { Decoding, Filter, Plan, Step } from './plan.js';

/** The network's input, in pixels, and how pictures are decoded for it. */
export interface PresetOptions {
  readonly height: number;
  readonly width: number;
  /** `default` when left out. */
  readonly decode?: Decoding;
}

type Sizes = Pick<PresetOptions, 'height' | 'width'>;

/** torchvision's ImageNet statistics, RGB, of values 0–1 (torchvision.models, every classification weight). */
const imagenet: Step = { step: 'normalize', mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };
const toUnit: Step = { step: 'scale', factor: 1 / 255, offset: 0 };

/** The published crop is 224; for other inputs the resize keeps the published ratio, by the longer side so that nothing is padded. */
const shortSideThenCrop = (published: number, { height, width }: Sizes, filter: Filter = 'bilinear'): Step[] => [
  { step: 'resizeShortSide', size: Math.round((Math.max(height, width) * published) / 224), filter },
  { step: 'centerCrop', height, width },
];

const presets = {
  /** ImageNet weights of torchvision, V1: resize 256, crop 224. */
  torchvision: (size) => [...shortSideThenCrop(256, size), toUnit, imagenet],
  /** torchvision's V2 weights: resize 232, crop 224. */
  'torchvision-v2': (size) => [...shortSideThenCrop(232, size), toUnit, imagenet],
  /** Most weights of timm, and Microsoft's on Hugging Face: the same by cubic interpolation. */
  'torchvision-bicubic': (size) => [...shortSideThenCrop(256, size, 'bicubic'), toUnit, imagenet],
  /** He's Caffe weights as Detectron2 takes them: BGR 0–255 less its MSRA means (detectron2/config/defaults.py). */
  msra: (size) => [
    ...shortSideThenCrop(256, size),
    { step: 'reverseChannels' },
    { step: 'normalize', mean: [103.53, 116.28, 123.675], deviation: [1, 1, 1] },
  ],
  /** FAIR's ResNeXt as Detectron2 takes it: the same over ImageNet's deviations (PIXEL_STD of its X-101-32x8d configs). */
  fair: (size) => [
    ...shortSideThenCrop(256, size),
    { step: 'reverseChannels' },
    { step: 'normalize', mean: [103.53, 116.28, 123.675], deviation: [57.375, 57.12, 58.395] },
  ],
  /** Keras' ResNet50 of 2015 and of Applications: load_img(target_size), preprocess_input of mode caffe. */
  caffe: (size) => [
    { step: 'resize', ...size, filter: 'nearest' },
    { step: 'reverseChannels' },
    { step: 'normalize', mean: [103.939, 116.779, 123.68], deviation: [1, 1, 1] },
  ],
  /** Keras Applications' ResNetV2: load_img(target_size), preprocess_input of mode tf. */
  tf: (size) => [
    { step: 'resize', ...size, filter: 'nearest' },
    { step: 'scale', factor: 1 / 127.5, offset: -1 },
  ],
  /** akamaster's CIFAR-10 ResNets, trained with ImageNet's statistics; 32×32 pictures pass unresized. */
  cifar: (size) => [{ step: 'resize', ...size, filter: 'bilinear' }, toUnit, imagenet],
  /** Pixels as they are, RGB 0–255: MLPerf Tiny's ResNet-8. */
  raw255: (size) => [{ step: 'resize', ...size, filter: 'bilinear' }],
} as const satisfies Record<string, (size: Sizes) => readonly Step[]>;

export type PresetName = keyof typeof presets;

/** What `preset` and `--preprocess` take. */
export const presetNames = Object.keys(presets) as PresetName[];

/**
 * The plan of that name for a network that takes `[N, 3, height, width]`.
 *
 * @throws UNKNOWN_NAME for another name, ARGUMENT when a side is not a whole number ≥ 1.
 * @example preset('torchvision', { height: 224, width: 224 })
 */
export function preset(name: string, { height, width, decode = 'default' }: PresetOptions): Plan {
  if (!Object.hasOwn(presets, name)) throw unknownName('preset', name, presetNames);
  for (const [side, value] of Object.entries({ height, width }))
    if (!Number.isSafeInteger(value) || value < 1)
      throw new ResidualError(
        'ARGUMENT',
        `preset ${name}: expected a whole number ≥ 1 for ${side} but received ${value}`,
      );
  return [{ step: 'decode', as: decode }, ...presets[name as PresetName]({ height, width })];
}
