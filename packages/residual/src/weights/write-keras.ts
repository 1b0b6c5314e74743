import { startThread } from '#thread';
import { ResidualError } from '../errors.js';
import { type AnyTensor, toFloat32 } from '../tensor.js';
import { isHdf5Type, type KerasContent } from './hdf5-write.js';
import type { KerasLayer } from './keras-order.js';
import type { KerasWriteApi } from './keras-write.worker.js';

/**
 * A Keras `.h5` file, such that Keras' own reader takes it: layers and weights in the order given, layers without
 * weights too. Tensors are laid out as Keras has them; 16-bit floats become float32, which holds the same values, and
 * booleans bytes.
 * @throws ENGINE when the HDF5 library gives up; MISSING_PACKAGE when h5wasm is not installed.
 */
export async function kerasBytes({ layers, attributes }: KerasContent): Promise<Uint8Array> {
  const thread = startThread<KerasWriteApi>(new URL('./keras-write.worker.js', import.meta.url), {
    interruptible: true,
  });
  const held = layers.map(({ name, weights }) => ({
    name,
    weights: weights.map((weight) => ({ name: weight.name, tensor: held32(weight.tensor) })),
  }));
  try {
    return await thread.call('write', [{ layers: held, attributes }]);
  } catch (error) {
    if (error instanceof ResidualError) throw error;
    throw new ResidualError('ENGINE', `the HDF5 library gave up (${(error as Error).message.split('\n')[0]})`);
  } finally {
    await thread.terminate();
  }
}

function held32(tensor: AnyTensor): AnyTensor {
  if (isHdf5Type(tensor.dtype)) return tensor;
  return tensor.dtype === 'bool' ? { ...tensor, dtype: 'uint8' } : toFloat32(tensor);
}

/**
 * The layers of a file from those of a network, for tensors whose names begin with the layer's: `conv1/conv1_W_1:0`.
 * @param tensors the tensor of each parameter, with its name in the file.
 * @throws WEIGHTS_MISMATCH for a name that does not stand below its layer.
 */
export function contentOf(
  layers: readonly KerasLayer[],
  tensors: ReadonlyMap<string, readonly [name: string, tensor: AnyTensor]>,
): KerasContent['layers'] {
  return layers.map(({ name: layer, parameters }) => ({
    name: layer,
    weights: parameters.flatMap((parameter) => {
      const found = tensors.get(parameter);
      if (!found) return [];
      const [name, tensor] = found;
      if (!name.startsWith(`${layer}/`))
        throw new ResidualError(
          'WEIGHTS_MISMATCH',
          `tensor ${name} does not stand below its layer ${layer}; a Keras .h5 file cannot hold it under that name`,
          { tensor: name, layer },
        );
      return [{ name: name.slice(layer.length + 1), tensor }];
    }),
  }));
}
