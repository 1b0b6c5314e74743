import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, describe, expect, test } from 'vitest';
import { refusal } from '../testing.js';
import { openFile, writeFileAtomic } from './file.browser.js';

const content = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);
const servers: Server[] = [];

/** Starts a server on this machine and gives its address. */
async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/weights.safetensors`;
}

afterAll(() => {
  for (const server of servers) server.close().closeAllConnections();
});

describe('openFile of a page', () => {
  test('reads by ranges where the server has them', async () => {
    const asked: (string | undefined)[] = [];
    const url = await serve((request, response) => {
      asked.push(request.headers.range);
      const [from, to] = /bytes=(\d+)-(\d+)/
        .exec(request.headers.range ?? '')!
        .slice(1)
        .map(Number);
      response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${content.length}` });
      response.end(content.subarray(from, to + 1));
    });
    const file = await openFile(url);
    const target = new Uint8Array(20);
    await file.readInto(target, 500);
    expect(file.size).toBe(1000);
    expect(target).toEqual(content.slice(500, 520));
    expect(asked).toEqual(['bytes=0-0', 'bytes=500-519']);
    await file.close();
  });

  test('downloads once where it has none', async () => {
    let answers = 0;
    const url = await serve((_, response) => {
      answers++;
      response.end(content);
    });
    const file = await openFile(url);
    const target = new Uint8Array(20);
    await file.readInto(target, 500);
    expect([file.size, answers]).toEqual([1000, 1]);
    expect(target).toEqual(content.slice(500, 520));
  });

  test('a file beside it is asked of the same folder, by its plain name', async () => {
    const asked: (string | undefined)[] = [];
    const url = await serve((request, response) => {
      asked.push(request.url);
      response.end(content);
    });
    const file = await openFile(url);
    const other = await file.beside?.('part 1?.bin');
    expect(other?.size).toBe(1000);
    expect(asked).toEqual(['/weights.safetensors', '/part%201%3F.bin']);
  });

  test('says what the server answered', async () => {
    const url = await serve((_, response) => response.writeHead(404).end());
    expect(await refusal(openFile(url))).toMatchObject({
      code: 'FILE',
      message: expect.stringContaining('404 Not Found'),
    });
    expect((await refusal(openFile('http://127.0.0.1:1/x'))).message).toContain('cannot be reached');
    expect((await refusal(writeFileAtomic('x'))).message).toContain('cannot write files');
  });
});
