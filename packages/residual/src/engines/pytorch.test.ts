import { describe, test } from 'vitest';
import { shared } from '../testing.js';
import { withLibrary } from './onednn/dnnl.test.helper.js';
import { onednnTraining } from './onednn/train.js';
import { onnxTraining } from './onnx/train.js';
import { referenceTraining } from './reference/train.js';
import { expectParity } from './training.test.pytorch.js';

const timeout = 300_000;

describe.skipIf(!shared)('training goes as in PyTorch', () => {
  test.each([
    ['resnet18', { size: 32, batch: 4, steps: 3, lr: 0.05 }],
    ['resnet50', { size: 32, batch: 4, steps: 2, lr: 0.01 }],
    ['resnext50_32x4d', { size: 32, batch: 4, steps: 1, lr: 0.01 }],
  ] as const)('%s on reference', { timeout }, async (name, run) => {
    await expectParity(referenceTraining, name, run, { losses: 1e-5, gradients: 1e-6, weights: 1e-3 });
  });

  const run = { size: 64, batch: 4, steps: 10, lr: 0.002 };
  const bounds = { losses: 1e-3, gradients: 1e-3, weights: 1e-2 };
  const options = { threads: 2 };
  const names = ['resnet18', 'resnet50'] as const;
  test.each(names)('ten steps of %s on onnx', { timeout }, async (name) => {
    await expectParity(onnxTraining, name, run, bounds, options);
  });
  withLibrary('with oneDNN', () => {
    test.each(names)('ten steps of %s on onednn', { timeout }, async (name) => {
      await expectParity(onednnTraining, name, run, bounds, options);
    });
  });
});
