import { ResidualError } from '../errors.js';
import type { Batch, BatchOptions, Example } from './dataset.js';

export type { Batch, BatchOptions, Mix } from './dataset.js';

/** The batches of an epoch, decoded and augmented in worker threads ahead of their use. */
export async function* batches(
  _examples: readonly Example[],
  _options: BatchOptions,
): AsyncGenerator<Batch, void, undefined> {
  yield* [];
  throw new ResidualError('ENGINE', 'the loader is being written');
}
