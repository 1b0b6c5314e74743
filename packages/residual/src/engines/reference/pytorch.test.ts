import { describe, test } from 'vitest';
import { shared } from '../../testing.js';
import { expectParity } from '../training.test.pytorch.js';
import { referenceTraining } from './train.js';

describe.skipIf(!shared)('plain loops train as PyTorch does', () => {
  const bounds = { losses: 1e-5, gradients: 1e-6, weights: 1e-3 };
  test.each([
    ['resnet18', { size: 32, batch: 4, steps: 3, lr: 0.05 }],
    ['resnet50', { size: 32, batch: 4, steps: 2, lr: 0.01 }],
    ['resnext50_32x4d', { size: 32, batch: 4, steps: 1, lr: 0.01 }],
  ] as const)('%s', { timeout: 300_000 }, async (name, run) => {
    await expectParity(referenceTraining, name, run, bounds);
  });
});
