import { mkdir, readdir, readFile, rm, rmdir, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cacheFolder } from '../cache-folder.js';
import { ResidualError } from '../errors.js';
import { writeFileAtomic } from '../weights/file.js';
import { isHeld } from './lock.js';
import type { CachedFile, CacheReport, Prune, Pruned } from './options.js';

// The cache: `hub/HOST/PATH` for what was published at https://HOST/PATH, so that the folder `hub` is itself a mirror.
// Beside a file lie FILE.json (the record), FILE.part with FILE.part.json (a download that is not done), FILE.lock.

/** What is known of a file since it came. */
export interface FileRecord {
  readonly id: string;
  readonly url: string;
  /** Where it came from, when that was a mirror. */
  readonly from?: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly md5: string;
  readonly etag?: string;
  /** When the file was last written to, in milliseconds since 1970; one with another time is hashed again. */
  readonly modified?: number;
  /** When it came, ISO 8601. */
  readonly fetched: string;
}

/** `host/path` of an address, as names of folders on any system. */
export function placeOf(url: string): string[] {
  const { host, pathname } = new URL(url);
  return [host, ...pathname.split('/').filter(Boolean)].map((part) => part.replace(/[<>:"|?*\\]/g, '_'));
}

export const filesIn = (folder: string): string => join(folder, 'hub');

/**
 * One folder after the other: Node's own recursion never ends where the system denies a folder whose parent exists
 * (ENOENT, as under /proc).
 * @throws FILE when it cannot be made.
 */
export async function makeFolder(folder: string): Promise<void> {
  const missing: string[] = [];
  for (let at = folder; !(await isFolder(at)) && !missing.includes(at); at = dirname(at)) missing.push(at);
  for (const one of missing.reverse())
    try {
      await mkdir(one);
    } catch (cause) {
      // Another process may have been quicker.
      if (await isFolder(one)) continue;
      const { code = 'unknown' } = cause as NodeJS.ErrnoException;
      throw new ResidualError(
        'FILE',
        `${folder}: this folder of the cache cannot be made (${code}); name another (RESIDUAL_CACHE)`,
        { file: folder, reason: code },
        { cause },
      );
    }
}

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

const recordFile = (file: string): string => `${file}.json`;

/** The record beside a file; undefined when there is none that can be read. */
export async function readRecord(file: string): Promise<FileRecord | undefined> {
  try {
    const record = JSON.parse(await readFile(recordFile(file), 'utf8'));
    const { id, url, bytes, sha256 } = record;
    const fits = typeof id === 'string' && typeof url === 'string' && Number.isSafeInteger(bytes);
    return fits && /^[0-9a-f]{64}$/.test(sha256) ? record : undefined;
  } catch {
    return undefined;
  }
}

export async function writeRecord(file: string, record: FileRecord): Promise<void> {
  await writeFileAtomic(recordFile(file), [new TextEncoder().encode(`${JSON.stringify(record, undefined, 2)}\n`)]);
}

/** Notes that a file was used now, for `pruneCache`. */
export async function touch(file: string): Promise<void> {
  await utimes(recordFile(file), new Date(), new Date()).catch(() => {}); // a cache that may only be read
}

/** What is in the cache, the last used first. */
export async function readCache(given?: string): Promise<CacheReport> {
  const folder = cacheFolder(given);
  const files: CachedFile[] = [];
  let unfinished = 0;
  for (const path of await walk(filesIn(folder))) {
    if (path.endsWith('.part')) unfinished += await sizeOf(path);
    if (!path.endsWith('.json') || path.endsWith('.part.json')) continue;
    const file = path.slice(0, -'.json'.length);
    const record = await readRecord(file);
    const bytes = await sizeOf(file);
    if (record && bytes === record.bytes) {
      const { id, url, sha256 } = record;
      files.push({ id, path: file, url, bytes, sha256, used: (await stat(path)).mtime });
    }
  }
  return { folder, files: files.sort((a, b) => +b.used - +a.used), unfinished };
}

/**
 * Removes files from the cache, and what broken-off downloads left. Only what the cache itself wrote is touched; a file
 * that is being downloaded stays.
 * @throws FILE
 */
export async function pruneCache({ all, olderThan, to }: Prune, given?: string): Promise<Pruned> {
  const { folder, files } = await readCache(given);
  const removed = files.filter((file, i) => {
    if (all) return true;
    if (olderThan !== undefined && Date.now() - +file.used > olderThan * 86_400_000) return true;
    return to !== undefined && files.slice(0, i + 1).reduce((sum, { bytes }) => sum + bytes, 0) > to;
  });
  let bytes = 0;
  for (const file of removed) {
    await remove(file.path);
    await remove(recordFile(file.path));
    bytes += file.bytes;
  }
  for (const path of await walk(filesIn(folder))) {
    const [, file] = /^(.*)\.(part|part\.json|lock)$/.exec(path) ?? [];
    if (file === undefined || (await isHeld(`${file}.lock`))) continue;
    if (path.endsWith('.part')) bytes += await sizeOf(path);
    await remove(path);
  }
  for (const { path } of removed) await removeEmpty(dirname(path), filesIn(folder));
  return { removed, bytes };
}

async function remove(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    throw new ResidualError('FILE', `${path}: it cannot be removed (${code})`, { file: path, reason: code }, { cause });
  }
}

async function removeEmpty(folder: string, root: string): Promise<void> {
  for (let at = folder; at.startsWith(root) && at !== root; at = dirname(at))
    try {
      await rmdir(at);
    } catch {
      return; // not empty
    }
}

const sizeOf = (file: string): Promise<number> =>
  stat(file).then(
    ({ size }) => size,
    () => 0,
  );

async function walk(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}
