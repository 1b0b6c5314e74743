import { inShell, printable } from './printable.js';

// Errors are printed: this is the light entry that the command line takes both from.
export { inShell, printable };

/**
 * The one table of error codes. `exit` is the process exit status of the command line, `http` the status of a
 * server's answer. A new failure gets a row here first.
 */
export const errorTable = {
  ABORTED: { means: 'the caller cancelled the work', exit: 130, http: 499 },
  ARGUMENT: { means: 'an argument or option has a value that cannot be used', exit: 2, http: 400 },
  CLASSES: { means: 'class list and model disagree', exit: 2, http: 400 },
  DATA: { means: 'a data set is empty, damaged or of an unknown form', exit: 1, http: 422 },
  DISPOSED: { means: 'a model or executable was used after it was disposed', exit: 1, http: 500 },
  DOWNLOAD: { means: 'published weights cannot be fetched, or are not what was published', exit: 1, http: 502 },
  ENGINE: { means: 'an engine failed or cannot do what was asked of it', exit: 1, http: 500 },
  FILE: { means: 'a file or URL cannot be read or written', exit: 1, http: 404 },
  GRAPH: { means: 'layers of a network do not fit together', exit: 2, http: 400 },
  IMAGE: { means: 'a picture is damaged, too large or of an unknown format', exit: 1, http: 415 },
  LICENCE: { means: 'a licence must be accepted first', exit: 2, http: 403 },
  MISSING_PACKAGE: { means: 'an optional package that this needs is not installed', exit: 1, http: 501 },
  NUMERICS: { means: 'a result or a weight is not a finite number', exit: 1, http: 500 },
  UNKNOWN_NAME: { means: 'no model, layer, preset or class of that name', exit: 2, http: 404 },
  WEIGHTS_FORMAT: { means: 'a weight file is damaged or of an unknown format', exit: 1, http: 422 },
  WEIGHTS_MISMATCH: { means: 'weights do not fit the network', exit: 1, http: 422 },
  WEIGHTS_UNSAFE: { means: 'a weight file asks for something that could run code; it was refused', exit: 1, http: 422 },
} as const satisfies Record<string, { means: string; exit: number; http: number }>;

export type ErrorCode = keyof typeof errorTable;

/** Values that survive JSON and a thread boundary. */
export type ErrorDetails = Record<string, string | number | boolean | null | readonly (string | number)[]>;

/**
 * Every error this library throws on purpose. The message is one line: what, where, expected, received, what to do.
 * Names in it come from files that anybody wrote, so control characters and line ends are taken out of it; `details`
 * hold the names as they are.
 *
 * @example
 * throw new ResidualError('IMAGE', 'cat.jpg: the JPEG ends after 812 of its 1200 rows; copy the file again', { file: 'cat.jpg' });
 */
export class ResidualError extends Error {
  override readonly name = 'ResidualError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: { cause?: unknown }) {
    super(printable(message), options);
    this.code = code;
    this.details = details;
  }

  toJSON(): { code: ErrorCode; message: string; details: ErrorDetails } {
    return { code: this.code, message: this.message, details: this.details };
  }
}

/** The error of a call that its caller cancelled. */
export const aborted = (): ResidualError => new ResidualError('ABORTED', 'the work was cancelled before it was done');

/** Brings an error back from another thread: the inverse of `toJSON`, and of any other error's message. */
export function errorFromJSON(json: { code?: string; message: string; details?: ErrorDetails }): Error {
  if (json.code !== undefined && json.code in errorTable)
    return new ResidualError(json.code as ErrorCode, json.message, json.details ?? {});
  return new Error(json.message);
}

/** The candidate nearest to `name` by edit distance, or undefined when none is near (more than half differs). */
export function nearest(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(name.length / 2)) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - name.length) >= least) continue;
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best;
}

/** `unknown model "resnet51"; did you mean "resnet50"?` as an error. */
export function unknownName(kind: string, name: string, candidates: Iterable<string>): ResidualError {
  const known = [...candidates];
  const near = nearest(name, known);
  const hint = near
    ? `did you mean "${near}"?`
    : `known: ${known.slice(0, 12).join(', ')}${known.length > 12 ? ', …' : ''}`;
  return new ResidualError('UNKNOWN_NAME', `unknown ${kind} "${name}"; ${hint}`, { kind, name, nearest: near ?? null });
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++)
      row[j] = Math.min(row[j - 1] + 1, previous[j] + 1, previous[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    previous = row;
  }
  return previous[b.length];
}
