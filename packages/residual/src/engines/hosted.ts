import { startThread } from '#thread';
import { ResidualError, unknownName } from '../errors.js';
import { weightsOfEightBits } from '../graph/eight-bits.js';
import { type Graph, inferShapes } from '../graph/graph.js';
import { prune } from '../graph/passes.js';
import { formatShape, type Shape, sameShape, sharedFloats, sizeOf, type Tensor, type Weights } from '../tensor.js';
import type { BackendOptions } from './backend.js';
import type { CompileOptions, Engine, EngineName, Executable, Precision } from './engine.js';
import type { WorkerApi } from './worker.js';

/** The one thread of this process that computes: two teams of threads would only fight over the cores. */
export const worker = startThread<WorkerApi>(new URL('./worker.js', import.meta.url));

let nextId = 0;

/** An engine whose work is done in the worker thread; arguments are checked on this side. */
export function hosted(name: EngineName): Engine {
  return {
    name,
    async available() {
      try {
        const runtime = await worker.call('runtime', [name, {}]);
        if (name !== 'reference') await worker.call('check', [name, {}]);
        return { ok: true, ...runtime };
      } catch (error) {
        return { ok: false, reason: (error as Error).message };
      }
    },
    async compile(graph, options) {
      checkOptions(name, options);
      const wanted = prune(graph, options.outputs);
      const { threads, device, precision, quantisation } = options;
      const eightBits = precision === 'int8' && quantisation && takesEightBits.includes(name);
      const weights = sharedWeights(
        wanted,
        options.weights,
        eightBits ? weightsOfEightBits(wanted, quantisation) : new Set(),
      );
      const executable = keep(name, wanted, weights, {
        threads,
        device,
        precision,
        ...(precision === 'int8' && { quantisation }),
      });
      await executable.ready();
      return executable;
    },
  };
}

/** A compiled network as seen from here. When the worker was lost it is compiled again before the next run. */
function keep(
  engine: EngineName,
  graph: Graph,
  weights: Weights,
  options: BackendOptions,
): Executable & { ready(): Promise<void> } {
  const id = nextId++;
  let compiled: { losses: number; done: Promise<void> } | undefined;
  let disposed = false;

  function ready(): Promise<void> {
    if (compiled?.losses !== worker.losses())
      compiled = { losses: worker.losses(), done: worker.call('compile', [id, engine, graph, weights, options]) };
    return compiled.done;
  }

  return {
    ready,
    async run(inputs, { signal } = {}) {
      if (disposed)
        throw new ResidualError('DISPOSED', `${graph.name} was disposed; compile it again before running it`);
      checkInputs(graph, inputs);
      const [sent, transfer] = copied(inputs);
      // The worker keeps the order of calls, so there is no need to wait for the compilation here, only to hear of it.
      const compilation = ready();
      const [run] = await Promise.all([worker.call('run', [id, sent], { transfer, signal }), compilation]);
      return run;
    },
    async dispose() {
      if (disposed) return;
      disposed = true;
      if (compiled?.losses === worker.losses()) await worker.call('dispose', [id]);
    },
  };
}

/** What each engine computes in. */
const precisions = {
  onnx: ['f32', 'int8'],
  reference: ['f32', 'int8'],
} satisfies Record<EngineName, readonly Precision[]>;

/** @throws ARGUMENT; ENGINE for a device or a precision that the engine cannot have. */
function checkOptions(engine: EngineName, { threads, precision = 'f32', quantisation, device }: CompileOptions): void {
  if (threads !== undefined && !(Number.isInteger(threads) && threads > 0))
    throw new ResidualError('ARGUMENT', `threads must be a whole number from 1 but received ${threads}`);
  if (!['f32', 'bf16', 'int8'].includes(precision))
    throw new ResidualError(
      'ARGUMENT',
      `precision must be "f32", "bf16" or "int8" but received ${JSON.stringify(precision)}`,
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
  if (engine === 'reference' && device !== undefined && device !== 'cpu')
    throw new ResidualError('ENGINE', `engine "reference" has no device "${device}"; it has: cpu`, { device });
}

/** Engines that take a weight's `eightBits` in place of its `data`, which is then empty. */
const takesEightBits: readonly EngineName[] = ['onnx'];

/**
 * The weights a graph needs, in memory that the worker can read without a copy; those named in `eightBits` as whole
 * numbers alone, where they are stored so.
 */
function sharedWeights(graph: Graph, weights: Weights, eightBits: ReadonlySet<string>): Weights {
  return new Map(
    graph.parameters.map(({ name, shape }) => {
      const found = weights.get(name);
      if (found === undefined)
        throw new ResidualError('WEIGHTS_MISMATCH', `${graph.name} needs the weight "${name}", which was not given`, {
          name,
        });
      if (found.eightBits && eightBits.has(name) && sameShape(found.shape, shape))
        return [
          name,
          { dtype: 'float32', shape, data: new Float32Array(0), eightBits: found.eightBits } satisfies Tensor,
        ];
      const { data } = found;
      if (!sameShape(found.shape, shape) || data.length !== sizeOf(shape))
        throw new ResidualError(
          'WEIGHTS_MISMATCH',
          `${graph.name}: weight "${name}" must be ${formatShape(shape)} but received ${formatShape(found.shape)} with ${data.length} numbers`,
          { name, expected: shape, received: found.shape },
        );
      return [name, { dtype: 'float32', shape, data: isShared(data) ? data : share(data) } satisfies Tensor];
    }),
  );
}

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

/** Inputs as they are sent: shared memory as it is, the rest copied once, and the copies to be moved. */
function copied(inputs: Readonly<Record<string, Tensor>>): [Record<string, Tensor>, ArrayBuffer[]] {
  const transfer: ArrayBuffer[] = [];
  const sent = Object.entries(inputs).map(([name, { shape, data }]): [string, Tensor] => {
    if (isShared(data)) return [name, { dtype: 'float32', shape, data }];
    const copy = new Float32Array(data);
    transfer.push(copy.buffer);
    return [name, { dtype: 'float32', shape, data: copy }];
  });
  return [Object.fromEntries(sent), transfer];
}

const isShared = (data: Float32Array): boolean =>
  typeof SharedArrayBuffer !== 'undefined' && data.buffer instanceof SharedArrayBuffer;

function share(data: Float32Array): Float32Array {
  const shared = sharedFloats(data.length);
  shared.set(data);
  return shared;
}
