import { aborted, ResidualError } from '../errors.js';

/** A server's answer, redirects followed. */
export interface Answer {
  readonly response: Response;
  /** The address that answered. */
  readonly url: string;
  /** SHA-256 and size that Hugging Face states beside a redirect to its storage (`X-Linked-ETag`, `X-Linked-Size`). */
  readonly announced: { readonly sha256?: string; readonly bytes?: number };
}

/** A failure that another try may mend. */
export class Passing extends Error {
  /** Seconds that the server asks to wait. */
  readonly retryAfter: number | undefined;
  /** Nobody answered: likely there is no network. */
  readonly unreachable: boolean;
  constructor(
    message: string,
    options: { retryAfter?: number | undefined; unreachable?: boolean; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.retryAfter = options.retryAfter;
    this.unreachable = options.unreachable ?? false;
  }
}

/** Redirects followed for one file. */
const mostRedirects = 10;

/** Answers that may be another in a moment. */
const passing: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

/**
 * Asks for `from`. Redirects are followed by hand: to http or https only, never from https down to http.
 *
 * @throws DOWNLOAD for an answer that stays what it is; `Passing` for one that may not; ABORTED.
 */
export async function ask(
  from: string,
  headers: Record<string, string>,
  options: { signal: AbortSignal; cancelled: () => boolean },
): Promise<Answer> {
  const announced: { sha256?: string; bytes?: number } = {};
  let url = from;
  for (let redirects = 0; redirects <= mostRedirects; redirects++) {
    const response = await request(url, headers, options);
    note(announced, response.headers);
    if (![301, 302, 303, 307, 308].includes(response.status)) {
      // 416: the part that is here is no part of the file there; the caller starts anew.
      if (response.ok || response.status === 416) return { response, url, announced };
      await response.body?.cancel().catch(() => {});
      throw refusal(url, response);
    }
    await response.body?.cancel().catch(() => {});
    url = follow(url, response.headers.get('location'));
  }
  throw failure(from, `it redirects more than ${mostRedirects} times, perhaps in a circle; check the address`);
}

/** `URL: WHAT` as an error of a download. */
export const failure = (url: string, what: string, reason = 'answer', cause?: unknown): ResidualError =>
  new ResidualError('DOWNLOAD', `${withoutSecrets(url)}: ${what}`, { url: withoutSecrets(url), reason }, { cause });

/** Without a password and without what signs an address: neither belongs into messages and records. */
export function withoutSecrets(address: string): string {
  try {
    const url = new URL(address);
    return `${url.protocol}//${url.host}${url.pathname}`;
  } catch {
    return address;
  }
}

async function request(
  url: string,
  headers: Record<string, string>,
  { signal, cancelled }: { signal: AbortSignal; cancelled: () => boolean },
): Promise<Response> {
  try {
    return await fetch(url, { headers: { 'accept-encoding': 'identity', ...headers }, redirect: 'manual', signal });
  } catch (cause) {
    if (cancelled()) throw aborted();
    throw new Passing(reasonOf(cause), { unreachable: true, cause });
  }
}

/** Why a fetch failed, in words: the system's code is two causes deep. */
export function reasonOf(error: unknown): string {
  if (error instanceof Passing) return error.message;
  const { message, cause } = error as { message?: string; cause?: { code?: string; message?: string } };
  const code = cause?.code ?? '';
  const words: Record<string, string> = {
    ENOTFOUND: 'no such host is known; is the network there?',
    EAI_AGAIN: 'no such host is known; is the network there?',
    ECONNREFUSED: 'the connection was refused',
    ECONNRESET: 'the connection was cut',
    ENETUNREACH: 'the network is unreachable',
    EHOSTUNREACH: 'the host is unreachable',
    ETIMEDOUT: 'no connection came about in time',
    UND_ERR_CONNECT_TIMEOUT: 'no connection came about in time',
    UND_ERR_SOCKET: 'the connection was cut',
  };
  return words[code] ?? ([cause?.message, message].find(Boolean) || 'it cannot be reached');
}

/** Where a redirect leads. @throws DOWNLOAD for another protocol, or from https down to http. */
export function follow(from: string, location: string | null): string {
  if (!location) throw failure(from, 'it redirects without saying where to; check the address');
  let to: URL;
  try {
    to = new URL(location, from);
  } catch {
    throw failure(from, `it redirects to ${location.slice(0, 200)}, which is no address`);
  }
  const secure = new URL(from).protocol === 'https:';
  if (to.protocol !== 'https:' && (to.protocol !== 'http:' || secure))
    throw failure(
      from,
      `it redirects to ${withoutSecrets(to.href)}, which is not secure; nothing was fetched from there`,
    );
  return to.href;
}

function refusal(url: string, { status, statusText, headers }: Response): Error {
  const says = `the server answered ${status}${statusText ? ` ${statusText}` : ''}`;
  if (passing.has(status)) return new Passing(says, { retryAfter: secondsOf(headers.get('retry-after')) });
  const advice =
    status === 401 || status === 403
      ? 'it may not be fetched from there; a mirror (RESIDUAL_HUB) or a file of your own may help'
      : status === 404 || status === 410
        ? 'the file is not there; check the mirror, or the address'
        : 'check the address';
  return failure(url, `${says}; ${advice}`, `${status}`);
}

/** Retry-After is a number of seconds or a date. */
function secondsOf(text: string | null): number | undefined {
  if (text === null) return undefined;
  const seconds = /^\d+$/.test(text.trim()) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

function note(announced: { sha256?: string; bytes?: number }, headers: Headers): void {
  const [, sha256] = /^"?([0-9a-f]{64})"?$/.exec(headers.get('x-linked-etag') ?? '') ?? [];
  if (sha256) announced.sha256 = sha256;
  const size = headers.get('x-linked-size');
  if (size && /^\d{1,15}$/.test(size)) announced.bytes = Number(size);
}
