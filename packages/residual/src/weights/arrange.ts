import type { Arrangement } from '../models/onnx-network.js';
import { sharedFloats, sizeOf, type Tensor } from '../tensor.js';

/** A tensor as the parameter that `arrangement` describes. */
export function arranged({ shape: from, data }: Tensor, { permutation, factor = 1, shape }: Arrangement): Tensor {
  const out = sharedFloats(sizeOf(shape));
  if (data.length === 1) out.fill(data[0] * factor);
  else if (permutation === undefined) for (let i = 0; i < out.length; i++) out[i] = data[i] * factor;
  else {
    const steps = from.map((_, axis) => sizeOf(from.slice(axis + 1)));
    const [sizes, strides] = [permutation.map((axis) => from[axis]), permutation.map((axis) => steps[axis])];
    const at = sizes.map(() => 0);
    for (let i = 0, source = 0; i < out.length; i++) {
      out[i] = data[source] * factor;
      for (let axis = sizes.length - 1; axis >= 0; axis--) {
        source += strides[axis];
        if (++at[axis] < sizes[axis]) break;
        source -= strides[axis] * sizes[axis];
        at[axis] = 0;
      }
    }
  }
  return { dtype: 'float32', shape, data: out };
}
