import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../testing.js';
import { type DownloadOptions, download, type Wanted } from './download.js';
import { follow } from './fetch.js';
import { cut, file, type Handler, serve, type TestServer } from './server.test.helper.js';

const folder = temporaryFolder();
afterAll(folder.remove);

/** 3 MB that do not repeat. */
const body = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 2654435761) >>> 13);
const sha256 = createHash('sha256').update(body).digest('hex');
const md5 = createHash('md5').update(body).digest('hex');

let server: TestServer | undefined;
let part: string;
let count = 0;
beforeEach(() => {
  part = join(folder.path, `${count++}.part`);
});
afterEach(async () => {
  await server?.close();
  server = undefined;
});

/** Each handler answers one request, the last one all further ones. */
const inTurn =
  (...handlers: Handler[]): Handler =>
  (request, response, nth) =>
    (handlers[nth - 1] ?? (handlers.at(-1) as Handler))(request, response, nth);

async function fetchFrom(handler: Handler, wanted: Partial<Wanted> = { sha256 }, options: DownloadOptions = {}) {
  server = await serve(handler);
  return download({ url: `${server.url}/model.pth`, ...wanted }, part, { pause: 1, stall: 2000, ...options });
}

/** Where a file goes on that was cut after a million bytes: Node's fetch may lose what it had not handed over yet. */
const nearMillion = /^bytes=(9\d{5}|1000000)-$/;

const whole = () => expect(Buffer.compare(readFileSync(part), body)).toBe(0);
const status =
  (code: number, headers: Record<string, string> = {}): Handler =>
  (_, response) =>
    void response.writeHead(code, headers).end('no');

test('a file comes whole, with its hashes, and progress says how much of it', async () => {
  const seen: [number, number | undefined][] = [];
  const found = await fetchFrom(
    file(body),
    { sha256: sha256.slice(0, 8), md5, bytes: body.length, exact: true },
    { onProgress: (received, total) => seen.push([received, total]) },
  );
  expect(found).toEqual({ bytes: body.length, sha256, md5, etag: '"one"' });
  whole();
  expect(seen[0]).toEqual([0, body.length]);
  expect(seen.at(-1)).toEqual([body.length, body.length]);
});

describe('a cut', () => {
  test('is continued where it was', async () => {
    await fetchFrom(inTurn(cut(body, 1_000_000), file(body)));
    whole();
    const [, second] = server?.asked ?? [];
    expect(second).toEqual({ path: '/model.pth', range: expect.stringMatching(nearMillion), ifRange: '"one"' });
  });

  test('in an earlier call is continued too, by Last-Modified where there is no strong ETag', async () => {
    const date = 'Wed, 21 Oct 2015 07:28:00 GMT';
    const dated: Handler = (request, response, nth) => {
      const start = Number(/\d+/.exec(request.headers.range ?? '0')?.[0]);
      expect(request.headers['if-range']).toBe(nth === 1 ? undefined : date);
      response.writeHead(nth === 1 ? 200 : 206, {
        etag: 'W/"weak"',
        'last-modified': date,
        'content-length': body.length - start,
        ...(nth > 1 && { 'content-range': `bytes ${start}-${body.length - 1}/${body.length}` }),
      });
      if (nth > 1) response.end(body.subarray(start));
      else response.write(body.subarray(0, 500_000));
    };
    const abort = new AbortController();
    await expect(
      fetchFrom(dated, { sha256 }, { signal: abort.signal, onProgress: (n) => n >= 500_000 && abort.abort() }),
    ).rejects.toMatchObject({ code: 'ABORTED' });
    expect(statSync(part).size).toBe(500_000);
    await download({ url: `${server?.url}/model.pth`, sha256 }, part, {});
    whole();
  });

  test('starts over where the server ignores Range', async () => {
    await fetchFrom(inTurn(cut(body, 1_000_000), file(body, { ranges: false })));
    whole();
  });

  test('starts over where the file is another one by now, also on a server that obeys Range alone', async () => {
    await fetchFrom(inTurn(cut(body.toReversed(), 1_000_000, '"old"'), file(body)));
    whole();
    await server?.close();
    part += '2';
    const stubborn: Handler = (request, response) => {
      const start = Number(/\d+/.exec(request.headers.range ?? '0')?.[0]);
      response.writeHead(start ? 206 : 200, {
        etag: '"new"',
        ...(start && { 'content-range': `bytes ${start}-${body.length - 1}/${body.length}` }),
      });
      response.end(body.subarray(start));
    };
    await fetchFrom(inTurn(cut(body.toReversed(), 1_000_000, '"old"'), stubborn));
    whole();
  });

  test('whose two halves do not fit is fetched once more from the start', async () => {
    // The same ETag for other bytes: only the hash tells.
    await fetchFrom(inTurn(cut(body.toReversed(), 1_000_000), file(body)));
    whole();
    expect(server?.asked.map(({ range }) => range)).toEqual([undefined, expect.stringMatching(nearMillion), undefined]);
  });

  test('just before the end, or behind it, is mended', async () => {
    await fetchFrom(inTurn(cut(body, body.length - 1), file(body)));
    whole();
    await server?.close();
    // The whole part is there, but it was never checked: 416 answers a range behind the end.
    await fetchFrom(file(body));
    whole();
  });

  test('again and again is given up after five tries that got no further', async () => {
    await expect(fetchFrom(cut(body, 1000))).rejects.toMatchObject({
      code: 'DOWNLOAD',
      message: expect.stringMatching(/^http:\/\/127.*\/model\.pth: .*given up after 5 tries$/),
      details: { reason: 'network' },
    });
    expect(server?.asked).toHaveLength(5);
  });

  test('each time a MiB further is patience', async () => {
    const steps = [1.2e6, 2.4e6].map(
      (to): Handler =>
        (request, response) => {
          const start = Number(/\d+/.exec(request.headers.range ?? '0')?.[0]);
          response.writeHead(start ? 206 : 200, {
            etag: '"one"',
            'content-length': body.length - start,
            ...(start && { 'content-range': `bytes ${start}-${body.length - 1}/${body.length}` }),
          });
          response.write(body.subarray(start, to), () => response.socket?.end());
        },
    );
    const down = status(503);
    await fetchFrom(inTurn(down, down, down, steps[0], down, down, down, steps[1], down, down, file(body)));
    whole();
  });
});

