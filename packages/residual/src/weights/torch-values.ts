import type { DType } from '../tensor.js';
import { dates } from './dates.js';
import { dictionaries, namespaces, texts } from './inert.js';
import type { PickleCall, PickleOptions } from './pickle.js';
import { isObject, type Pickled, type PickledList } from './pickle-values.js';

/** A run of numbers that tensors are views of, known by the key that the container uses. */
export interface TorchStorage {
  readonly is: 'storage';
  readonly dtype: DType;
  readonly key: string;
  /** Elements, as the pickle says; the container's own figure is compared with it. */
  readonly count: number;
  /** First element of a view of another storage (legacy container); 0 otherwise. */
  readonly offset: number;
}

/** `offset` and `stride` count elements, as PyTorch's own do. */
export interface TorchTensor {
  readonly is: 'tensor';
  readonly storage: TorchStorage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly stride: readonly number[];
}

interface NumpyType {
  readonly is: 'numpy';
  /** `f8`, `i8`, `b1`: kind and bytes. */
  readonly code: string;
  readonly littleEndian: boolean;
}

/** A Parameter of 2016/17: made empty, then given its tensor. */
export interface TorchParameter {
  readonly is: 'parameter';
  data?: TorchTensor;
}

export type TorchValue = TorchStorage | TorchTensor | NumpyType | TorchParameter;

const storages: Record<string, DType> = {
  'torch.DoubleStorage': 'float64',
  'torch.FloatStorage': 'float32',
  'torch.HalfStorage': 'float16',
  'torch.BFloat16Storage': 'bfloat16',
  'torch.LongStorage': 'int64',
  'torch.IntStorage': 'int32',
  'torch.ShortStorage': 'int16',
  'torch.CharStorage': 'int8',
  'torch.ByteStorage': 'uint8',
  'torch.BoolStorage': 'bool',
};
// The same by the names of `torch.cuda`: the bytes do not differ.
for (const [name, dtype] of Object.entries(storages)) storages[name.replace('torch.', 'torch.cuda.')] = dtype;

/** The element type of `torch.FloatStorage` and its kin. */
export const storageType = (name: string): DType | undefined =>
  Object.hasOwn(storages, name) ? storages[name] : undefined;

/** Names that only stand for themselves: types as arguments, dtypes as values. */
const bareNames = [
  'torch.Tensor',
  'torch.nn.parameter.Buffer',
  // The types of tensors, which the container of 2016/17 names beside the storages.
  ...Object.keys(storages).map((name) => name.replace('Storage', 'Tensor')),
  ...['float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool'].map(
    (name) => `torch.${name}`,
  ),
  ...['list', 'dict', 'int', 'long', 'float', 'str', 'bool'].flatMap((name) => [
    `builtins.${name}`,
    `__builtin__.${name}`,
  ]),
];

/** At most this many items are copied by constructors such as `OrderedDict(pairs)`, whatever the pickle repeats. */
const maxCopied = 2_000_000;

