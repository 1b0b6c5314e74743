import type { File as H5File, Metadata } from 'h5wasm';
import { ResidualError } from '../errors.js';
import { bytesPerElement, type DType, sharedBytes, sizeOf } from '../tensor.js';
import type { TensorInfo } from './checkpoint.js';
import type { SyncSource } from './source.js';

// HDF5 by the HDF Group's library compiled to WebAssembly (h5wasm). It reads through a file of its in-memory file
// system whose `read` is ours, so nothing is loaded but what is asked for, in Node and in the page alike. It computes
// synchronously and a damaged file can make it loop or abort: use it in a thread that can be thrown away.

/** An attribute's value: text and numbers, alone or in a list. */
export type HdfValue = string | number | readonly (string | number)[];

/** An open HDF5 file. Paths are absolute: `/model_weights/conv1`. */
export interface HdfFile {
  /** Paths of all groups and datasets below the root, each once, whatever links lead to it. */
  paths(): string[];
  isGroup(path: string): boolean;
  /** Undefined when there is no such attribute, or one of another kind. */
  attribute(path: string, name: string): HdfValue | undefined;
  /** Element type and shape of a dataset; undefined for a group and for types that no weights have. */
  dataset(path: string): TensorInfo | undefined;
  /** All values of a dataset, row-major, in memory that threads share. */
  read(path: string, info: TensorInfo): Uint8Array;
}

/**
 * Opens an HDF5 file.
 * @throws WEIGHTS_FORMAT when it is none or damaged; MISSING_PACKAGE when h5wasm is not installed.
 */
export async function openHdf5(source: SyncSource): Promise<HdfFile> {
  const { File, ready } = await importLibrary();
  const library = await ready;
  // By default the library prints a trace of every error to stderr.
  (library as unknown as { activate_throwing_error_handler(): void }).activate_throwing_error_handler();
  const place = mount(library.FS as unknown as FileSystem, source);
  const file = hdfErrors(source.name, () => new File(place, 'r'));
  const heap = (): Uint8Array => library.HEAPU8;

  return {
    paths: () =>
      hdfErrors(source.name, () =>
        library.get_names(file.file_id, '/', true).map((name) => (name.startsWith('/') ? name : `/${name}`)),
      ),
    isGroup: (path) => attempt(() => library.get_type(file.file_id, path)) === library.H5G_GROUP,
    attribute: (path, name) => attributeOf(file, path, name),
    dataset(path) {
      const metadata = attempt(() => library.get_dataset_metadata(file.file_id, path));
      const dtype = metadata && dtypeOf(metadata);
      return dtype && metadata.shape ? { dtype, shape: metadata.shape.map(Number) } : undefined;
    },
    read(path, { dtype, shape }) {
      return hdfErrors(source.name, () => {
        const length = sizeOf(shape) * bytesPerElement[dtype];
        const shared = sharedBytes(length);
        const at = library._malloc(Math.max(1, length));
        if (at === 0) throw new Error(`no memory for the ${length} bytes of ${path}`);
        try {
          library.get_dataset_data(file.file_id, path, null, null, null, BigInt(at));
          shared.set(heap().subarray(at, at + length));
        } finally {
          library._free(at);
        }
        return shared;
      });
    },
  };
}

async function importLibrary(): Promise<typeof import('h5wasm')> {
  try {
    return await import('h5wasm');
  } catch (cause) {
    throw new ResidualError(
      'MISSING_PACKAGE',
      'Keras .h5 files are read by the package h5wasm, which is not installed; run: npm install h5wasm',
      { package: 'h5wasm' },
      { cause },
    );
  }
}

/** The part of Emscripten's file system used here. */
interface FileSystem {
  createFile(
    parent: string,
    name: string,
    properties: object,
    canRead: boolean,
    canWrite: boolean,
  ): { stream_ops: object };
}

let mounted = 0;

/** A file of the library's file system that reads from `source`; its path. */
function mount(fs: FileSystem, source: SyncSource): string {
  const name = `weights-${mounted++}.h5`;
  const node = fs.createFile('/', name, {}, true, false);
  Object.defineProperty(node, 'usedBytes', { get: () => source.size });
  node.stream_ops = {
    ...node.stream_ops,
    read(_stream: unknown, heap: Uint8Array, offset: number, length: number, position: number) {
      const count = Math.max(0, Math.min(length, source.size - position));
      if (count > 0) source.readInto(heap.subarray(offset, offset + count), position);
      return count;
    },
  };
  return `/${name}`;
}

/** HDF5's type classes (H5Tpublic.h): integers, floats, enumerations (h5py's booleans). */
const [integerClass, floatClass, enumClass] = [0, 1, 8];

function dtypeOf({ type, size, signed, littleEndian, shape }: Metadata): DType | undefined {
  if (!shape || (!littleEndian && size > 1)) return undefined;
  if (type === floatClass) return ({ 2: 'float16', 4: 'float32', 8: 'float64' } as const)[size];
  if (type === enumClass && size === 1) return 'bool';
  if (type !== integerClass) return undefined;
  if (!signed) return size === 1 ? 'uint8' : undefined;
  return ({ 1: 'int8', 2: 'int16', 4: 'int32', 8: 'int64' } as const)[size];
}

function attributeOf(file: H5File, path: string, name: string): HdfValue | undefined {
  const group = file.get(path);
  const value: unknown =
    group && attempt(() => ('get_attribute' in group ? group.get_attribute(name, false) : undefined));
  if (typeof value === 'string' || typeof value === 'number') return value;
  const list = Array.isArray(value) ? value : ArrayBuffer.isView(value) ? Array.from(value as Uint8Array) : [];
  const kept = list.filter((item): item is string | number => typeof item === 'string' || typeof item === 'number');
  return value !== undefined && kept.length === list.length && (list.length > 0 || ArrayBuffer.isView(value))
    ? kept
    : undefined;
}

/** What the library gives, or undefined where it says that there is no such thing. */
function attempt<T>(ask: () => T): T | undefined {
  try {
    return ask();
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) throw error;
    return undefined;
  }
}

/** The library's own words are a trace of many lines; its deepest is the cause. */
function hdfErrors<T>(name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof ResidualError) throw error;
    const lines = (error instanceof Error ? error.message : String(error))
      .split('\n')
      .filter((line) => /^\s*#\d+:/.test(line));
    const deepest =
      lines
        .at(-1)
        ?.replace(/^.*?\(\): /, '')
        .trim() ?? (error instanceof Error ? error.message : String(error));
    throw new ResidualError(
      'WEIGHTS_FORMAT',
      `${name}: the HDF5 file cannot be read (${deepest}); it is damaged or cut off, fetch it again`,
      { file: name },
    );
  }
}
