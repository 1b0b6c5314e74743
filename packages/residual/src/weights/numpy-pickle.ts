import { ResidualError } from '../errors.js';
import { bytesPerElement, type DType, sizeOf } from '../tensor.js';
import type { Checkpoint } from './checkpoint.js';
import { type PickleCall, type PickleOptions, unpickle } from './pickle.js';
import { truncated } from './pickle-operands.js';
import { isObject, type Pickled } from './pickle-values.js';
import { type ByteSource, damaged, readBytes, unsupported } from './source.js';
import { torchCheckpoint } from './torch.js';
import { type TorchParameter, type TorchTensor, torchPickle, torchValue } from './torch-values.js';

/** The arrays lie inside the pickle, which is therefore read as a whole. */
const largest = 2 ** 30;
/** What is looked at before that: a file of something else is not read to its end. */
const firstLook = 2 ** 24;

const dtypes: Readonly<Record<string, DType>> = {
  f8: 'float64',
  f4: 'float32',
  f2: 'float16',
  i8: 'int64',
  i4: 'int32',
  i2: 'int16',
  i1: 'int8',
  u1: 'uint8',
  b1: 'bool',
};

/**
 * Opens a plain Python pickle of NumPy arrays by name, as Detectron2's model zoo has them (`.pkl`); undefined when it
 * is no whole pickle of anything. The machine and its closed list of names are those of PyTorch's files.
 * @throws WEIGHTS_UNSAFE for a name that is not on the list; WEIGHTS_FORMAT when it holds no arrays, or damaged ones.
 */
export async function openNumpyPickle(source: ByteSource): Promise<Checkpoint | undefined> {
  const head = await readBytes(source, 0, Math.min(firstLook, source.size));
  const look = tryPickle(source, head);
  if (look === undefined) return undefined;
  if (look === truncated && source.size > largest)
    throw unsupported(source, `it is a pickle of ${source.size} bytes; at most ${largest} are read`);
  const whole = look === truncated ? readPickle(source, await readBytes(source, 0, source.size)) : look;
  if (whole === truncated) throw damaged(source, 'its pickle has no end');
  if (!whole.arrays.length)
    throw unsupported(
      source,
      'it is a bare Python pickle without arrays, no checkpoint; save the weights with torch.save',
    );
  return torchCheckpoint(source, 'numpy-pickle', 'a pickle of NumPy arrays', whole.value, {
    size: (key) => whole.arrays[Number(key)]?.length,
    async readInto(key, target, offset) {
      target.set(whole.arrays[Number(key)].subarray(offset, offset + target.length));
    },
  });
}

type Run = { value: Pickled; arrays: readonly Uint8Array[] } | typeof truncated;

/** Undefined for bytes that are no pickle; a wrong array, or a name that is not on the list, is an error here too. */
function tryPickle(source: ByteSource, bytes: Uint8Array): Run | undefined {
  try {
    return readPickle(source, bytes);
  } catch (error) {
    const damagedPickle = error instanceof ResidualError && error.code === 'WEIGHTS_FORMAT' && !error.details.array;
    if (damagedPickle) return undefined;
    throw error;
  }
}

function readPickle(source: ByteSource, bytes: Uint8Array): Run {
  const arrays: Uint8Array[] = [];
  const run = unpickle(bytes, 0, numpyPickle(source, arrays));
  return run === truncated ? truncated : { value: run.value, arrays };
}

/** PyTorch's list, and arrays that keep their values: `arrays` takes the bytes of each. */
function numpyPickle(source: ByteSource, arrays: Uint8Array[]): PickleOptions {
  const options = torchPickle(source.name);

  const wrong = (what: string) =>
    new ResidualError('WEIGHTS_FORMAT', `${source.name}: its arrays ${what}`, { file: source.name, array: true });

  const tensor = (shape: Pickled, type: Pickled, columnMajor: boolean, bytes: Pickled): TorchTensor | undefined => {
    const numpy = torchValue(type);
    const sizes = isObject(shape) && 'items' in shape ? shape.items : undefined;
    if (numpy?.is !== 'numpy' || !sizes?.every((n) => Number.isSafeInteger(n) && (n as number) >= 0)) return undefined;
    const dtype = Object.hasOwn(dtypes, numpy.code) ? dtypes[numpy.code] : undefined;
    if (!dtype || sizes.length > 32) return undefined;
    if (!numpy.littleEndian && bytesPerElement[dtype] > 1)
      throw wrong('are big-endian; load and save it again on another machine');
    if (!(bytes instanceof Uint8Array)) throw wrong('were written by Python 2; load and save it again in Python 3');
    const dimensions = sizes as number[];
    const count = sizeOf(dimensions);
    if (count * bytesPerElement[dtype] !== bytes.length)
      throw wrong(`are damaged: one of ${dtype} [${dimensions.join(', ')}] has ${bytes.length} bytes`);
    const key = String(arrays.push(bytes) - 1);
    return {
      is: 'tensor',
      storage: { is: 'storage', dtype, key, count, offset: 0 },
      offset: 0,
      shape: dimensions,
      stride: strides(dimensions, columnMajor),
    };
  };

  // The memo knows an array before its state arrives: it is filled in place.
  const reconstruct: PickleCall = () => ({ kind: 'other', value: { is: 'parameter' } satisfies TorchParameter });
  const fromBuffer: PickleCall = ([bytes, type, shape, order]) => {
    const data = tensor(shape, type, order === 'F', bytes);
    return data && { kind: 'other', value: data };
  };
  const globals = new Map(options.globals);
  for (const core of ['numpy.core', 'numpy._core']) {
    globals.set(`${core}.multiarray._reconstruct`, reconstruct);
    globals.set(`${core}.numeric._frombuffer`, fromBuffer);
  }
  // Python 3 writes empty bytes under protocol 2 as a call.
  for (const builtins of ['builtins', '__builtin__'])
    globals.set(`${builtins}.bytes`, (args) => (args.length ? undefined : new Uint8Array()));
  return {
    ...options,
    globals,
    build(target, state) {
      const array = isObject(target) && target.kind === 'other' ? (target.value as TorchParameter) : undefined;
      if (array?.is === 'parameter' && isObject(state) && 'items' in state && state.items.length === 5) {
        const [, shape, type, columnMajor, bytes] = state.items;
        const data = tensor(shape, type, columnMajor === true, bytes);
        if (data) array.data = data;
        return target;
      }
      return options.build(target, state);
    },
  };
}

/** Steps from one element to the next along each axis, in elements. */
function strides(shape: readonly number[], columnMajor: boolean): number[] {
  const steps = new Array<number>(shape.length);
  let step = 1;
  for (let i = 0; i < shape.length; i++) {
    const axis = columnMajor ? i : shape.length - 1 - i;
    steps[axis] = step;
    step *= shape[axis];
  }
  return steps;
}
