import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from '../cache-folder.js';
import { ResidualError } from '../errors.js';
import { openCheckpoint } from '../weights/open.js';
import { type FileRecord, filesIn, makeFolder, placeOf, readRecord, touch, writeRecord } from './cache.js';
import { checkLicence, type HubEntry } from './catalogue.js';
import { type DownloadOptions, download } from './download.js';
import { withoutSecrets } from './fetch.js';
import { locked } from './lock.js';
import type { HubOptions } from './options.js';

export { pruneCache, readCache } from './cache.js';

/**
 * The file of an entry: out of the cache, else out of the mirror or from its publisher, once.
 *
 * @returns its path.
 * @throws DOWNLOAD when it cannot be had, with `reason` `offline`, `network`, `page`, `hash` … in its details; LICENCE;
 * FILE when the cache cannot be written; WEIGHTS_FORMAT when what came is no weight file; ABORTED.
 */
export async function obtain(
  entry: HubEntry,
  options: HubOptions & Pick<DownloadOptions, 'stall' | 'pause'> = {},
): Promise<string> {
  const folder = cacheFolder(options.cache);
  const file = join(filesIn(folder), ...placeOf(entry.url));
  const here = await lookAt(file, entry);
  if (here === 'whole') return file;
  checkLicence(entry, options.acceptLicence);
  const source = sourceOf(entry, options.hub?.trim() || process.env.RESIDUAL_HUB?.trim());
  if ('path' in source) return fromFolder(source.path, entry);
  if (options.offline)
    throw new ResidualError(
      'DOWNLOAD',
      here === 'absent'
        ? `${entry.id} is not in the cache (${folder}) and the network is not to be used (offline)`
        : `${entry.id}: ${file}: ${here.wrong}; it is not used, and the network is not to be used (offline)`,
      { id: entry.id, reason: 'offline' },
    );
  await makeFolder(dirname(file));
  return locked(`${file}.lock`, options.signal, async () => {
    // Another process may have fetched it while this one waited.
    if ((await lookAt(file, entry)) !== 'whole') await fetchInto(file, source.url, entry, options);
    return file;
  });
}

async function fetchInto(
  file: string,
  url: string,
  entry: HubEntry,
  { signal, onProgress, stall, pause }: Parameters<typeof obtain>[1] & {},
): Promise<void> {
  const part = `${file}.part`;
  const from = withoutSecrets(url);
  let last: { received: number; total: number | undefined } = { received: 0, total: undefined };
  const found = await download({ ...entry, url }, part, {
    signal,
    stall,
    pause,
    onProgress(received, total) {
      last = { received, total };
      onProgress?.({ entry, from, ...last });
    },
    onRetry: (why, next, most) => onProgress?.({ entry, from, ...last, trouble: `${why}, try ${next} of ${most}` }),
  });
  try {
    // What is no weight file must not stay in the cache, whatever hash was or was not published.
    await (await openCheckpoint(part)).close();
  } catch (error) {
    await rm(part, { force: true });
    await rm(`${part}.json`, { force: true });
    throw error instanceof ResidualError
      ? new ResidualError(error.code, error.message.replace(part, from), error.details, { cause: error })
      : error;
  }
  await rename(part, file).catch((cause: NodeJS.ErrnoException) => {
    throw new ResidualError('FILE', `${file}: it cannot be written (${cause.code})`, { file }, { cause });
  });
  await rm(`${part}.json`, { force: true });
  const mirrored = url === entry.url ? {} : { from };
  const fetched = new Date().toISOString();
  const modified = (await stat(file)).mtimeMs;
  await writeRecord(file, { id: entry.id, url: entry.url, ...mirrored, ...found, modified, fetched });
}

/**
 * What lies at the place of an entry's file. Its record is the witness of what came: one that disagrees is never
 * replaced by what it disagrees with, since a file without a published hash has no other. The file is hashed only when
 * it was written to since. One without a record, copied there by hand, is hashed, looked into, and gets one.
 */
async function lookAt(file: string, entry: HubEntry): Promise<'whole' | 'absent' | { readonly wrong: string }> {
  const here = await stat(file).catch(() => undefined);
  if (!here?.isFile()) return 'absent';
  const { size, mtimeMs: modified } = here;
  const record = await readRecord(file);
  if (record && record.bytes !== size) return { wrong: disagreement(record, { bytes: size }) as string };
  if (record?.modified !== modified) {
    const found = await hashOf(file);
    const wrong = wrongIn(entry, found) ?? (record ? disagreement(record, found) : await noWeights(file));
    if (wrong) return { wrong };
    const { id, url } = entry;
    const since = record ?? { id, url, ...found, fetched: new Date().toISOString() };
    await writeRecord(file, { ...since, modified }).catch(() => {}); // a cache that may only be read
  }
  await touch(file);
  return 'whole';
}

