import { type AnyTensor, type DType, formatShape, sharedBytes, sizeOf } from '../tensor.js';
import { byteLength, type TensorInfo, tensorOver } from './checkpoint.js';
import { type Field, type Protobuf, varints } from './protobuf.js';
import { type ByteSource, checkRange, damaged, readBytes, unsupported } from './source.js';

// TensorProto of onnx.proto (github.com/onnx/onnx/blob/main/onnx/onnx.proto); the field numbers below are its.

/** Element types by their number in TensorProto.DataType. */
const types: Partial<Record<number, DType>> = {
  1: 'float32',
  2: 'uint8',
  3: 'int8',
  5: 'int16',
  6: 'int32',
  7: 'int64',
  9: 'bool',
  10: 'float16',
  11: 'float64',
  16: 'bfloat16',
};
const otherTypes: Partial<Record<number, string>> = {
  4: 'uint16',
  8: 'string',
  12: 'uint32',
  13: 'uint64',
  14: 'complex64',
  15: 'complex128',
  17: 'float8e4m3fn',
  18: 'float8e4m3fnuz',
  19: 'float8e5m2',
  20: 'float8e5m2fnuz',
  21: 'uint4',
  22: 'int4',
};

/** Which typed field holds which element types, besides `raw_data`; the others hold varints. */
const [floatData, int32Data, int64Data, rawData, doubleData] = [4, 5, 7, 9, 10];

type Piece = Pick<Field, 'wire' | 'begin' | 'end' | 'value'>;

/** Where a tensor's numbers are. */
export type Place =
  /** In the model: little-endian, as in memory. */
  | { readonly kind: 'inside'; readonly pieces: readonly Piece[] }
  /** In the model, as varints. */
  | { readonly kind: 'varints'; readonly pieces: readonly Piece[] }
  /** In another file of the model's folder. */
  | { readonly kind: 'beside'; readonly location: string; readonly offset: number }
  /** All the same: made by ConstantOfShape. 16-bit floats by their bits. */
  | { readonly kind: 'fill'; readonly value: number | bigint };

export interface Placed extends TensorInfo {
  readonly name: string;
  readonly place: Place;
}

/** Elements of one tensor: what a typed array holds everywhere. */
const mostElements = 2 ** 31 - 1;
const mostAxes = 32;

/**
 * A TensorProto's name, type, shape, and where its numbers are, which are not read.
 * @throws WEIGHTS_FORMAT when the type is none that is read or the numbers are not as many as the shape says.
 */
export async function placeTensor(proto: Protobuf, { begin, end }: Field, givenName?: string): Promise<Placed> {
  const { source } = proto;
  const pieces = new Map<number, Piece[]>();
  const shape: number[] = [];
  const external = new Map<string, string>();
  let [type, outside, name] = [0, false, givenName];
  for await (const field of proto.fields(begin, end)) {
    if (field.number === 1) shape.push(...(await proto.integers(field)));
    else if (field.number === 2) type = field.value;
    else if (field.number === 3)
      throw unsupported(source, `tensor ${name ?? ''} is stored in segments, which is not read`);
    else if (field.number === 8) name ??= await proto.name(field);
    else if (field.number === 13) external.set(...(await readEntry(proto, field)));
    else if (field.number === 14) outside = field.value === 1;
    else if ([floatData, int32Data, int64Data, rawData, doubleData].includes(field.number)) {
      const { number, wire, begin, end, value } = field;
      const piece = { wire, begin, end, value };
      const list = pieces.get(number);
      if (list) list.push(piece);
      else pieces.set(number, [piece]);
    }
  }
  name ??= '';
  const dtype = types[type];
  if (dtype === undefined)
    throw unsupported(source, `tensor ${name} has the element type ${otherTypes[type] ?? type}, which is not read`);
  if (shape.length > mostAxes || !shape.every((n) => Number.isSafeInteger(n) && n >= 0) || sizeOf(shape) > mostElements)
    throw damaged(source, `tensor ${name} has the shape ${formatShape(shape.slice(0, mostAxes))}, which is none`);
  const info = { name, dtype, shape };
  if (outside) return { ...info, place: besideOf(source, info, external) };
  const raw = pieces.get(rawData);
  const own =
    dtype === 'float32' ? floatData : dtype === 'float64' ? doubleData : dtype === 'int64' ? int64Data : int32Data;
  const found = raw ?? pieces.get(own) ?? [];
  const kind = raw || own === floatData || own === doubleData ? 'inside' : 'varints';
  checkLength(source, info, kind, found);
  return { ...info, place: { kind, pieces: found } };
}

