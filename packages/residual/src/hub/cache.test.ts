import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { cacheFolder } from '../cache-folder.js';
import { initialise } from '../models/initialise.js';
import { build } from '../models/resnet.js';
import { temporaryFolder } from '../testing.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { placeOf, pruneCache, readCache } from './cache.js';
import type { HubEntry } from './catalogue.js';
import { locked } from './lock.js';
import type { Prune } from './options.js';
import { file, serve, type TestServer } from './server.test.helper.js';
import { obtain } from './store.js';

const body = Buffer.concat([...safetensorsBytes(initialise(build('resnet20')))]);
const sha256 = createHash('sha256').update(body).digest('hex');
const url = 'https://weights.example/models/resnet20-v1/model.safetensors';
const entry: HubEntry = {
  id: 'test/resnet20',
  collection: 'timm',
  architecture: 'resnet20',
  url,
  sha256: sha256.slice(0, 8),
  licence: 'MIT',
  classes: 10,
  size: 32,
  preprocess: 'cifar',
  metrics: [],
};

const folder = temporaryFolder();
afterAll(folder.remove);
let [count, cache] = [0, ''];
let server: TestServer | undefined;
beforeEach(() => {
  cache = join(folder.path, `${count++}`);
});
afterEach(async () => {
  await server?.close();
  server = undefined;
});

const place = () => join(cache, 'hub', 'weights.example', 'models', 'resnet20-v1', 'model.safetensors');
const names = () => readdirSync(dirname(place())).sort();
const options = () => ({ cache, hub: `${server?.url}/mirror/`, pause: 1 });

test('where the cache lies', () => {
  const where = (env: NodeJS.ProcessEnv, platform: NodeJS.Platform = 'linux') => cacheFolder(undefined, env, platform);
  expect(where({ XDG_CACHE_HOME: '/x' })).toBe('/x/residual');
  expect(where({ XDG_CACHE_HOME: 'x' })).toMatch(/[/\\]\.cache[/\\]residual$/);
  expect(where({}, 'darwin')).toMatch(/Library[/\\]Caches[/\\]residual$/);
  expect(where({ LOCALAPPDATA: '/l' }, 'win32')).toMatch(/l[/\\]residual$/);
  expect(where({ RESIDUAL_CACHE: '/r', XDG_CACHE_HOME: '/x' })).toBe('/r');
  expect(where({ RESIDUAL_CACHE: ' ', XDG_CACHE_HOME: '/x' })).toBe('/x/residual');
  expect(cacheFolder('/g', { RESIDUAL_CACHE: '/r' })).toBe('/g');
});

test('the place of an address never leaves the folder', () => {
  expect(placeOf('https://a.example:8443/b//c%2F..%2F/d|e')).toEqual(['a.example_8443', 'b', 'c%2F..%2F', 'd_e']);
  expect(placeOf('https://a.example/../../etc')).toEqual(['a.example', 'etc']);
});

test('a file is fetched once, from the mirror’s host/path, and recorded', async () => {
  server = await serve(file(body));
  expect(await obtain(entry, options())).toBe(place());
  expect(await obtain(entry, options())).toBe(place());
  expect(server.asked.map(({ path }) => path)).toEqual([
    '/mirror/weights.example/models/resnet20-v1/model.safetensors',
  ]);
  expect(names()).toEqual(['model.safetensors', 'model.safetensors.json']);
  expect(JSON.parse(readFileSync(`${place()}.json`, 'utf8'))).toMatchObject({
    id: 'test/resnet20',
    url,
    from: `${server.url}/mirror/weights.example/models/resnet20-v1/model.safetensors`,
    bytes: body.length,
    sha256,
    etag: '"one"',
  });
  expect(readFileSync(place()).equals(body)).toBe(true);
});

test('a try that failed is told, with what had come by then', async () => {
  server = await serve((request, response, nth) =>
    nth === 1 ? void response.writeHead(503).end() : file(body)(request, response, nth),
  );
  const seen: unknown[] = [];
  await obtain(entry, {
    ...options(),
    onProgress: ({ received, total, trouble }) => seen.push(trouble ?? [received, total]),
  });
  expect(seen.slice(0, 2)).toEqual(['the server answered 503 Service Unavailable, try 2 of 5', [0, body.length]]);
});

