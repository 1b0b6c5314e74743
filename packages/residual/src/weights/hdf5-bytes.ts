import { type ByteSource, checkRange, damaged, readBytes } from './source.js';

/** The address that means "none": all bits set, which no exact number is. */
export const undefinedAddress = Number.POSITIVE_INFINITY;

const utf8 = new TextDecoder();

/**
 * Reads little-endian fields one after another; a read beyond the end throws a RangeError. A class, because opening a
 * file makes ten thousand of them and closures cost a hundred milliseconds of garbage collection.
 */
export class Cursor {
  #at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  #take(length: number): number {
    if (!(length >= 0 && length <= this.left)) throw new RangeError('beyond the end');
    this.#at += length;
    return this.#at - length;
  }

  skip(length: number): void {
    this.#take(length);
  }

  u8(): number {
    return this.#bytes[this.#take(1)];
  }

  u16(): number {
    return this.unsigned(2);
  }

  u32(): number {
    return this.unsigned(4);
  }

  /** `undefinedAddress` when all bits are set; a value beyond 2^53 is rounded and stays one that no file reaches. */
  u64(): number {
    const low = this.u32();
    const high = this.u32();
    return low === 0xffffffff && high === 0xffffffff ? undefinedAddress : high * 2 ** 32 + low;
  }

  /** An unsigned number of `length` bytes. */
  unsigned(length: number): number {
    const from = this.#take(length);
    let value = 0;
    for (let i = from + length - 1; i >= from; i--) value = value * 256 + this.#bytes[i];
    return value;
  }

  signed(length: number): number {
    const value = this.unsigned(length);
    const half = 2 ** (8 * length - 1);
    return value >= half ? value - 2 * half : value;
  }

  float(length: 4 | 8): number {
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + this.#take(length), length);
    return length === 4 ? view.getFloat32(0, true) : view.getFloat64(0, true);
  }

  /** The next bytes, not copied. */
  bytes(length: number): Uint8Array {
    const from = this.#take(length);
    return this.#bytes.subarray(from, from + length);
  }

  /** The next bytes as a cursor of their own. */
  cut(length: number): Cursor {
    return new Cursor(this.bytes(length));
  }

  /** The next bytes, copied. */
  copy(length: number): Uint8Array {
    return this.bytes(length).slice();
  }

  /** The next bytes as text, up to a zero. */
  text(length: number): string {
    return textOf(this.bytes(length));
  }

  /** Text at a place from the beginning, up to a zero or the end. */
  textAt(offset: number): string {
    if (!(offset >= 0 && offset <= this.#bytes.length)) throw new RangeError('beyond the end');
    return textOf(this.#bytes.subarray(offset));
  }
}

function textOf(bytes: Uint8Array): string {
  const zero = bytes.indexOf(0);
  return utf8.decode(zero < 0 ? bytes : bytes.subarray(0, zero));
}

/** Metadata of a file through a small cache of pages: HDF5 scatters it in pieces of some hundred bytes. */
export interface Bytes {
  at(address: number, length: number): Promise<Cursor>;
  /** Values, past the cache. */
  into(target: Uint8Array, address: number): Promise<void>;
  /** Allows another round of reads; see `maxReads`. */
  renew(): void;
  /** The objects of each global heap met so far, by its address: place and size by index. */
  readonly heaps: Map<number, ReadonlyMap<number, { readonly at: number; readonly size: number }>>;
}

const pageSize = 2 ** 15;
const maxPages = 128;
/** Reads of metadata in one operation: a ResNet-152 takes some 10,000. Structures that lead in circles end here. */
const maxReads = 200_000;
/** Bytes of metadata in one operation: a ResNet-50 takes 1 MB. */
const maxBytes = 2 ** 28;
const maxPiece = 2 ** 26;

export function openBytes(source: ByteSource): Bytes {
  const pages = new Map<number, Uint8Array>();
  let reads = 0;
  let total = 0;
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
      total += length;
      if (++reads > maxReads || total > maxBytes) throw damaged(source, 'its HDF5 structures lead in circles');
      if (length > maxPiece) throw damaged(source, `an HDF5 structure of it claims ${length} bytes`);
      checkRange(source, address, length);
      const first = Math.floor(address / pageSize);
      const offset = address - first * pageSize;
      if (offset + length <= pageSize) return new Cursor((await page(first)).subarray(offset, offset + length));
      return new Cursor(await readBytes(source, address, length));
    },
    async into(target, address) {
      checkRange(source, address, target.length);
      await source.readInto(target, address);
    },
    renew() {
      reads = 0;
      total = 0;
    },
    heaps: new Map(),
  };
}

/** Four letters as the number they read as. */
export const signature = (four: string): number =>
  [...four].reduce((word, letter, i) => word + letter.charCodeAt(0) * 2 ** (8 * i), 0);
