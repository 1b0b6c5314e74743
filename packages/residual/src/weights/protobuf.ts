import { PbfReader } from 'pbf';
import { type ByteSource, checkRange, damaged } from './source.js';

/** One field of a message: a varint's value, or where its bytes stand in the file. */
export interface Field {
  readonly number: number;
  readonly wire: 'varint' | 'fixed64' | 'bytes' | 'fixed32';
  readonly begin: number;
  readonly end: number;
  /** Of a varint, as a signed 64-bit number. */
  readonly value: number;
}

/** A protocol buffer in a file, read field by field, so that large fields are passed over without being read. */
export interface Protobuf {
  readonly source: ByteSource;
  /** The fields of the message that stands at `begin … end`. */
  fields(begin: number, end: number): AsyncGenerator<Field, void, undefined>;
  /** A name: short, and of one line. */
  name(field: Field): Promise<string>;
  /** `most`: bytes that it may have. */
  text(field: Field, most?: number): Promise<string>;
  /** Whole numbers of a repeated field, packed or not. */
  integers(field: Field): Promise<readonly number[]>;
  /** Real numbers (32 bits) of a repeated field, packed or not. */
  floats(field: Field): Promise<readonly number[]>;
}

/** Read at a time; a network's operators stand close together. */
const windowBytes = 2 ** 16;
/** A ResNet-152 has some 30,000 fields besides its weights' numbers. */
const maxFields = 1_000_000;
/** Bytes of a name or a list of sizes. Weights are not read by these functions. */
export const longest = 1024;
/** Key and varint, ten bytes each at most. */
const headBytes = 20;

const wires: Partial<Record<number, Field['wire']>> = { 0: 'varint', 1: 'fixed64', 2: 'bytes', 5: 'fixed32' };

/**
 * Its fields throw WEIGHTS_FORMAT when a field reaches beyond its message, is of an unknown kind, is too long to be
 * what is asked for, or when there are more than a million.
 */
export function openProtobuf(source: ByteSource): Protobuf {
  let window = new Uint8Array(0);
  let start = 0;
  let left = maxFields;

  /** Bytes in the window, good until the next call. */
  async function view(offset: number, length: number): Promise<Uint8Array> {
    if (offset < start || offset + length > start + window.length) {
      checkRange(source, offset, length);
      window = new Uint8Array(Math.min(Math.max(length, windowBytes), source.size - offset));
      start = offset;
      await source.readInto(window, offset);
    }
    return window.subarray(offset - start, offset - start + length);
  }

  async function* fields(begin: number, end: number): AsyncGenerator<Field, void, undefined> {
    for (let at = begin; at < end; ) {
      if (left-- === 0) throw damaged(source, `it has more than ${maxFields} fields, which no network needs`);
      const field = readField(source, await view(at, Math.min(headBytes, end - at)), at, end);
      at = field.end;
      yield field;
    }
  }

  async function contents({ number, wire, begin, end }: Field, most = longest): Promise<Uint8Array> {
    if (wire === 'varint') throw damaged(source, `field ${number} at byte ${begin} is a number where more is due`);
    if (end - begin > most)
      throw damaged(source, `field ${number} at byte ${begin} has ${end - begin} bytes; at most ${most} are read`);
    return view(begin, end - begin);
  }

  return {
    source,
    fields,
    async name(field) {
      const name = new TextDecoder().decode(await contents(field));
      if (/[\p{Cc}\u2028\u2029]/u.test(name)) throw damaged(source, `the name "${name}" holds control characters`);
      return name;
    },
    text: async (field, most) => new TextDecoder().decode(await contents(field, most)),
    async integers(field) {
      if (field.wire === 'varint') return [field.value];
      return varints(source, await contents(field));
    },
    async floats(field) {
      const bytes = await contents(field);
      if (bytes.length % 4)
        throw damaged(source, `field ${field.number} at byte ${field.begin} holds no 32-bit numbers`);
      const data = new DataView(bytes.buffer, bytes.byteOffset);
      return Array.from({ length: bytes.length / 4 }, (_, i) => data.getFloat32(4 * i, true));
    },
  };
}

/** Packed whole numbers, as signed 64-bit ones. */
export function varints(source: ByteSource, bytes: Uint8Array): number[] {
  const reader = new PbfReader(bytes);
  const values: number[] = [];
  while (reader.pos < bytes.length) values.push(varint(source, reader, true));
  return values;
}

/** The field whose key begins `head`, which stands at `at`. */
function readField(source: ByteSource, head: Uint8Array, at: number, limit: number): Field {
  const reader = new PbfReader(head);
  const key = varint(source, reader, false);
  const number = Math.floor(key / 8);
  const wire = wires[key % 8];
  if (wire === undefined || number === 0) throw damaged(source, `at byte ${at} stands no field`);
  const value = wire === 'varint' ? varint(source, reader, true) : 0;
  const length =
    wire === 'varint' ? 0 : wire === 'fixed64' ? 8 : wire === 'fixed32' ? 4 : varint(source, reader, false);
  const begin = at + reader.pos;
  if (begin + length > limit)
    throw damaged(source, `field ${number} at byte ${at} needs ${length} bytes, more than its message has`);
  return { number, wire, begin, end: begin + length, value };
}

function varint(source: ByteSource, reader: PbfReader, signed: boolean): number {
  let value: number;
  try {
    value = reader.readVarint(signed);
  } catch (error) {
    throw damaged(source, 'a number in it has no end', error);
  }
  if (reader.pos > reader.length) throw damaged(source, 'a number in it breaks off');
  return value;
}
