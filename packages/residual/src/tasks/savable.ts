import { aborted, ResidualError } from '../errors.js';
import { weightsOfEightBits } from '../graph/eight-bits.js';
import { type ResNetConfig, resnet } from '../models/resnet.js';
import type { AnyTensor, WeightSource, Weights } from '../tensor.js';
import { checkVariances } from '../weights/assign.js';
import { packed } from '../weights/packed.js';
import { ownSpelling, type StoredRecord } from '../weights/record.js';
import type { Model } from './model.js';

/** What is written of a model. */
export type Savable = Pick<Model, 'graph' | 'record'> & { readonly weights: WeightSource };

/** The same with its weights in memory. */
export type Filled = Savable & { readonly weights: Weights };

/** Long work that is watched. */
export interface Watched {
  readonly signal?: AbortSignal | undefined;
  /** Told after each piece how many bytes of how many are written. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** The record of a model, for tensors spelled in `dialect`. A member of the family is stored by its settings. */
export function recordOf(
  { graph, record }: Pick<Model, 'graph' | 'record'>,
  dialect: string = ownSpelling,
): StoredRecord {
  const { architecture, config, preprocess, plan, classes, labels, licence, source, quantisation } = record;
  return {
    architecture,
    ...(config && builds(config, graph) ? { config } : { graph }),
    preprocess,
    plan,
    ...(classes && { classes }),
    ...(labels && { labels }),
    ...(licence !== undefined && { licence }),
    ...(source !== undefined && { source }),
    ...(quantisation && { quantisation }),
    dialect,
  };
}

/** The tensors as a file with the record has them: weights of 8 bits as such. */
export const storedTensors = ({ graph, weights, record: { quantisation } }: Filled): ReadonlyMap<string, AnyTensor> =>
  quantisation ? packed(weights, weightsOfEightBits(graph, quantisation)) : weights;

/** Whether the settings give this very network; a network of one's own keeps its graph. */
const builds = (config: ResNetConfig, graph: Savable['graph']): boolean =>
  JSON.stringify(resnet(config, graph.name)) === JSON.stringify(graph);

/** Weights that a diverged training left must not be handed on. @throws NUMERICS */
export function checkWeights({ graph, weights }: Pick<Filled, 'graph' | 'weights'>): void {
  for (const { name } of graph.parameters) {
    const found = weights.get(name);
    if (!found?.data.every(Number.isFinite))
      throw new ResidualError(
        'NUMERICS',
        `${graph.name}: ${found ? `${name} holds values that are not finite numbers` : `${name} has no weights`}; nothing was written`,
        { parameter: name },
      );
  }
  checkVariances(graph, weights, graph.name);
}

/** Hands the pieces on, telling of each, until the caller cancels. @throws ABORTED */
export function* watch(pieces: readonly Uint8Array[], { signal, onProgress }: Watched): Generator<Uint8Array> {
  const total = pieces.reduce((sum, { length }) => sum + length, 0);
  let done = 0;
  for (const piece of pieces) {
    // In parts, so that neither progress nor cancelling waits for a whole large tensor.
    for (let at = 0; at < piece.length; at += part) {
      if (signal?.aborted) throw aborted();
      const next = piece.subarray(at, at + part);
      yield next;
      done += next.length;
      onProgress?.(done, total);
    }
  }
}

/** Bytes written at once. */
const part = 2 ** 24;
