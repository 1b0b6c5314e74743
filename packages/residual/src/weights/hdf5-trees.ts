import { type Bytes, type Cursor, signature, undefinedAddress } from './hdf5-bytes.js';
import { type ByteSource, damaged, unsupported } from './source.js';

/**
 * Section III.A.1: the leaves of a version 1 B-tree (type 0: a group, 1: chunks), keys before their children. Levels
 * must fall and no node may come twice, so a cycle ends.
 */
export async function* walkTree(
  source: ByteSource,
  bytes: Bytes,
  root: number,
  type: 0 | 1,
  keySize: number,
): AsyncGenerator<{ key: Cursor; child: number }> {
  if (root === undefinedAddress) return;
  const size = type === 0 ? 8 : keySize;
  const pending: { at: number; below: number }[] = [{ at: root, below: 256 }];
  const visited = new Set<number>();
  for (let node = pending.pop(); node; node = pending.pop()) {
    const head = await bytes.at(node.at, 24);
    const sign = head.u32();
    const [nodeType, level, used] = [head.u8(), head.u8(), head.u16()];
    if (sign !== signature('TREE') || nodeType !== type || level >= node.below || visited.has(node.at))
      throw damaged(source, `its HDF5 tree at ${node.at} is broken`);
    visited.add(node.at);
    const entries = await bytes.at(node.at + 24, used * (size + 8));
    const inner: { at: number; below: number }[] = [];
    for (let i = 0; i < used; i++) {
      const key = entries.cut(size);
      const child = entries.u64();
      if (level === 0) yield { key, child };
      else inner.push({ at: child, below: level });
    }
    pending.push(...inner.reverse());
  }
}

const maxObjects = 100_000;

/**
 * The links or attributes of an object that has many: a version 2 B-tree (section III.A.2) of heap ids, by hash of
 * the name, and a fractal heap (section III.G) of the messages.
 */
export async function readDense(source: ByteSource, bytes: Bytes, heap: number, names: number): Promise<Cursor[]> {
  const objects = await openHeap(source, bytes, heap);
  const found: Cursor[] = [];
  for await (const { type, record } of walkNewTree(source, bytes, names)) {
    // Type 5: links by name (hash, id); type 8: attributes by name (id, flags, order, hash).
    if (type !== 5 && type !== 8) throw damaged(source, `its HDF5 index at ${names} is none of names`);
    if (type === 5) record.skip(4);
    const message = await objects(record.cut(type === 5 ? 7 : 8));
    if (type === 8 && record.u8() & 2)
      throw unsupported(source, 'it shares HDF5 attributes between objects; copy it with h5repack');
    found.push(message);
    if (found.length > maxObjects) throw damaged(source, `an object of it has more than ${maxObjects} members`);
  }
  return found;
}

/** Bytes that hold every number up to `limit`. */
const widthOf = (limit: number): number => Math.floor(Math.log2(Math.max(1, limit)) / 8) + 1;

/** Section III.A.2: all records, in no order that matters. */
async function* walkNewTree(
  source: ByteSource,
  bytes: Bytes,
  address: number,
): AsyncGenerator<{ type: number; record: Cursor }> {
  const head = await bytes.at(address, 34);
  if (head.u32() !== signature('BTHD')) throw damaged(source, `its HDF5 index at ${address} is none`);
  head.skip(1);
  const type = head.u8();
  const [nodeSize, recordSize, depth] = [head.u32(), head.u16(), head.u16()];
  head.skip(2);
  const [root, rootCount] = [head.u64(), head.u16()];
  if (recordSize === 0 || depth > 16 || nodeSize < 10 + recordSize)
    throw damaged(source, `its HDF5 index at ${address} is broken`);
  if (root === undefinedAddress) return;

  // The widths of a node's child counts follow from how many records fit below it.
  const countWidth = widthOf(Math.floor((nodeSize - 10) / recordSize));
  const totalWidths = [0];
  let most = Math.floor((nodeSize - 10) / recordSize);
  for (let level = 1; level <= depth; level++) {
    const pointer = 8 + countWidth + totalWidths[level - 1];
    const here = Math.floor((nodeSize - 10 - pointer) / (recordSize + pointer));
    most = (here + 1) * most + here;
    totalWidths.push(widthOf(most));
  }
  const pending = [{ at: root, count: rootCount, level: depth }];
  const visited = new Set<number>();
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (visited.has(node.at)) throw damaged(source, `its HDF5 index at ${address} leads in a circle`);
    visited.add(node.at);
    const body = await bytes.at(node.at, nodeSize);
    if (body.u32() !== signature(node.level ? 'BTIN' : 'BTLF'))
      throw damaged(source, `its HDF5 index node at ${node.at} is none`);
    body.skip(2);
    for (let i = 0; i < node.count; i++) yield { type, record: body.cut(recordSize) };
    if (node.level === 0) continue;
    for (let i = 0; i <= node.count; i++) {
      const [at, count] = [body.u64(), body.unsigned(countWidth)];
      body.skip(totalWidths[node.level - 1]);
      pending.push({ at, count, level: node.level - 1 });
    }
  }
}

