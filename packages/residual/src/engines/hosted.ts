import { collectGarbageSoon } from '#runtime';
import { startThread } from '#thread';
import { ResidualError, unknownName } from '../errors.js';
import { weightsOfEightBits } from '../graph/eight-bits.js';
import { type Graph, inferShapes } from '../graph/graph.js';
import { prune } from '../graph/passes.js';
import { formatShape, type Shape, sizeOf, type Tensor, type WeightSource, type Weights, weightsOf } from '../tensor.js';
import type { BackendOptions } from './backend.js';
import type { CompileOptions, Engine, EngineName, Executable, Precision } from './engine.js';
import { copied, sharedWeights } from './sending.js';
import type { Answer, WorkerApi } from './worker.js';

type Inputs = Readonly<Record<string, Tensor>>;

/** The one thread of this process that computes: two teams of threads would only fight over the cores. */
export const worker = startThread<WorkerApi>(new URL('./worker.js', import.meta.url));

let nextId = 0;

/** An engine whose work is done in the worker thread; arguments are checked on this side. */
export function hosted(name: EngineName): Engine {
  return {
    name,
    async available({ deterministic, precision } = {}) {
      try {
        const runtime = await worker.call('runtime', [name, {}]);
        if (name !== 'reference') await worker.call('check', [name, { deterministic, precision }]);
        return { ok: true, ...runtime };
      } catch (error) {
        return { ok: false, reason: (error as Error).message };
      }
    },
    async compile(graph, options) {
      checkOptions(name, options);
      const wanted = prune(graph, options.outputs);
      const { threads, device, precision, quantisation, deterministic, shapes } = options;
      const executable = keep(name, wanted, options.weights, {
        threads,
        device,
        precision,
        deterministic,
        shapes,
        store: storeOf(options.weights),
        ...(precision === 'int8' && { quantisation }),
      });
      await executable.ready();
      return executable;
    },
  };
}

interface Compilation {
  /** Comes when the weights are there and the worker is told to compile. */
  readonly sent: Promise<void>;
  done?: Promise<void>;
  /** How often the worker had been lost when it was told. */
  losses?: number;
}

let nextStore = 0;
const stores = new WeakMap<WeightSource, number>();

/** A number for weights, so that networks compiled from the same ones can share what is made of them. */
function storeOf(weights: WeightSource): number {
  const store = stores.get(weights) ?? nextStore++;
  stores.set(weights, store);
  return store;
}

/** A compiled network as seen from here. When the worker was lost it is compiled again before the next run. */
function keep(
  engine: EngineName,
  graph: Graph,
  source: WeightSource,
  options: BackendOptions,
): Executable & { ready(): Promise<void> } {
  const id = nextId++;
  const { quantisation } = options;
  const eightBits: ReadonlySet<string> =
    quantisation && takesEightBits.includes(engine) ? weightsOfEightBits(graph, quantisation) : new Set();
  let compilation: Compilation | undefined;
  const running = new Set<Promise<unknown>>();
  let disposed = false;

  /** The compilation in the worker there is now. `done` is there once the worker has been told. */
  function compiled(): Compilation {
    if (compilation && (compilation.losses ?? worker.losses()) === worker.losses()) return compilation;
    const begun: Compilation = {
      sent: weightsOf(source).then((given) => {
        const weights = sharedWeights(graph, given, eightBits);
        begun.losses = worker.losses();
        begun.done = worker.call('compile', [id, engine, graph, weights, options]);
        begun.done.then(typeof source === 'function' ? collectGarbageSoon : undefined, forget);
      }),
    };
    // What failed is tried again by the next call: the file may be back.
    const forget = () => {
      if (compilation === begun) compilation = undefined;
    };
    begun.sent.catch(forget);
    compilation = begun;
    return begun;
  }

  type Call<T> = (sent: Inputs, weights: Weights | undefined, transfer: ArrayBuffer[]) => Promise<Answer<T>>;

  /** What `call` has the worker do with the inputs; `transfer` are those that move there. */
  function given<T>(inputs: Inputs, call: Call<T>): Promise<T> {
    const answer = ask(inputs, call);
    running.add(answer);
    const done = () => void running.delete(answer);
    answer.then(done, done);
    return answer;
  }

  async function ask<T>(inputs: Inputs, call: Call<T>): Promise<T> {
    if (disposed) throw new ResidualError('DISPOSED', `${graph.name} was disposed; compile it again before running it`);
    checkInputs(graph, inputs);
    let [sent, transfer] = copied(inputs);
    let weights: Weights | undefined;
    for (;;) {
      // The worker keeps the order of calls, so there is no need to wait for the compilation here, only to hear of it.
      let { sent: told, done } = compiled();
      for (; !done; { sent: told, done } = compiled()) await told;
      const [found] = await Promise.all([call(sent, weights, transfer), done]);
      if ('answer' in found) return found.answer;
      weights = sharedWeights(graph, await weightsOf(source), eightBits);
      sent = found.again;
      transfer = Object.values(sent).flatMap(({ data: { buffer } }) => (buffer instanceof ArrayBuffer ? buffer : []));
    }
  }

  return {
    async ready() {
      const begun = compiled();
      await begun.sent;
      await begun.done;
    },
    run: (inputs, { signal } = {}) =>
      given(inputs, (sent, weights, transfer) => worker.call('run', [id, sent, weights], { transfer, signal })),
    measure: (inputs, { signal } = {}) =>
      given(inputs, (sent, weights, transfer) => worker.call('measure', [id, sent, weights], { transfer, signal })),
    async dispose() {
      if (disposed) return;
      disposed = true;
      // One may be about to come back with weights that it was asked for.
      await Promise.allSettled(running);
      // What is still being read is compiled first, and freed then.
      if (compilation && !compilation.done) await compilation.sent.catch(() => {});
      if (compilation?.losses === worker.losses()) await worker.call('dispose', [id]);
    },
  };
}

