import type { Reader, ZipEntry } from 'unzipit';
import { ResidualError } from '../errors.js';
import { type ByteSource, bytesSource, checkRange, damaged, readBytes } from './source.js';

/** Largest directory of a zip: some 40,000 members. */
const maxDirectoryBytes = 2 ** 22;

/** Where a stored member lies in the file: `sliceAsBlob` is how unzipit asks for it. */
class Place extends Blob {
  constructor(
    readonly offset: number,
    readonly length: number,
  ) {
    super();
  }
}

/** The members of a zip by name, in the order of its directory. */
export type ZipMembers = ReadonlyMap<string, ZipEntry>;

/**
 * Reads the directory of a zip; members are read on demand.
 * @throws WEIGHTS_FORMAT when it is damaged or names a member twice.
 */
export async function openZip(source: ByteSource): Promise<ZipMembers> {
  const reader: Reader & { sliceAsBlob(offset: number, length: number): Promise<Blob> } = {
    getLength: async () => source.size,
    async read(offset, length) {
      if (length > maxDirectoryBytes) throw new Error(`a part of ${length} bytes is asked for`);
      return (await readBytes(source, offset, length)) as Uint8Array<ArrayBuffer>;
    },
    sliceAsBlob: async (offset, length) => new Place(offset, length),
  };
  const { unzipRaw } = await import('unzipit');
  const { entries } = await zipErrors(source, unzipRaw(reader));
  const members = new Map<string, ZipEntry>();
  for (const entry of entries) {
    if (members.has(entry.name)) throw damaged(source, `its zip has two members ${entry.name}`);
    members.set(entry.name, entry);
  }
  return members;
}

async function zipErrors<T>(source: ByteSource, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof ResidualError) throw error;
    throw damaged(source, `its zip container is broken (${(error as Error).message.split('\n')[0]})`, error);
  }
}

/** First byte of a stored member. */
export async function placeOf(source: ByteSource, entry: ZipEntry): Promise<number> {
  const place = await zipErrors(source, entry.blob());
  if (!(place instanceof Place)) throw damaged(source, `member ${entry.name} is not where the directory says`);
  checkRange(source, place.offset, place.length);
  return place.offset;
}

/** A whole member of at most `limit` bytes, inflated where it is deflated. */
export async function readMember(source: ByteSource, entry: ZipEntry, limit: number): Promise<Uint8Array> {
  if (entry.size > limit)
    throw damaged(source, `member ${entry.name} claims ${entry.size} bytes, above the limit of ${limit}`);
  if (entry.compressionMethod === 0) return readBytes(source, await placeOf(source, entry), entry.size);
  return new Uint8Array(await zipErrors(source, entry.arrayBuffer()));
}

/**
 * A member as a source of its own: read in place where it is stored, inflated at once where it is deflated. Closing it
 * closes the zip.
 */
export async function memberSource(source: ByteSource, entry: ZipEntry): Promise<ByteSource> {
  const close = () => source.close();
  if (entry.compressionMethod !== 0) {
    const bytes = await readMember(source, entry, largestInflated(source));
    return { ...bytesSource(bytes, source.name), close };
  }
  const start = await placeOf(source, entry);
  return {
    name: source.name,
    size: entry.size,
    ...(source.path === undefined ? {} : { path: source.path, start: (source.start ?? 0) + start }),
    readInto: (target, offset) => source.readInto(target, start + offset),
    close,
  };
}

/** What a member may inflate to: weights hardly shrink, a bomb grows a thousandfold. */
export const largestInflated = (source: ByteSource): number => 8 * source.size + 2 ** 28;
