import { ResidualError } from '../errors.js';

/** The pickle goes on beyond the bytes at hand. */
export const truncated = Symbol('truncated');

const maxLongBytes = 1024;

/**
 * Reads what stands behind a pickle's opcodes, one after the other from `start`; `at` is where it has come to.
 * Each throws `truncated` where the bytes end, and WEIGHTS_FORMAT for what no pickle has.
 * @param file for messages
 */
export function operandsFrom(bytes: Uint8Array, start: number, file: string) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = start;

  const bad = (what: string): ResidualError =>
    new ResidualError('WEIGHTS_FORMAT', `${file}: its pickle is damaged: ${what} at byte ${at}; fetch the file again`, {
      file,
      offset: at,
    });
  /** Moves past `length` bytes and says where they began. */
  const take = (length: number): number => {
    if (length > bytes.length - at) throw truncated;
    at += length;
    return at - length;
  };

  return {
    get at() {
      return at;
    },
    /** An error that names the place. */
    bad,
    u8: (): number => bytes[take(1)],
    u16: (): number => view.getUint16(take(2), true),
    u32: (): number => view.getUint32(take(4), true),
    i32: (): number => view.getInt32(take(4), true),
    /** A length. */
    u64(): number {
      const n = Number(view.getBigUint64(take(8), true));
      if (n > Number.MAX_SAFE_INTEGER) throw bad('a length that no file has');
      return n;
    },
    f64: (): number => view.getFloat64(take(8), false),
    text: (length: number): string => utf8.decode(bytes.subarray(take(length), at)),
    /** Text up to the end of the line, which is left out. */
    line(): string {
      const end = bytes.indexOf(10, at);
      if (end < 0) throw truncated;
      const from = take(end + 1 - at);
      return utf8.decode(bytes.subarray(from, end));
    },
    blob: (length: number): Uint8Array => bytes.slice(take(length), at),
    /** An integer of two's complement, least byte first. */
    long(length: number): number | bigint {
      if (length > maxLongBytes) throw bad(`an integer of ${length} bytes`);
      const from = take(length);
      let value = 0n;
      for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[from + i]);
      return integer(BigInt.asIntN(length * 8, value));
    },
    /** An integer in digits. */
    decimal(digits: string): number | bigint {
      if (digits.length > 2 * maxLongBytes || !/^[+-]?\d+$/.test(digits)) throw bad('an integer that is none');
      return integer(BigInt(digits));
    },
  };
}

const utf8 = new TextDecoder();

const integer = (value: bigint): number | bigint =>
  value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
