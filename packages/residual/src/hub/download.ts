import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { aborted, ResidualError } from '../errors.js';
import { type Answer, ask, failure, Passing, reasonOf, withoutSecrets } from './fetch.js';

/** What to fetch and what is known of it. */
export interface Wanted {
  readonly url: string;
  /** The published SHA-256, whole or its first digits. */
  readonly sha256?: string | undefined;
  readonly md5?: string | undefined;
  /** The published size; more is refused. With `exact`, anything else is. */
  readonly bytes?: number | undefined;
  readonly exact?: boolean | undefined;
}

export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called at the start, with each part that arrives and at the end. `total` is undefined when the server is silent. */
  readonly onProgress?: ((received: number, total: number | undefined) => void) | undefined;
  /** Called when a try failed and another follows: what went wrong, which try is next, of how many. */
  readonly onRetry?: ((why: string, next: number, most: number) => void) | undefined;
  /** Milliseconds without a byte after which a try is given up. */
  readonly stall?: number | undefined;
  /** Milliseconds before the second try; each further one waits twice as long. */
  readonly pause?: number | undefined;
}

/** What was fetched. */
export interface Fetched {
  readonly bytes: number;
  readonly sha256: string;
  readonly md5: string;
  readonly etag?: string;
}

/** Tries in a row that brought less than `worthwhile` bytes, and those in which nobody ever answered. */
const mostTries = 5;
const mostUnanswered = 2;
const worthwhile = 2 ** 20;
/** Longer waits than a minute are left to the user. */
const longestWait = 60;
/** Refused beyond this where no size was published. */
const mostBytes = 4 * 2 ** 30;

/**
 * Fetches a file into `part`, which is left there, checked and flushed to the disk; a part that an earlier call left
 * behind is continued when the server says by its ETag or date that the file is still the same.
 *
 * Five tries in a row may fail in passing (cut, stalled, 408, 425, 429, 5xx); between them it waits 0.5, 1, 2 and 4 s,
 * or what Retry-After asks up to a minute. A try that got a MiB further than any before starts the count anew. Where
 * nobody answered at all, not with a byte, two tries are enough: there is no network, or nobody behind it.
 *
 * @throws DOWNLOAD when the server refuses, stays away, or sends something else than what was published: a web page,
 * another size, another hash; FILE when it cannot be written; ABORTED.
 */
export async function download(wanted: Wanted, part: string, options: DownloadOptions = {}): Promise<Fetched> {
  const { signal, pause = 500, onRetry } = options;
  let furthest = 0;
  let answered = false;
  for (let tries = 1; ; tries++) {
    if (signal?.aborted) throw aborted();
    const result = await attempt(wanted, part, options).catch((error: unknown) => {
      if (signal?.aborted) throw aborted();
      if (error instanceof Passing) return error;
      throw error;
    });
    if (!(result instanceof Passing)) return result;
    const reached = await sizeOf(part);
    if (reached >= furthest + worthwhile) [furthest, tries] = [reached, 1];
    const { retryAfter } = result;
    answered ||= !result.unreachable;
    const most = answered ? mostTries : mostUnanswered;
    if (tries >= most || (retryAfter ?? 0) > longestWait)
      throw failure(
        wanted.url,
        `${result.message}; ${
          (retryAfter ?? 0) > longestWait
            ? `it asks to come back in ${Math.ceil(retryAfter as number)} s`
            : `given up after ${tries} tries`
        }`,
        'network',
        result,
      );
    onRetry?.(result.message, tries + 1, most);
    const wait = retryAfter === undefined ? pause * 2 ** (tries - 1) : retryAfter * 1000;
    await sleep(wait, undefined, { signal }).catch(() => {
      throw aborted();
    });
  }
}

