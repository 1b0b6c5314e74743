import { ResidualError } from '../errors.js';
import { bytesPerElement, type DType, sharedBytes, sizeOf } from '../tensor.js';
import type { TensorInfo } from './checkpoint.js';
import { constantParts } from './hdf5-written.js';
import { damaged, type SyncSource, unsupported } from './source.js';

// HDF5 by the HDF Group's library compiled to WebAssembly (h5wasm). It reads through a file of its in-memory file
// system whose `read` is ours, so nothing is loaded but what is asked for, in Node and in the page alike. It computes
// synchronously and a damaged file can make it loop or abort: use it in a thread that can be thrown away.

/**
 * An open HDF5 file. Paths are absolute: `/model_weights/conv1`. Everything throws WEIGHTS_FORMAT for damage. Any error
 * that is no `ResidualError` comes from a library that gave up: its thread must not be used again.
 */
export interface HdfFile {
  /** Paths of all that is no group, each object once, whatever links lead to it. */
  leaves(): string[];
  /** What stands at a path; undefined when nothing does. */
  kind(path: string): 'group' | 'dataset' | 'other' | undefined;
  /** Text, alone or in a list; an empty list of anything. Undefined when there is no such attribute or object. */
  attribute(path: string, name: string): string | readonly string[] | undefined;
  /** Element type and shape of a dataset; undefined for anything else and for types that no weights have. */
  dataset(path: string): TensorInfo | undefined;
  /** All values of a dataset, row-major and little-endian, in memory that threads share. */
  read(path: string, info: TensorInfo): Uint8Array;
  close(): void;
}

/** Bounds of a walk through a file that has no table of contents. */
const mostObjects = 20_000;
const longestPath = 1000;

/**
 * Opens an HDF5 file.
 * @throws WEIGHTS_FORMAT when it is none or damaged; MISSING_PACKAGE when h5wasm is not installed.
 */
