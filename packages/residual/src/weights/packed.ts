import { ResidualError } from '../errors.js';
import { channelScales, fromEightBits, toEightBits } from '../graph/eight-bits.js';
import { type AnyTensor, sameShape, sharedFloats, type Tensor, type Weights } from '../tensor.js';
import type { Checkpoint, TensorInfo } from './checkpoint.js';

/** What the scales of a weight's output channels are called in a file. */
const scaleOf = (name: string): string => `${name}_scale`;

/** Weights as a file has them: those named as whole numbers of 8 bits, and beside each the scales of its channels. */
export function packed(weights: Weights, eightBits: ReadonlySet<string>): ReadonlyMap<string, AnyTensor> {
  const stored = new Map<string, AnyTensor>(weights);
  for (const name of eightBits) {
    if (weights.has(scaleOf(name))) continue; // A parameter of that name: this one stays as it is.
    const exact = weights.get(name) as Tensor;
    const scales = channelScales(exact);
    stored.set(name, { dtype: 'int8', shape: exact.shape, data: toEightBits(exact, scales) });
    stored.set(scaleOf(name), { dtype: 'float32', shape: [scales.length], data: scales });
  }
  return stored;
}

/**
 * The file with its weights of 8 bits as real numbers.
 * @throws WEIGHTS_FORMAT for one without scales.
 */
export function unpacked(checkpoint: Checkpoint, file: string): Checkpoint {
  const tensors = new Map<string, TensorInfo>(checkpoint.tensors);
  const whole = new Set<string>();
  for (const [name, { dtype, shape }] of checkpoint.tensors) {
    if (dtype !== 'int8') continue;
    const scales = checkpoint.tensors.get(scaleOf(name));
    if (scales?.dtype !== 'float32' || !sameShape(scales.shape, shape.slice(0, 1)))
      throw new ResidualError(
        'WEIGHTS_FORMAT',
        `${file}: ${name} is of 8 bits and has no scales; the file is damaged`,
        {
          file,
          tensor: name,
        },
      );
    whole.add(name);
    tensors.set(name, { dtype: 'float32', shape });
    tensors.delete(scaleOf(name));
  }
  return {
    ...checkpoint,
    tensors,
    async read(name) {
      if (!whole.has(name)) return checkpoint.read(name);
      const [weight, scales] = await Promise.all([checkpoint.read(name), checkpoint.read(scaleOf(name))]);
      const { shape, data } = weight as Tensor<'int8'>;
      const real = fromEightBits(data, (scales as Tensor).data, sharedFloats(data.length));
      return { dtype: 'float32', shape, data: real };
    },
  };
}
