import { ResidualError } from '../errors.js';
import { type ByteSource, blobSource, type SyncSource, unsupported } from './source.js';

/**
 * Opens a URL for reading at any place: by HTTP ranges where the server has them, else by one download.
 * @throws FILE when the server does not answer with the file.
 */
export async function openFile(from: string | URL): Promise<ByteSource> {
  const url = String(from);
  const beside = (name: string) => openFile(new URL(encodeURIComponent(name), new URL(url, globalThis.location?.href)));
  const first = await request(url, { headers: { range: 'bytes=0-0' } });
  const size = Number(/\/(\d+)$/.exec(first.headers.get('content-range') ?? '')?.[1] ?? Number.NaN);
  if (first.status !== 206 || !Number.isSafeInteger(size)) return { ...blobSource(await first.blob(), url), beside };
  await first.body?.cancel();
  return {
    name: url,
    size,
    beside,
    async readInto(target, offset) {
      if (target.length === 0) return;
      const part = await request(url, { headers: { range: `bytes=${offset}-${offset + target.length - 1}` } });
      const bytes = new Uint8Array(await part.arrayBuffer());
      if (part.status !== 206 || bytes.length !== target.length)
        throw failed(url, `the server sent ${bytes.length} bytes where ${target.length} were asked for; try again`);
      target.set(bytes);
    },
    async close() {},
  };
}

/**
 * Opens a file that another one names, beside it on the server.
 * @throws WEIGHTS_FORMAT when the name is a path, or nothing is known of the place of the file that names it; FILE.
 */
export async function openBeside(
  { name, beside }: Pick<ByteSource, 'name' | 'beside'>,
  file: string,
): Promise<ByteSource> {
  if (beside && file !== '' && file !== '..' && !/[/\\]/.test(file)) return beside(file);
  throw unsupported(
    { name },
    `some of it is in the file "${file.slice(0, 200)}", which cannot be opened from here; save it as one file`,
  );
}

/** A server's folders cannot be listed. */
export async function openFolder(): Promise<undefined> {}

/** A page has no paths: its files are Blobs, read as a whole where waiting is impossible. */
export function openSync(path: string): SyncSource {
  throw failed(path, 'a web page cannot open a file by its path; pass the File or Blob');
}

/** A page's models keep their weights. */
export async function checkUnchanged(): Promise<void> {}

/** A page has no files to write. */
export async function writeFileAtomic(path: string): Promise<void> {
  throw failed(path, 'a web page cannot write files; build a Blob of the bytes and offer it as a download');
}

/** The same, before any work is done. */
export const checkTarget = writeFileAtomic;

const failed = (url: string, what: string, cause?: unknown) =>
  new ResidualError('FILE', `${url}: ${what}`, { file: url }, { cause });

async function request(url: string, init: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(url, init);
  } catch (error) {
    throw failed(url, `the server cannot be reached (${(error as Error).message}); check the address`, error);
  }
  if (!answer.ok) throw failed(url, `the server answered ${answer.status} ${answer.statusText}; check the address`);
  return answer;
}
