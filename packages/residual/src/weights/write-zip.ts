import { ResidualError } from '../errors.js';

/** A file inside a zip. */
export interface ZipMember {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What 32 bits count; the format's extension for more (zip64) is not needed by any ResNet. */
const most = 2 ** 32 - 1;
/** Each member's bytes begin at a multiple of this, as PyTorch wants it to map a file into memory. */
const alignment = 64;
/** PyTorch's mark for the bytes that fill up to the alignment: `FB` (caffe2/serialize/inline_container.cc). */
const paddingField = 0x4246;
/** 1980-01-01, the format's first day: equal content gives equal files. */
const noDate = 0x21;

/**
 * A zip of uncompressed members, piece by piece (PKWARE's APPNOTE 6.3, sections 4.3.7, 4.3.12, 4.3.16).
 * @throws ARGUMENT for more than 4 GiB or 65,535 members.
 */
export function* zipBytes(members: Iterable<ZipMember>): Generator<Uint8Array> {
  const directory: Uint8Array[] = [];
  let at = 0;
  for (const { name, bytes } of members) {
    const path = new TextEncoder().encode(name);
    const checksum = crc32(bytes);
    const begin = at + 30 + path.length + 4;
    const padding = -begin & (alignment - 1);
    if (begin + padding + bytes.length > most || directory.length >= 65_535)
      throw new ResidualError('ARGUMENT', 'a PyTorch file holds at most 4 GiB here; write .safetensors instead');
    const shared = [0x0800, 0, 0, noDate, checksum, bytes.length, bytes.length, path.length];
    yield* [record('PK\x03\x04', [20, ...shared, 4 + padding]), path, filler(padding), bytes];
    directory.push(record('PK\x01\x02', [20, 20, ...shared, 0, 0, 0, 0, 0, at]), path);
    at = begin + padding + bytes.length;
  }
  const count = directory.length / 2;
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  yield* directory;
  yield record('PK\x05\x06', [0, 0, count, count, size, at, 0]);
}

/** Which fields of each record have four bytes; the others have two. */
const wide: Record<string, readonly number[]> = {
  'PK\x03\x04': [5, 6, 7],
  'PK\x01\x02': [6, 7, 8, 14, 15],
  'PK\x05\x06': [4, 5],
};

function record(signature: string, fields: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 + 2 * fields.length + 2 * wide[signature].length);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(signature));
  let at = 4;
  fields.forEach((value, i) => {
    const four = wide[signature].includes(i);
    if (four) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += four ? 4 : 2;
  });
  return bytes;
}

function filler(padding: number): Uint8Array {
  const bytes = new Uint8Array(4 + padding);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, paddingField, true);
  view.setUint16(2, padding, true);
  return bytes;
}

/** Remainders of each byte by the polynomial 0xedb88320. */
const remainders = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1;
  return rest;
});

function crc32(bytes: Uint8Array): number {
  let rest = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) rest = remainders[(rest ^ bytes[i]) & 255] ^ (rest >>> 8);
  return ~rest >>> 0;
}