export async function openHdf5(source: SyncSource): Promise<HdfFile> {
  const library = await loadLibrary();
  const { place, reads, unmount } = mount(library.FS, source);
  let file: bigint | undefined;
  /** The library's answer; its errors as one line about the file. */
  function ask<T>(question: () => T): T {
    try {
      return question();
    } catch (error) {
      if (isFatal(error)) throw error;
      closeTraces(library.FS);
      if (error instanceof ResidualError) throw error;
      throw damaged(source, `the HDF5 file cannot be read (${cause(error)})`);
    }
  }

  /** The library's answer, or undefined where it says that there is none. */
  function attempt<T>(question: () => T): T | undefined {
    try {
      return ask(question);
    } catch (error) {
      if (!isDamage(error)) throw error;
      return undefined;
    }
  }

  function close(): void {
    // What an error left open inside the library keeps its file open; the descriptor is closed all the same.
    if (file !== undefined) attempt(() => library.close_file(file as bigint));
    unmount();
  }

  try {
    file = ask(() => library.open(place, library.H5F_ACC_RDONLY, false, -1, -1));
  } catch (error) {
    close();
    throw error;
  }
  const id = file;

  const kind: HdfFile['kind'] = (path) => {
    const type = attempt(() => library.get_type(id, path));
    if (type === undefined || type < 0) return undefined;
    return type === library.H5G_GROUP ? 'group' : type === library.H5G_DATASET ? 'dataset' : 'other';
  };

  const attribute: HdfFile['attribute'] = (path, name) => {
    let metadata: Metadata;
    try {
      metadata = ask(() => library.get_attribute_metadata(id, path, name));
    } catch (error) {
      if (!isDamage(error)) throw error;
      if (error.message.includes(nothingThere) || kind(path) === undefined) return undefined;
      throw error;
    }
    return ask(() => attributeText(library, id, path, name, metadata, source));
  };

  const elsewhere = (path: string): ResidualError =>
    unsupported(
      source,
      `the values of ${path} are stored in another file, and data outside the file is not read; write it again as one file`,
    );

  /**
   * Whether a value stands in the file, and is not what the library gives for one that was never written: it looks up the
   * place, which it remembers, and then must read there every time.
   */
  const isStored = (path: string, corner: readonly number[], size: number): boolean =>
    ask(() =>
      withMemory(library, size, (at) => {
        const one = corner.map(() => 1n);
        const look = () => library.get_dataset_data(id, path, one, corner.map(BigInt), one, BigInt(at));
        look();
        const before = reads();
        look();
        return reads() > before;
      }),
    );

  const unwritten = (path: string, corner: readonly number[]): ResidualError =>
    damaged(source, `the values of ${path} from [${corner.join(', ')}] on were never written into the file`);

  /** Keras 3 writes bfloat16 as two bytes of no type, and says so beside them. */
  const opaque = (size: number, path: string): DType | undefined =>
    size === 2 && attribute(path, 'dtype') === 'bfloat16' ? 'bfloat16' : undefined;

  return {
    kind,
    attribute,
    leaves() {
      // A list and no recursion: how deep a file nests its groups must not matter. The reference to an object is its
      // address in the file, by which links in a circle end.
      const found: string[] = [];
      const seen = new Set<string>();
      const waiting = ['/'];
      for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
        const here = path;
        const address = attempt(() => library.create_object_reference(id, here).join());
        if (address === undefined || seen.has(address)) continue;
        seen.add(address);
        if (seen.size > mostObjects) throw unsupported(source, `it has more than ${mostObjects} groups and datasets`);
        const children = attempt(() => library.get_names(id, here, false));
        if (!children && kind(here) === 'group') throw damaged(source, `its group ${here} cannot be listed`);
        if (!children) found.push(here);
        for (const name of children?.reverse() ?? []) {
          const child = `${here === '/' ? '' : here}/${name}`;
          if (child.length > longestPath) throw damaged(source, `it has a path of more than ${longestPath} characters`);
          waiting.push(child);
        }
      }
      return found;
    },
    dataset(path) {
      const metadata = attempt(() => library.get_dataset_metadata(id, path));
      const dtype = metadata && (metadata.type === opaqueClass ? opaque(metadata.size, path) : dtypeOf(metadata));
      return dtype && metadata.shape ? { dtype, shape: metadata.shape } : undefined;
    },
    read(path, { dtype, shape }) {
      const length = sizeOf(shape) * bytesPerElement[dtype];
      // The library would give zeros for parts of other files.
      const { virtual_sources: parts, chunks } = ask(() => library.get_dataset_metadata(id, path));
      if (parts?.length) throw elsewhere(path);
      try {
        const values = ask(() =>
          withMemory(library, length, (at) => {
            library.get_dataset_data(id, path, null, null, null, BigInt(at));
            const shared = sharedBytes(length);
            shared.set(library.HEAPU8.subarray(at, at + length));
            return shared;
          }),
        );
        for (const corner of constantParts(values, { dtype, shape }, chunks))
          if (!isStored(path, corner, bytesPerElement[dtype])) throw unwritten(path, corner);
        return values;
      } catch (error) {
        if (!isDamage(error)) throw error;
        if (error.message.includes('external raw data file')) throw elsewhere(path);
        const foreign = attempt(() => library.get_dataset_filters(id, path))?.find(isForeign);
        throw foreign
          ? unsupported(
              source,
              `${path} is packed by the HDF5 filter ${foreign.name || foreign.id}, which is not read here; write the file again with gzip or unpacked`,
            )
          : error;
      }
    },
    close,
  };
}

/** The library's interface as used here. */
export type Library = Awaited<typeof import('h5wasm')['ready']> & { FS: FileSystem };
type Metadata = import('h5wasm').Metadata;

export async function loadLibrary(): Promise<Library> {
  const { ready } = await import('h5wasm').catch((cause: unknown) => {
    throw new ResidualError(
      'MISSING_PACKAGE',
      'Keras .h5 files need the package h5wasm, which is not installed; run: npm install h5wasm',
      { package: 'h5wasm' },
      { cause },
    );
  });
  const library = (await ready) as Library;
  // By default the library prints a trace of every error to stderr.
  library.activate_throwing_error_handler();
  return library;
}

/** The part of Emscripten's file system used here. */
interface FileSystem {
  createFile(parent: string, name: string, properties: object, canRead: boolean, canWrite: boolean): Node;
  unlink(path: string): void;
  readFile(path: string): Uint8Array;
  close(stream: Stream): void;
  readonly streams: readonly (Stream | null | undefined)[];
}
interface Node {
  stream_ops: object;
}
interface Stream {
  readonly node: Node;
  readonly path: string;
}

/** h5wasm writes the trace of each error to a temporary file that it leaves open; 4096 may be open. */
function closeTraces(fs: FileSystem): void {
  for (const stream of fs.streams) if (stream?.path.startsWith('/tmp/')) fs.close(stream);
}

let mounted = 0;

