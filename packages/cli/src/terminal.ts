import { once } from 'node:events';
import { setImmediate } from 'node:timers/promises';

export { inShell, printable } from 'residual/errors';

/** Whether to write colours to a stream: NO_COLOR and FORCE_COLOR decide, else whether it is a terminal. */
export function wantsColor(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR) return env.FORCE_COLOR !== '0';
  return stream.isTTY === true && env.TERM !== 'dumb';
}

/** Columns to write in: the terminal's, 40 to 120; 80 where there is none. */
export const widthOf = (stream: { columns?: number }): number =>
  Math.min(120, Math.max(40, stream.columns || Number(process.env.COLUMNS) || 80));

/** Writes to stdout, and waits where the reader is slower than we are. */
export async function print(text: string): Promise<void> {
  const { stdout } = process;
  if (stdout.write(text)) return;
  // What cannot be written never drains; who listens to the stream's errors is told first.
  if (stdout.errored) await setImmediate();
  else await once(stdout, 'drain').catch(() => {});
}

/**
 * For work that is worth more than its lines: from here on a stdout or stderr that takes no more ends nothing.
 * @param told of the first error of stdout
 */
export function outliveOutput(told: (error: NodeJS.ErrnoException) => void): void {
  // The command line ends the process there.
  process.stdout
    .removeAllListeners('error')
    .once('error', told)
    .on('error', () => {});
  process.stderr.on('error', () => {});
}
