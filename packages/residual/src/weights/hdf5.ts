import { ResidualError } from '../errors.js';
import { bytesPerElement, sharedBytes, sizeOf } from '../tensor.js';
import type { TensorInfo } from './checkpoint.js';
import { type Bytes, Cursor, openBytes, signature, undefinedAddress } from './hdf5-bytes.js';
import { readFilters, undoFilters } from './hdf5-filters.js';
import { readDense, walkTree } from './hdf5-trees.js';
import { type HdfValue, readDataspace, readDatatype, readValues } from './hdf5-values.js';
import { type ByteSource, damaged, unsupported } from './source.js';

/*
 * HDF5 as Keras and h5py write it, by default and with newer `libver`: superblock 0 to 3, object headers 1 and 2,
 * groups as symbol tables, links in the header or in a heap, attributes likewise, datasets that are compact,
 * contiguous or chunked by a version 1 B-tree, deflate, shuffle and Fletcher-32 filters. The chunk indices of HDF5
 * 1.10 (layout 4) are refused by name. Section numbers are those of the "HDF5 File Format
 * Specification Version 3.0".
 *
 * Why not the HDF5 library compiled to WebAssembly: on a ResNet-50 of 103 MB it needed 340 ms to the table of
 * contents and a peak of 1.6 times the file (this: see bench/open-checkpoint.js), printed its errors to stderr past
 * any setting, and reads only whole files in memory outside Node.
 */

/** A group or dataset: its messages by type, read once. */
export interface HdfObject {
  /** Address of the object header: equal for two links to the same object. */
  readonly address: number;
  readonly messages: readonly { readonly type: number; readonly body: Uint8Array }[];
}

export interface HdfFile {
  readonly root: HdfObject;
  /** Hard links of a group, in the file's order; soft and external links are left out. Empty for a dataset. */
  links(group: HdfObject): Promise<ReadonlyMap<string, number>>;
  /** The object whose header stands at an address. */
  object(address: number): Promise<HdfObject>;
  /** Value of an attribute of text or numbers; undefined when there is none of that name. */
  attribute(object: HdfObject, name: string): Promise<HdfValue | undefined>;
  /** Element type and shape of a dataset; undefined for a group and for types that no weights have. */
  dataset(object: HdfObject): TensorInfo | undefined;
  /** All values of a dataset, row-major, in memory that threads can share. */
  read(object: HdfObject, info: TensorInfo): Promise<Uint8Array>;
}

const message = {
  dataspace: 0x01,
  linkInfo: 0x02,
  datatype: 0x03,
  link: 0x06,
  layout: 0x08,
  filters: 0x0b,
  attribute: 0x0c,
  continuation: 0x10,
  symbolTable: 0x11,
  attributeInfo: 0x15,
} as const;

const read: ReadonlySet<number> = new Set(Object.values(message));

const maxMessages = 20_000;
const maxLinks = 100_000;
const maxChunks = 65_536;

/**
 * Opens an HDF5 file: its superblock and the root group's header.
 * @throws WEIGHTS_FORMAT
 */
export async function openHdf5(source: ByteSource): Promise<HdfFile> {
  const bytes = openBytes(source);
  const rootAddress = await readSuperblock(source, bytes);
  const known = new Map<number, Promise<ReadonlyMap<string, number>>>();
  const object = (address: number) => readObject(source, bytes, address);
  return {
    root: await object(rootAddress),
    object,
    links(group) {
      const links = known.get(group.address) ?? readLinks(source, bytes, group);
      known.set(group.address, links);
      return links;
    },
    attribute: (owner, name) => readAttribute(source, bytes, owner, name),
    dataset: (owner) => datasetInfo(source, owner),
    read: (owner, info) => readDataset(source, bytes, owner, info),
  };
}

/** Section II: the superblock. Returns the address of the root group's object header. */
async function readSuperblock(source: ByteSource, bytes: Bytes): Promise<number> {
  const head = await bytes.at(8, Math.min(88, source.size - 8));
  const version = head.u8();
  if (version > 3) throw unsupported(source, `its HDF5 superblock has version ${version}; versions 0 to 3 are read`);
  if (version < 2) head.skip(4);
  const [offsets, lengths] = [head.u8(), head.u8()];
  if (offsets !== 8 || lengths !== 8)
    throw unsupported(source, `its HDF5 offsets have ${offsets} bytes; only files with 8 are read`);
  head.skip(version < 2 ? 9 + (version === 1 ? 4 : 0) : 1);
  if (head.u64() !== 0) throw unsupported(source, 'its HDF5 data do not begin at the start of the file');
  head.skip(8);
  const end = head.u64();
  if (end > source.size) throw damaged(source, `it names ${end} bytes as its size but has ${source.size}`);
  if (version < 2) head.skip(16);
  return head.u64();
}

