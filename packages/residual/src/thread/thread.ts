import { parentPort, SHARE_ENV, Worker } from 'node:worker_threads';
import { callThread, type Handlers, type Offer, serveCalls, type Thread } from './calls.js';

export { type CallOptions, type Handlers, move, type Offer, type Thread } from './calls.js';

/**
 * A worker thread that runs the module at `url` (plain JavaScript), which calls `serveThread`. It starts with the
 * first call, and again with the first call after it died.
 *
 * @example
 * const thread = startThread<Api>(new URL('./worker.js', import.meta.url));
 * const sum = await thread.call('add', [1, 2]);
 */
export function startThread<Api extends Offer<Api>>(url: URL): Thread<Api> {
  return callThread<Api>((onAnswer, onEnd) => {
    // None of the process's own flags: some, such as --input-type, forbid a file.
    // The process's own environment, not a copy: native libraries read it too.
    const worker = new Worker(url, { execArgv: [], env: SHARE_ENV });
    let reason: string | undefined;
    worker.on('message', onAnswer);
    worker.on('error', (error) => {
      reason = error instanceof Error ? error.message : String(error);
    });
    worker.on('messageerror', (error) => {
      reason = `its answer could not be read (${error.message})`;
      void worker.terminate();
    });
    worker.on('exit', (code) => onEnd(reason ?? `it ended with code ${code}`));
    worker.unref();
    return {
      post: (message, transfer) => worker.postMessage(message, transfer),
      hold: (busy) => (busy ? worker.ref() : worker.unref()),
      async terminate() {
        await worker.terminate();
      },
    };
  });
}

/** Called once by a worker's module: offers these functions to the thread that started it. */
export function serveThread<Api extends Offer<Api>>(handlers: Handlers<Api>): void {
  const port = parentPort;
  if (port === null) throw new Error('serveThread is for modules that run as a worker thread');
  const take = serveCalls(
    handlers,
    (answer, transfer) => port.postMessage(answer, transfer),
    () => new Promise((resume) => setImmediate(resume)),
  );
  port.on('message', take);
}
