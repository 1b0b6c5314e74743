import { open, rename, rm, stat, writeFile } from 'node:fs/promises';
import { ResidualError } from 'residual/errors';

/** Longer texts are refused before they are read: 16 MB. */
const longestText = 16e6;

/** The text of a file. @throws FILE, also for what is no ordinary file and for more than 16 MB. */
export const readText = async (file: string): Promise<string> => (await readBytes(file, longestText)).toString('utf8');

/** The bytes of a file. @throws FILE, also for what is no ordinary file and for more than `longest` bytes. */
export async function readBytes(file: string, longest: number): Promise<Buffer> {
  try {
    // Before it is opened: to open a pipe is to wait for its writer, and a device has no end.
    const stats = await stat(file);
    if (stats.isDirectory()) throw Object.assign(new Error('is a folder'), { code: 'EISDIR' });
    if (!stats.isFile()) throw new ResidualError('FILE', `${file}: cannot be read: it is no ordinary file`, { file });
    if (stats.size > longest)
      throw new ResidualError(
        'FILE',
        `${file}: ${stats.size} bytes are too many for this; the limit is ${longest}, check the path`,
        { file },
      );
    const handle = await open(file);
    try {
      // No more than was there when it was looked at, should it grow.
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(stats.size), 0, stats.size, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw cause instanceof ResidualError ? cause : fileError(file, 'read', cause);
  }
}

/** Writes a file whole or not at all. @throws FILE */
export async function writeWhole(file: string, data: string | Uint8Array): Promise<void> {
  const part = `${file}.${process.pid}.part`;
  try {
    await writeFile(part, data);
    await rename(part, file);
  } catch (cause) {
    await rm(part, { force: true });
    throw fileError(file, 'written', cause);
  }
}

/**
 * Finds out ahead of the work whether `writeWhole` can write there; what is there stays as it is.
 * @throws FILE
 */
export async function checkWritable(file: string): Promise<void> {
  const part = `${file}.${process.pid}.part`;
  try {
    if ((await stat(file).catch(() => undefined))?.isDirectory())
      throw Object.assign(new Error('is a folder'), { code: 'EISDIR' });
    await writeFile(part, '');
  } catch (cause) {
    throw fileError(file, 'written', cause);
  } finally {
    await rm(part, { force: true }).catch(() => {});
  }
}

const reasons: Record<string, string> = {
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
  ELOOP: 'its symbolic links lead in a circle',
  ENOENT: 'no such file or folder',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'part of its path is no folder',
};

export function fileError(file: string, verb: 'read' | 'written', cause: unknown): ResidualError {
  const { code = 'unknown' } = cause as NodeJS.ErrnoException;
  if (file === '') return new ResidualError('FILE', 'the path is empty; name a file', { file }, { cause });
  return new ResidualError('FILE', `${file}: cannot be ${verb}: ${reasons[code] ?? code}`, { file }, { cause });
}
