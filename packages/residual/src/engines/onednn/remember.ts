import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cacheFolder } from '../../cache-folder.js';
import type { Measured } from './timings.js';

/** Times measured on this machine, kept from one process to the next. */
export interface Remembered {
  readonly measured: Measured;
  /** Writes down what came since. Does nothing where the folder cannot be written. */
  save(): void;
}

/** Times that are kept, the latest: far more than some networks at some sizes need, and a few megabytes. */
const most = 20_000;

/**
 * What was measured before under the same conditions: a text that names library, processor and threads. A file that is
 * missing, damaged or of other conditions is as good as none.
 */
export function remember(conditions: string): Remembered {
  const name = createHash('sha256').update(conditions).digest('hex').slice(0, 16);
  const folder = join(cacheFolder(), 'onednn');
  const file = join(folder, `${name}.json`);
  const measured: Measured = new Map(read(file, conditions));
  let saved = measured.size;
  return {
    measured,
    save() {
      if (measured.size === saved) return;
      for (const key of measured.keys()) {
        if (measured.size <= most) break;
        measured.delete(key);
      }
      saved = measured.size;
      const part = `${file}.${process.pid}.part`;
      try {
        makeFolder(folder);
        // Another process may have measured other networks meanwhile.
        const times = Object.fromEntries([...read(file, conditions), ...measured].slice(-most));
        writeFileSync(part, `${JSON.stringify({ conditions, times })}\n`);
        renameSync(part, file);
      } catch {
        rmSync(part, { force: true });
      }
    },
  };
}

/** One folder after the other: Node's own recursion never ends where the system denies a folder whose parent exists. */
function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  mkdirSync(folder);
}

/** Entries of a file; a time that could not be measured is null in JSON. */
function read(file: string, conditions: string): [string, number][] {
  try {
    const { conditions: of, times } = JSON.parse(readFileSync(file, 'utf8')) as { conditions: unknown; times: object };
    if (of !== conditions) return [];
    return Object.entries(times).flatMap(([key, time]: [string, unknown]): [string, number][] =>
      time === null ? [[key, Number.POSITIVE_INFINITY]] : typeof time === 'number' && time >= 0 ? [[key, time]] : [],
    );
  } catch {
    return [];
  }
}
