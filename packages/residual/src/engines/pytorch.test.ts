import { describe, test } from 'vitest';
import { shared } from '../testing.js';
import { withLibrary } from './onednn/dnnl.test.helper.js';
import { onednnTraining } from './onednn/train.js';
import { onnxTraining } from './onnx/train.js';
import { referenceTraining } from './reference/train.js';
import { expectParity } from './training.test.pytorch.js';

const timeout = 600_000;

describe.skipIf(!shared)('training goes as in PyTorch', () => {
  test.each([
    ['resnet18', { size: 32, batch: 4, steps: 3, lr: 0.05 }],
    ['resnet50', { size: 32, batch: 4, steps: 2, lr: 0.01 }],
    ['resnext50_32x4d', { size: 32, batch: 4, steps: 1, lr: 0.01 }],
  ] as const)('%s on reference', { timeout }, async (name, run) => {
    await expectParity(referenceTraining, name, run, { losses: 1e-5, gradients: 1e-6, weights: 1e-3 });
  });

  const run = { size: 64, batch: 8, steps: 10, lr: 0.001 };
  const bounds = { losses: 1e-3, gradients: 1e-3, weights: 1e-2 };
  const options = { threads: 2 };
  test('ten steps of resnet18 on onnx', { timeout }, async () => {
    await expectParity(onnxTraining, 'resnet18', run, bounds, options);
  });
  withLibrary('with oneDNN', () => {
    test('ten steps of resnet18 on onednn', { timeout }, async () => {
      await expectParity(onednnTraining, 'resnet18', run, bounds, options);
    });
  });
});
