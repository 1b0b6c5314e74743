import { fstatSync, openSync as openDescriptor, readSync, type Stats, statSync } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ResidualError } from '../errors.js';
import type { ByteSource, SyncSource } from './source.js';

const advice: Record<string, string> = {
  ENOENT: 'there is no such file; check the path',
  EISDIR: 'it is a folder; name a file in it',
  EACCES: 'it may not be read; check its permissions',
  EPERM: 'it may not be read; check its permissions',
  ELOOP: 'its symbolic links lead in a circle; name the file itself',
  ENOTREG: 'it is no ordinary file; copy what it gives into one',
  EMFILE: 'too many files are open; close some or raise the limit (ulimit -n)',
  ENOSPC: 'the disk is full; free some space',
};

function fileError(path: string, error: unknown): ResidualError {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
  const what = advice[code] ?? `${(error as Error).message}; check the path and the disk`;
  if (path === '') return new ResidualError('FILE', 'the path is empty; name a file', { file: path, reason: code });
  return new ResidualError('FILE', `${path}: ${what}`, { file: path, reason: code }, { cause: error });
}

/** Asked before a file is opened: to open a pipe is to wait for its writer, and a device has no end. */
function checkOrdinary(stats: Stats): void {
  if (stats.isDirectory()) throw Object.assign(new Error('is a folder'), { code: 'EISDIR' });
  if (!stats.isFile()) throw Object.assign(new Error('is no ordinary file'), { code: 'ENOTREG' });
}

/**
 * Opens a file for reading at any place. Nothing is read yet.
 * @throws FILE when it does not exist, is a folder, a pipe, a socket or a device, or may not be read.
 */
export async function openFile(from: string | URL): Promise<ByteSource> {
  const path = typeof from === 'string' ? from : fileURLToPath(from);
  let handle: FileHandle;
  let size: number;
  try {
    checkOrdinary(await stat(path));
    handle = await open(path, 'r');
  } catch (error) {
    throw fileError(path, error);
  }
  try {
    ({ size } = await handle.stat());
  } catch (error) {
    await handle.close();
    throw fileError(path, error);
  }
  return {
    name: path,
    size,
    path,
    beside: (name) => openFile(join(dirname(path), name)),
    async readInto(target, offset) {
      try {
        for (let done = 0; done < target.length; ) {
          const { bytesRead } = await handle.read(target, done, target.length - done, offset + done);
          if (bytesRead === 0) throw new Error(`it ends at byte ${offset + done}; it was cut short while being read`);
          done += bytesRead;
        }
      } catch (error) {
        throw fileError(path, error);
      }
    },
    close: () => handle.close(),
  };
}

/**
 * What is in a folder, and how its files are opened; undefined when there is no folder of that name.
 * @throws FILE when it may not be listed.
 */
export async function openFolder(
  from: string | URL,
): Promise<{ names: readonly string[]; open(name: string): Promise<ByteSource> } | undefined> {
  const path = typeof from === 'string' ? from : fileURLToPath(from);
  const stats = await stat(path).catch(() => undefined);
  if (!stats?.isDirectory()) return undefined;
  try {
    return { names: await readdir(path), open: (name) => openFile(join(path, name)) };
  } catch (error) {
    throw fileError(path, error);
  }
}

/**
 * `openFile` without waiting, or a part of a file, for a thread of its own, with which the descriptor is closed.
 * @throws FILE
 */
export function openSync(path: string, part?: { readonly start: number; readonly size: number }): SyncSource {
  try {
    checkOrdinary(statSync(path));
    const descriptor = openDescriptor(path, 'r');
    const start = part?.start ?? 0;
    return {
      name: path,
      size: part?.size ?? fstatSync(descriptor).size,
      readInto(target, offset) {
        for (let done = 0; done < target.length; ) {
          const count = readSync(descriptor, target, done, target.length - done, start + offset + done);
          if (count === 0) throw fileError(path, new Error(`it ends at byte ${offset + done}`));
          done += count;
        }
      },
    };
  } catch (error) {
    throw fileError(path, error);
  }
}

/**
 * Writes `chunks` to `path` so that the file is either whole or not there: into a temporary file of the same folder,
 * flushed to the disk, then renamed. An older file of that name stays until the rename.
 * @throws FILE; the temporary file is removed.
 */
export async function writeFileAtomic(path: string, chunks: Iterable<Uint8Array>): Promise<void> {
  const temporary = join(dirname(path), `.${process.pid}-${Math.random().toString(36).slice(2)}.partial`);
  try {
    const handle = await open(temporary, 'wx');
    try {
      for (const chunk of chunks)
        for (let done = 0; done < chunk.length; )
          done += (await handle.write(chunk, done, chunk.length - done)).bytesWritten;
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error instanceof ResidualError ? error : fileError(path, error);
  }
}
