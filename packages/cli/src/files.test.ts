import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readText, writeWhole } from './files.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'residual-files-'));
});
afterAll(() => rm(folder, { recursive: true }));

test('a file is replaced whole', async () => {
  const file = join(folder, 'a.txt');
  await writeWhole(file, 'first');
  await writeWhole(file, 'second');
  expect([await readFile(file, 'utf8'), await readdir(folder)]).toEqual(['second', ['a.txt']]);
});

test('what cannot be read or written is a FILE error, and leaves nothing behind', async () => {
  const error = (message: string) => expect.objectContaining({ code: 'FILE', message });
  await expect(readText(folder)).rejects.toEqual(error(`${folder}: cannot be read: it is a folder`));
  const absent = join(folder, 'absent', 'a.txt');
  await expect(writeWhole(absent, '')).rejects.toEqual(error(`${absent}: cannot be written: no such file or folder`));
  await expect(writeWhole(folder, '')).rejects.toEqual(error(`${folder}: cannot be written: it is a folder`));
  expect(await readdir(tmpdir())).not.toContainEqual(expect.stringContaining(`.${process.pid}.part`));
});
