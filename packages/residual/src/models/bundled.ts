/** A model that comes with the library: a file with its own record, and what people ask about it. */
export interface BundledModel {
  readonly weights: URL;
  readonly licence: string;
  readonly source: string;
  /** For people: what it knows. */
  readonly about: string;
}

export const bundled = {
  'resnet16-cifar10': {
    weights: new URL('../../models/resnet16-cifar10/resnet16-cifar10.residual', import.meta.url),
    licence: 'Apache-2.0',
    source: 'trained with this library by scripts/train-bundled.js',
    about: 'a ResNet-16 of 2 MB; knows the ten classes of CIFAR-10 only, on 40×40 pictures',
  },
} as const satisfies Record<string, BundledModel>;