test('two calls at once fetch it once', async () => {
  server = await serve(file(body));
  const paths = await Promise.all([1, 2, 3].map(() => obtain(entry, options())));
  expect(paths).toEqual([place(), place(), place()]);
  expect(server.asked).toHaveLength(1);
});

test('a part that an ended process left is continued, its lock not obeyed', async () => {
  server = await serve((request, response, nth) => {
    if (nth > 1) return file(body)(request, response, nth);
    response.writeHead(200, { etag: '"one"', 'content-length': body.length });
    response.write(body.subarray(0, 500_000)); // and then nothing
  });
  const abort = new AbortController();
  const first = obtain(entry, {
    ...options(),
    signal: abort.signal,
    onProgress: ({ received }) => received >= 500_000 && abort.abort(),
  });
  await expect(first).rejects.toMatchObject({ code: 'ABORTED' });
  expect(names()).toEqual(['model.safetensors.part', 'model.safetensors.part.json']);
  const { hostname } = await import('node:os');
  writeFileSync(`${place()}.lock`, JSON.stringify({ pid: 2 ** 22 + 1, host: hostname(), token: 1 }));
  await obtain(entry, options());
  expect(server.asked.at(-1)?.range).toBe('bytes=500000-');
  expect(names()).toEqual(['model.safetensors', 'model.safetensors.json']);
});

test('a lock that is held is waited for', async () => {
  const lock = join(folder.path, 'held.lock');
  const order: string[] = [];
  let release = () => {};
  const first = locked(lock, undefined, async () => {
    order.push('first in');
    await new Promise<void>((resolve) => {
      release = resolve;
    });
    order.push('first out');
  });
  while (!existsSync(lock) || order.length === 0) await new Promise(setImmediate);
  const second = locked(lock, undefined, async () => void order.push('second in'));
  await expect(locked(lock, AbortSignal.timeout(150), async () => {})).rejects.toMatchObject({ code: 'ABORTED' });
  release();
  await Promise.all([first, second]);
  expect(order).toEqual(['first in', 'first out', 'second in']);
  expect(existsSync(lock)).toBe(false);
});

test('what is damaged on the disk is fetched again; what was copied there by hand is taken when its hash fits', async () => {
  server = await serve(file(body));
  await obtain(entry, options());
  writeFileSync(place(), body.subarray(1));
  await obtain(entry, options());
  expect(server.asked).toHaveLength(2);
  expect(readFileSync(place()).equals(body)).toBe(true);
  rmSync(`${place()}.json`);
  await obtain(entry, { ...options(), offline: true });
  expect(JSON.parse(readFileSync(`${place()}.json`, 'utf8'))).toMatchObject({ sha256 });
  writeFileSync(place(), body.subarray(1));
  rmSync(`${place()}.json`);
  const other = createHash('sha256').update(body.subarray(1)).digest('hex');
  await expect(obtain(entry, { ...options(), hub: '', offline: true })).rejects.toMatchObject({
    code: 'DOWNLOAD',
    message: `test/resnet20: ${place()}: the file there has SHA-256 ${other}, not ${sha256.slice(0, 8)}… as published; it is not used, and the network is not to be used (offline)`,
  });
  expect(existsSync(`${place()}.json`)).toBe(false);
});

