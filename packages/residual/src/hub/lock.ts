import { link, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { aborted, ResidualError } from '../errors.js';

/** A holder on another machine shows every ten seconds that it lives; after a minute without, it does not. */
const beat = 10_000;
const dead = 60_000;

/**
 * Does `work` while no other process, and no other call of this one, holds the lock `file`. One that ended without
 * removing it is noticed: at once on this machine, after a minute on another.
 * @throws ABORTED while waiting, FILE when the lock cannot be written, and what `work` throws.
 */
export async function locked<T>(file: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), token: Math.random() });
  while (!(await take(file, mine))) {
    await breakStale(file);
    await sleep(100, undefined, { signal }).catch(() => {
      throw aborted();
    });
  }
  const timer = setInterval(() => void utimes(file, new Date(), new Date()).catch(() => {}), beat);
  timer.unref();
  try {
    return await work();
  } finally {
    clearInterval(timer);
    await rm(file, { force: true });
  }
}

/** Whether a process holds the lock `file`. */
export async function isHeld(file: string): Promise<boolean> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  return text !== undefined && !(await isStale(file, text));
}

async function take(file: string, mine: string): Promise<boolean> {
  try {
    const handle = await open(file, 'wx');
    await handle.writeFile(mine);
    await handle.close();
    return true;
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    throw new ResidualError(
      'FILE',
      `${file}: it cannot be written (${code}); name another cache folder (RESIDUAL_CACHE)`,
      { file, reason: code },
      { cause },
    );
  }
}

async function breakStale(file: string): Promise<void> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined || !(await isStale(file, text))) return;
  // Of several that see it, one renames it; should that be a new holder's by now, it is given back.
  const aside = `${file}.${process.pid}`;
  await rename(file, aside).catch(() => {});
  const got = await readFile(aside, 'utf8').catch(() => undefined);
  if (got !== undefined && got !== text) await link(aside, file).catch(() => {});
  await rm(aside, { force: true });
}

async function isStale(file: string, text: string): Promise<boolean> {
  const quiet = await stat(file).then(
    ({ mtimeMs }) => Date.now() - mtimeMs,
    () => 0,
  );
  try {
    const { pid, host } = JSON.parse(text);
    if (host === hostname()) return !isRunning(pid);
  } catch {
    // Written half: its holder is about to write the rest, or was ended there.
    return quiet > 2000;
  }
  return quiet > dead;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
