import { errorTable, ResidualError } from 'residual/errors';
import { printable } from './terminal.js';

/**
 * Writes one error to stderr: `residual: [CODE] message` on one line, or one JSON object a line. An error that nobody
 * threw on purpose asks to be reported, with its stack under RESIDUAL_DEBUG=1.
 */
export function report(error: unknown, json: boolean): void {
  const known = error instanceof ResidualError;
  const message = error instanceof Error ? error.message : String(error);
  const line = known
    ? `[${error.code}] ${message}`
    : `${message || 'unknown error'} (this is a bug; please report it with what RESIDUAL_DEBUG=1 prints)`;
  if (json) process.stderr.write(`${JSON.stringify(known ? error : { code: 'BUG', message, details: {} })}\n`);
  else process.stderr.write(`residual: ${printable(line)}\n`);
  if (process.env.RESIDUAL_DEBUG === '1' && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}

/** Says on stderr what was decided for the user: `residual: note: …`, or `{"note": …}` as JSON. */
export const note = (text: string, json: boolean): void =>
  void process.stderr.write(json ? `${JSON.stringify({ note: text })}\n` : `residual: note: ${printable(text)}\n`);

/** The exit status of an error: the table's, or 70 for a bug (`EX_SOFTWARE` of sysexits.h). */
export const exitOf = (error: unknown): number => (error instanceof ResidualError ? errorTable[error.code].exit : 70);
