import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkWritable, readText, writeWhole } from './files.js';

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

test('whether a file can be written is known ahead, and leaves no trace', async () => {
  const [kept, absent] = [join(folder, 'kept'), join(folder, 'absent', 'a.png')];
  await writeFile(kept, 'as it was');
  await checkWritable(kept);
  await checkWritable(join(folder, 'new.png'));
  expect([await readFile(kept, 'utf8'), (await readdir(folder)).sort()]).toEqual(['as it was', ['a.txt', 'kept']]);
  const error = (message: string) => expect.objectContaining({ code: 'FILE', message });
  await expect(checkWritable(absent)).rejects.toEqual(error(`${absent}: cannot be written: no such file or folder`));
  await expect(checkWritable(folder)).rejects.toEqual(error(`${folder}: cannot be written: it is a folder`));
  await expect(checkWritable(join(kept, 'a.png'))).rejects.toMatchObject({ code: 'FILE' });
});

test('a text is read whole; what has no end or is too long for a text is refused', async () => {
  const file = join(folder, 'text');
  await writeFile(file, 'größer\n');
  expect(await readText(file)).toBe('größer\n');
  await writeFile(file, '');
  expect(await readText(file)).toBe('');
  await truncate(file, 16e6 + 1);
  const [pipe, circle] = ['pipe', 'circle'].map((name) => join(folder, name));
  execFileSync('mkfifo', [pipe]);
  await symlink(circle, circle);
  for (const [path, message] of [
    [file, `${file}: 16000001 bytes are too many for this; the limit is 16000000, check the path`],
    [pipe, `${pipe}: cannot be read: it is no ordinary file`],
    ['/dev/zero', '/dev/zero: cannot be read: it is no ordinary file'],
    [circle, `${circle}: cannot be read: its symbolic links lead in a circle`],
    ['', 'the path is empty; name a file'],
  ])
    await expect(readText(path)).rejects.toMatchObject({ code: 'FILE', message });
});
