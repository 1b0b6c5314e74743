import type { FamilyName } from '../models/resnet.js';
import type { HubEntry } from './catalogue.js';

/** Hugging Face's microsoft/resnet-*: torchvision's networks in transformers' spelling. No hash, size or accuracy is published beside them. */
const depths = [
  [18, 11_689_512],
  [34, 21_797_672],
  [50, 25_557_032],
  [101, 44_549_160],
  [152, 60_192_808],
] as const satisfies readonly (readonly [depth: number, parameters: number])[];

export const microsoft: readonly HubEntry[] = depths.map(([depth, parameters]) => ({
  id: `microsoft/resnet-${depth}`,
  collection: 'microsoft',
  architecture: `resnet${depth}` satisfies FamilyName,
  url: `https://huggingface.co/microsoft/resnet-${depth}/resolve/main/model.safetensors`,
  bytes: parameters * 4,
  licence: 'Apache-2.0',
  parameters,
  classes: 1000,
  size: 224,
  // preprocessor_config.json: ConvNextImageProcessor, size 224, crop_pct 0.875, resample 3 (bicubic).
  preprocess: 'torchvision-bicubic',
  metrics: [],
}));
