import { ResidualError } from '../errors.js';
import { eightBitTensor, toEightBitTensor } from '../graph/eight-bits.js';
import { type AnyTensor, type EightBits, sameShape, type Tensor, type Weights } from '../tensor.js';
import type { Checkpoint, TensorInfo } from './checkpoint.js';

/** What the scales of a weight's output channels are called in a file. */
const scaleOf = (name: string): string => `${name}_scale`;

/** Weights as a file has them: those named as whole numbers of 8 bits, and beside each the scales of its channels. */
export function packed(weights: Weights, eightBits: ReadonlySet<string>): ReadonlyMap<string, AnyTensor> {
  const stored = new Map<string, AnyTensor>(weights);
  for (const name of eightBits) {
    if (weights.has(scaleOf(name))) continue; // A parameter of that name: this one stays as it is.
    const { shape, eightBits } = toEightBitTensor(weights.get(name) as Tensor);
    const { whole, scales } = eightBits as EightBits;
    stored.set(name, { dtype: 'int8', shape, data: whole });
    stored.set(scaleOf(name), { dtype: 'float32', shape: [scales.length], data: scales });
  }
  return stored;
}

/**
 * The file, whose weights of 8 bits are read with their scales, as real numbers.
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
    tensors.delete(scaleOf(name));
  }
  return {
    ...checkpoint,
    tensors,
    async read(name, memory) {
      if (!whole.has(name)) return checkpoint.read(name, memory);
      const [weight, scales] = await Promise.all([checkpoint.read(name), checkpoint.read(scaleOf(name))]);
      const { shape, data } = weight as Tensor<'int8'>;
      return eightBitTensor(shape, { whole: data, scales: (scales as Tensor).data });
    },
  };
}
