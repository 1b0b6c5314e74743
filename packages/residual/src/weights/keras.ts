import { startThread } from '#thread';
import { ResidualError, unknownName } from '../errors.js';
import { sharedBytes } from '../tensor.js';
import { type Checkpoint, checkTotal, tensorOver } from './checkpoint.js';
import type { KerasApi } from './keras.worker.js';
import { type ByteSource, checkRange } from './source.js';

/** Milliseconds that listing a file or reading one tensor may take. Damage can send the HDF5 library in circles. */
const patience = 60_000;

/**
 * Opens a Keras `.h5` file. Its tensors are named `layer/weight_name`, in Keras' order (see `listKeras`). Metadata:
 * `keras_version`, `backend`, `layer_names`, `model_config` (parsed). Each file has a thread of its own, which ends
 * when the file is closed or reading it takes more than a minute.
 * @throws WEIGHTS_FORMAT; MISSING_PACKAGE when h5wasm is not installed.
 */
export async function openKeras(source: ByteSource): Promise<Checkpoint> {
  const thread = startThread<KerasApi>(new URL('./keras.worker.js', import.meta.url), { interruptible: true });

  /** The thread's answer in time, or the reason as an error about the file. */
  async function ask<T>(call: Promise<T>): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(failed(`reading took more than ${patience / 1000} s`)), patience);
    });
    try {
      return await Promise.race([call, late]);
    } catch (error) {
      if (!(error instanceof ResidualError)) throw failed((error as Error).message.split('\n')[0]);
      throw error.code === 'ENGINE' ? failed('the HDF5 library gave up') : error;
    } finally {
      clearTimeout(timer);
    }
  }

  const failed = (what: string) =>
    new ResidualError('WEIGHTS_FORMAT', `${source.name}: ${what}; the file is damaged, fetch it again`, {
      file: source.name,
    });

  const close = async () => {
    await thread.terminate();
    await source.close();
  };

  try {
    const { reason, metadata, tensors } = await ask(
      thread.call('open', [source.name, source.path ?? (await wholeFile(source))]),
    );
    checkTotal(source, tensors);
    const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    return {
      format: 'keras-h5',
      reason,
      tensors: new Map(tensors.map(({ name, dtype, shape }) => [name, { dtype, shape }])),
      metadata,
      async read(name) {
        const tensor = byName.get(name);
        if (!tensor) throw unknownName('tensor', name, byName.keys());
        return tensorOver(tensor, await ask(thread.call('read', [tensor])));
      },
      close,
    };
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
