import type { Mask } from '../graph/training-step.js';
import { random } from '../random.js';
import { sizeOf, type Tensor } from '../tensor.js';

/**
 * The random factors of one step: what is dropped has 0, the rest 1 / (1 − rate), so that the mean stays. They depend on
 * the seed, the step and the mask's name alone.
 */
export function masksOf(masks: readonly Mask[], seed: number, epoch: number, step: number): Record<string, Tensor> {
  return Object.fromEntries(masks.map((mask) => [mask.name, drawn(mask, random(seed, epoch, step, mask.name))]));
}

function drawn({ kind, rate, shape }: Mask, draw: () => number): Tensor {
  const data = new Float32Array(sizeOf(shape));
  const kept = 1 / (1 - rate);
  // A branch is dropped for a whole picture: one draw for all its channels.
  const alike = kind === 'depth' ? sizeOf(shape.slice(1)) : 1;
  for (let i = 0; i < data.length; i += alike) data.fill(draw() < rate ? 0 : kept, i, i + alike);
  return { dtype: 'float32', shape, data };
}
