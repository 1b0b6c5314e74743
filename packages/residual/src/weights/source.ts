import { ResidualError } from '../errors.js';

/** Bytes that can be read at any place: a file, a Blob, memory, an HTTP range. */
export interface ByteSource {
  /** For messages: the path, URL or `bytes`. */
  readonly name: string;
  readonly size: number;
  /** The path, where another thread can open it by itself. */
  readonly path?: string;
  /** Where in the file of that path this source begins; 0 when absent. */
  readonly start?: number;
  /** Each file read through this source and what tells whether it is still the same. Absent where there is no file. */
  readonly versions?: Map<string, string>;
  /** Opens the file of that plain name in the same folder. Absent where there is no such place. Throws FILE. */
  readonly beside?: (name: string) => Promise<ByteSource>;
  /** Fills `target` from `offset`; the caller has checked the bounds (see `readBytes`). */
  readInto(target: Uint8Array, offset: number): Promise<void>;
  close(): Promise<void>;
}

/** The same without waiting, for code that computes in a thread of its own. */
export interface SyncSource {
  readonly name: string;
  readonly size: number;
  readInto(target: Uint8Array, offset: number): void;
}

/**
 * `length` bytes at `offset`.
 * @throws WEIGHTS_FORMAT when the range is not inside the source: nothing is allocated for a length that a hostile
 * header invented.
 */
export async function readBytes(source: ByteSource, offset: number, length: number): Promise<Uint8Array> {
  checkRange(source, offset, length);
  const target = new Uint8Array(length);
  await source.readInto(target, offset);
  return target;
}

/** Throws WEIGHTS_FORMAT unless `offset … offset + length` lies in the source. */
export function checkRange(source: ByteSource, offset: number, length: number): void {
  if (
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(length) &&
    offset >= 0 &&
    length >= 0 &&
    offset + length <= source.size
  )
    return;
  throw new ResidualError(
    'WEIGHTS_FORMAT',
    `${source.name}: needs ${length} bytes at ${offset} but the file has ${source.size}; it is cut off or damaged, fetch it again`,
    { file: source.name, offset, length, size: source.size },
  );
}

/** A source over bytes in memory. */
export function bytesSource(bytes: Uint8Array, name = 'bytes'): ByteSource {
  return {
    name,
    size: bytes.length,
    async readInto(target, offset) {
      target.set(bytes.subarray(offset, offset + target.length));
    },
    async close() {},
  };
}

/** The same without waiting. */
export const syncBytes = (bytes: Uint8Array, name = 'bytes'): SyncSource => ({
  name,
  size: bytes.length,
  readInto(target, offset) {
    target.set(bytes.subarray(offset, offset + target.length));
  },
});

/** A source over a browser's or Node's Blob or File; nothing is read before it is asked for. */
export function blobSource(blob: Blob, name = 'blob'): ByteSource {
  return {
    name,
    size: blob.size,
    async readInto(target, offset) {
      target.set(new Uint8Array(await blob.slice(offset, offset + target.length).arrayBuffer()));
    },
    async close() {},
  };
}

/** What a message needs to know of a source. */
export type Named = Pick<ByteSource, 'name'>;

/** `x.pth: WHAT; it is damaged or cut off, fetch it again` as an error. */
export function damaged(source: Named, what: string, cause?: unknown): ResidualError {
  return new ResidualError(
    'WEIGHTS_FORMAT',
    `${source.name}: ${oneLine(what)}; it is damaged or cut off, fetch it again`,
    { file: source.name },
    { cause },
  );
}

/** `x.onnx: WHAT` as an error: a file that may be whole but that is not read here. */
export function unsupported(source: Named, what: string): ResidualError {
  return new ResidualError('WEIGHTS_FORMAT', `${source.name}: ${oneLine(what)}`, { file: source.name });
}

/** Names out of a file may hold line ends and be as long as the file. */
const oneLine = (what: string): string =>
  (what.length > 600 ? `${what.slice(0, 600)}…` : what).replace(/[\p{Cc}\u2028\u2029]/gu, ' ');