describe('what the server sends is not believed', () => {
  test.each<[string, Handler, Partial<Wanted>, string]>([
    [
      'other bytes',
      file(body.toReversed()),
      { sha256: sha256.slice(0, 8) },
      `where ${sha256.slice(0, 8)} was published`,
    ],
    ['other bytes, by MD5', file(body.toReversed()), { md5 }, `where ${md5} was published`],
    ['another size', file(body), { bytes: body.length + 1, exact: true }, '3000000 bytes where 3000001 are published'],
    ['a giant', file(body), { bytes: 1_000_000 }, '3000000 bytes where about 1000000 are published'],
    [
      'a giant that says nothing of its size',
      (_, response) => {
        response.write(body);
        response.end();
      },
      { bytes: 10_000 },
      'it sends more than the 1063576 bytes that are due',
    ],
    [
      'another hash than it announced',
      (_, response) => void response.writeHead(200, { 'x-linked-etag': `"${'0'.repeat(64)}"` }).end(body),
      {},
      `where the server announced ${'0'.repeat(64)}`,
    ],
  ])('%s', async (_, handler, wanted, message) => {
    await expect(fetchFrom(handler, wanted)).rejects.toMatchObject({
      code: 'DOWNLOAD',
      message: expect.stringContaining(message),
    });
    expect(existsSync(part)).toBe(false);
    expect(server?.asked).toHaveLength(1);
  });

  test('a Content-Length that is too long is a cut, one that is too short another file', async () => {
    const lies =
      (by: number): Handler =>
      (_, response) => {
        response.socket?.end(
          Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length + by}\r\n\r\n`), body]),
        );
      };
    await expect(fetchFrom(lies(10))).rejects.toThrow('given up after 5 tries');
    await server?.close();
    await expect(fetchFrom(lies(-10))).rejects.toMatchObject({ code: 'DOWNLOAD' });
  });

  test('a web page with status 200, by its content or by its type', async () => {
    for (const [page, type] of [
      ['<!DOCTYPE html><html><head><title>Sign in\n to go on</title></head></html>', 'application/octet-stream'],
      ['Sign in to go on', 'text/html; charset=utf-8'],
    ]) {
      await expect(
        fetchFrom((_, response) => void response.writeHead(200, { 'content-type': type }).end(page), {}),
      ).rejects.toMatchObject({
        code: 'DOWNLOAD',
        message: expect.stringMatching(/answered with a web page( \("Sign in to go on"\))?, not with weights/),
        details: { reason: 'page' },
      });
      await server?.close();
    }
  });

  test('a packed answer is unpacked, and its length is not the file’s', async () => {
    const { gzipSync } = await import('node:zlib');
    const packed = gzipSync(body);
    await fetchFrom(
      (_, response) =>
        void response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': packed.length }).end(packed),
      { sha256, bytes: body.length, exact: true },
    );
    whole();
  });
});

describe('answers', () => {
  test.each([
    [404, 'answered 404 Not Found; the file is not there'],
    [403, 'answered 403 Forbidden; it may not be fetched from there'],
    [418, "answered 418 I'm a Teapot; check the address"],
  ])('%i is final', async (code, message) => {
    await expect(fetchFrom(status(code))).rejects.toMatchObject({
      code: 'DOWNLOAD',
      message: expect.stringContaining(message),
    });
    expect(server?.asked).toHaveLength(1);
  });

  test.each([429, 500, 502, 503, 504])('%i is asked again', async (code) => {
    await fetchFrom(inTurn(status(code), status(code), file(body)));
    whole();
  });

  test('Retry-After is obeyed up to a minute; longer is the user’s to wait', async () => {
    await fetchFrom(inTurn(status(503, { 'retry-after': '0' }), file(body)), { sha256 }, { pause: 1e9 });
    whole();
    await server?.close();
    await expect(fetchFrom(status(429, { 'retry-after': '3600' }))).rejects.toThrow(
      'answered 429 Too Many Requests; it asks to come back in 3600 s',
    );
    expect(server?.asked).toHaveLength(1);
  });

  test('nobody there', async () => {
    const gone = await serve(() => {});
    await gone.close();
    await expect(download({ url: `${gone.url}/x.pth` }, part, { pause: 1 })).rejects.toMatchObject({
      code: 'DOWNLOAD',
      message: expect.stringContaining('the connection was refused; given up after 2 tries'),
      details: { reason: 'network' },
    });
  });

  test('silence, before the answer or in its middle', async () => {
    const retries: unknown[] = [];
    await expect(fetchFrom(() => {}, {}, { stall: 30, onRetry: (...retry) => retries.push(retry) })).rejects.toThrow(
      'no answer for 0.03 s; given up after 2 tries',
    );
    expect(server?.asked).toHaveLength(2);
    expect(retries).toEqual([['no answer for 0.03 s', 2, 2]]);
    await server?.close();
    const stops: Handler = (_, response) => {
      response.writeHead(200, { etag: '"one"', 'content-length': body.length });
      response.write(body.subarray(0, 2_000_000));
    };
    await fetchFrom(inTurn(stops, file(body)), { sha256 }, { stall: 300, onRetry: (...retry) => retries.push(retry) });
    whole();
    expect(retries.slice(1)).toEqual([['nothing came for 0.3 s', 2, 5]]);
  });
});

describe('redirects', () => {
  const to = (location: string): Handler => status(302, { location });

  test('are followed, with what they announce', async () => {
    const handler: Handler = (request, response, nth) =>
      request.url === '/model.pth'
        ? void response.writeHead(302, { location: '/store/abc?sign=secret', 'x-linked-etag': `"${sha256}"` }).end()
        : file(body)(request, response, nth);
    await fetchFrom(handler, {});
    whole();
    expect(server?.asked.map(({ path }) => path)).toEqual(['/model.pth', '/store/abc?sign=secret']);
  });

  test('in a circle end', async () => {
    await expect(fetchFrom(to('/model.pth'))).rejects.toThrow('redirects more than 10 times');
    expect(server?.asked).toHaveLength(11);
  });

  test.each([
    ['file:///etc/passwd', 'which is not secure'],
    ['ftp://127.0.0.1/x', 'which is not secure'],
    ['http://[', 'which is no address'],
  ])('to %s are refused', async (location, message) => {
    await expect(fetchFrom(to(location))).rejects.toMatchObject({
      code: 'DOWNLOAD',
      message: expect.stringContaining(message),
    });
  });
});

test('a redirect from https leads to https only, from a mirror’s http anywhere', () => {
  expect(follow('https://a.example/x', '../y')).toBe('https://a.example/y');
  expect(follow('https://a.example/x', 'https://b.example/y?s=1')).toBe('https://b.example/y?s=1');
  expect(follow('http://a.example/x', 'http://b.example/y')).toBe('http://b.example/y');
  expect(() => follow('https://a.example/x', 'http://a.example/x?key=1')).toThrow(
    'https://a.example/x: it redirects to http://a.example/x, which is not secure',
  );
  expect(() => follow('https://a.example/x', null)).toThrow('without saying where to');
});

test('a signal that is aborted already, or while it waits, ends it', async () => {
  await expect(fetchFrom(file(body), {}, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' });
  await server?.close();
  const abort = new AbortController();
  const wait: Handler = (_, response) => {
    setTimeout(() => abort.abort(), 20);
    status(503)(_, response, 0);
  };
  await expect(fetchFrom(wait, {}, { signal: abort.signal, pause: 1e6 })).rejects.toMatchObject({ code: 'ABORTED' });
});

test('a folder that may not be written is an error of files', async () => {
  part = join(folder.path, 'absent', 'x.part');
  await expect(fetchFrom(file(body))).rejects.toMatchObject({ code: 'FILE' });
});
