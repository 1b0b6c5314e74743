import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { sharedBytes } from '../tensor.js';
import { refusal, scratch } from '../testing.js';
import { openFile, openSync, writeFileAtomic } from './file.js';

const folder = scratch();

describe('openFile', () => {
  test('reads any part, also into shared memory', async () => {
    const path = join(folder, 'numbers');
    writeFileSync(
      path,
      Uint8Array.from({ length: 1000 }, (_, i) => i % 251),
    );
    const file = await openFile(path);
    expect(file.size).toBe(1000);
    const target = sharedBytes(500);
    await file.readInto(target, 300);
    expect(Array.from(target)).toEqual(Array.from({ length: 500 }, (_, i) => (i + 300) % 251));
    await file.close();
  });

  test('says why a path cannot be read', async () => {
    expect(await refusal(openFile(join(folder, 'nowhere')))).toMatchObject({
      code: 'FILE',
      message: `${join(folder, 'nowhere')}: there is no such file; check the path`,
      details: { reason: 'ENOENT' },
    });
    expect((await refusal(openFile(folder))).message).toContain('it is a folder');
  });

  test('a pipe, a socket, a device, a circle of links and no path at all are refused, none is waited for', async () => {
    const [pipe, socket, circle] = ['pipe', 'socket', 'circle'].map((name) => join(folder, name));
    execFileSync('mkfifo', [pipe]);
    const server = createServer().listen(socket);
    await once(server, 'listening');
    symlinkSync(circle, circle);
    for (const [path, reason] of [
      [pipe, `${pipe}: it is no ordinary file`],
      [socket, `${socket}: it is no ordinary file`],
      ['/dev/zero', '/dev/zero: it is no ordinary file'],
      [circle, `${circle}: its symbolic links lead in a circle`],
      ['', 'the path is empty'],
    ]) {
      expect((await refusal(openFile(path))).message).toContain(reason);
      expect(() => openSync(path)).toThrow(expect.objectContaining({ code: 'FILE' }));
    }
    server.close();
  });

  test('a file that shrinks while it is read is an error, not a hang', async () => {
    const path = join(folder, 'shrinking');
    writeFileSync(path, new Uint8Array(100));
    const file = await openFile(path);
    writeFileSync(path, new Uint8Array(10));
    expect((await refusal(file.readInto(new Uint8Array(100), 0))).message).toContain('it ends at byte 10');
    await file.close();
  });
});

describe('writeFileAtomic', () => {
  test('writes all chunks and replaces what was there', async () => {
    const path = join(folder, 'written');
    writeFileSync(path, 'old');
    await writeFileAtomic(path, [Uint8Array.of(1, 2), new Uint8Array(0), sharedBytes(3)]);
    expect([...readFileSync(path)]).toEqual([1, 2, 0, 0, 0]);
  });

  test('leaves the old file and nothing else when the writing fails', async () => {
    const place = join(folder, 'failing');
    mkdirSync(place);
    writeFileSync(join(place, 'model'), 'old');
    function* chunks() {
      yield new Uint8Array(10);
      throw new Error('no more');
    }
    expect(await refusal(writeFileAtomic(join(place, 'model'), chunks()))).toMatchObject({ code: 'FILE' });
    expect(readdirSync(place)).toEqual(['model']);
    expect(readFileSync(join(place, 'model'), 'utf8')).toBe('old');
    expect(await refusal(writeFileAtomic(join(place, 'no', 'model'), []))).toMatchObject({ code: 'FILE' });
  });
});