describe('without a published hash the record is the witness', () => {
  const { sha256: _, ...unhashed } = entry;
  const record = () => readFileSync(`${place()}.json`, 'utf8');
  const offline = () => obtain(unhashed, { cache, hub: '', offline: true });

  test.each<[string, () => void, string]>([
    ['another size', () => truncateSync(place(), 1000), `the file there has 1000 bytes where ${body.length} came`],
    [
      'other bytes of the same size',
      () =>
        writeFileSync(
          place(),
          body.map((byte, i) => (i === body.length - 1 ? byte ^ 1 : byte)),
        ),
      `, not ${sha256} as it came`,
    ],
  ])('%s: an error offline, fetched again online, and the record stays', async (_, damage, message) => {
    server = await serve(file(body));
    await obtain(unhashed, options());
    const before = record();
    damage();
    utimesSync(place(), new Date(0), new Date(0));
    await expect(offline()).rejects.toMatchObject({
      code: 'DOWNLOAD',
      message: expect.stringContaining(message),
      details: { reason: 'offline' },
    });
    expect(record()).toBe(before);
    expect(server.asked).toHaveLength(1);
    await obtain(unhashed, options());
    expect(server.asked).toHaveLength(2);
    expect(readFileSync(place()).equals(body)).toBe(true);
    expect(JSON.parse(record())).toMatchObject({ bytes: body.length, sha256 });
  });

  test('a copy of a cache with other dates is hashed once and taken', async () => {
    server = await serve(file(body));
    await obtain(unhashed, options());
    utimesSync(place(), new Date(0), new Date(0));
    expect(await offline()).toBe(place());
    expect(JSON.parse(record())).toMatchObject({ sha256, modified: 0 });
  });

  test('a file without a record must look like weights before it gets one', async () => {
    mkdirSync(dirname(place()), { recursive: true });
    writeFileSync(place(), body.subarray(0, 1000));
    await expect(offline()).rejects.toMatchObject({
      code: 'DOWNLOAD',
      message: expect.stringContaining('the file there is no weight file'),
    });
    expect(existsSync(`${place()}.json`)).toBe(false);
    server = await serve(file(body));
    await obtain(unhashed, options());
    expect(JSON.parse(record())).toMatchObject({ bytes: body.length, sha256 });
  });

  test('a mirror’s folder with a record beside the file is held to it', async () => {
    server = await serve(file(body));
    await obtain(unhashed, options());
    truncateSync(place(), 1000);
    const other = { cache: join(cache, 'other'), hub: join(cache, 'hub') };
    await expect(obtain(unhashed, other)).rejects.toThrow('the file there has 1000 bytes');
  });
});

test('what is no weight file does not stay, even where no hash was published', async () => {
  const { sha256: _, ...unhashed } = entry;
  server = await serve(file(Buffer.from('{"error": "Repository not found"}'.padEnd(600))));
  const error = await obtain(unhashed, options()).catch((failure) => failure);
  expect(error).toMatchObject({ code: 'WEIGHTS_FORMAT' });
  expect(error.message).toMatch(/^http:\/\/127\.0\.0\.1.*model\.safetensors: it /);
  expect(names()).toEqual([]);
});

test('offline: the cache or a clear error, and no request', async () => {
  server = await serve(file(body));
  await expect(obtain(entry, { ...options(), offline: true })).rejects.toMatchObject({
    code: 'DOWNLOAD',
    message: `test/resnet20 is not in the cache (${cache}) and the network is not to be used (offline)`,
    details: { reason: 'offline' },
  });
  expect(server.asked).toHaveLength(0);
});

describe('a mirror that is a folder', () => {
  const mirror = () => join(cache, 'mirror');
  const lay = (bytes: Uint8Array) => {
    const path = join(mirror(), ...placeOf(url));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
    return path;
  };

  test('is used where it lies, as a path or as a file: address, also offline', async () => {
    const path = lay(body);
    expect(await obtain(entry, { cache, hub: mirror() })).toBe(path);
    expect(await obtain(entry, { cache, hub: pathToFileURL(mirror()).href, offline: true })).toBe(path);
    expect(existsSync(join(cache, 'hub'))).toBe(false);
  });

  test.each([
    [
      'ftp://x/models',
      'expected an address by http: or https:, or a folder (a path, or file:), but received ftp://x/models',
    ],
    ['s3:bucket', 'expected an address by http: or https:'],
    ['http://', 'http:// is no address'],
    ['https://me:secret@x.example', 'a user name and a password'],
    ['file://elsewhere/models', 'names no folder of this machine'],
  ])('is nothing else: %s', async (hub, message) => {
    await expect(obtain(entry, { cache, hub, offline: true })).rejects.toMatchObject({
      code: 'ARGUMENT',
      message: expect.stringContaining(message),
    });
  });

  test('is none when it is blank', async () => {
    await expect(obtain(entry, { cache, hub: '  ', offline: true })).rejects.toMatchObject({
      details: { reason: 'offline' },
    });
  });

  test('may be the cache of another machine', async () => {
    server = await serve(file(body));
    const path = await obtain(entry, options());
    expect(await obtain(entry, { cache: join(cache, 'other'), hub: join(cache, 'hub') })).toBe(path);
  });

  test('is checked', async () => {
    await expect(obtain(entry, { cache, hub: mirror() })).rejects.toThrow('there is no such file in the mirror');
    lay(body.subarray(1));
    await expect(obtain(entry, { cache, hub: mirror() })).rejects.toThrow(`, not ${sha256.slice(0, 8)}… as published`);
  });
});