/** What each engine computes in. */
const precisions = {
  onednn: ['f32', 'f32-bf16', 'bf16', 'int8'],
  onnx: ['f32', 'int8'],
  reference: ['f32', 'int8'],
} satisfies Record<EngineName, readonly Precision[]>;

/** @throws ARGUMENT; ENGINE for a device or a precision that the engine cannot have. */
function checkOptions(engine: EngineName, { threads, precision = 'f32', quantisation, device }: CompileOptions): void {
  if (threads !== undefined && !(Number.isInteger(threads) && threads > 0))
    throw new ResidualError('ARGUMENT', `threads must be a whole number from 1 but received ${threads}`);
  if (!precisions.onednn.includes(precision))
    throw new ResidualError(
      'ARGUMENT',
      `precision must be "f32", "f32-bf16", "bf16" or "int8" but received ${JSON.stringify(precision)}`,
    );
  const known: readonly Precision[] = precisions[engine];
  if (!known.includes(precision))
    throw new ResidualError(
      'ENGINE',
      `engine "${engine}" does not compute in ${precision}; it has: ${known.join(', ')}`,
      {
        precision,
      },
    );
  if (precision === 'int8' && quantisation === undefined)
    throw new ResidualError(
      'ARGUMENT',
      'precision int8 needs the scales of a quantised model; make one first: residual quantize --weights FILE --data DIR --out FILE',
      { precision },
    );
  if (engine !== 'onnx' && device !== undefined && device !== 'cpu')
    throw new ResidualError('ENGINE', `engine "${engine}" has no device "${device}"; it has: cpu`, { device });
}

/** Engines that take a weight's `eightBits` in place of its `data`, which is then empty. */
const takesEightBits: readonly EngineName[] = ['onednn', 'onnx'];

/** @throws GRAPH, with both shapes, unless the inputs are those of the graph, in sizes that it takes. */
function checkInputs(graph: Graph, inputs: Readonly<Record<string, Tensor>>): void {
  const names = graph.inputs.map((input) => input.name);
  for (const name of Object.keys(inputs))
    if (!names.includes(name)) throw unknownName(`input of ${graph.name}`, name, names);
  const shapes: Record<string, Shape> = {};
  for (const { name, shape: built } of graph.inputs) {
    const received: Tensor | undefined = inputs[name];
    const refuse = (what: string) =>
      new ResidualError('GRAPH', `input "${name}" of ${graph.name} must be ${describe(built)} but ${what}`, {
        input: name,
      });
    if (received === undefined) throw refuse('is missing');
    const { shape, data } = received;
    const fits = shape.length === built.length && (built.length !== 4 || shape[1] === built[1]);
    if (!fits || !shape.every((size) => Number.isInteger(size) && size > 0))
      throw refuse(`received ${formatShape(shape)}`);
    if (!(data instanceof Float32Array)) throw refuse(`received numbers of type ${received.dtype}`);
    if (data.length !== sizeOf(shape)) throw refuse(`received ${formatShape(shape)} with ${data.length} numbers`);
    shapes[name] = shape;
  }
  inferShapes(graph, shapes);
}

/** `[N, 3, H, W]` float32: what may vary as letters. */
const describe = (built: Shape): string =>
  `${built.length === 4 ? `[N, ${built[1]}, H, W]` : formatShape(built, true)} in float32`;
