import { serveThread } from '#thread';
import { ResidualError } from '../errors.js';
import { checkTotal } from './checkpoint.js';
import { openHdf5 } from './hdf5.js';
import { listKeras } from './keras-listing.js';
import { syncBytes } from './source.js';

/** Opens and reads one small file after the other: what `keras.worker.js` does, without a thread for each. */
export interface DamageApi {
  /**
   * `read` when all could be read, `gave up` when the library did and the thread must go; the refusal's message
   * otherwise. Throws what no caller may meet.
   */
  outcome(bytes: Uint8Array): string;
  /** What stays open and mounted in the library: it must not grow with the number of files. */
  leftOver(): { descriptors: number; files: number };
}

console.error = () => {};
const { ready } = await import('h5wasm');
const fs = (await ready).FS as unknown as { streams: unknown[]; readdir(path: string): string[] };

serveThread<DamageApi>({
  async outcome(bytes) {
    const source = syncBytes(bytes);
    try {
      const file = await openHdf5(source);
      try {
        const { tensors } = listKeras(file, source);
        checkTotal(source, tensors);
        for (const tensor of tensors) file.read(tensor.path, tensor);
        return 'read';
      } finally {
        file.close();
      }
    } catch (error) {
      if (error instanceof ResidualError && error.code === 'WEIGHTS_FORMAT') return error.message;
      if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) return 'gave up';
      throw error;
    }
  },
  leftOver: () => ({ descriptors: fs.streams.filter(Boolean).length, files: fs.readdir('/').length }),
});
