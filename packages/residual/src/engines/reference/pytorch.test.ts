import { describe, test } from 'vitest';
import { shared } from '../../testing.js';
import { expectParity } from '../training.test.pytorch.js';
import { referenceTraining } from './train.js';

// PyTorch computes in float32. How far that is from its own float64 depends on the network and on how many numbers a
// BatchNorm measures: its first gradients are off by 4e-6, 4e-5 and 3e-3 here, and each step multiplies it.
describe.skipIf(!shared)('plain loops train as PyTorch does', () => {
  test.each([
    ['resnet18', { size: 32, batch: 8, steps: 3, lr: 0.05 }, { losses: 1e-3, gradients: 1e-4, weights: 1e-3 }],
    ['resnet50', { size: 64, batch: 2, steps: 2, lr: 0.05 }, { losses: 1e-3, gradients: 1e-3, weights: 1e-3 }],
    ['resnext50_32x4d', { size: 64, batch: 2, steps: 1, lr: 0.05 }, { losses: 1e-4, gradients: 1e-2, weights: 1e-2 }],
  ] as const)('%s', { timeout: 300_000 }, async (name, run, bounds) => {
    await expectParity(referenceTraining, name, run, bounds);
  });
});
