import { aborted, errorFromJSON, ResidualError } from '../errors.js';

/**
 * What an other thread offers: functions over plain data. Arguments and results are cloned, except that memory in a
 * `SharedArrayBuffer` is shared and buffers in a transfer list are moved.
 */
export type Offer<Api> = { [K in keyof Api]: (...args: never[]) => unknown };

type Result<F extends (...args: never[]) => unknown> = Awaited<ReturnType<F>>;

export interface CallOptions {
  /** Buffers to move instead of copying; they are empty on this side afterwards. */
  readonly transfer?: readonly ArrayBuffer[];
  /** A call that waits is taken out of the queue; one that runs is let run and its answer dropped. */
  readonly signal?: AbortSignal | undefined;
}

/** Another thread, seen from here. It starts with the first call and keeps no process alive while it has nothing to do. */
export interface Thread<Api extends Offer<Api>> {
  /**
   * Calls a function there. Calls are done one after the other, in the order they were made.
   * @throws whatever the function threw; ABORTED; ENGINE when the thread died, after which the next call starts anew.
   */
  call<K extends keyof Api & string>(name: K, args: Parameters<Api[K]>, options?: CallOptions): Promise<Result<Api[K]>>;
  /** How often the thread was lost: what an earlier thread remembered is gone when this has changed. */
  losses(): number;
  /** Rejects what is pending, and ends the thread: as soon as its call is done, or at once when it is interruptible. */
  terminate(): Promise<void>;
}

export interface ThreadOptions {
  /**
   * The thread may be stopped inside a call, as JavaScript and WebAssembly may; native code may not: ONNX Runtime would
   * take the process down.
   */
  readonly interruptible?: boolean;
}

/** What goes over the wire. */
export type Message = { id: number; name: string; args: unknown[] } | { cancel: number } | { end: true };
export type Answer = { id: number; value: unknown } | { id: number; error: Parameters<typeof errorFromJSON>[0] };

/** The host's own way of running a thread. */
export interface Port {
  post(message: Message, transfer: readonly ArrayBuffer[]): void;
  /** Whether this thread should keep the process alive. */
  hold(busy: boolean): void;
  /** Stops an interruptible thread at once. */
  readonly kill?: (() => void) | undefined;
  /** Resolves when the thread has ended. */
  readonly ended: Promise<void>;
}

/** The host's side of a thread that serves. */
export interface Server {
  post(answer: Answer, transfer: readonly ArrayBuffer[]): void;
  /** Waits for one turn of the event loop, in which waiting messages are taken in. */
  turn(): Promise<void>;
  /** Told before and after each call; no call may begin when it answers false. */
  begin(): boolean;
  done(): void;
  /** Ends this thread. */
  end(): void;
}

/** The calling side, for any host: `open` starts a thread and reports its answers and its end. */
export function callThread<Api extends Offer<Api>>(
  open: (onAnswer: (answer: Answer) => void, onEnd: (reason: string) => void) => Port,
): Thread<Api> {
  interface Pending {
    resolve(value: unknown): void;
    reject(error: Error): void;
  }
  let port: Port | undefined;
  let lost = 0;
  let nextId = 0;
  const pending = new Map<number, Pending>();

  /** Takes a call off the list; the last one lets the process go. */
  function settle(id: number): Pending | undefined {
    const found = pending.get(id);
    pending.delete(id);
    if (pending.size === 0) port?.hold(false);
    return found;
  }

  function start(): Port {
    const opened = open(
      (answer) => {
        if (port !== opened) return;
        const call = settle(answer.id);
        if ('error' in answer) call?.reject(errorFromJSON(answer.error));
        else call?.resolve(answer.value);
      },
      (reason) => {
        if (port === opened) lose(reason);
      },
    );
    return opened;
  }

  function lose(reason: string): void {
    port = undefined;
    lost++;
    const calls = [...pending.values()];
    pending.clear();
    for (const call of calls)
      call.reject(new ResidualError('ENGINE', `the worker thread stopped: ${reason}; the next call starts a new one`));
  }

  return {
    call: (name, args, { transfer = [], signal } = {}) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) throw aborted();
        const id = nextId++;
        port ??= start();
        const used = port;
        // Posting first: an argument that cannot be sent must leave nothing behind.
        used.post({ id, name, args }, transfer);
        const onAbort = () => {
          settle(id);
          used.post({ cancel: id }, []);
          reject(aborted());
        };
        const done = signal ? whenAborted(signal, onAbort) : () => {};
        pending.set(id, {
          resolve: (value) => {
            done();
            resolve(value as Result<Api[typeof name]>);
          },
          reject: (error) => {
            done();
            reject(error);
          },
        });
        used.hold(true);
      }),
    losses: () => lost,
    async terminate() {
      const ending = port;
      if (ending === undefined) return;
      lose('it was terminated');
      ending.hold(true);
      if (ending.kill) ending.kill();
      else ending.post({ end: true }, []);
      await ending.ended;
    },
  };
}