/** As many bytes as the elements need; a varint has one to ten. */
function checkLength(
  source: ByteSource,
  info: Placed | (TensorInfo & { name: string }),
  kind: 'inside' | 'varints',
  pieces: readonly Piece[],
): void {
  const has = pieces.reduce((sum, { wire, begin, end }) => sum + (wire === 'varint' ? 1 : end - begin), 0);
  const count = sizeOf(info.shape);
  if (kind === 'inside' ? has === byteLength(info) : has >= count && has <= 10 * count) return;
  const need = kind === 'inside' ? byteLength(info) : count;
  throw damaged(
    source,
    `tensor ${info.name} of ${info.dtype} ${formatShape(info.shape)} needs ${need} bytes but has ${has}`,
  );
}

function besideOf(
  source: ByteSource,
  info: TensorInfo & { name: string },
  external: ReadonlyMap<string, string>,
): Place {
  const location = external.get('location') ?? '';
  const [offset, length] = [external.get('offset') ?? '0', external.get('length') ?? String(byteLength(info))];
  if (!/^\d{1,15}$/.test(offset) || !/^\d{1,15}$/.test(length))
    throw damaged(
      source,
      `tensor ${info.name} stands in "${location}" from ${offset}, ${length} bytes, which are no numbers`,
    );
  if (Number(length) !== byteLength(info))
    throw damaged(
      source,
      `tensor ${info.name} of ${info.dtype} ${formatShape(info.shape)} needs ${byteLength(info)} bytes but has ${length} in "${location}"`,
    );
  return { kind: 'beside', location, offset: Number(offset) };
}

/** A StringStringEntryProto. */
export async function readEntry(
  proto: Protobuf,
  { begin, end }: Field,
  most?: number,
): Promise<[key: string, value: string]> {
  let [key, value] = ['', ''];
  for await (const field of proto.fields(begin, end))
    if (field.number === 1) key = await proto.name(field);
    else if (field.number === 2) value = await proto.text(field, most);
  return [key, value];
}

/**
 * A tensor's numbers.
 * @param beside opens a file of the model's folder.
 * @throws WEIGHTS_FORMAT when they are not as many as its shape says, or stand outside their file.
 */
export async function readTensor(
  source: ByteSource,
  { place, ...info }: Placed,
  beside: (location: string) => Promise<ByteSource>,
): Promise<AnyTensor> {
  if (place.kind === 'varints') return fromVarints(source, info, place.pieces);
  if (place.kind === 'fill') {
    const made = tensorOver(info, sharedBytes(byteLength(info)));
    // The value came from a tensor of the same type.
    (made.data as Float32Array).fill(place.value as number);
    return made;
  }
  if (place.kind === 'inside') {
    const bytes = sharedBytes(byteLength(info));
    let at = 0;
    for (const { begin, end } of place.pieces) {
      await source.readInto(bytes.subarray(at, at + end - begin), begin);
      at += end - begin;
    }
    return tensorOver(info, bytes);
  }
  const file = await beside(place.location);
  try {
    checkRange(file, place.offset, byteLength(info));
    const bytes = sharedBytes(byteLength(info));
    await file.readInto(bytes, place.offset);
    return tensorOver(info, bytes);
  } finally {
    await file.close();
  }
}

/**
 * Whether the tensors that stand in other files are there; each file is opened once and nothing is read.
 * @throws as `readTensor` would.
 */
export async function checkBeside(
  tensors: Iterable<Placed>,
  beside: (location: string) => Promise<ByteSource>,
): Promise<void> {
  const ends = new Map<string, { readonly offset: number; readonly length: number }>();
  for (const { place, ...info } of tensors) {
    if (place.kind !== 'beside') continue;
    const [{ location, offset }, length] = [place, byteLength(info)];
    const last = ends.get(location);
    if (!last || offset + length > last.offset + last.length) ends.set(location, { offset, length });
  }
  for (const [location, { offset, length }] of ends) {
    const file = await beside(location);
    await file.close();
    checkRange(file, offset, length);
  }
}

async function fromVarints(
  source: ByteSource,
  info: TensorInfo & { name: string },
  pieces: readonly Piece[],
): Promise<AnyTensor> {
  const made = tensorOver(info, sharedBytes(byteLength(info)));
  let at = 0;
  for (const { wire, begin, end, value } of pieces) {
    const values = wire === 'varint' ? [value] : varints(source, await readBytes(source, begin, end - begin));
    if (at + values.length > made.data.length)
      throw damaged(source, `tensor ${info.name} has more numbers than its shape`);
    for (const one of values) {
      if (made.dtype === 'int64') made.data[at++] = BigInt.asIntN(64, BigInt(Math.min(one, largestInt64)));
      else (made.data as Int32Array)[at++] = one;
    }
  }
  if (at !== made.data.length)
    throw damaged(source, `tensor ${info.name} has ${at} numbers but its shape says ${made.data.length}`);
  return made;
}

/** The largest number below 2⁶³ that a real number can be: "up to the end" in a Slice. */
const largestInt64 = 2 ** 63 - 1024;
