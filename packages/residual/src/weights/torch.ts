import { ResidualError, unknownName } from '../errors.js';
import { bytesPerElement, sharedBytes, sizeOf } from '../tensor.js';
import {
  type Checkpoint,
  checkTotal,
  type Memory,
  type Metadata,
  type TensorInfo,
  tensorOver,
  type WeightFormat,
} from './checkpoint.js';
import { isObject, type Pickled } from './pickle-values.js';
import { type ByteSource, damaged } from './source.js';
import { type TorchTensor, torchValue } from './torch-values.js';

/** Where a container keeps its storages. */
export interface Storages {
  /** Bytes of a storage, or undefined when the container has none of that key. */
  size(key: string): number | undefined;
  /** Fills `target` from byte `offset` of a storage; the caller has checked the bounds. */
  readInto(key: string, target: Uint8Array, offset: number): Promise<void>;
}

/**
 * A checkpoint over what the pickle built and the storages beside it: flattens nested dictionaries and checks every
 * view against its storage, so that reading cannot fail but for the disk.
 * @throws WEIGHTS_FORMAT
 */
export function torchCheckpoint(
  source: ByteSource,
  format: WeightFormat,
  reason: string,
  pickled: Pickled,
  storages: Storages,
): Checkpoint {
  const { tensors, metadata } = flatten(source, pickled);
  const infos = new Map<string, TensorInfo>();
  for (const [name, tensor] of tensors) {
    checkView(source, name, tensor, storages);
    infos.set(name, { dtype: tensor.storage.dtype, shape: tensor.shape });
  }
  checkTotal(source, infos.values());
  return {
    format,
    reason,
    tensors: infos,
    metadata,
    async read(name, memory) {
      const tensor = tensors.get(name);
      if (!tensor) throw unknownName('tensor', name, tensors.keys());
      return tensorOver(infos.get(name)!, await readView(tensor, storages, memory));
    },
    close: () => source.close(),
  };
}

/** Elements from the first to behind the last that a view touches; 0 for an empty one. */
function span({ shape, stride }: TorchTensor): number {
  let last = 0;
  for (let axis = 0; axis < shape.length; axis++) {
    if (shape[axis] === 0) return 0;
    last += (shape[axis] - 1) * stride[axis];
  }
  return last + 1;
}

function checkView(source: ByteSource, name: string, tensor: TorchTensor, storages: Storages): void {
  const { storage, offset, shape } = tensor;
  const size = storages.size(storage.key);
  if (size === undefined) throw damaged(source, `tensor ${name} lies in storage ${storage.key}, which is not there`);
  const end = storage.offset + offset + span(tensor);
  // Sums and products of safe integers that overflow grow beyond any file, so the comparison still refuses them.
  if (end * bytesPerElement[storage.dtype] > size || !Number.isSafeInteger(sizeOf(shape)))
    throw damaged(
      source,
      `tensor ${name} ends at element ${end} of its storage, which has ${size / bytesPerElement[storage.dtype]}`,
    );
}

async function readView(tensor: TorchTensor, storages: Storages, memory: Memory = sharedBytes): Promise<Uint8Array> {
  const { storage, shape, stride } = tensor;
  const width = bytesPerElement[storage.dtype];
  const count = sizeOf(shape);
  const target = memory(count * width);
  const from = (storage.offset + tensor.offset) * width;
  if (count === 0) return target;
  if (isContiguous(shape, stride)) {
    await storages.readInto(storage.key, target, from);
    return target;
  }
  const whole = new Uint8Array(span(tensor) * width);
  await storages.readInto(storage.key, whole, from);
  gather(whole, target, width, shape, stride);
  return target;
}

function isContiguous(shape: readonly number[], stride: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && stride[axis] !== expected) return false;
    expected *= shape[axis];
  }
  return true;
}

/** Copies a strided view of elements of `width` bytes to row-major order. */
function gather(
  source: Uint8Array,
  target: Uint8Array,
  width: number,
  shape: readonly number[],
  stride: readonly number[],
): void {
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < target.length; to += width) {
    for (let i = 0; i < width; i++) target[to + i] = source[from * width + i];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += stride[axis];
      if (++index[axis] < shape[axis]) break;
      from -= shape[axis] * stride[axis];
      index[axis] = 0;
    }
  }
}

// A cycle or a bomb of shared references ends at one of these; real checkpoints nest five deep.
const maxDepth = 64;
const maxValues = 1_000_000;
const maxNameLength = 1000;
const maxNameTotal = 2 ** 26;

/** Nested dictionaries and lists by dotted names: tensors on one side, numbers, strings and lists of them on the other. */
function flatten(source: ByteSource, root: Pickled): { tensors: Map<string, TorchTensor>; metadata: Metadata } {
  const tensors = new Map<string, TorchTensor>();
  const metadata = new Map<string, unknown>();
  const pending: { path: string; value: Pickled; depth: number }[] = [{ path: '', value: root, depth: 0 }];
  let seen = 0;
  let letters = 0;
  const refuse = (what: string) =>
    new ResidualError('WEIGHTS_FORMAT', `${source.name}: its pickle ${what}; it is damaged or made to exhaust memory`, {
      file: source.name,
    });
  const count = (values: number) => {
    seen += values;
    if (seen > maxValues) throw refuse(`unfolds to more than ${maxValues} values`);
  };
  count(1);
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { path, value, depth } = next;
    if (depth > maxDepth) throw refuse(`nests more than ${maxDepth} deep or holds itself`);
    if (path.length > maxNameLength) throw refuse(`has a name of more than ${maxNameLength} characters`);
    const join = (key: string) => (path === '' ? key : `${path}.${key}`);
    const name = path === '' ? 'value' : path;
    const isLeaf = !isObject(value) || value.kind === 'global' || value.kind === 'other';
    if (isLeaf) letters += name.length;
    if (letters > maxNameTotal) throw refuse(`has names of more than ${maxNameTotal} characters together`);
    if (!isObject(value) || value.kind === 'global') {
      metadata.set(name, plain(value));
      continue;
    }
    if (value.kind === 'other') {
      const built = torchValue(value);
      if (built?.is !== 'tensor') continue;
      if (tensors.has(name)) throw damaged(source, `it has two tensors named ${name}`);
      tensors.set(name, built);
      continue;
    }
    if (value.kind === 'dict') {
      const { entries } = value;
      count(entries.length / 2);
      // A later entry of the same key replaces the earlier one, as in Python. Pushed from the end: popped in order.
      const children = new Map<string, Pickled>();
      for (let i = 0; i < entries.length; i += 2) children.set(keyText(entries[i]), entries[i + 1]);
      for (const [key, child] of [...children].reverse())
        pending.push({ path: join(key), value: child, depth: depth + 1 });
      continue;
    }
    count(value.items.length);
    if (value.items.every((item) => !isObject(item) || item.kind === 'global'))
      metadata.set(name, value.items.map(plain));
    else
      for (let i = value.items.length - 1; i >= 0; i--)
        pending.push({ path: join(String(i)), value: value.items[i], depth: depth + 1 });
  }
  return { tensors, metadata: Object.fromEntries(metadata) };
}

const keyText = (key: Pickled): string => (isObject(key) || key instanceof Uint8Array ? '?' : String(key));

/** A scalar as JSON has them: big integers as text, bytes by their number, types by their name. */
function plain(value: Pickled): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  return isObject(value) ? (value.kind === 'global' ? value.name : null) : value;
}