test('a licence without commercial use must be accepted before anything is asked for', async () => {
  server = await serve(file(body));
  const closed = { ...entry, licence: 'CC-BY-NC-4.0' };
  await expect(obtain(closed, options())).rejects.toMatchObject({
    code: 'LICENCE',
    message: expect.stringContaining('licensed CC-BY-NC-4.0: no commercial use; accept that with --accept-license'),
  });
  expect(server.asked).toHaveLength(0);
  await obtain(closed, { ...options(), acceptLicence: true });
  await obtain(closed, options());
});

test('a cache that cannot be made is named', async () => {
  writeFileSync(cache, 'a file');
  await expect(obtain(entry, { cache, hub: 'http://127.0.0.1:9' })).rejects.toMatchObject({
    code: 'FILE',
    message: expect.stringContaining('RESIDUAL_CACHE'),
  });
});

test.skipIf(process.platform !== 'linux')('a cache where the system makes no folders is named, too', async () => {
  for (const hub of ['http://127.0.0.1:9', ''])
    await expect(obtain(entry, { cache: '/proc/nope/deep', hub })).rejects.toMatchObject({
      code: 'FILE',
      message: expect.stringMatching(/^\/proc\/nope.*cannot be made \(ENOENT\); name another \(RESIDUAL_CACHE\)$/),
    });
});

test('a cache that cannot be written is named', async () => {
  const lock = join(folder.path, 'absent', 'x.lock');
  await expect(locked(lock, undefined, async () => {})).rejects.toMatchObject({
    code: 'FILE',
    message: expect.stringContaining('(ENOENT); name another cache folder'),
  });
});

describe('pruning', () => {
  const fill = async () => {
    server = await serve(file(body));
    for (const [i, days] of [0, 10, 40].entries()) {
      const path = await obtain({ ...entry, id: `test/${i}`, url: `https://w${i}.example/m.pth` }, options());
      const then = new Date(Date.now() - days * 86_400_000);
      utimesSync(`${path}.json`, then, then);
    }
    writeFileSync(join(cache, 'hub', 'w0.example', 'x.pth.part'), 'half');
    writeFileSync(join(cache, 'hub', 'w0.example', 'x.pth.part.json'), '{}');
    writeFileSync(join(cache, 'hub', 'w0.example', 'mine.txt'), 'not the cache’s');
  };
  const left = async () => (await readCache(cache)).files.map(({ id }) => id);

  test('the listing has the last used first, with what is not done', async () => {
    await fill();
    const { folder, files, unfinished } = await readCache(cache);
    expect({ folder, unfinished }).toEqual({ folder: cache, unfinished: 4 });
    expect(files.map(({ id }) => id)).toEqual(['test/0', 'test/1', 'test/2']);
    expect(files[0]).toMatchObject({ bytes: body.length, sha256, url: 'https://w0.example/m.pth' });
  });

  test.each<[Prune, string[]]>([
    [{}, ['test/0', 'test/1', 'test/2']],
    [{ olderThan: 30 }, ['test/0', 'test/1']],
    [{ to: 1.5 * body.length }, ['test/0']],
    [{ all: true }, []],
  ])('%j', async (prune, expected) => {
    await fill();
    const { removed, bytes } = await pruneCache(prune, cache);
    expect(await left()).toEqual(expected);
    expect(removed).toHaveLength(3 - expected.length);
    expect(bytes).toBe(removed.length * body.length + 4);
    expect(readdirSync(join(cache, 'hub', 'w0.example')).filter((name) => !name.startsWith('m.pth'))).toEqual([
      'mine.txt',
    ]);
    expect(existsSync(join(cache, 'hub', 'w2.example'))).toBe(expected.includes('test/2'));
  });

  test('a download in progress stays', async () => {
    await fill();
    const lock = join(cache, 'hub', 'w0.example', 'x.pth.lock');
    await locked(lock, undefined, async () => {
      await pruneCache({ all: true }, cache);
      expect(statSync(join(cache, 'hub', 'w0.example', 'x.pth.part')).size).toBe(4);
    });
  });

  test('an absent cache is empty', async () => {
    expect(await readCache(cache)).toEqual({ folder: cache, files: [], unfinished: 0 });
    expect(await pruneCache({ all: true }, cache)).toEqual({ removed: [], bytes: 0 });
  });
});
