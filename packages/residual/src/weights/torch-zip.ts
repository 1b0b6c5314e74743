import type { Checkpoint } from './checkpoint.js';
import { unpickle } from './pickle.js';
import { truncated } from './pickle-operands.js';
import { type ByteSource, checkRange, damaged, unsupported } from './source.js';
import { type Storages, torchCheckpoint } from './torch.js';
import { torchPickle } from './torch-values.js';
import { largestInflated, placeOf, readMember, type ZipMembers } from './zip.js';

/** Largest pickle that is read; a ResNet's takes 50 kB, a training run's with its optimiser less than 1 MB. */
export const maxPickleBytes = 2 ** 26;
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
      if (inflated?.key !== key) inflated = { key, bytes: readMember(source, entry, largestInflated(source)) };
      target.set((await inflated.bytes).subarray(offset, offset + target.length));
    },
  };
}

function checked(source: ByteSource, offset: number, length: number): number {
  checkRange(source, offset, length);
  return offset;
}
