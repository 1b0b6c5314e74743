import {
  type Answer,
  callThread,
  type Handlers,
  type Message,
  type Offer,
  serveCalls,
  type Thread,
  type ThreadOptions,
} from './calls.js';

export { type CallOptions, type Handlers, move, type Offer, type Thread } from './calls.js';

/** As in Node: a Web Worker that runs the module at `url`. A page is not kept open by it. */
export function startThread<Api extends Offer<Api>>(
  url: URL,
  { interruptible = false }: ThreadOptions = {},
): Thread<Api> {
  return callThread<Api>((onAnswer, onEnd) => {
    const worker = new Worker(url, { type: 'module' });
    const end = (reason: string) => {
      worker.terminate();
      onEnd(reason);
    };
    worker.onmessage = (event: MessageEvent<Answer>) => onAnswer(event.data);
    worker.onerror = (event) => end(event.message ?? 'its script could not be loaded');
    worker.onmessageerror = () => end('its answer could not be read');
    return {
      post: (message, transfer) => worker.postMessage(message, [...transfer]),
      hold() {},
      kill: interruptible ? () => worker.terminate() : undefined,
      // A Web Worker does not tell when it has ended.
      ended: Promise.resolve(),
    };
  });
}

/** Called once by a worker's module: offers these functions to the page that started it. */
export function serveThread<Api extends Offer<Api>>(handlers: Handlers<Api>, atOnce = 1): void {
  // The DOM's types describe a page; inside a worker `self` posts to the page.
  const scope = globalThis as unknown as {
    postMessage(answer: Answer, transfer: Transferable[]): void;
    onmessage: (event: MessageEvent<Message>) => void;
    close(): void;
  };
  const turns = new MessageChannel();
  const waiting: (() => void)[] = [];
  turns.port1.onmessage = () => waiting.shift()?.();
  const take = serveCalls(
    handlers,
    {
      post: (answer, transfer) => scope.postMessage(answer, [...transfer]),
      turn: () =>
        new Promise((resume) => {
          waiting.push(resume);
          turns.port2.postMessage(null);
        }),
      begin: () => true,
      done() {},
      end: () => scope.close(),
    },
    atOnce,
  );
  scope.onmessage = (event) => take(event.data);
}
