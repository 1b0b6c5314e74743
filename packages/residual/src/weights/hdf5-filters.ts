import type { Cursor } from './hdf5-bytes.js';
import { type ByteSource, damaged, unsupported } from './source.js';

const deflate = 1;
const shuffle = 2;
const fletcher32 = 3;
const known: Record<number, string> = {
  4: 'szip',
  5: 'nbit',
  6: 'scaleoffset',
  32000: 'lzf',
  32001: 'blosc',
  32015: 'zstd',
};

/**
 * The filters that a dataset's chunks went through, in the order of writing (section IV.A.2.l).
 * @throws WEIGHTS_FORMAT for one that is not read, by name.
 */
export function readFilters(source: ByteSource, body: Cursor | undefined): readonly number[] {
  if (!body) return [];
  const version = body.u8();
  const count = body.u8();
  if (version === 1) body.skip(6);
  return Array.from({ length: count }, () => {
    const id = body.u16();
    const nameLength = version === 1 || id >= 256 ? body.u16() : 0;
    body.skip(2);
    const values = body.u16();
    body.skip(nameLength + 4 * values + (version === 1 && values % 2 ? 4 : 0));
    if (id !== deflate && id !== shuffle && id !== fletcher32)
      throw unsupported(
        source,
        `a dataset of it is packed with the HDF5 filter ${known[id] ?? id}, which is not read; copy it with h5repack -f GZIP=4`,
      );
    return id;
  });
}

/** Unpacks a chunk: the filters backwards, but for those whose bit is set in `mask`. */
export async function undoFilters(
  source: ByteSource,
  filters: readonly number[],
  mask: number,
  packed: Uint8Array,
  size: number,
  width: number,
): Promise<Uint8Array> {
  let bytes = packed;
  for (let i = filters.length - 1; i >= 0; i--) {
    if (mask & (1 << i)) continue;
    if (filters[i] === deflate) bytes = await inflate(source, bytes, size + 4);
    else if (filters[i] === shuffle) bytes = unshuffle(bytes, width);
    // The checksum that Fletcher-32 appends is not compared: deflate has its own, and a wrong sum alone is no reason
    // to refuse a file that the rest of its structure agrees with.
    else bytes = bytes.subarray(0, Math.max(0, bytes.length - 4));
  }
  return bytes;
}

/** At most `limit` bytes of a zlib stream; `limit` more than the chunk needs only by a checksum. */
async function inflate(source: ByteSource, packed: Uint8Array, limit: number): Promise<Uint8Array> {
  const stream = new Blob([packed as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream('deflate'));
  const reader = stream.getReader();
  const target = new Uint8Array(limit);
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return target.subarray(0, length);
      if (length + value.length > limit) throw new Error(`it unpacks to more than ${limit} bytes`);
      target.set(value, length);
      length += value.length;
    }
  } catch (error) {
    await reader.cancel().catch(() => {});
    throw damaged(source, `an HDF5 chunk does not inflate (${(error as Error).message})`, error);
  }
}

/** Shuffling stores all first bytes of the elements, then all second ones, and so on. */
function unshuffle(bytes: Uint8Array, width: number): Uint8Array {
  const count = Math.floor(bytes.length / width);
  const target = bytes.slice();
  for (let b = 0; b < width; b++) for (let i = 0; i < count; i++) target[i * width + b] = bytes[b * count + i];
  return target;
}
