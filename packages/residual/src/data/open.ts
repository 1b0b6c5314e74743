import { readdir, stat } from 'node:fs/promises';
import { ResidualError } from '../errors.js';
import { tar } from './archive.js';
import { cifar, isCifar } from './cifar.js';
import type { Dataset } from './dataset.js';
import { folder } from './folder.js';
import { idx, isIdx } from './idx.js';
import { manifest } from './manifest.js';
import type { SplitOptions } from './split.js';

/**
 * A data set, whichever it is: a folder of IDX files, of CIFAR's binary files, or with a folder for each class; a CSV or
 * JSONL file; a tar, plain or gzip.
 *
 * @throws FILE when there is nothing of that name; what `idx`, `cifar`, `folder`, `manifest` and `tar` throw.
 * @example const data = await open('flowers/', { validation: 0.2, seed: 1 });
 */
export async function open(path: string, options: SplitOptions = {}): Promise<Dataset> {
  const stats = await stat(path).catch((cause) => {
    throw new ResidualError('FILE', `${path}: there is no such file or folder`, { file: path }, { cause });
  });
  if (!stats.isDirectory())
    return /\.(csv|tsv|txt|jsonl|ndjson)$/i.test(path) ? manifest(path, options) : tar(path, options);
  const names = await readdir(path);
  if (isIdx(names)) return idx(path, options);
  if (isCifar(names)) return cifar(path, options);
  return folder(path, options);
}
