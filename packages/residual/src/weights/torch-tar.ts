import { bytesPerElement } from '../tensor.js';
import type { Checkpoint } from './checkpoint.js';
import { type PickleOptions, unpickle } from './pickle.js';
import { truncated } from './pickle-operands.js';
import { isObject, type Pickled } from './pickle-values.js';
import { type ByteSource, damaged, readBytes, unsupported } from './source.js';
import type { TarMember } from './tar.js';
import { torchCheckpoint } from './torch.js';
import { storageType, type TorchStorage, type TorchTensor, torchPickle } from './torch-values.js';
import { maxPickleBytes } from './torch-zip.js';

/*
 * PyTorch's container of 2016/17 (torch/serialization.py, `legacy_load`), a tar of four members:
 *   sys_info   one pickle: protocol_version 1000, little_endian
 *   storages   their number; for each (key, location, type), an int64 count and that many elements; then the views of
 *              storages, (key, key of the whole, offset, count)
 *   tensors    their number; for each (key, key of its storage, type), int32 dimensions and four bytes of anything,
 *              then int64 sizes, strides and offset
 *   pickle     the object; its persistent ids are keys of tensors and storages
 */

const memberNames = ['sys_info', 'storages', 'tensors', 'pickle'] as const;
const protocolVersion = 1000;
const mostEntries = 65_536;
/** The pickle before a storage's elements: a key, `cuda:0`, the name of a type. */
const storageWindow = 4096;

/** Which of the container's members are missing; all of them in a tar of something else. */
export const missingMembers = (members: ReadonlyMap<string, TarMember>): readonly string[] =>
  memberNames.filter((name) => !members.has(name));

/**
 * Opens PyTorch's container of 2016/17.
 * @throws WEIGHTS_FORMAT, WEIGHTS_UNSAFE
 */
export async function openTorchTar(source: ByteSource, members: ReadonlyMap<string, TarMember>): Promise<Checkpoint> {
  const missing = missingMembers(members);
  if (missing.length) throw damaged(source, `its tar ends before its ${missing.join(', ')}`);
  const options = torchPickle(source.name);
  await checkMachine(source, members.get('sys_info')!, options);
  const { storages, places } = await readStorages(source, members.get('storages')!, options);
  const tensors = await readTensors(source, members.get('tensors')!, options, storages);
  const object = runPickle(source, 'pickle', await wholeMember(source, 'pickle', members.get('pickle')!), 0, {
    ...options,
    persistent(id) {
      const key = keyOf(id);
      const value = key === undefined ? undefined : (tensors.get(key) ?? storages.get(key));
      return value && { kind: 'other', value };
    },
  });
  return torchCheckpoint(source, 'torch-tar', 'a tar with sys_info, pickle, tensors and storages', object.value, {
    size: (key) => places.get(key)?.size,
    readInto: (key, target, offset) => source.readInto(target, places.get(key)!.offset + offset),
  });
}

async function checkMachine(source: ByteSource, member: TarMember, options: PickleOptions): Promise<void> {
  const { value } = runPickle(source, 'sys_info', await wholeMember(source, 'sys_info', member), 0, options);
  const told = (key: string): Pickled | undefined => {
    if (!isObject(value) || value.kind !== 'dict') return undefined;
    const at = value.entries.indexOf(key);
    return at >= 0 && at % 2 === 0 ? value.entries[at + 1] : undefined;
  };
  const version = told('protocol_version');
  if (version !== protocolVersion)
    throw unsupported(source, `its container has version ${String(version)}; only ${protocolVersion} is known`);
  if (told('little_endian') === false)
    throw unsupported(source, 'it was written on a big-endian machine; load and save it again on another');
}

