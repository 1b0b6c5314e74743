import { startThread } from '#thread';
import { ResidualError, unknownName } from '../errors.js';
import { sharedBytes } from '../tensor.js';
import { type Checkpoint, checkTotal, type Metadata, tensorOver } from './checkpoint.js';
import type { KerasApi } from './keras.worker.js';
import { withUnits } from './keras-units.js';
import { nameVariables } from './keras-variables.js';
import { type ByteSource, checkRange, damaged } from './source.js';

/** What a `.keras` archive says beside the HDF5 file in it. */
export interface KerasArchive {
  readonly reason: string;
  /** `model_config` and what else is known. */
  readonly metadata: Metadata;
}

/**
 * Opens a Keras `.h5` file. Its tensors are named `layer/weight_name`, in Keras' order (see `listKeras`). Metadata:
 * `keras_version`, `backend`, `layer_names`, `model_config` (parsed). A `.weights.h5` of Keras 3 stores variables by
 * number: they are named after the layers of the archive's `model_config`, else by their folders. Each file has a thread of its own, which ends
 * when the file is closed or the library gives up.
 * @param patience milliseconds that listing the file or reading one tensor may take: damage can send the HDF5 library
 * in circles.
 * @throws WEIGHTS_FORMAT; MISSING_PACKAGE when h5wasm is not installed.
 */
export async function openKeras(source: ByteSource, patience = 60_000, archive?: KerasArchive): Promise<Checkpoint> {
  const thread = startThread<KerasApi>(new URL('./keras.worker.js', import.meta.url), { interruptible: true });
  /** Why nothing more can be read: the thread, and what it knew of the file, is gone. */
  let ended: ResidualError | undefined;

  /** The thread's answer in time. Any error but a clear answer ends the thread. */
  async function ask<T>(call: Promise<T>): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`reading took more than ${patience / 1000} s`)), patience);
    });
    try {
      return await Promise.race([call, late]);
    } catch (error) {
      if (ended) throw ended;
      if (error instanceof ResidualError && error.code !== 'ENGINE') throw error;
      ended = damaged(source, `the HDF5 library gave up (${(error as Error).message.split('\n')[0]})`, error);
      await thread.terminate();
      throw ended;
    } finally {
      clearTimeout(timer);
    }
  }

  try {
    const { path, start = 0, size } = source;
    const from = path === undefined ? await wholeFile(source) : { path, start, size };
    const listing = await ask(thread.call('open', [source.name, from]));
    checkTotal(source, listing.tensors);
    const tensors = listing.variables
      ? nameVariables(source, listing.tensors, listing.variables, archive?.metadata.model_config)
      : listing.tensors;
    const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    return withUnits({
      format: archive ? 'keras-archive' : 'keras-h5',
      reason: archive?.reason ?? listing.reason,
      tensors: new Map(tensors.map(({ name, dtype, shape }) => [name, { dtype, shape }])),
      ...(listing.variables && !archive && ![...listing.variables.values()].some((name) => name) && { numbered: true }),
      metadata: { ...listing.metadata, ...archive?.metadata },
      async read(name) {
        const tensor = byName.get(name);
        if (!tensor) throw unknownName('tensor', name, byName.keys());
        if (ended) throw ended;
        return tensorOver(tensor, await ask(thread.call('read', [tensor])));
      },
      async close() {
        ended ??= new ResidualError('DISPOSED', `${source.name}: the file was closed; open it again to read from it`);
        await thread.terminate();
        await source.close();
      },
    });
  } catch (error) {
    await thread.terminate();
    throw error;
  }
}

async function wholeFile(source: ByteSource): Promise<Uint8Array> {
  checkRange(source, 0, source.size);
  const bytes = sharedBytes(source.size);
  await source.readInto(bytes, 0);
  return bytes;
}
