import { decode } from '#decode';
import type { Pixels } from '../image/pixels.js';
import type { Decoding } from '../image/plan.js';
import { openFile } from '../weights/file.js';
import type { ByteSource } from '../weights/source.js';
import type { Source } from './dataset.js';

/** Archives that parts were read from; they stay open for as long as the thread lives. */
const archives = new Map<string, Promise<ByteSource>>();

/** The pixels of a picture, wherever it is. @throws what decoding throws: FILE, IMAGE, MISSING_PACKAGE. */
export async function pixelsOf(source: Source, as: Decoding): Promise<Pixels> {
  if (source.kind === 'pixels') return pixelsInMemory(source);
  if (source.kind === 'file') return (await decode(source.path, as)).pixels;
  return (await decode(await encoded(source), as)).pixels;
}

async function encoded(source: Extract<Source, { kind: 'part' | 'encoded' }>): Promise<Uint8Array> {
  // A copy: the decoder takes no shared memory.
  if (source.kind === 'encoded') return source.bytes.slice(source.offset, source.offset + source.length);
  let archive = archives.get(source.file);
  if (archive === undefined) {
    archive = openFile(source.file);
    archives.set(source.file, archive);
    archive.catch(() => archives.delete(source.file));
  }
  const bytes = new Uint8Array(source.bytes);
  await (await archive).readInto(bytes, source.offset);
  return bytes;
}

/** Pixels that lie in memory, as red, green and blue side by side; what lies so already is not copied. */
export function pixelsInMemory(source: Extract<Source, { kind: 'pixels' }>): Pixels {
  const { bytes, offset, height, width, channels, planar } = source;
  const count = height * width;
  if (channels === 3 && !planar) return { height, width, data: bytes.subarray(offset, offset + count * 3) };
  const data = new Uint8Array(count * 3);
  const plane = channels === 1 ? 0 : count;
  for (let i = 0, at = offset; i < count; i++, at++) {
    data[i * 3] = bytes[at];
    data[i * 3 + 1] = bytes[at + plane];
    data[i * 3 + 2] = bytes[at + 2 * plane];
  }
  return { height, width, data };
}