async function attempt(wanted: Wanted, part: string, options: DownloadOptions): Promise<Fetched> {
  const { signal, onProgress, stall = 30_000 } = options;
  const limit = wanted.bytes === undefined ? mostBytes : wanted.exact ? wanted.bytes : wanted.bytes * 1.5 + 2 ** 20;
  const here = await partial(part, wanted.url);
  const watch = watchdog(stall, signal);
  let handle: FileHandle | undefined;
  let answered = false;
  try {
    const headers: Record<string, string> = here ? { range: `bytes=${here.bytes}-`, 'if-range': here.validator } : {};
    const answer = await ask(wanted.url, headers, { signal: watch.signal, cancelled: () => signal?.aborted === true });
    answered = true;
    watch.alive();
    const { response } = answer;
    const start = continues(response, here);
    if (response.status === 416 || (response.status === 206 && start === undefined)) {
      await response.body?.cancel().catch(() => {});
      await discard(part);
      throw new Passing('it could not go on where the last try ended');
    }
    const offset = start ?? 0;
    const total = totalOf(response, offset) ?? answer.announced.bytes;
    checkSize(wanted, total, limit);
    const hashes = { sha256: createHash('sha256'), md5: createHash('md5') };
    if (offset > 0) await hashFile(part, hashes);
    else await begin(part, wanted.url, response.headers);
    handle = await open(part, 'a');
    onProgress?.(offset, total);
    let received = offset;
    for await (const chunk of chunks(response, watch)) {
      if (received === 0) refusePage(wanted.url, response, chunk);
      received += chunk.length;
      if (received > (total ?? limit) || received > limit)
        throw discarding(
          failure(
            wanted.url,
            `it sends more than the ${total ?? Math.floor(limit)} bytes that are due; it is not what was published`,
          ),
        );
      for (let done = 0; done < chunk.length; )
        done += (await handle.write(chunk, done, chunk.length - done)).bytesWritten;
      hashes.sha256.update(chunk);
      hashes.md5.update(chunk);
      onProgress?.(received, total);
    }
    if (total !== undefined && received < total)
      throw new Passing(`the connection was cut after ${received} of ${total} bytes`);
    const found = { bytes: received, sha256: hashes.sha256.digest('hex'), md5: hashes.md5.digest('hex') };
    checkHashes(wanted, answer, found, offset > 0);
    await handle.sync();
    const etag = response.headers.get('etag');
    return { ...found, ...(etag && { etag }) };
  } catch (error) {
    await handle?.close().catch(() => {});
    handle = undefined;
    if (signal?.aborted) throw aborted();
    if (error instanceof Discarding) {
      await discard(part);
      throw error.reason;
    }
    if (watch.signal.aborted)
      throw new Passing(`${answered ? 'nothing came' : 'no answer'} for ${stall / 1000} s`, { unreachable: !answered });
    if (error instanceof ResidualError || error instanceof Passing) throw error;
    const { code = '', syscall } = error as NodeJS.ErrnoException;
    if (syscall !== undefined) {
      if (code === 'ENOSPC') await discard(part);
      const why = handleErrors[code] ?? `it cannot be written (${code})`;
      throw new ResidualError('FILE', `${part}: ${why}`, { file: part, reason: code }, { cause: error });
    }
    throw new Passing(reasonOf(error), { cause: error });
  } finally {
    watch.stop();
    await handle?.close().catch(() => {});
  }
}

const elsewhere = 'name another cache folder (RESIDUAL_CACHE)';
const handleErrors: Record<string, string> = {
  ENOSPC: `the disk is full; free some space, or ${elsewhere}`,
  EDQUOT: `the quota of this user is used up; ${elsewhere}`,
  EACCES: `it may not be written; ${elsewhere}`,
  EPERM: `it may not be written; ${elsewhere}`,
  EROFS: `its disk is read-only; ${elsewhere}`,
};

/** An error after which what was fetched is of no use, to continue least of all. */
class Discarding extends Error {
  readonly reason: Error;
  constructor(reason: Error) {
    super(reason.message);
    this.reason = reason;
  }
}
const discarding = (reason: Error) => new Discarding(reason);

/** Beside a part: where it came from, and what tells whether the file there is still the same. */
const noteOf = (part: string) => `${part}.json`;

interface Partial {
  readonly bytes: number;
  /** An ETag in quotes, or a date. */
  readonly validator: string;
}

async function partial(part: string, url: string): Promise<Partial | undefined> {
  const bytes = await sizeOf(part);
  if (bytes === 0) return undefined;
  try {
    const { url: from, validator } = JSON.parse(await readFile(noteOf(part), 'utf8'));
    if (from === url && typeof validator === 'string' && validator) return { bytes, validator };
  } catch {
    // Without a note nobody knows what the part is of.
  }
  return undefined;
}

async function begin(part: string, url: string, headers: Headers): Promise<void> {
  const etag = headers.get('etag');
  // A weak ETag does not promise the same bytes (RFC 9110, 13.1.5).
  const validator = (etag && !etag.startsWith('W/') ? etag : headers.get('last-modified')) ?? '';
  await writeFile(part, '');
  await writeFile(noteOf(part), JSON.stringify({ url, validator }));
}

async function discard(part: string): Promise<void> {
  await rm(part, { force: true });
  await rm(noteOf(part), { force: true });
}

