import { move, serveThread } from '#thread';
import { hdf5Bytes, type KerasContent } from './hdf5-write.js';

/** What the thread that writes one HDF5 file does. */
export interface KerasWriteApi {
  write(content: KerasContent): Promise<Uint8Array>;
}

// The library prints when it gives up; the error that it throws says so too.
console.error = () => {};

serveThread<KerasWriteApi>({
  async write(content) {
    const bytes = await hdf5Bytes(content);
    return move(bytes, [bytes.buffer as ArrayBuffer]);
  },
});