/** Walks the member from storage to storage; elements are passed over. */
async function readStorages(source: ByteSource, { offset: start, size }: TarMember, options: PickleOptions) {
  const storages = new Map<string, TorchStorage>();
  const places = new Map<string, { offset: number; size: number }>();
  const end = start + size;
  let at = start;
  const next = async (window = storageWindow): Promise<Pickled> => {
    const bytes = await readBytes(source, at, Math.min(window, end - at));
    const run = runPickle(source, 'storages', bytes, 0, options);
    at += run.end;
    return run.value;
  };
  const count = countOf(source, 'storages', await next());
  for (let i = 0; i < count; i++) {
    const [key, , type] = tupleOf(source, 'storages', await next());
    const name = keyOf(key);
    const dtype = type !== undefined && isObject(type) && type.kind === 'global' && storageType(type.name);
    if (name === undefined || !dtype || storages.has(name)) throw damaged(source, `its storage ${i} is not described`);
    if (end - at < 8) throw damaged(source, `its storages end before storage ${name}`);
    const elements = Number(new DataView((await readBytes(source, at, 8)).buffer).getBigInt64(0, true));
    const bytes = elements * bytesPerElement[dtype];
    at += 8;
    if (elements < 0 || bytes > end - at)
      throw damaged(
        source,
        `storage ${name} should have ${elements} elements (${bytes} bytes) but ${end - at} bytes are left`,
      );
    storages.set(name, { is: 'storage', dtype, key: name, count: elements, offset: 0 });
    places.set(name, { offset: at, size: bytes });
    at += bytes;
  }
  const views = end > at ? await next(maxPickleBytes) : { kind: 'list' as const, items: [] };
  if (!isObject(views) || !('items' in views)) throw damaged(source, 'its list of storage views is none');
  for (const view of views.items) {
    const [key, whole, first, length] = tupleOf(source, 'storage views', view);
    const [name, root] = [keyOf(key), storages.get(keyOf(whole) ?? '')];
    if (name === undefined || !root || !isIndex(first) || !isIndex(length) || first + length > root.count)
      throw damaged(source, 'its view of a storage goes beyond it');
    storages.set(name, { ...root, count: length, offset: root.offset + first });
  }
  return { storages, places };
}

async function readTensors(
  source: ByteSource,
  member: TarMember,
  options: PickleOptions,
  storages: ReadonlyMap<string, TorchStorage>,
): Promise<Map<string, TorchTensor>> {
  const bytes = await wholeMember(source, 'tensors', member);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const first = runPickle(source, 'tensors', bytes, 0, options);
  const tensors = new Map<string, TorchTensor>();
  const count = countOf(source, 'tensors', first.value);
  let at = first.end;
  for (let i = 0; i < count; i++) {
    const { value, end } = runPickle(source, 'tensors', bytes, at, options);
    const [key, storageKey] = tupleOf(source, 'tensors', value);
    const name = keyOf(key);
    const storage = storages.get(keyOf(storageKey) ?? '');
    const rank = bytes.length - end < 8 ? -1 : view.getInt32(end, true);
    at = end + 8;
    if (rank < 0 || rank > 64 || bytes.length - at < 16 * rank + 8)
      throw damaged(source, `its tensor ${i} is cut off or has ${rank} dimensions`);
    const numbers = Array.from({ length: 2 * rank + 1 }, (_, k) => Number(view.getBigInt64(at + 8 * k, true)));
    at += 8 * numbers.length;
    if (name === undefined || !storage || !numbers.every(isIndex))
      throw damaged(source, `its tensor ${i} has no storage, or sizes that are none`);
    tensors.set(name, {
      is: 'tensor',
      storage,
      shape: numbers.slice(0, rank),
      stride: numbers.slice(rank, 2 * rank),
      offset: numbers[2 * rank],
    });
  }
  return tensors;
}

async function wholeMember(source: ByteSource, name: string, { offset, size }: TarMember): Promise<Uint8Array> {
  if (size > maxPickleBytes)
    throw damaged(source, `member ${name} claims ${size} bytes, above the limit of ${maxPickleBytes}`);
  return readBytes(source, offset, size);
}

function runPickle(source: ByteSource, member: string, bytes: Uint8Array, start: number, options: PickleOptions) {
  const run = unpickle(bytes, start, options);
  if (run === truncated) throw damaged(source, `member ${member} of the tar ends within a pickle`);
  return run;
}

function countOf(source: ByteSource, what: string, value: Pickled): number {
  if (isIndex(value) && value <= mostEntries) return value;
  throw damaged(source, `it claims ${isObject(value) ? 'no number of' : String(value)} ${what}`);
}

function tupleOf(source: ByteSource, what: string, value: Pickled): readonly Pickled[] {
  if (isObject(value) && value.kind === 'tuple' && value.items.length >= 3) return value.items;
  throw damaged(source, `an entry of its ${what} is no tuple`);
}

/** Keys are addresses of the writing process, as numbers in the tables and as text in the object. */
const keyOf = (key: Pickled | undefined): string | undefined =>
  typeof key === 'string' || typeof key === 'number' || typeof key === 'bigint' ? String(key) : undefined;

const isIndex = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