const sizeOf = (file: string): Promise<number> =>
  stat(file).then(
    ({ size }) => size,
    () => 0,
  );

/** Where the body goes on: at 0 for a whole answer, at the end of the part for the rest; undefined for what is neither. */
function continues({ status, headers }: Response, here: Partial | undefined): number | undefined {
  if (status !== 206) return 0;
  const start = Number(/^bytes (\d+)-/.exec(headers.get('content-range') ?? '')?.[1] ?? Number.NaN);
  const etag = headers.get('etag');
  // Some servers obey Range and not If-Range.
  const changed = etag !== null && here?.validator.startsWith('"') && etag !== here.validator;
  return start === here?.bytes && !changed ? start : undefined;
}

function totalOf({ status, headers }: Response, offset: number): number | undefined {
  const range = /\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1];
  if (status === 206 && range) return Number(range);
  const length = headers.get('content-length');
  // A packed body is longer when it is unpacked.
  if (length === null || !/^\d+$/.test(length) || (headers.get('content-encoding') ?? 'identity') !== 'identity')
    return undefined;
  return offset + Number(length);
}

function checkSize(wanted: Wanted, total: number | undefined, limit: number): void {
  if (total === undefined || (total <= limit && !(wanted.exact && total !== wanted.bytes))) return;
  throw discarding(
    failure(
      wanted.url,
      `the server has ${total} bytes where ${wanted.exact ? '' : 'about '}${wanted.bytes ?? `at most ${limit}`} are published; it is not that file`,
    ),
  );
}

function checkHashes(
  { url, sha256, md5, bytes, exact }: Wanted,
  { announced }: Answer,
  found: Fetched,
  resumed: boolean,
): void {
  const wrong =
    exact && found.bytes !== bytes
      ? `${found.bytes} bytes came where ${bytes} are published`
      : sha256 && !found.sha256.startsWith(sha256)
        ? `its SHA-256 begins with ${found.sha256.slice(0, Math.max(8, sha256.length))} where ${sha256} was published`
        : md5 && found.md5 !== md5
          ? `its MD5 is ${found.md5} where ${md5} was published`
          : announced.sha256 && found.sha256 !== announced.sha256
            ? `its SHA-256 is ${found.sha256} where the server announced ${announced.sha256}`
            : undefined;
  if (wrong === undefined) return;
  // Put together from two answers, it may be the part that was wrong: once more from the start.
  throw discarding(
    resumed ? new Passing(`${wrong}`) : failure(url, `${wrong}; it was thrown away, try another mirror`, 'hash'),
  );
}

/** Portals and login pages answer with status 200 too. */
function refusePage(url: string, { headers }: Response, chunk: Uint8Array): void {
  const text = new TextDecoder('utf-8').decode(chunk.subarray(0, 4096));
  const html = /^\s*(<!--[\s\S]*?-->\s*)?<(!doctype|html|head|body|\?xml|script|title)/i.test(text);
  if (!html && !/^text\/html/i.test(headers.get('content-type') ?? '')) return;
  const title = /<title[^>]*>([^<]{1,200})/i.exec(text)?.[1].replace(/\s+/g, ' ').trim();
  throw discarding(
    failure(
      url,
      `the server answered with a web page${title ? ` ("${title}")` : ''}, not with weights; a login or a proxy may stand between, open ${withoutSecrets(url)} in a browser`,
      'page',
    ),
  );
}

async function hashFile(file: string, hashes: { sha256: Hash; md5: Hash }): Promise<void> {
  for await (const chunk of createReadStream(file)) {
    hashes.sha256.update(chunk);
    hashes.md5.update(chunk);
  }
}

async function* chunks({ body }: Response, watch: { alive(): void }): AsyncGenerator<Uint8Array> {
  if (body === null) return;
  for await (const chunk of body as unknown as AsyncIterable<Uint8Array>) {
    watch.alive();
    yield chunk;
  }
}

/** A signal that fires when nothing came for so long, or with the caller's. */
function watchdog(milliseconds: number, caller: AbortSignal | undefined) {
  const abort = new AbortController();
  const fire = () => abort.abort();
  caller?.addEventListener('abort', fire, { once: true });
  if (caller?.aborted) fire();
  let timer = setTimeout(fire, milliseconds);
  return {
    signal: abort.signal,
    alive() {
      clearTimeout(timer);
      timer = setTimeout(fire, milliseconds);
    },
    stop() {
      clearTimeout(timer);
      caller?.removeEventListener('abort', fire);
    },
  };
}
