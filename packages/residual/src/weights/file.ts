import { fstatSync, openSync as openDescriptor, readSync, type Stats, statSync } from 'node:fs';
import { type FileHandle, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, sep, win32 } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ResidualError } from '../errors.js';
import { type ByteSource, type SyncSource, unsupported } from './source.js';

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

const writeAdvice: Record<string, string> = {
  ENOENT: 'there is no such folder; make it first',
  ENOTDIR: 'part of its path is no folder; check the path',
  EISDIR: 'it is a folder; name a file in it',
  ENOTREG: 'it is no ordinary file and is not replaced; name another',
  EACCES: 'its folder may not be written to; check its permissions',
  EPERM: 'its folder may not be written to; check its permissions',
  EROFS: 'its disk may only be read; name a file on another',
  ENOSPC: 'the disk is full; free some space',
  EDQUOT: 'your share of the disk is full; free some space',
  EFBIG: 'it is larger than a file may be here; raise the limit (ulimit -f)',
  ENAMETOOLONG: 'its name is too long; shorten it',
};

function fileError(path: string, error: unknown, known = advice): ResidualError {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
  const what = known[code] ?? `${(error as Error).message}; check the path and the disk`;
  if (path === '') return new ResidualError('FILE', 'the path is empty; name a file', { file: path, reason: code });
  return new ResidualError('FILE', `${path}: ${what}`, { file: path, reason: code }, { cause: error });
}

/** What kept a file from being written. */
export const writeError = (path: string, error: unknown): ResidualError => fileError(path, error, writeAdvice);

/** Asked before a file is opened: to open a pipe is to wait for its writer, and a device has no end. */
function checkOrdinary(stats: Stats): void {
  if (stats.isDirectory()) throw Object.assign(new Error('is a folder'), { code: 'EISDIR' });
  if (!stats.isFile()) throw Object.assign(new Error('is no ordinary file'), { code: 'ENOTREG' });
}

/**
 * Opens a file for reading at any place. Nothing is read yet.
 * @param versions told of this file and of those that are opened beside it.
 * @throws FILE when it does not exist, is a folder, a pipe, a socket or a device, or may not be read.
 */
export async function openFile(from: string | URL, versions = new Map<string, string>()): Promise<ByteSource> {
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
    const stats = await handle.stat();
    ({ size } = stats);
    versions.set(path, versionOf(stats));
  } catch (error) {
    await handle.close();
    throw fileError(path, error);
  }
  return {
    name: path,
    size,
    path,
    versions,
    beside: (name) => openFile(join(dirname(path), name), versions),
    async readInto(target, offset) {
      try {
        for (let done = 0; done < target.length; ) {
          const length = target.length - done;
          const bytesRead =
            length <= fewBytes
              ? readSync(handle.fd, target, done, length, offset + done)
              : (await handle.read(target, done, length, offset + done)).bytesRead;
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

/** So few are read at once: to have another thread do it takes longer, and a zip of weights has hundreds of headers. */
const fewBytes = 4096;

const versionOf = ({ size, mtimeMs }: Stats): string => `${size} ${mtimeMs}`;

/**
 * Whether files that were read are still the same, by their size and time.
 * @throws FILE for the first that was changed or removed.
 */
export async function checkUnchanged(versions: ReadonlyMap<string, string>): Promise<void> {
  for (const [path, version] of versions) {
    const stats = await stat(path).catch(() => undefined);
    if (stats && versionOf(stats) === version) continue;
    throw new ResidualError(
      'FILE',
      `${path}: it was ${stats ? 'changed' : 'removed'} after the model was loaded, which needs its weights once more; load the model again`,
      { file: path, reason: 'CHANGED' },
    );
  }
}

/**
 * Opens a file that another one names: one in its folder, or in a folder of that.
 * @throws WEIGHTS_FORMAT when the name leads out of the folder (upwards, from the root, by a symbolic link), or the file
 * that names it has no folder; FILE when it cannot be read.
 */
export async function openBeside(
  { name, path, versions }: Pick<ByteSource, 'name' | 'path' | 'versions'>,
  location: string,
): Promise<ByteSource> {
  const refuse = (why: string) =>
    unsupported({ name }, `some of it is in the file "${location.slice(0, 200)}", ${why}`);
  if (path === undefined) throw refuse('which only a path leads to; give the path of the file instead of its bytes');
  if (
    location === '' ||
    location.includes('\0') ||
    isAbsolute(location) ||
    win32.isAbsolute(location) ||
    location.split(/[\\/]/).includes('..')
  )
    throw refuse('which is not inside its folder; it is refused');
  const folder = dirname(path);
  const wanted = join(folder, location);
  let [root, real] = ['', ''];
  try {
    [root, real] = [await realpath(folder), await realpath(wanted)];
  } catch (error) {
    throw fileError(wanted, error);
  }
  const inside = relative(root, real);
  if (inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside))
    throw refuse('which is a link out of its folder; it is refused');
  return openFile(real, versions);
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
  let temporary: string | undefined;
  try {
    const target = await replaceable(path);
    temporary = join(dirname(target), partialName());
    const handle = await open(temporary, 'wx');
    try {
      for (const chunk of chunks)
        for (let done = 0; done < chunk.length; )
          done += (await handle.write(chunk, done, chunk.length - done)).bytesWritten;
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, target);
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { force: true });
    throw error instanceof ResidualError ? error : writeError(path, error);
  }
}

const partialName = (): string => `.${process.pid}-${Math.random().toString(36).slice(2)}.partial`;

/** Whether a file is the temporary one of `writeFileAtomic`. */
export const isPartial = (name: string): boolean => /^\.\d+-[0-9a-z]+\.partial$/.test(name);

/** The place to rename to: behind a link, what it leads to. A folder, a pipe or a device is not replaced. */
async function replaceable(path: string): Promise<string> {
  const real = await realpath(path).catch(() => undefined);
  if (real === undefined) return path;
  checkOrdinary(await stat(real));
  return real;
}

/**
 * Refuses a file to write before the work is done.
 * @param options.from the path of what is read: it is never overwritten.
 * @param options.force whether an older file may be replaced.
 * @throws FILE
 */
export async function checkTarget(
  path: string,
  { from, force }: { from?: string | URL; force?: boolean },
): Promise<void> {
  try {
    const there = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (!there) {
      if (!(await stat(dirname(path))).isDirectory()) throw Object.assign(new Error('no folder'), { code: 'ENOTDIR' });
      return;
    }
    checkOrdinary(there);
    if (from !== undefined && (await isRead(path, there, from)))
      throw new ResidualError(
        'FILE',
        `${path}: it is the very file that is read, or may be one of them; name another to write`,
        {
          file: path,
        },
      );
    if (!force)
      throw new ResidualError(
        'FILE',
        `${path}: it is there already; name another, or have it replaced (force, --force)`,
        {
          file: path,
        },
      );
  } catch (error) {
    throw error instanceof ResidualError ? error : writeError(path, error);
  }
}

/** Whether a file is what `from` names, or may be: a folder and an index stand for files beside them. */
async function isRead(path: string, there: Stats, from: string | URL): Promise<boolean> {
  const source = typeof from === 'string' ? from : fileURLToPath(from);
  const same = (a: Stats | undefined, b: Stats) => a?.ino === b.ino && a.dev === b.dev;
  const found = await stat(source).catch(() => undefined);
  if (!found) return false;
  const folder = await stat(dirname(await realpath(path)));
  if (found.isDirectory()) return same(found, folder);
  return same(found, there) || (source.endsWith('.json') && same(await stat(dirname(source)), folder));
}
