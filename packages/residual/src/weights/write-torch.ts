import type { AnyTensor, DType } from '../tensor.js';
import { type ZipMember, zipBytes } from './write-zip.js';

/** PyTorch's class of a storage of each element type. */
const storages = {
  float64: 'DoubleStorage',
  float32: 'FloatStorage',
  float16: 'HalfStorage',
  bfloat16: 'BFloat16Storage',
  int64: 'LongStorage',
  int32: 'IntStorage',
  int16: 'ShortStorage',
  int8: 'CharStorage',
  uint8: 'ByteStorage',
  bool: 'BoolStorage',
} as const satisfies Record<DType, string>;

/**
 * A PyTorch checkpoint, piece by piece, as `torch.save(state_dict)` writes it since 1.6: a zip of `data.pkl`, one
 * member a storage, and two that name version and byte order. It loads with `weights_only=True`: its pickle names
 * nothing but `OrderedDict`, `_rebuild_tensor_v2` and classes of storages.
 * @throws ARGUMENT for more than 4 GiB.
 */
export function torchBytes(tensors: Iterable<readonly [name: string, tensor: AnyTensor]>): Generator<Uint8Array> {
  const entries = [...tensors];
  const text = (value: string) => new TextEncoder().encode(value);
  const members: ZipMember[] = [
    { name: 'archive/data.pkl', bytes: statePickle(entries) },
    { name: 'archive/byteorder', bytes: text('little') },
    ...entries.map(([, { data }], i) => ({
      name: `archive/data/${i}`,
      bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    })),
    { name: 'archive/version', bytes: text('3\n') },
  ];
  return zipBytes(members);
}

/** The state dictionary in pickle's protocol 2 (CPython, Lib/pickletools.py); storage `i` is the tensor's number. */
function statePickle(tensors: readonly (readonly [name: string, tensor: AnyTensor])[]): Uint8Array {
  const bytes: number[] = [];
  const encoder = new TextEncoder();
  const put = (...parts: (string | readonly number[])[]) => {
    for (const part of parts) {
      if (typeof part !== 'string') for (const byte of part) bytes.push(byte);
      else for (let i = 0; i < part.length; i++) bytes.push(part.charCodeAt(i));
    }
  };
  const emptyDict = `ccollections\nOrderedDict\n)R`;
  put('\x80\x02', emptyDict, '(');
  tensors.forEach(([name, { dtype, shape, data }], i) => {
    put(unicode(encoder, name), 'ctorch._utils\n_rebuild_tensor_v2\n(');
    put('(', unicode(encoder, 'storage'), `ctorch\n${storages[dtype]}\n`, unicode(encoder, String(i)));
    put(unicode(encoder, 'cpu'), whole(data.length), 'tQ');
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, n) => product * Math.max(1, n), 1));
    put(whole(0), tuple(shape), tuple(strides), '\x89', emptyDict, 'tR');
  });
  put('u.');
  return Uint8Array.from(bytes);
}

function unicode(encoder: TextEncoder, text: string): number[] {
  const bytes = encoder.encode(text);
  return [0x58, ...fourBytes(bytes.length), ...bytes];
}

const tuple = (numbers: readonly number[]): number[] => [0x28, ...numbers.flatMap(whole), 0x74];

/** BININT has four bytes with a sign; LONG1 a length and as many bytes. */
const whole = (value: number): number[] =>
  value < 2 ** 31
    ? [0x4a, ...fourBytes(value)]
    : [0x8a, 8, ...fourBytes(value % 2 ** 32), ...fourBytes(Math.floor(value / 2 ** 32))];

const fourBytes = (value: number): number[] => [0, 8, 16, 24].map((shift) => (value >>> shift) & 255);
