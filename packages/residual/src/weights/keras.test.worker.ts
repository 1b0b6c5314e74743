import { serveThread } from '#thread';
import { ResidualError } from '../errors.js';
import { kerasGraph } from '../models/keras-config.js';
import { checkTotal } from './checkpoint.js';
import { openHdf5 } from './hdf5.js';
import { readArchive } from './keras-archive.js';
import { listKeras } from './keras-listing.js';
import { nameVariables } from './keras-variables.js';
import { bytesSource, readBytes, syncBytes } from './source.js';
import { openZip } from './zip.js';

/**
 * Opens and reads one small file after the other, `.h5` or `.keras`: what `openKeras` and `keras.worker.js` do, without
 * a thread for each.
 */
export interface DamageApi {
  /**
   * `read` when all could be read, `gave up` when the library did and the thread must go; the refusal's message
   * otherwise. Throws what no caller may meet.
   */
  outcome(bytes: Uint8Array): string;
  /** What stays open and mounted in the library: it must not grow with the number of files. */
  leftOver(): { descriptors: number; files: number };
}

const refusals: readonly string[] = ['WEIGHTS_FORMAT', 'GRAPH', 'WEIGHTS_UNSAFE'];

/** The HDF5 file, and the description beside it where it stands in an archive. */
async function contentOf(bytes: Uint8Array): Promise<{ hdf5: Uint8Array; config?: unknown }> {
  if (bytes[0] === 0x89) return { hdf5: bytes };
  const source = bytesSource(bytes);
  const { weights, archive } = await readArchive(source, await openZip(source));
  return { hdf5: await readBytes(weights, 0, weights.size), config: archive.metadata.model_config };
}

console.error = () => {};
const { ready } = await import('h5wasm');
const fs = (await ready).FS as unknown as { streams: unknown[]; readdir(path: string): string[] };

serveThread<DamageApi>({
  async outcome(bytes) {
    try {
      const { hdf5, config } = await contentOf(bytes);
      const source = syncBytes(hdf5);
      const file = await openHdf5(source);
      try {
        const { tensors, variables } = listKeras(file, source);
        checkTotal(source, tensors);
        if (variables) nameVariables(source, tensors, variables, config);
        for (const tensor of tensors) file.read(tensor.path, tensor);
        if (config !== undefined) kerasGraph(config);
        return 'read';
      } finally {
        file.close();
      }
    } catch (error) {
      if (error instanceof ResidualError && refusals.includes(error.code)) return error.message;
      if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) return 'gave up';
      throw error;
    }
  },
  leftOver: () => ({ descriptors: fs.streams.filter(Boolean).length, files: fs.readdir('/').length }),
});