/** Section IV.A.1: an object header with its continuations. */
async function readObject(source: ByteSource, bytes: Bytes, address: number): Promise<HdfObject> {
  const messages: { type: number; body: Uint8Array }[] = [];
  const modern = (await bytes.at(address, 4)).u32() === signature('OHDR');
  const head = await bytes.at(address, 16);
  const blocks: { at: number; length: number }[] = [];
  let ordered = false;
  if (modern) {
    head.skip(5);
    const flags = head.u8();
    ordered = (flags & 4) !== 0;
    const lengthAt = 6 + (flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0);
    const width = 1 << (flags & 3);
    const length = (await bytes.at(address + lengthAt, width)).unsigned(width);
    blocks.push({ at: address + lengthAt + width, length });
  } else {
    if (head.u8() !== 1) throw damaged(source, `its object header at ${address} has a version that is none`);
    head.skip(7);
    blocks.push({ at: address + 16, length: head.u32() });
  }
  for (let n = 0; n < blocks.length; n++) {
    const { at, length } = blocks[n];
    // One copy a block: the messages must not keep whole pages of the file alive.
    const block = new Cursor((await bytes.at(at, length)).copy(length));
    while (block.left >= (modern ? 4 : 8)) {
      const type = modern ? block.u8() : block.u16();
      const size = block.u16();
      const flags = block.u8();
      block.skip(modern ? (ordered ? 2 : 0) : 3);
      if (modern && block.left < size) break; // a gap too small for a message
      if (messages.length + blocks.length > maxMessages) throw damaged(source, 'an HDF5 object header has no end');
      if (type === message.continuation) {
        const body = block.cut(size);
        const [offset, extent] = [body.u64(), body.u64()];
        // The newer blocks begin with a signature and end with a checksum.
        blocks.push(modern ? { at: offset + 4, length: extent - 8 } : { at: offset, length: extent });
        continue;
      }
      if (flags & 2 && (type === message.datatype || type === message.dataspace || type === message.attribute))
        throw unsupported(source, 'it shares HDF5 header messages between objects; copy it with h5repack');
      if (read.has(type)) messages.push({ type, body: block.bytes(size) });
      else block.skip(size);
    }
  }
  return { address, messages };
}

const find = (object: HdfObject, type: number): Cursor | undefined => {
  const found = object.messages.find((one) => one.type === type);
  return found && new Cursor(found.body);
};

/**
 * The links or attributes of an object: those in its header, and those that an info message (sections IV.A.2.c and
 * IV.A.2.v) says lie in a heap, because they are many.
 */
async function messagesOf(
  source: ByteSource,
  bytes: Bytes,
  object: HdfObject,
  type: number,
  infoType: typeof message.linkInfo | typeof message.attributeInfo,
): Promise<Cursor[]> {
  const found = object.messages.filter((one) => one.type === type).map(({ body }) => new Cursor(body));
  const info = find(object, infoType);
  if (!info) return found;
  info.skip(1);
  const creation = info.u8() & 1;
  info.skip(creation ? (infoType === message.linkInfo ? 8 : 2) : 0);
  const [heap, names] = [info.u64(), info.u64()];
  return heap === undefinedAddress ? found : [...found, ...(await readDense(source, bytes, heap, names))];
}

async function readLinks(source: ByteSource, bytes: Bytes, group: HdfObject): Promise<Map<string, number>> {
  const links = new Map<string, number>();
  const table = find(group, message.symbolTable);
  if (table) {
    const [tree, heap] = [table.u64(), table.u64()];
    const head = await bytes.at(heap, 32);
    if (head.u32() !== signature('HEAP')) throw damaged(source, `its HDF5 names at ${heap} are no heap`);
    head.skip(4);
    const size = head.u64();
    head.skip(8);
    const names = await bytes.at(head.u64(), size);
    for await (const { child } of walkTree(source, bytes, tree, 0, 0)) {
      const table = await bytes.at(child, 8);
      if (table.u32() !== signature('SNOD')) throw damaged(source, `its HDF5 symbols at ${child} are none`);
      table.skip(2);
      const count = table.u16();
      const entries = await bytes.at(child + 8, 40 * count);
      for (let i = 0; i < count; i++) {
        const [nameAt, address, cache] = [entries.u64(), entries.u64(), entries.u32()];
        entries.skip(20);
        if (cache === 2) continue; // a soft link
        links.set(names.textAt(nameAt), address);
        if (links.size > maxLinks) throw damaged(source, `a group of it has more than ${maxLinks} members`);
      }
    }
  }
  for (const link of await messagesOf(source, bytes, group, message.link, message.linkInfo)) {
    link.skip(1);
    const flags = link.u8();
    const kind = flags & 8 ? link.u8() : 0;
    link.skip((flags & 4 ? 8 : 0) + (flags & 0x10 ? 1 : 0));
    const name = link.text(link.unsigned(1 << (flags & 3)));
    if (kind === 0) links.set(name, link.u64());
  }
  return links;
}

function datasetInfo(source: ByteSource, object: HdfObject): TensorInfo | undefined {
  const [type, space] = [find(object, message.datatype), find(object, message.dataspace)];
  if (!type || !space || !find(object, message.layout)) return undefined;
  const { dtype } = readDatatype(type);
  const shape = readDataspace(space);
  if (!dtype || !shape) return undefined;
  // A count beyond 2^53 would not be exact; no file is that large.
  if (shape.length > 32 || !Number.isSafeInteger(sizeOf(shape)))
    throw damaged(source, 'an HDF5 dataset has a shape that is none');
  return { dtype, shape };
}

