import { bytesPerElement } from '../tensor.js';
import type { Checkpoint } from './checkpoint.js';
import { type PickleOptions, unpickle } from './pickle.js';
import { truncated } from './pickle-operands.js';
import { isObject, type Pickled } from './pickle-values.js';
import { type ByteSource, damaged, readBytes, unsupported } from './source.js';
import { torchCheckpoint } from './torch.js';
import { type TorchStorage, torchPickle, torchValue } from './torch-values.js';
import { maxPickleBytes } from './torch-zip.js';

const protocolVersion = 1001;
const maxStorages = 65_536;

/**
 * Opens PyTorch's container of 2017 to 2020: five pickles (magic, protocol, the writer's machine, the object, the
 * storages' keys), then for each key its number of elements and the elements themselves.
 * @throws WEIGHTS_FORMAT, WEIGHTS_UNSAFE
 */
export async function openTorchLegacy(source: ByteSource): Promise<Checkpoint> {
  const storages = new Map<string, TorchStorage>();
  const options = torchPickle(source.name);
  const { values, end } = await readPickles(source, 5, {
    ...options,
    persistent(id) {
      const value = options.persistent(id);
      const storage = torchValue(value);
      if (storage?.is === 'storage' && !storages.has(storage.key)) storages.set(storage.key, storage);
      return value;
    },
  });
  const [, version, machine, object, keys] = values;
  if (version !== protocolVersion)
    throw unsupported(source, `its container has version ${String(version)}; only ${protocolVersion} is known`);
  if (isObject(machine) && machine.kind === 'dict') {
    const at = machine.entries.indexOf('little_endian');
    if (at % 2 === 0 && machine.entries[at + 1] === false)
      throw unsupported(source, 'it was written on a big-endian machine; load and save it again on another');
  }
  const places = await findStorages(source, keys, storages, end);
  return torchCheckpoint(source, 'torch-legacy', 'the magic number of PyTorch before 1.6', object, {
    size: (key) => places.get(key)?.size,
    readInto: (key, target, offset) => source.readInto(target, places.get(key)!.offset + offset),
  });
}

/** Runs `count` pickles from the beginning, in a window that doubles until they fit. */
async function readPickles(
  source: ByteSource,
  count: number,
  options: PickleOptions,
): Promise<{ values: Pickled[]; end: number }> {
  for (let window = 2 ** 18; ; window *= 2) {
    const bytes = await readBytes(source, 0, Math.min(window, source.size));
    const values: Pickled[] = [];
    let end = 0;
    while (values.length < count) {
      const run = unpickle(bytes, end, options);
      if (run === truncated) break;
      values.push(run.value);
      end = run.end;
    }
    if (values.length === count) return { values, end };
    if (bytes.length === source.size || window >= maxPickleBytes)
      throw damaged(source, `its pickle has no end within ${bytes.length} bytes`);
  }
}

/** The storages lie in the order of the list of keys, each behind its number of elements as an int64. */
async function findStorages(
  source: ByteSource,
  keys: Pickled,
  storages: ReadonlyMap<string, TorchStorage>,
  start: number,
): Promise<Map<string, { offset: number; size: number }>> {
  if (!isObject(keys) || keys.kind !== 'list') throw damaged(source, 'its list of storages is missing');
  if (keys.items.length > maxStorages) throw damaged(source, `it claims ${keys.items.length} storages`);
  const places = new Map<string, { offset: number; size: number }>();
  let at = start;
  for (const item of keys.items) {
    const key = String(isObject(item) ? '?' : item);
    const storage = storages.get(key);
    if (!storage) throw damaged(source, `it holds a storage ${key} that its pickle does not know`);
    const head = await readBytes(source, at, 8);
    const count = Number(new DataView(head.buffer).getBigInt64(0, true));
    const size = count * bytesPerElement[storage.dtype];
    at += 8;
    if (count < 0 || size > source.size - at)
      throw damaged(
        source,
        `storage ${key} should have ${count} elements (${size} bytes) but ${source.size - at} bytes are left`,
      );
    places.set(key, { offset: at, size });
    at += size;
  }
  return places;
}
