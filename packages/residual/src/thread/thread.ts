import { parentPort, SHARE_ENV, Worker, workerData } from 'node:worker_threads';
import { callThread, type Handlers, type Offer, serveCalls, type Thread, type ThreadOptions } from './calls.js';

export { type CallOptions, type Handlers, move, type Offer, type Thread } from './calls.js';

/** Places in the memory that both threads see: how many calls are under way, and whether none may begin any more. */
const [busy, closed] = [0, 1];

/** Milliseconds that a process which exits waits for the call under way. */
const patience = 5000;

/** What is done before the process exits. One listener serves all threads: Node warns of a leak at more than ten. */
const closing = new Set<() => void>();
const closeAll = (): void => {
  for (const close of closing) close();
};

/**
 * A worker thread that runs the module at `url` (plain JavaScript), which calls `serveThread`. It starts with the
 * first call, and again with the first call after it died.
 *
 * @example
 * const thread = startThread<Api>(new URL('./worker.js', import.meta.url));
 * const sum = await thread.call('add', [1, 2]);
 */
export function startThread<Api extends Offer<Api>>(
  url: URL,
  { interruptible = false }: ThreadOptions = {},
): Thread<Api> {
  return callThread<Api>((onAnswer, onEnd) => {
    const gate = new Int32Array(new SharedArrayBuffer(8));
    // None of the process's own flags: some, such as --input-type, forbid a file.
    // The process's own environment, not a copy: native libraries read it too.
    const worker = new Worker(url, { execArgv: [], env: SHARE_ENV, workerData: gate });
    // A thread that is stopped inside native code may take the process down: ONNX Runtime's binding throws what nobody
    // catches. So a process that exits waits a while for the call under way, and lets no other begin.
    const close = () => {
      Atomics.store(gate, closed, 1);
      const end = Date.now() + patience;
      for (let calls = Atomics.load(gate, busy); calls > 0 && Date.now() < end; calls = Atomics.load(gate, busy))
        Atomics.wait(gate, busy, calls, end - Date.now());
    };
    if (!interruptible) {
      if (closing.size === 0) process.on('exit', closeAll);
      closing.add(close);
    }
    let reason: string | undefined;
    const ended = new Promise<void>((resolve) => {
      worker.on('exit', (code) => {
        closing.delete(close);
        if (closing.size === 0) process.off('exit', closeAll);
        onEnd(reason ?? `it ended with code ${code}`);
        resolve();
      });
    });
    worker.on('message', onAnswer);
    worker.on('error', (error) => {
      reason = error instanceof Error ? error.message : String(error);
    });
    worker.unref();
    return {
      post: (message, transfer) => worker.postMessage(message, transfer),
      hold: (pending) => (pending ? worker.ref() : worker.unref()),
      kill: interruptible ? () => void worker.terminate() : undefined,
      ended,
    };
  });
}

/** Called once by a worker's module: offers these functions to the thread that started it. */
export function serveThread<Api extends Offer<Api>>(handlers: Handlers<Api>, atOnce = 1): void {
  const port = parentPort;
  if (port === null) throw new Error('serveThread is for modules that run as a worker thread');
  const gate = workerData as Int32Array;
  const done = () => {
    Atomics.sub(gate, busy, 1);
    Atomics.notify(gate, busy);
  };
  // Also when a call ends this thread, or an error that nobody catches does.
  process.on('exit', () => {
    Atomics.store(gate, busy, 0);
    Atomics.notify(gate, busy);
  });
  port.on(
    'message',
    serveCalls(
      handlers,
      {
        post: (answer, transfer) => port.postMessage(answer, transfer),
        turn: () => new Promise((resume) => setImmediate(resume)),
        begin() {
          Atomics.add(gate, busy, 1);
          if (Atomics.load(gate, closed) === 0) return true;
          done();
          return false;
        },
        done,
        end: () => process.exit(),
      },
      atOnce,
    ),
  );
}
