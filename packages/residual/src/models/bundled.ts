import { type ClassLabel, cifar10Classes } from './classes.js';

/** A model that comes with the library: weights, and what a weight file does not say. */
export interface BundledModel {
  readonly weights: URL;
  readonly architecture: string;
  /** Name of its preprocessing preset. */
  readonly preprocess: string;
  readonly classes: readonly ClassLabel[];
  readonly licence: string;
  readonly source: string;
  /** For people: what it knows. */
  readonly about: string;
}

export const bundled = {
  'resnet8-cifar10': {
    weights: new URL('../../models/resnet8-cifar10/mlperf-tiny-resnet8.h5', import.meta.url),
    architecture: 'resnet8',
    preprocess: 'raw255',
    classes: cifar10Classes,
    licence: 'Apache-2.0',
    source: 'mlcommons/tiny, benchmark/training/image_classification/trained_models/pretrainedResnet.h5',
    about: 'ResNet-8 of MLPerf Tiny; knows the ten classes of CIFAR-10 only, on 32×32 pictures',
  },
} as const satisfies Record<string, BundledModel>;