/** What waits on each signal. One listener serves all: Node warns of a leak when a signal has more than ten. */
const waiting = new WeakMap<AbortSignal, { actions: Set<() => void>; run: () => void }>();

/** Does `action` when the signal is aborted; gives a function that takes it back. */
function whenAborted(signal: AbortSignal, action: () => void): () => void {
  let entry = waiting.get(signal);
  if (entry === undefined) {
    const actions = new Set<() => void>();
    entry = {
      actions,
      run() {
        waiting.delete(signal);
        for (const act of actions) act();
      },
    };
    waiting.set(signal, entry);
    signal.addEventListener('abort', entry.run, { once: true });
  }
  const { actions, run } = entry;
  actions.add(action);
  return () => {
    // The last one takes the listener away.
    if (!actions.delete(action) || actions.size > 0) return;
    waiting.delete(signal);
    signal.removeEventListener('abort', run);
  };
}

const moves = new WeakMap<object, readonly ArrayBuffer[]>();

/** Marks a result: when it is sent to the caller, these buffers are moved with it, not copied. */
export function move<T extends object>(result: T, buffers: readonly ArrayBuffer[]): T {
  moves.set(result, buffers);
  return result;
}

/** The functions inside the thread; each may answer later. */
export type Handlers<Api extends Offer<Api>> = {
  [K in keyof Api]: (...args: Parameters<Api[K]>) => Result<Api[K]> | Promise<Result<Api[K]>>;
};

/**
 * The serving side, for any host: gives the function that takes messages and does them in order, `atOnce` at a time:
 * one call goes on where another waits for a thread of the system's.
 */
export function serveCalls<Api extends Offer<Api>>(
  handlers: Handlers<Api>,
  server: Server,
  atOnce = 1,
): (message: Message) => void {
  const queue = new Map<number, { name: string; args: unknown[] }>();
  let working = 0;
  let ending = false;

  async function work(): Promise<void> {
    working++;
    for (;;) {
      await server.turn(); // What was cancelled during the last call leaves the queue here.
      const next = queue.entries().next();
      if (ending || next.done) break;
      if (!server.begin()) return;
      const [id, { name, args }] = next.value;
      queue.delete(id);
      try {
        const handler = handlers[name as keyof Api] as (...args: unknown[]) => unknown;
        const value = await handler(...args);
        server.post({ id, value }, (typeof value === 'object' && value !== null && moves.get(value)) || []);
      } catch (error) {
        server.post({ id, error: describe(error) }, []);
      }
      server.done();
    }
    working--;
    if (ending && working === 0) server.end();
  }

  return (message) => {
    if ('end' in message) {
      ending = true;
      queue.clear();
      if (working === 0) server.end();
    } else if ('cancel' in message) queue.delete(message.cancel);
    else {
      queue.set(message.id, message);
      if (working < atOnce) void work();
    }
  };
}

function describe(error: unknown): Parameters<typeof errorFromJSON>[0] {
  if (error instanceof ResidualError) return error.toJSON();
  return { message: error instanceof Error ? error.message : String(error) };
}
