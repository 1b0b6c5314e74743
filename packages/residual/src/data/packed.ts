import { readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { ResidualError } from '../errors.js';

/** What is unpacked in memory may have 2 GiB. */
const largest = 2 ** 31;

const inflate = promisify(gunzip);

export const isGzip = (bytes: Uint8Array): boolean => bytes[0] === 0x1f && bytes[1] === 0x8b;

/** The bytes of a file, unpacked when it is gzip. @throws FILE, DATA when it is damaged or larger than 2 GiB. */
export async function readUnpacked(file: string): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    const { size } = await stat(file);
    if (size > largest) throw new Error(`it has ${size} bytes; the limit is ${largest}`);
    bytes = await readFile(file);
  } catch (cause) {
    throw new ResidualError('FILE', `${file}: cannot be read: ${(cause as Error).message}`, { file }, { cause });
  }
  if (!isGzip(bytes)) return bytes;
  try {
    return await inflate(bytes, { maxOutputLength: largest });
  } catch (cause) {
    const tooLarge = (cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    throw new ResidualError(
      'DATA',
      tooLarge
        ? `${file}: has more than ${largest} bytes unpacked; unpack it first: gzip -dk ${file}`
        : `${file}: the gzip is damaged or cut off (${(cause as Error).message}); fetch it again`,
      { file },
      { cause },
    );
  }
}
