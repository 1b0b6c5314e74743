import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { ResidualError } from 'residual/errors';

/** The text of a file. @throws FILE */
export async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw fileError(file, 'read', cause);
  }
}

/** Writes a file whole or not at all. @throws FILE */
export async function writeWhole(file: string, data: string | Uint8Array): Promise<void> {
  const part = `${file}.${process.pid}.part`;
  try {
    await writeFile(part, data);
    await rename(part, file);
  } catch (cause) {
    await rm(part, { force: true });
    throw fileError(file, 'written', cause);
  }
}

const reasons: Record<string, string> = {
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
  ENOENT: 'no such file or folder',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'part of its path is no folder',
};

function fileError(file: string, verb: 'read' | 'written', cause: unknown): ResidualError {
  const { code = 'unknown' } = cause as NodeJS.ErrnoException;
  return new ResidualError('FILE', `${file}: cannot be ${verb}: ${reasons[code] ?? code}`, { file }, { cause });
}