/** A file of the library's file system that reads from `source`, and counts how often it does. */
function mount(fs: FileSystem, source: SyncSource): { place: string; reads(): number; unmount(): void } {
  const name = `weights-${mounted++}.h5`;
  const node = fs.createFile('/', name, {}, true, false);
  let reads = 0;
  Object.defineProperty(node, 'usedBytes', { get: () => source.size });
  node.stream_ops = {
    ...node.stream_ops,
    read(_stream: unknown, heap: Int8Array, offset: number, length: number, position: number) {
      reads++;
      const count = Math.max(0, Math.min(length, source.size - position));
      if (count > 0) source.readInto(new Uint8Array(heap.buffer, heap.byteOffset + offset, count), position);
      return count;
    },
  };
  return {
    place: `/${name}`,
    reads: () => reads,
    unmount() {
      for (const stream of fs.streams) if (stream?.node === node) fs.close(stream);
      fs.unlink(`/${name}`);
    },
  };
}

/** Lends `length` bytes of the library's memory. */
export function withMemory<T>(library: Library, length: number, use: (at: number) => T): T {
  const at = length < library.MAXIMUM_MEMORY ? library._malloc(Math.max(1, length)) : 0;
  if (at === 0) throw new Error(`no memory for ${length} bytes`);
  try {
    return use(at);
  } finally {
    library._free(at);
  }
}

/** HDF5's type classes (H5Tpublic.h): integers, floats, texts, bytes, enumerations (h5py's booleans). */
const [integerClass, floatClass, textClass, opaqueClass, enumClass] = [0, 1, 3, 5, 8];

/** Big-endian values count: the library swaps them when it reads. */
function dtypeOf({ type, size, signed, enum_type }: Metadata): DType | undefined {
  if (type === floatClass) return ({ 2: 'float16', 4: 'float32', 8: 'float64' } as const)[size];
  if (type === enumClass) return size === 1 && enum_type && 'TRUE' in enum_type.members ? 'bool' : undefined;
  if (type !== integerClass) return undefined;
  if (!signed) return size === 1 ? 'uint8' : undefined;
  return ({ 1: 'int8', 2: 'int16', 4: 'int32', 8: 'int64' } as const)[size];
}

/** Texts have one length, padded with zeros, or stand elsewhere and are pointed at. */
function attributeText(
  library: Library,
  file: bigint,
  path: string,
  name: string,
  { shape, type, size, total_size, vlen }: Metadata,
  source: SyncSource,
): string | readonly string[] | undefined {
  if (shape && total_size === 0) return [];
  if (!shape || type !== textClass) return undefined;
  const length = size * total_size;
  // What was written takes at least as many bytes in the file.
  if (!(length <= source.size)) throw new Error(`the attribute ${name} claims ${length} bytes`);
  const texts = withMemory(library, length, (at) => {
    library.get_attribute_data(file, path, name, BigInt(at));
    if (!vlen) return Array.from({ length: total_size }, (_, i) => fixedText(library.HEAPU8, at + i * size, size));
    const pointers = new Uint32Array(library.HEAPU8.buffer, at, total_size);
    try {
      return Array.from(pointers, (pointer) => library.UTF8ToString(pointer));
    } finally {
      library.reclaim_vlen_memory(file, path, name, BigInt(at));
    }
  });
  return shape.length === 0 ? texts[0] : texts;
}

const utf8 = new TextDecoder();

function fixedText(memory: Uint8Array, at: number, size: number): string {
  const bytes = memory.subarray(at, at + size);
  const end = bytes.indexOf(0);
  return utf8.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** Filters from 256 on are registered by others (h5py's lzf, blosc, …); the library has those of HDF5 itself. */
const isForeign = ({ id }: { id: number }): boolean => id >= 256;

/** What h5wasm throws for an attribute or object that does not exist. */
const nothingThere = 'name not defined';

/**
 * An error of HDF5 leaves the library usable; after one of WebAssembly (abort, trap, stack, memory) its memory is in no
 * known state.
 */
const isFatal = (error: unknown): boolean =>
  !(error instanceof Error) || error instanceof WebAssembly.RuntimeError || error instanceof RangeError;

const isDamage = (error: unknown): error is ResidualError =>
  error instanceof ResidualError && error.code === 'WEIGHTS_FORMAT';

/** The library's own words are a trace of many lines; its deepest is the cause. */
function cause(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const lines = message.split('\n');
  const deepest = lines.filter((line) => /^\s*#\d+:/.test(line)).at(-1);
  const words = (deepest?.replace(/^.*?\(\): /, '') ?? lines[0]).trim();
  const sizes = /truncated file: eof = (\d+),.* stored_eof = (\d+)/.exec(words);
  return sizes ? `it should have ${sizes[2]} bytes but has ${sizes[1]}` : words;
}
