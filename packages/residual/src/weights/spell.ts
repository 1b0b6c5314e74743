import { type Shape, sharedFloats, type Tensor } from '../tensor.js';
import type { Layout } from './names.js';

/** The shape of a parameter in a file of that layout: the inverse of `parameterShape`, but for convolutions along one axis. */
export function fileShape(shape: Shape, layout: Layout): Shape {
  if (layout === 'pytorch' || (shape.length !== 4 && shape.length !== 2)) return shape;
  const [out, channels, ...window] = shape;
  return [...window, channels, out];
}

/**
 * A parameter laid out as a file of that layout has it: the inverse of `toParameter`. Efficient channel attention is a
 * convolution along one axis, which PyTorch's files give three dimensions.
 */
export function fromParameter(tensor: Tensor, layout: Layout, name: string): Tensor {
  const { shape, data: from } = tensor;
  if (layout === 'pytorch') return name.endsWith('.se.conv.weight') ? { ...tensor, shape: shape.slice(0, 3) } : tensor;
  if (shape.length !== 4 && shape.length !== 2) return tensor;
  const [out, channels] = shape;
  const positions = from.length / (out * channels);
  const data = sharedFloats(from.length);
  for (let o = 0; o < out; o++)
    for (let c = 0; c < channels; c++)
      for (let position = 0; position < positions; position++)
        data[(position * channels + c) * out + o] = from[(o * channels + c) * positions + position];
  return { dtype: 'float32', shape: fileShape(shape, layout), data };
}
