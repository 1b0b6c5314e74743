import { openSync } from '#file';
import { serveThread } from '#thread';
import { ResidualError } from '../errors.js';
import { type HdfFile, openHdf5 } from './hdf5.js';
import { type KerasListing, listKeras } from './keras-listing.js';
import { syncBytes } from './source.js';

/** A file by its path, from byte `start` on. */
export interface FilePart {
  readonly path: string;
  readonly start: number;
  readonly size: number;
}

/** What the thread that reads one HDF5 file does. */
export interface KerasApi {
  /** `from`: a file, or a part of one, that this thread can open by itself, or all bytes. */
  open(name: string, from: FilePart | Uint8Array): Promise<KerasListing>;
  read(tensor: KerasListing['tensors'][number]): Uint8Array;
}

// The library prints when it gives up; the error that it throws says so too.
console.error = () => {};

let file: HdfFile | undefined;

serveThread<KerasApi>({
  async open(name, from) {
    file = await openHdf5(from instanceof Uint8Array ? syncBytes(from, name) : openSync(from.path, from));
    return listKeras(file, { name });
  },
  read(tensor) {
    if (!file) throw new ResidualError('WEIGHTS_FORMAT', 'the HDF5 file was closed');
    return file.read(tensor.path, tensor);
  },
});
