import { stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { ResidualError } from 'residual/errors';
import { fileError } from './files.js';

/** What counts as a picture inside a folder. A file named outright is tried whatever its name. */
const pictureExtensions = ['jpg', 'jpeg', 'png', 'webp', 'avif', 'gif', 'tif', 'tiff', 'bmp'] as const;

const sorted = (names: string[]): string[] => names.sort(new Intl.Collator('en', { numeric: true }).compare);

/** Folders and patterns alone need it. */
const globbing = () => import('tinyglobby');

/**
 * Files, folders and globs as a list of files: arguments in their order, the contents of a folder (all levels, hidden
 * ones left out) and the matches of a glob in natural order (`2.jpg` before `10.jpg`).
 *
 * An argument that gives nothing becomes an error of the list, so that the others can still be done: FILE for a path
 * that does not exist, a folder without pictures or a glob without matches.
 */
export async function expandInputs(
  args: readonly string[],
): Promise<{ readonly files: string[]; readonly errors: ResidualError[] }> {
  const files: string[] = [];
  const errors: ResidualError[] = [];
  for (const arg of args) {
    try {
      for (const file of await expand(arg)) files.push(file);
    } catch (error) {
      if (!(error instanceof ResidualError)) throw error;
      errors.push(error);
    }
  }
  return { files, errors };
}

async function expand(arg: string): Promise<string[]> {
  const found = await stat(arg).catch((error: NodeJS.ErrnoException) => {
    if (arg !== '' && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return undefined;
    throw fileError(arg, 'read', error);
  });
  if (found?.isDirectory()) return pictures(arg);
  if (found) return [arg];
  const { glob, isDynamicPattern } = await globbing();
  if (!isDynamicPattern(arg)) throw new ResidualError('FILE', `${arg}: no such file or folder`, { file: arg });
  const matches = await glob(arg, { expandDirectories: false, absolute: isAbsolute(arg) });
  if (matches.length === 0) throw new ResidualError('FILE', `${arg}: the pattern matches no file`, { file: arg });
  return sorted(matches);
}

async function pictures(folder: string): Promise<string[]> {
  const { glob } = await globbing();
  const pattern = `**/*.{${pictureExtensions.join(',')}}`;
  const found = await glob(pattern, { cwd: folder, caseSensitiveMatch: false, expandDirectories: false });
  if (found.length === 0) {
    const expected = pictureExtensions.map((extension) => `.${extension}`).join(' ');
    throw new ResidualError('FILE', `${folder}: the folder holds no pictures (${expected})`, { file: folder });
  }
  return sorted(found).map((name) => join(folder, name));
}