/** The closed list of what a torch checkpoint may name, and what each does, for one file. */
export function torchPickle(file: string): PickleOptions {
  let copied = 0;
  /** A list or tuple's items, or undefined when it is none or the copying gets out of hand. */
  const copyOf = (value: Pickled | undefined): Pickled[] | undefined => {
    if (value === undefined) return [];
    if (!isObject(value) || !('items' in value)) return undefined;
    copied += value.items.length;
    return copied > maxCopied ? undefined : value.items.slice();
  };
  /** Dicts whose entries arrive as state. */
  const stateful = new WeakSet<object>();

  const dict = (value: Pickled | undefined): Pickled | undefined => {
    if (value !== undefined && isObject(value) && value.kind === 'dict') return value;
    const entries: Pickled[] = [];
    for (const pair of copyOf(value) ?? [null]) {
      if (!isObject(pair) || !('items' in pair) || pair.items.length !== 2) return undefined;
      entries.push(pair.items[0], pair.items[1]);
    }
    return { kind: 'dict', entries };
  };
  const collection =
    (kind: PickledList['kind']): PickleCall =>
    ([list]) => {
      const items = copyOf(list);
      return items && { kind, items };
    };
  const parameter: PickleCall = ([data]) =>
    data === undefined ? other({ is: 'parameter' }) : torchValue(data)?.is === 'tensor' ? data : undefined;
  const namespace: PickleCall = () => {
    const value: Pickled = { kind: 'dict', entries: [] };
    stateful.add(value);
    return value;
  };
  const rebuildFromType: PickleCall = ([call, , args]) => {
    if (!call || !isObject(call) || call.kind !== 'global' || !args || !isObject(args) || !('items' in args)) return;
    // One level only: a rebuild that rebuilds a rebuild has no use.
    return call.name === 'torch._tensor._rebuild_from_type_v2' ? undefined : globals.get(call.name)?.(args.items);
  };

  const globals = new Map<string, PickleCall>([
    ['torch._utils._rebuild_tensor', rebuildTensor],
    ['torch._utils._rebuild_tensor_v2', rebuildTensor],
    ['torch._utils._rebuild_parameter', parameter],
    ['torch._utils._rebuild_parameter_with_state', parameter],
    ['torch._tensor._rebuild_from_type_v2', rebuildFromType],
    ['torch.nn.parameter.Parameter', parameter],
    ['torch.Size', collection('tuple')],
    ['torch.device', (args) => joined(args, ':')],
    ['collections.defaultdict', ([, pairs]) => dict(pairs)],
    ['collections.deque', collection('list')],
    ['builtins.set', collection('set')],
    ['__builtin__.set', collection('set')],
    ['builtins.frozenset', collection('set')],
    ['numpy.dtype', numpyType],
    ['numpy.core.multiarray.scalar', numpyScalar],
    ['numpy._core.multiarray.scalar', numpyScalar],
    ['numpy.core.multiarray._reconstruct', numpyArray],
    ['numpy._core.multiarray._reconstruct', numpyArray],
    ['numpy.ndarray', () => undefined],
    ['_codecs.encode', encodeLatin1],
    ...dictionaries.map((name): [string, PickleCall] => [name, ([pairs]) => dict(pairs)]),
    ...namespaces.map((name): [string, PickleCall] => [name, namespace]),
    ...texts.map((name): [string, PickleCall] => [name, (parts) => joined(parts, '/')?.replace(/^\/+/, '/')]),
    ...dates,
    ...[...Object.keys(storages), ...bareNames].map((name): [string, PickleCall] => [name, () => undefined]),
  ]);

  return {
    file,
    globals,
    persistent: storageOf,
    build(target, state) {
      if (isObject(target) && isObject(state)) {
        if (target.kind === 'dict' && stateful.has(target) && state.kind === 'dict') {
          copied += state.entries.length;
          if (copied <= maxCopied) for (const value of state.entries) target.entries.push(value);
        }
        const built = target.kind === 'other' ? (target.value as TorchValue) : undefined;
        if (built?.is === 'numpy' && 'items' in state) return other({ ...built, littleEndian: state.items[1] !== '>' });
        if (built?.is === 'parameter' && 'items' in state) {
          // `(data, grad, hooks, requires_grad, volatile)`. The memo knows the parameter already: it is filled in place.
          const data = torchValue(state.items[0]);
          if (data?.is === 'tensor') built.data = data;
        }
      }
      // The state of an OrderedDict is `_metadata`, module versions that no reader needs.
      return target;
    },
  };
}

/** A path made of itself twice, forty times over, would fill the memory. */
const longestText = 4096;

function joined(parts: readonly Pickled[], between: string): string | undefined {
  const length = parts.reduce((sum: number, part) => sum + (typeof part === 'string' ? part.length : 20), 0);
  return length > longestText ? undefined : parts.map(String).join(between);
}

