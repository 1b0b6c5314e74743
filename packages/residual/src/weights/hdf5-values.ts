import { type DType, sizeOf } from '../tensor.js';
import { type Bytes, type Cursor, signature } from './hdf5-bytes.js';
import { type ByteSource, damaged } from './source.js';

/** What an attribute holds. */
export type HdfValue = string | number | readonly string[] | readonly number[];

const maxAttributeBytes = 2 ** 26;

export interface Datatype {
  readonly size: number;
  readonly kind: 'number' | 'text' | 'variable text' | 'other';
  readonly dtype?: DType;
  /** Unsigned integers wider than 8 bits have no DType; attributes may still hold them. */
  readonly unsigned?: boolean;
}

/** Section IV.A.2.d. */
export function readDatatype(body: Cursor): Datatype {
  const kind = body.u8() & 15;
  const bits = body.unsigned(3);
  const size = body.u32();
  const other: Datatype = { size, kind: 'other' };
  if (kind === 0) {
    if (bits & 1 && size > 1) return other;
    const signed = (bits & 8) !== 0;
    const dtype = { 1: signed ? 'int8' : 'uint8', 2: 'int16', 4: 'int32', 8: 'int64' }[size] as DType | undefined;
    if (!dtype) return other;
    return signed || size === 1 ? { size, kind: 'number', dtype } : { size, kind: 'number', unsigned: true };
  }
  if (kind === 1) {
    if (bits & 1) return other;
    body.skip(5);
    const exponent = body.u8();
    const dtype = ({ '8/11': 'float64', '4/8': 'float32', '2/5': 'float16', '2/8': 'bfloat16' } as const)[
      `${size}/${exponent}` as '8/11'
    ];
    return dtype ? { size, kind: 'number', dtype } : other;
  }
  if (kind === 3) return { size, kind: 'text' };
  if (kind === 8) {
    // An enumeration: h5py's booleans, FALSE and TRUE over a byte.
    const base = readDatatype(body);
    return base.size === 1 ? { size, kind: 'number', dtype: 'bool' } : other;
  }
  if (kind === 9) return (bits & 15) === 1 ? { size, kind: 'variable text' } : other;
  return other;
}

/** Section IV.A.2.b: dimensions; `[]` for a scalar, undefined for a dataspace without elements. */
export function readDataspace(body: Cursor): number[] | undefined {
  const version = body.u8();
  const rank = body.u8();
  body.skip(1);
  const type = body.u8();
  if (version === 1) body.skip(4);
  else if (type === 2) return undefined;
  return Array.from({ length: rank }, () => body.u64());
}

/** The values of an attribute; undefined for types that are neither text nor numbers. */
export async function readValues(
  source: ByteSource,
  bytes: Bytes,
  body: Cursor,
  { kind, size, dtype, unsigned }: Datatype,
  shape: readonly number[],
): Promise<HdfValue | undefined> {
  const count = sizeOf(shape);
  if (count * Math.max(size, 1) > body.left) throw damaged(source, 'an HDF5 attribute is longer than its place');
  if (kind === 'text') {
    const texts = Array.from({ length: count }, () => body.cut(size).textAt(0));
    return shape.length ? texts : texts[0];
  }
  if (kind === 'variable text') {
    const texts: string[] = [];
    let total = 0;
    for (let i = 0; i < count; i++) {
      const [length, heap, index] = [body.u32(), body.u64(), body.u32()];
      total += length;
      if (total > maxAttributeBytes) throw damaged(source, `an HDF5 attribute claims ${total} bytes`);
      texts.push(length === 0 ? '' : (await heapObject(source, bytes, heap, index)).text(length));
    }
    return shape.length ? texts : texts[0];
  }
  if (kind !== 'number') return undefined;
  const number = () => {
    if (unsigned) return body.unsigned(size);
    if (dtype === 'float64') return body.float(8);
    if (dtype === 'float32') return body.float(4);
    return dtype === 'uint8' || dtype === 'bool' ? body.u8() : body.signed(size);
  };
  if (dtype === 'float16' || dtype === 'bfloat16') return undefined;
  const numbers = Array.from({ length: count }, number);
  return shape.length ? numbers : numbers[0];
}

/** Section III.E: one object of a global heap, where texts of any length stand. */
async function heapObject(source: ByteSource, bytes: Bytes, address: number, index: number): Promise<Cursor> {
  let objects = bytes.heaps.get(address);
  if (!objects) {
    objects = await heapObjects(source, bytes, address);
    bytes.heaps.set(address, objects);
  }
  const object = objects.get(index);
  if (!object) throw damaged(source, `its HDF5 heap at ${address} has no object ${index}`);
  return bytes.at(object.at, object.size);
}

async function heapObjects(
  source: ByteSource,
  bytes: Bytes,
  address: number,
): Promise<Map<number, { at: number; size: number }>> {
  const head = await bytes.at(address, 16);
  if (head.u32() !== signature('GCOL')) throw damaged(source, `its HDF5 heap at ${address} is none`);
  head.skip(4);
  const end = address + head.u64();
  const objects = new Map<number, { at: number; size: number }>();
  for (let at = address + 16; at + 16 <= end; ) {
    const object = await bytes.at(at, 16);
    const index = object.u16();
    if (index === 0) break; // the free space at the end
    object.skip(6);
    const size = object.u64();
    objects.set(index, { at: at + 16, size });
    at += 16 + Math.ceil(size / 8) * 8;
  }
  return objects;
}
