import { type ByteSource, checkRange, damaged, readBytes } from './source.js';

/** The address that means "none": all bits set, which no exact number is. */
export const undefinedAddress = Number.POSITIVE_INFINITY;

/** Reads little-endian fields one after another; a read beyond the end throws a RangeError. */
export interface Cursor {
  readonly left: number;
  u8(): number;
  u16(): number;
  u32(): number;
  /** 8 bytes; `undefinedAddress` when all bits are set, and a value that no file reaches stays one. */
  u64(): number;
  /** An unsigned number of 1 to 8 bytes. */
  unsigned(bytes: number): number;
  signed(bytes: number): number;
  f32(): number;
  f64(): number;
  skip(bytes: number): void;
  /** The next bytes as a cursor of their own. */
  cut(bytes: number): Cursor;
  /** All of its bytes, copied. */
  copy(): Uint8Array;
  /** The next bytes as text, up to a zero. */
  text(bytes: number): string;
  /** Text at a place from the beginning, up to a zero or the end. */
  textAt(offset: number): string;
  /** Fills `target` with the next bytes, of which there are `available`. */
  copyTo(target: Uint8Array, available: number): void;
}

/** Metadata of a file through a small cache of pages: HDF5 scatters it in pieces of some hundred bytes. */
export interface Bytes {
  at(address: number, length: number): Promise<Cursor>;
  /** Values, past the cache. */
  into(target: Uint8Array, address: number): Promise<void>;
  /** Allows another round of reads; see `maxReads`. */
  renew(): void;
}

const pageSize = 2 ** 15;
const maxPages = 128;
/** Reads of metadata in one operation: a ResNet-152 takes some 10,000. Structures that lead in circles end here. */
const maxReads = 200_000;
const maxPiece = 2 ** 26;

export function openBytes(source: ByteSource): Bytes {
  const pages = new Map<number, Uint8Array>();
  let reads = 0;
  const page = async (number: number): Promise<Uint8Array> => {
    const known = pages.get(number);
    if (known) return known;
    const at = number * pageSize;
    const bytes = await readBytes(source, at, Math.min(pageSize, source.size - at));
    if (pages.size >= maxPages) pages.delete(pages.keys().next().value!);
    pages.set(number, bytes);
    return bytes;
  };
  return {
    async at(address, length) {
      if (++reads > maxReads) throw damaged(source, 'its HDF5 structures lead in circles');
      if (length > maxPiece) throw damaged(source, `an HDF5 structure of it claims ${length} bytes`);
      checkRange(source, address, length);
      const first = Math.floor(address / pageSize);
      const offset = address - first * pageSize;
      if (offset + length <= pageSize) return cursor((await page(first)).subarray(offset, offset + length));
      return cursor(await readBytes(source, address, length));
    },
    async into(target, address) {
      checkRange(source, address, target.length);
      await source.readInto(target, address);
    },
    renew() {
      reads = 0;
    },
  };
}

const utf8 = new TextDecoder();

export function cursor(bytes: Uint8Array): Cursor {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (length: number): number => {
    if (!(length >= 0 && length <= bytes.length - at)) throw new RangeError('beyond the end');
    at += length;
    return at - length;
  };
  const text = (from: number, to: number): string => {
    const zero = bytes.subarray(from, to).indexOf(0);
    return utf8.decode(bytes.subarray(from, zero < 0 ? to : from + zero));
  };
  const unsigned = (length: number): number => {
    const from = take(length);
    let value = 0;
    for (let i = length - 1; i >= 0; i--) value = value * 256 + bytes[from + i];
    return value;
  };
  const u32 = () => view.getUint32(take(4), true);
  return {
    get left() {
      return bytes.length - at;
    },
    u8: () => bytes[take(1)],
    u16: () => view.getUint16(take(2), true),
    u32,
    u64() {
      const low = u32();
      const high = u32();
      return low === 0xffffffff && high === 0xffffffff ? undefinedAddress : high * 2 ** 32 + low;
    },
    unsigned,
    signed(length) {
      const value = unsigned(length);
      const half = 2 ** (8 * length - 1);
      return value >= half ? value - 2 * half : value;
    },
    f32: () => view.getFloat32(take(4), true),
    f64: () => view.getFloat64(take(8), true),
    skip: take,
    cut(length) {
      const from = take(length);
      return cursor(bytes.subarray(from, from + length));
    },
    copy: () => bytes.slice(),
    text(length) {
      const from = take(length);
      return text(from, from + length);
    },
    textAt(offset) {
      if (!(offset >= 0 && offset <= bytes.length)) throw new RangeError('beyond the end');
      return text(offset, bytes.length);
    },
    copyTo(target, available) {
      const from = take(Math.max(available, target.length));
      target.set(bytes.subarray(from, from + target.length));
    },
  };
}

/** Four letters as the number they read as. */
export const signature = (four: string): number =>
  [...four].reduce((word, letter, i) => word + letter.charCodeAt(0) * 2 ** (8 * i), 0);
