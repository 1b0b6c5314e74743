// For tests: folders of files, and what becomes of them.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { refusal, scratch } from '../testing.js';
import type { Dataset } from './dataset.js';

const base = scratch();
let folders = 0;

/** A new empty folder. */
export function fresh(): string {
  const path = join(base, String(folders++));
  mkdirSync(path);
  return path;
}

/** A folder with empty files of these paths; paths that end in `/` are folders. */
export function tree(...paths: string[]): string {
  const root = fresh();
  for (const path of paths) {
    mkdirSync(path.endsWith('/') ? join(root, path) : dirname(join(root, path)), { recursive: true });
    if (!path.endsWith('/')) writeFileSync(join(root, path), '');
  }
  return root;
}

export const counts = ({ train, validation, test }: Dataset) => [train.length, validation?.length, test?.length];
export const message = async (work: Promise<unknown>) => {
  const { code, message } = await refusal(work);
  return `${code} ${message}`;
};
