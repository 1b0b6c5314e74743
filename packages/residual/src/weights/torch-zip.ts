import type { Reader, ZipEntry } from 'unzipit';
import { ResidualError } from '../errors.js';
import type { Checkpoint } from './checkpoint.js';
import { truncated, unpickle } from './pickle.js';
import { type ByteSource, checkRange, damaged, readBytes, unsupported } from './source.js';
import { type Storages, torchCheckpoint } from './torch.js';
import { torchPickle } from './torch-values.js';

/** Largest pickle that is read; a ResNet's takes 50 kB, a training run's with its optimiser less than 1 MB. */
export const maxPickleBytes = 2 ** 26;
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
 * @throws WEIGHTS_FORMAT
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
  return new Map(entries.map((entry) => [entry.name, entry]));
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
async function placeOf(source: ByteSource, entry: ZipEntry): Promise<number> {
  const place = await zipErrors(source, entry.blob());
  if (!(place instanceof Place)) throw damaged(source, `member ${entry.name} is not where the directory says`);
  checkRange(source, place.offset, place.length);
  return place.offset;
}

/** A whole member of at most `limit` bytes, inflated where it is deflated. */
async function readMember(source: ByteSource, entry: ZipEntry, limit: number): Promise<Uint8Array> {
  if (entry.size > limit)
    throw damaged(source, `member ${entry.name} claims ${entry.size} bytes, above the limit of ${limit}`);
  if (entry.compressionMethod === 0) return readBytes(source, await placeOf(source, entry), entry.size);
  return new Uint8Array(await zipErrors(source, entry.arrayBuffer()));
}

/**
 * Opens the container of PyTorch 1.6 and later: a zip with `data.pkl` and one member a storage, below one folder
 * (`archive/` or the file's name).
 * @throws WEIGHTS_FORMAT, WEIGHTS_UNSAFE
 */
export async function openTorchZip(source: ByteSource, members: ZipMembers): Promise<Checkpoint> {
  const pickleName = [...members.keys()].find((name) => /^([^/]+\/)?data\.pkl$/.test(name));
  if (!pickleName) throw unsupported(source, 'it is a zip without a data.pkl: no PyTorch checkpoint');
  const folder = pickleName.slice(0, -'data.pkl'.length);
  if ([...members.keys()].some((name) => name.startsWith(`${folder}code/`)))
    throw unsupported(
      source,
      'it is a TorchScript program, which cannot be run here; in Python, save its weights alone: torch.save(torch.jit.load(path).state_dict(), "weights.pth")',
    );
  const order = members.get(`${folder}byteorder`);
  if (order && new TextDecoder().decode(await readMember(source, order, 16)) !== 'little')
    throw unsupported(source, 'it was written on a big-endian machine; load and save it again on another');

  const run = unpickle(await readMember(source, members.get(pickleName)!, maxPickleBytes), 0, torchPickle(source.name));
  if (run === truncated) throw damaged(source, `${pickleName} ends before its pickle does`);
  return torchCheckpoint(
    source,
    'torch-zip',
    `a zip with ${pickleName}`,
    run.value,
    zipStorages(source, members, `${folder}data/`),
  );
}

function zipStorages(source: ByteSource, members: ZipMembers, folder: string): Storages {
  // PyTorch deflates nothing; a file that was zipped again is read a storage at a time, the last one kept.
  let inflated: { key: string; bytes: Promise<Uint8Array> } | undefined;
  return {
    size: (key) => members.get(folder + key)?.size,
    async readInto(key, target, offset) {
      const entry = members.get(folder + key)!;
      if (entry.compressionMethod === 0)
        return source.readInto(target, checked(source, (await placeOf(source, entry)) + offset, target.length));
      if (inflated?.key !== key) inflated = { key, bytes: readMember(source, entry, 8 * source.size + 2 ** 28) };
      target.set((await inflated.bytes).subarray(offset, offset + target.length));
    },
  };
}

function checked(source: ByteSource, offset: number, length: number): number {
  checkRange(source, offset, length);
  return offset;
}
