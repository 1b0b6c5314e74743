// For tests: a tiny network, and pictures it can learn in a second with plain loops.
import type { Dataset, Example } from '../data/dataset.js';
import {
  add,
  batchNorm,
  conv2d,
  dense,
  dropout,
  globalAvgPool,
  inBlock,
  input,
  network,
  relu,
} from '../graph/build.js';
import type { Graph } from '../graph/graph.js';
import { random } from '../random.js';
import { createModel, type EngineOptions, type Model } from '../tasks/model.js';
import { sharedBytes } from '../tensor.js';
import { readCheckpoint } from './checkpoint.js';
import { fileOf } from './run-folder.js';

const side = 6;

/** A residual block on 6 × 6 pixels, with dropout. */
export function tinyGraph(classes = 3): Graph {
  const x = input({ height: side, width: side });
  const stem = relu(batchNorm(conv2d(x, 4, { kernel: 3, padding: 1, bias: false, name: 'conv1' }), { name: 'bn1' }));
  const layer1 = inBlock(stem, 'layer1.0', () => {
    const conv = conv2d(stem, 4, { kernel: 3, padding: 1, bias: false, name: 'layer1.0.conv1' });
    const branch = batchNorm(conv, { name: 'layer1.0.bn1' });
    return relu(add(branch, stem, { name: 'layer1.0.add' }), { name: 'layer1.0.relu' });
  });
  const pooled = globalAvgPool(layer1, { name: 'avgpool' });
  const logits = dense(dropout(pooled, 0.1, { name: 'dropout' }), classes, { name: 'fc' });
  return network('tiny', { logits }, { stem, layer1, avgpool: pooled });
}

export function tinyModel(classes = 3, options: EngineOptions & { seed?: number } = {}): Model {
  const record = {
    architecture: 'tiny',
    preprocess: 'custom',
    plan: [
      { step: 'decode', as: 'default' },
      { step: 'resize', height: side, width: side, filter: 'bilinear' },
      { step: 'scale', factor: 1 / 128, offset: -1 },
    ],
  } as const;
  return createModel(tinyGraph(classes), record, { engine: 'reference', seed: 5, ...options });
}

/** Noise with one bright colour a class. */
export function tinyData(pictures = 24, classes: readonly string[] = ['red', 'green', 'blue']): Dataset {
  const bytes = sharedBytes((pictures + 6) * side * side * 3);
  const examples = Array.from({ length: pictures + 6 }, (_, i): Example => {
    const draw = random('tiny', i);
    const target = i % classes.length;
    const offset = i * side * side * 3;
    for (let p = 0; p < side * side; p++)
      for (let c = 0; c < 3; c++) bytes[offset + 3 * p + c] = 80 * draw() + (c === target % 3 ? 90 : 0);
    return {
      id: `tiny[${i}]`,
      source: { kind: 'pixels', bytes, offset, height: side, width: side, channels: 3, planar: false },
      target,
    };
  });
  return {
    classes,
    labels: 'one',
    train: examples.slice(0, pictures),
    validation: examples.slice(pictures),
    notes: [],
  };
}

/** A short recipe that uses everything that is drawn at random. */
export const tinyRecipe = {
  epochs: 3,
  batch: 4,
  rate: 0.05,
  warmup: 0.5,
  average: 0.9,
  mixup: 0.2,
  smoothing: 0.1,
  dropPath: 0.2,
  augment: 'pad-crop 1, flip',
} as const;

/** All that a run has learnt, as plain lists. */
export const bits = async (folder: string, which: 'last' | 'best' = 'last') => {
  const { weights, average, optimizer, updates, progress } = await readCheckpoint(fileOf(folder, which));
  const numbers = (from: typeof weights | undefined) => Array.from(from ?? [], ([name, { data }]) => [name, [...data]]);
  return {
    weights: numbers(weights),
    average: numbers(average),
    optimizer: Array.from(optimizer, ([array, values]) => [array, numbers(values)]),
    updates,
    progress,
  };
};
