import { ResidualError } from '../errors.js';
import type { StepGraph } from '../graph/graph.js';
import { formatShape, sameShape, sharedFloats, sizeOf, type Tensor, type Weights } from '../tensor.js';

/**
 * The weights a graph needs, in memory that the worker can read without a copy; those named in `eightBits` as whole
 * numbers alone, where they are stored so.
 */
export function sharedWeights(graph: StepGraph, weights: Weights, eightBits: ReadonlySet<string> = new Set()): Weights {
  return new Map(
    graph.parameters.map(({ name, shape }): [string, Tensor] => {
      const found = weights.get(name);
      if (found === undefined)
        throw new ResidualError('WEIGHTS_MISMATCH', `${graph.name} needs the weight "${name}", which was not given`, {
          name,
        });
      if (found.eightBits && eightBits.has(name) && sameShape(found.shape, shape))
        return [
          name,
          { dtype: 'float32', shape, data: new Float32Array(0), eightBits: found.eightBits } satisfies Tensor,
        ];
      const { data } = found;
      if (!sameShape(found.shape, shape) || data.length !== sizeOf(shape))
        throw new ResidualError(
          'WEIGHTS_MISMATCH',
          `${graph.name}: weight "${name}" must be ${formatShape(shape)} but received ${formatShape(found.shape)} with ${data.length} numbers`,
          { name, expected: shape, received: found.shape },
        );
      return [name, { dtype: 'float32', shape, data: isShared(data) ? data : share(data) } satisfies Tensor];
    }),
  );
}

/** Inputs as they are sent: shared memory as it is, the rest copied once, and the copies to be moved. */
export function copied(inputs: Readonly<Record<string, Tensor>>): [Record<string, Tensor>, ArrayBuffer[]] {
  const transfer: ArrayBuffer[] = [];
  const sent = Object.entries(inputs).map(([name, { shape, data }]): [string, Tensor] => {
    if (isShared(data)) return [name, { dtype: 'float32', shape, data }];
    const copy = new Float32Array(data);
    transfer.push(copy.buffer);
    return [name, { dtype: 'float32', shape, data: copy }];
  });
  return [Object.fromEntries(sent), transfer];
}

const isShared = (data: Float32Array): boolean =>
  typeof SharedArrayBuffer !== 'undefined' && data.buffer instanceof SharedArrayBuffer;

function share(data: Float32Array): Float32Array {
  const shared = sharedFloats(data.length);
  shared.set(data);
  return shared;
}
