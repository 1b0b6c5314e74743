import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ResidualError } from '../errors.js';
import type { Dataset } from './dataset.js';
import { pathIn, type SplitOptions, splitOff } from './split.js';
import { datasetOfTree, type Found, isHidden, isPicture } from './tree.js';

/** Deeper trees are links that lead in a circle. */
const deepest = 24;

/**
 * Pictures in a folder for each class, with or without `train/`, `val/` and `test/` above them. Links are followed,
 * hidden files left out.
 *
 * @throws FILE when it cannot be listed; DATA, CLASSES as `datasetOfTree`; what `splitOff` throws.
 * @example const flowers = await folder('flowers/', { validation: 0.2, seed: 1 });
 */
export async function folder(path: string, options: SplitOptions = {}): Promise<Dataset> {
  const found: Found[] = [];
  const folders: string[] = [];
  const others: string[] = [];
  const walk = async (inside: string, depth: number): Promise<void> => {
    if (depth > deepest)
      throw new ResidualError(
        'FILE',
        `${join(path, inside)}: folders lie deeper than ${deepest}; is a link circular?`,
        {
          file: path,
        },
      );
    for (const entry of await list(join(path, inside))) {
      const at = inside === '' ? entry.name : `${inside}/${entry.name}`;
      if (isHidden(entry.name)) continue;
      const full = join(path, at);
      const kind = entry.isSymbolicLink() ? await stat(full).catch(() => undefined) : entry;
      if (kind?.isDirectory()) {
        folders.push(at);
        await walk(at, depth + 1);
      } else if (kind?.isFile() && isPicture(at))
        found.push({ path: at, id: full, source: { kind: 'file', path: full } });
      else others.push(at);
    }
  };
  await walk('', 0);
  const dataset = datasetOfTree(path, found, folders);
  const notes =
    others.length > 0 ? [`files that are no pictures are left out: ${others.length}, such as ${others[0]}`] : [];
  return splitOff({ ...dataset, notes: [...notes, ...dataset.notes] }, options, ({ id }) => pathIn(path, id));
}

async function list(path: string) {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such folder' : code === 'ENOTDIR' ? 'it is no folder' : code;
    throw new ResidualError('FILE', `${path}: cannot be listed: ${why}; check the path`, { file: path }, { cause });
  }
}
