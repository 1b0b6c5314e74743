import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expandInputs } from './inputs.js';

let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'residual-inputs-'));
  await mkdir(join(root, 'in/deep/er'), { recursive: true });
  await mkdir(join(root, 'in/.hidden'));
  await mkdir(join(root, 'empty'));
  const files = [
    '10.jpg',
    '2.JPG',
    'notes.txt',
    'a[1].png',
    'deep/1.webp',
    'deep/er/x.Tiff',
    '.hidden/no.jpg',
    '.no.jpg',
  ];
  for (const file of files) await writeFile(join(root, 'in', file), '');
  await symlink(join(root, 'in'), join(root, 'in/deep/loop'));
});
afterAll(() => rm(root, { recursive: true }));

const expand = async (...args: string[]) => {
  const { files, errors } = await expandInputs(args.map((arg) => join(root, arg)));
  return { files: files.map((file) => relative(root, file)), errors: errors.map((error) => error.toJSON()) };
};

test('a folder gives the pictures of all its levels in natural order', async () => {
  const { files, errors } = await expand('in');
  expect(files.slice(0, 5)).toEqual(['in/2.JPG', 'in/10.jpg', 'in/a[1].png', 'in/deep/1.webp', 'in/deep/er/x.Tiff']);
  expect(errors).toEqual([]);
});

test('a file is taken as named, whatever its extension and brackets', async () => {
  expect((await expand('in/notes.txt', 'in/a[1].png')).files).toEqual(['in/notes.txt', 'in/a[1].png']);
});

test('globs', async () => {
  expect((await expand('in/*.{jpg,JPG}')).files).toEqual(['in/2.JPG', 'in/10.jpg']);
  expect((await expand('in/deep/**/*.Tiff')).files).toContain('in/deep/er/x.Tiff');
});

test('what gives nothing is an error beside what gives something', async () => {
  const { files, errors } = await expand('absent.jpg', 'in/10.jpg', 'empty', 'in/*.bmp', 'in/10.jpg/x');
  expect(files).toEqual(['in/10.jpg']);
  expect(errors.map(({ code, message }) => `${code} ${message.replace(`${root}/`, '')}`)).toEqual([
    'FILE absent.jpg: no such file or folder',
    'FILE empty: the folder holds no pictures (.jpg .jpeg .png .webp .avif .gif .tif .tiff .bmp)',
    'FILE in/*.bmp: the pattern matches no file',
    'FILE in/10.jpg/x: no such file or folder',
  ]);
});