/** Section IV.A.2.m: looks an attribute up in the header's messages. */
async function readAttribute(
  source: ByteSource,
  bytes: Bytes,
  object: HdfObject,
  wanted: string,
): Promise<HdfValue | undefined> {
  for (const body of await messagesOf(source, bytes, object, message.attribute, message.attributeInfo)) {
    const version = body.u8();
    body.skip(1);
    const [nameSize, typeSize, spaceSize] = [body.u16(), body.u16(), body.u16()];
    if (version === 3) body.skip(1);
    const padded = (size: number) => (version === 1 ? Math.ceil(size / 8) * 8 : size);
    if (body.cut(padded(nameSize)).textAt(0) !== wanted) continue;
    const datatype = readDatatype(body.cut(padded(typeSize)));
    const shape = readDataspace(body.cut(padded(spaceSize))) ?? [0];
    return readValues(source, bytes, body, datatype, shape);
  }
  return undefined;
}

/** Section IV.A.2.i: where and how the values of a dataset stand. Unwritten parts are zeros. */
async function readDataset(source: ByteSource, bytes: Bytes, object: HdfObject, info: TensorInfo): Promise<Uint8Array> {
  bytes.renew();
  const width = bytesPerElement[info.dtype];
  const target = sharedBytes(sizeOf(info.shape) * width);
  if (target.length === 0) return target;
  const layout = find(object, message.layout)!;
  const version = layout.u8();
  const kind = layout.u8();
  if (version < 3 || (version > 3 && kind > 1))
    throw unsupported(
      source,
      `a dataset of it has HDF5 layout ${version}.${kind}, which is not read; copy it with h5repack --high=0`,
    );
  if (kind === 0) {
    target.set(layout.copy(layout.u16()).subarray(0, target.length));
    return target;
  }
  if (kind === 1) {
    const address = layout.u64();
    if (address === undefinedAddress) return target;
    if (layout.u64() < target.length) throw damaged(source, 'an HDF5 dataset is shorter than its shape');
    await bytes.into(target, address);
    return target;
  }
  if (kind !== 2) throw unsupported(source, `a dataset of it has HDF5 layout ${version}.${kind}, which is not read`);
  const rank = layout.u8() - 1;
  const tree = layout.u64();
  if (rank !== info.shape.length) throw damaged(source, 'an HDF5 dataset and its chunks differ in rank');
  const chunkShape = Array.from({ length: rank }, () => layout.u32());
  const chunkBytes = sizeOf(chunkShape) * width;
  if (chunkBytes === 0 || chunkBytes > 4 * target.length + 2 ** 24)
    throw damaged(source, `an HDF5 dataset of ${target.length} bytes has chunks of ${chunkBytes}`);
  const filters = readFilters(source, find(object, message.filters));
  let chunks = 0;
  for await (const { key, child } of walkTree(source, bytes, tree, 1, 8 + 8 * (rank + 1))) {
    if (++chunks > maxChunks) throw damaged(source, `an HDF5 dataset has more than ${maxChunks} chunks`);
    const [stored, mask] = [key.u32(), key.u32()];
    const origin = Array.from({ length: rank }, () => key.u64());
    if (stored > 2 * chunkBytes + 4096) throw damaged(source, `an HDF5 chunk of ${chunkBytes} bytes takes ${stored}`);
    const packed = new Uint8Array(stored);
    await bytes.into(packed, child);
    const chunk = await undoFilters(source, filters, mask, packed, chunkBytes, width);
    if (chunk.length < chunkBytes) throw damaged(source, `an HDF5 chunk has ${chunk.length} of ${chunkBytes} bytes`);
    placeChunk(target, info.shape, chunk, chunkShape, origin, width);
  }
  return target;
}

/** Copies the part of a chunk that lies inside the dataset, a run of the last axis at a time. */
function placeChunk(
  target: Uint8Array,
  shape: readonly number[],
  chunk: Uint8Array,
  chunkShape: readonly number[],
  origin: readonly number[],
  width: number,
): void {
  const rank = shape.length;
  const extent = shape.map((n, axis) => Math.min(chunkShape[axis], n - origin[axis]));
  if (extent.some((n) => n <= 0)) return;
  const run = extent[rank - 1] * width;
  const index = extent.map(() => 0);
  for (;;) {
    let [from, to] = [0, 0];
    for (let axis = 0; axis < rank; axis++) {
      from = from * chunkShape[axis] + index[axis];
      to = to * shape[axis] + origin[axis] + index[axis];
    }
    target.set(chunk.subarray(from * width, from * width + run), to * width);
    let axis = rank - 2;
    for (; axis >= 0 && ++index[axis] === extent[axis]; axis--) index[axis] = 0;
    if (axis < 0) return;
  }
}

/** A read outside a structure means a damaged file, not a mistake of the program's. */
export async function hdfErrors<T>(source: ByteSource, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ResidualError || !(error instanceof RangeError)) throw error;
    throw damaged(source, 'an HDF5 structure of it ends too early', error);
  }
}