const other = (value: TorchValue): Pickled => ({ kind: 'other', value });

/** The torch value inside a pickled one. */
export function torchValue(value: Pickled | undefined): Exclude<TorchValue, TorchParameter> | undefined {
  if (value === undefined || !isObject(value) || value.kind !== 'other') return undefined;
  const built = value.value as TorchValue;
  return built.is === 'parameter' ? built.data : built;
}

const isIndex = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/**
 * `(storage, offset, size, stride, requires_grad, hooks, metadata)`: torch/_utils.py, `_rebuild_tensor_v2`. Bounds are
 * checked by the container. Metadata says that the numbers are to be negated or conjugated: no weight is stored so.
 */
function rebuildTensor([storage, offset, size, stride, , , bits]: readonly Pickled[]): Pickled | undefined {
  if (bits && !(isObject(bits) && bits.kind === 'dict' && bits.entries.every((entry, i) => i % 2 === 0 || !entry)))
    return;
  const run = torchValue(storage);
  if (run?.is !== 'storage' || !isIndex(offset)) return;
  if (!size || !isObject(size) || !('items' in size) || !stride || !isObject(stride) || !('items' in stride)) return;
  const [shape, steps] = [size.items, stride.items];
  // PyTorch itself allows 64 dimensions.
  if (shape.length > 64 || shape.length !== steps.length || !shape.every(isIndex) || !steps.every(isIndex)) return;
  return other({ is: 'tensor', storage: run, offset, shape: [...shape], stride: [...steps] });
}

/** `('storage', type, key, location, count[, view])`: torch/serialization.py, `persistent_id`. */
function storageOf(id: Pickled): Pickled | undefined {
  if (!isObject(id) || !('items' in id)) return;
  const [word, type, key, , count, view] = id.items;
  if (word !== 'storage' || !isObject(type) || type.kind !== 'global' || !isIndex(count)) return;
  const dtype = storages[type.name];
  if (!dtype || (typeof key !== 'string' && typeof key !== 'number')) return;
  let offset = 0;
  if (view && isObject(view) && 'items' in view) {
    const first = view.items[1];
    if (!isIndex(first)) return;
    offset = first;
  }
  return other({ is: 'storage', dtype, key: String(key), count, offset });
}

function numpyType([code]: readonly Pickled[]): Pickled | undefined {
  return typeof code === 'string' ? other({ is: 'numpy', code, littleEndian: true }) : undefined;
}

/** `(dtype, bytes)` of one number; null for kinds that are none. */
function numpyScalar([type, bytes]: readonly Pickled[]): Pickled | undefined {
  const dtype = torchValue(type);
  if (dtype?.is !== 'numpy' || !(bytes instanceof Uint8Array)) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = Number(dtype.code.slice(1));
  if (size !== bytes.length) return null;
  const e = dtype.littleEndian;
  switch (dtype.code) {
    case 'f8':
      return view.getFloat64(0, e);
    case 'f4':
      return view.getFloat32(0, e);
    case 'i8':
      return Number(view.getBigInt64(0, e));
    case 'u8':
      return Number(view.getBigUint64(0, e));
    case 'i4':
      return view.getInt32(0, e);
    case 'u4':
      return view.getUint32(0, e);
    case 'i2':
      return view.getInt16(0, e);
    case 'u1':
      return view.getUint8(0);
    case 'b1':
      return view.getUint8(0) !== 0;
    default:
      return null;
  }
}

/** An array beside the weights (recorded losses, class counts): its values are not kept. */
const numpyArray: PickleCall = () => ({ kind: 'tuple', items: ['numpy array'] });

/** Python 3 writes bytes under protocol 2 as `_codecs.encode(text, 'latin1')`. */
function encodeLatin1([text, encoding]: readonly Pickled[]): Pickled | undefined {
  if (typeof text !== 'string' || encoding !== 'latin1') return;
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