function disagreement(record: FileRecord, found: { bytes: number; sha256?: string }): string | undefined {
  if (found.bytes !== record.bytes)
    return `the file there has ${found.bytes} bytes where ${record.bytes} came; it is damaged`;
  if (found.sha256 !== record.sha256)
    return `the file there has SHA-256 ${found.sha256}, not ${record.sha256} as it came; it is damaged`;
  return undefined;
}

async function noWeights(file: string): Promise<string | undefined> {
  try {
    await (await openCheckpoint(file)).close();
    return undefined;
  } catch (error) {
    if (error instanceof ResidualError) return `the file there is no weight file (${error.message})`;
    throw error;
  }
}

/** A mirror's file is where the publisher's would be: `MIRROR/HOST/PATH`. @throws ARGUMENT for what is no mirror. */
function sourceOf({ url }: HubEntry, mirror: string | undefined): { url: string } | { path: string } {
  if (!mirror) return { url };
  const refuse = (why: string, cause?: unknown) =>
    new ResidualError('ARGUMENT', `RESIDUAL_HUB: ${why}`, { received: withoutSecrets(mirror) }, { cause });
  // One letter before the colon is a disk of Windows.
  const [, scheme] = /^([a-z][a-z\d+.-]+):/i.exec(mirror) ?? [];
  switch (scheme?.toLowerCase()) {
    case undefined:
      return { path: join(resolve(mirror), ...placeOf(url)) };
    case 'http':
    case 'https': {
      if (!URL.canParse(mirror)) throw refuse(`${mirror} is no address`);
      if (new URL(mirror).username) throw refuse('a mirror with a user name and a password is not supported');
      const { host, pathname } = new URL(url);
      return { url: `${mirror.replace(/\/+$/, '')}/${host}${pathname}` };
    }
    case 'file':
      try {
        return { path: join(fileURLToPath(mirror), ...placeOf(url)) };
      } catch (cause) {
        throw refuse(`${mirror} names no folder of this machine; write file:///FOLDER`, cause);
      }
    default:
      throw refuse(
        `expected an address by http: or https:, or a folder (a path, or file:), but received ${withoutSecrets(mirror)}`,
      );
  }
}

/** A folder's file is used where it lies, checked each time. */
async function fromFolder(path: string, entry: HubEntry): Promise<string> {
  let found: Pick<FileRecord, 'bytes' | 'sha256' | 'md5'>;
  try {
    found = await hashOf(path);
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file in the mirror' : `it cannot be read (${code})`;
    throw new ResidualError('DOWNLOAD', `${entry.id}: ${path}: ${why}`, { id: entry.id, reason: 'mirror' }, { cause });
  }
  const record = await readRecord(path);
  const wrong = wrongIn(entry, found) ?? (record && disagreement(record, found));
  if (wrong) throw new ResidualError('DOWNLOAD', `${entry.id}: ${path}: ${wrong}`, { id: entry.id, reason: 'hash' });
  return path;
}

async function hashOf(path: string): Promise<Pick<FileRecord, 'bytes' | 'sha256' | 'md5'>> {
  const [sha256, md5] = [createHash('sha256'), createHash('md5')];
  let bytes = 0;
  for await (const chunk of createReadStream(path)) {
    bytes += chunk.length;
    sha256.update(chunk);
    md5.update(chunk);
  }
  return { bytes, sha256: sha256.digest('hex'), md5: md5.digest('hex') };
}

function wrongIn(entry: HubEntry, found: Pick<FileRecord, 'bytes' | 'sha256' | 'md5'>): string | undefined {
  if (entry.exact && found.bytes !== entry.bytes)
    return `the file there has ${found.bytes} bytes, not ${entry.bytes} as published`;
  if (entry.sha256 && !found.sha256.startsWith(entry.sha256))
    return `the file there has SHA-256 ${found.sha256}, not ${entry.sha256}${entry.sha256.length < 64 ? '…' : ''} as published`;
  if (entry.md5 && found.md5 !== entry.md5) return `the file there has MD5 ${found.md5}, not ${entry.md5} as published`;
  return undefined;
}
