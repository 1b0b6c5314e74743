import { ResidualError, unknownName } from '../errors.js';
import { type AnyTensor, bytesPerElement, type DType, formatShape, sharedBytes } from '../tensor.js';
import { byteLength, type Checkpoint, type TensorInfo, tensorOver } from './checkpoint.js';
import { parseJson } from './json.js';
import { type ByteSource, checkRange, damaged, readBytes, unsupported } from './source.js';

/*
 * The format (huggingface/safetensors, README): an unsigned 64-bit length, that many bytes of JSON
 * `{name: {dtype, shape, data_offsets: [begin, end]}}`, then the data, which the tensors fill without hole or overlap.
 */

const names = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
} as const satisfies Record<DType, string>;

const types = new Map(Object.entries(names).map(([dtype, name]) => [name as string, dtype as DType]));

/** The reference implementation's own limit. */
const maxHeaderBytes = 100_000_000;

interface Placed extends TensorInfo {
  readonly begin: number;
  readonly end: number;
}

/**
 * Opens a safetensors file.
 * @throws WEIGHTS_FORMAT when the header is too long or no JSON, a name stands twice, or the tensors do not fill the
 * data exactly.
 */
export async function openSafetensors(source: ByteSource): Promise<Checkpoint> {
  if (source.size < 8) throw damaged(source, `it has ${source.size} bytes, not even a header`);
  const head = await readBytes(source, 0, 8);
  const length = new DataView(head.buffer).getBigUint64(0, true);
  if (length > maxHeaderBytes || Number(length) > source.size - 8)
    throw damaged(source, `its header claims ${length} bytes and the file has ${source.size}`);
  const start = 8 + Number(length);
  const text = new TextDecoder().decode(await readBytes(source, 8, Number(length)));
  const header = parseJson(source, 'its header', text);
  if (!isRecord(header)) throw damaged(source, 'its header is no JSON object');

  const { __metadata__: metadata = {}, ...entries } = header;
  if (!isRecord(metadata)) throw damaged(source, 'its __metadata__ is no JSON object');
  const tensors = new Map<string, Placed>();
  for (const [name, entry] of Object.entries(entries)) tensors.set(name, placed(source, name, entry));
  checkFilled(source, tensors, source.size - start);
  return {
    format: 'safetensors',
    reason: 'a length, then a JSON header',
    tensors,
    metadata,
    async read(name, memory = sharedBytes) {
      const info = tensors.get(name);
      if (!info) throw unknownName('tensor', name, tensors.keys());
      checkRange(source, start + info.begin, info.end - info.begin);
      const bytes = memory(info.end - info.begin);
      await source.readInto(bytes, start + info.begin);
      return tensorOver(info, bytes);
    },
    close: () => source.close(),
  };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isIndex = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function placed(source: ByteSource, name: string, entry: unknown): Placed {
  if (!isRecord(entry)) throw damaged(source, `tensor ${name} is not described by an object`);
  const { dtype: typeName, shape, data_offsets: offsets } = entry;
  const dtype = types.get(String(typeName));
  if (!dtype)
    throw unsupported(
      source,
      `tensor ${name} has the element type ${String(typeName).slice(0, 20)}, which is not read; known: ${[...types.keys()].join(', ')}`,
    );
  if (!Array.isArray(shape) || shape.length > 64 || !shape.every(isIndex))
    throw damaged(source, `tensor ${name} has a shape that is none`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isIndex))
    throw damaged(source, `tensor ${name} has data_offsets that are none`);
  const [begin, end] = offsets;
  const info = { dtype, shape, begin, end };
  if (byteLength(info) !== end - begin)
    throw damaged(
      source,
      `tensor ${name} of ${dtype} ${formatShape(shape)} needs ${byteLength(info)} bytes but its data_offsets span ${end - begin}`,
    );
  return info;
}

/** The tensors in the order of their data must follow on one another from 0 to the end. */
function checkFilled(source: ByteSource, tensors: ReadonlyMap<string, Placed>, size: number): void {
  let at = 0;
  let before = 'the header';
  for (const [name, { begin, end }] of [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== at)
      throw damaged(
        source,
        `tensor ${name} begins at ${begin} but ${before} ends at ${at}: ${begin < at ? 'they overlap' : 'a hole'}`,
      );
    [at, before] = [end, name];
  }
  if (at !== size) throw damaged(source, `its tensors end at byte ${at} of its data, which has ${size}`);
}

/**
 * A safetensors file, piece by piece: the header, padded with spaces to a multiple of 8 bytes, then each tensor's
 * bytes as they stand in memory. Tensors are ordered by falling element size, then by name, as the reference
 * implementation does, so that each begins at a multiple of its element size.
 * @param metadata strings that stand in the header, as `__metadata__`.
 * @throws ARGUMENT for a tensor whose shape does not fit its data, a name that stands twice or is `__metadata__`.
 */
export function* safetensorsBytes(
  tensors: Iterable<readonly [name: string, tensor: AnyTensor]>,
  metadata: Readonly<Record<string, string>> = {},
): Generator<Uint8Array> {
  const sorted = [...tensors].sort(
    ([a, { dtype: x }], [b, { dtype: y }]) => bytesPerElement[y] - bytesPerElement[x] || (a < b ? -1 : a > b ? 1 : 0),
  );
  const header: [string, unknown][] = Object.keys(metadata).length ? [['__metadata__', metadata]] : [];
  let at = 0;
  let before: string | undefined;
  for (const [name, { dtype, shape, data }] of sorted) {
    if (name === '__metadata__' || name === before)
      throw new ResidualError('ARGUMENT', `tensor name ${name} stands twice or is reserved; give each its own`);
    before = name;
    if (byteLength({ dtype, shape }) !== data.byteLength)
      throw new ResidualError(
        'ARGUMENT',
        `tensor ${name} of ${dtype} ${formatShape(shape)} needs ${byteLength({ dtype, shape })} bytes but holds ${data.byteLength}`,
      );
    header.push([name, { dtype: names[dtype], shape, data_offsets: [at, at + data.byteLength] }]);
    at += data.byteLength;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const length = Math.ceil(json.length / 8) * 8;
  const head = new Uint8Array(8 + length).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(length), true);
  head.set(json, 8);
  yield head;
  for (const [, { data }] of sorted) yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