/** Section III.G: a fractal heap. Returns how to fetch an object by its id. */
async function openHeap(source: ByteSource, bytes: Bytes, address: number): Promise<(id: Cursor) => Promise<Cursor>> {
  const broken = () => damaged(source, `its HDF5 heap at ${address} is broken`);
  const head = await bytes.at(address, 142);
  if (head.u32() !== signature('FRHP')) throw broken();
  head.skip(3);
  if (head.u16() !== 0) throw unsupported(source, 'it packs its HDF5 heaps, which is not read; copy it with h5repack');
  head.skip(1);
  const maxManaged = head.u32();
  head.skip(8);
  const hugeTree = head.u64();
  head.skip(80);
  const [width, start, maxDirect, heapBits] = [head.u16(), head.u64(), head.u64(), head.u16()];
  head.skip(2);
  const [root, rootRows] = [head.u64(), head.u16()];
  const offsetWidth = Math.ceil(heapBits / 8);
  const lengthWidth = Math.min(Math.floor((Math.log2(maxDirect) + 7) / 8), widthOf(maxManaged));
  if (!(width > 0 && start > 0 && maxDirect >= start && offsetWidth <= 8 && lengthWidth > 0)) throw broken();
  const directRows = Math.log2(maxDirect) - Math.log2(start) + 2;
  const rowSize = (row: number) => (row === 0 ? start : start * 2 ** (row - 1));

  /** Address of a place in the heap's own space, through its doubling table of blocks. */
  const addressOf = async (place: number): Promise<number> => {
    if (rootRows === 0) return root + place;
    let [block, rows, offset] = [root, rootRows, place];
    for (let depth = 0; depth < 64; depth++) {
      let row = 0;
      for (; row < rows && offset >= width * rowSize(row); row++) offset -= width * rowSize(row);
      if (row === rows) break;
      const column = Math.floor(offset / rowSize(row));
      offset -= column * rowSize(row);
      const entry = block + 13 + offsetWidth + 8 * (row * width + column);
      if ((await bytes.at(block, 4)).u32() !== signature('FHIB')) break;
      block = (await bytes.at(entry, 8)).u64();
      if (row < directRows) return block + offset;
      rows = Math.log2(rowSize(row)) - Math.log2(start * width) + 1;
    }
    throw broken();
  };

  return async (id) => {
    const kind = (id.u8() >> 4) & 3;
    if (kind === 0) {
      const [place, length] = [id.unsigned(offsetWidth), id.unsigned(lengthWidth)];
      return bytes.at(await addressOf(place), length);
    }
    if (kind === 1) {
      // Too large for a block: an entry of another index (type 1: address, length, id).
      const wanted = id.unsigned(id.left);
      for await (const { type, record } of walkNewTree(source, bytes, hugeTree)) {
        const [at, length] = [record.u64(), record.u64()];
        if (type === 1 && record.u64() === wanted) return bytes.at(at, length);
      }
    }
    throw broken();
  };
}
