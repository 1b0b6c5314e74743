import type { AnyTensor } from '../tensor.js';
import { type Library, loadLibrary, withMemory } from './hdf5.js';

/** What a Keras `.h5` file holds. Plain data: it is written in a thread of its own. */
export interface KerasContent {
  /** Layers in Keras' order. One without weights belongs there too. Weight names are those below the layer's group. */
  readonly layers: readonly {
    readonly name: string;
    readonly weights: readonly { readonly name: string; readonly tensor: AnyTensor }[];
  }[];
  /** Texts of the file itself: `backend`, `keras_version`, `model_config`. */
  readonly attributes: Readonly<Record<string, string>>;
}

/** Bytes of one attribute: HDF5 keeps attributes in an object's header, which has 64 kB (Keras, legacy_h5_format.py). */
const mostAttributeBytes = 64_512;

/** HDF5's type classes (H5Tpublic.h). */
const [integerClass, floatClass, textClass] = [0, 1, 3];

/** The element types that are written; the library has no 16-bit floats to write. */
const types = {
  float32: { type: floatClass, size: 4, signed: false },
  float64: { type: floatClass, size: 8, signed: false },
  int64: { type: integerClass, size: 8, signed: true },
  int32: { type: integerClass, size: 4, signed: true },
  int16: { type: integerClass, size: 2, signed: true },
  int8: { type: integerClass, size: 1, signed: true },
  uint8: { type: integerClass, size: 1, signed: false },
} as const;

/** Whether HDF5 is written with tensors of this type; others are widened or refused before. */
export const isHdf5Type = (dtype: AnyTensor['dtype']): dtype is keyof typeof types => Object.hasOwn(types, dtype);

/**
 * A Keras weight file as bytes: groups named after the layers, each with an attribute `weight_names` and the datasets it
 * names; `layer_names` on the outermost group, which is `/model_weights` when there is a `model_config`. Texts in lists
 * have one length, as h5py writes them; single texts have any.
 * @throws MISSING_PACKAGE when h5wasm is not installed; Error from the library, whose thread must not be used again.
 */
export async function hdf5Bytes({ layers, attributes }: KerasContent): Promise<Uint8Array> {
  const library = await loadLibrary();
  const place = '/written.h5';
  const [low, high] = [library.H5F_LIBVER_EARLIEST, library.H5F_LIBVER_LATEST];
  const file = library.open(place, library.H5F_ACC_TRUNC, false, low, high);
  const root = attributes.model_config === undefined ? '' : '/model_weights';
  if (root) library.create_group(file, root, false);
  for (const [name, text] of Object.entries(attributes)) {
    writeText(library, file, '/', name, text);
    if (root && name !== 'model_config') writeText(library, file, root, name, text);
  }
  const names = layers.map(({ name }) => name);
  writeNames(library, file, root || '/', 'layer_names', names);
  const groups = new Set<string>();
  const makeGroups = (path: string) => {
    const parts = path.slice(root.length + 1).split('/');
    for (let depth = 1; depth <= parts.length; depth++) {
      const group = `${root}/${parts.slice(0, depth).join('/')}`;
      if (!groups.has(group)) library.create_group(file, group, false);
      groups.add(group);
    }
  };
  for (const { name, weights } of layers) {
    const group = `${root}/${name}`;
    makeGroups(group);
    const weightNames = weights.map((weight) => weight.name);
    writeNames(library, file, group, 'weight_names', weightNames);
    for (const weight of weights) {
      const path = `${group}/${weight.name}`;
      makeGroups(path.slice(0, path.lastIndexOf('/')));
      writeDataset(library, file, path, weight.tensor);
    }
  }
  library.close_file(file);
  const bytes = library.FS.readFile(place);
  library.FS.unlink(place);
  return bytes;
}

function writeDataset(library: Library, file: bigint, path: string, { dtype, shape, data }: AnyTensor): void {
  if (!isHdf5Type(dtype)) throw new Error(`${path}: ${dtype} cannot be written`);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  withMemory(library, bytes.length, (at) => {
    library.HEAPU8.set(bytes, at);
    library.create_dataset(file, path, BigInt(at), described(types[dtype], shape));
  });
}

const described = (type: { type: number; size: number; signed: boolean }, shape: readonly number[]) => ({
  ...type,
  shape: shape.map(BigInt),
  maxshape: shape.map(BigInt),
  total_size: 0,
  littleEndian: true,
  vlen: false,
  cset: 0,
  compression: 0,
  compression_opts: [],
});

/** One text, of any length. */
function writeText(library: Library, file: bigint, path: string, name: string, text: string): void {
  const about = { ...described({ type: textClass, size: 4, signed: false }, []), vlen: true, cset: 1 };
  library.create_vlen_str_attribute(file, path, name, [text], about);
}

/** A list of texts, cut into `name0`, `name1`, … of nearly the same length where one attribute cannot hold it. */
function writeNames(library: Library, file: bigint, path: string, name: string, names: readonly string[]): void {
  const parts = cut(names);
  parts.forEach((part, i) => {
    const size = longest(part);
    // An empty list is an empty array of numbers, as h5py makes of it.
    const type = part.length ? { type: textClass, size, signed: false } : types.float64;
    const bytes = new Uint8Array(size * part.length);
    part.forEach((text, k) => {
      bytes.set(new TextEncoder().encode(text), k * size);
    });
    withMemory(library, bytes.length, (at) => {
      library.HEAPU8.set(bytes, at);
      const attribute = parts.length > 1 ? `${name}${i}` : name;
      library.create_attribute(file, path, attribute, BigInt(at), described(type, [part.length]));
    });
  });
}

const longest = (names: readonly string[]): number =>
  names.reduce((most, name) => Math.max(most, new TextEncoder().encode(name).length), 1);

function cut(names: readonly string[]): readonly (readonly string[])[] {
  const width = longest(names);
  for (let count = 1; ; count++) {
    const size = Math.ceil(names.length / count);
    if (size * width > mostAttributeBytes && size > 1) continue;
    return Array.from({ length: count }, (_, i) => names.slice(i * size, (i + 1) * size)).filter(
      (part, i) => i === 0 || part.length > 0,
    );
  }
}
