import { once } from 'node:events';

export { printable } from 'residual/errors';

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
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}
