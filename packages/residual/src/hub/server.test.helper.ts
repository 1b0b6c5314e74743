// For tests: an HTTP server on a port of its own that does as it is told, and counts what it was asked.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Handler = (request: IncomingMessage, response: ServerResponse, nth: number) => void;

export interface TestServer {
  readonly url: string;
  /** Method, path and Range header of each request. */
  readonly asked: { readonly path: string; readonly range: string | undefined; readonly ifRange: string | undefined }[];
  close(): Promise<void>;
}

export async function serve(handler: Handler): Promise<TestServer> {
  const asked: TestServer['asked'] = [];
  const server: Server = createServer((request, response) => {
    const { range } = request.headers;
    asked.push({ path: request.url ?? '', range, ifRange: request.headers['if-range'] as string | undefined });
    handler(request, response, asked.length);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** An ordinary server of one file: ETag, Range and If-Range. */
export function file(body: Uint8Array, { etag = '"one"', ranges = true } = {}): Handler {
  return (request, response) => {
    const { range } = request.headers;
    const start = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? Number.NaN);
    const goesOn = ranges && range !== undefined && request.headers['if-range'] === etag;
    if (goesOn && start >= body.length) {
      response.writeHead(416, { 'content-range': `bytes */${body.length}` }).end();
      return;
    }
    const part = goesOn ? body.subarray(start) : body;
    response.writeHead(goesOn ? 206 : 200, {
      etag,
      'content-length': part.length,
      'content-type': 'application/octet-stream',
      ...(goesOn && { 'content-range': `bytes ${start}-${body.length - 1}/${body.length}` }),
    });
    response.end(part);
  };
}

/** Sends the first `bytes` of what is due and cuts the connection. */
export function cut(body: Uint8Array, bytes: number, etag = '"one"'): Handler {
  return (_, response) => {
    response.writeHead(200, { etag, 'content-length': body.length });
    // Ended, not destroyed: what was written still arrives.
    response.write(body.subarray(0, bytes), () => response.socket?.end());
  };
}
