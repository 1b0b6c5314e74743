import { onednn } from '#onednn';
import { collectGarbage, collectGarbageSoon, processor } from '#runtime';
import { move, serveThread } from '#thread';
import { trainingHere } from '#training';
import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { TrainingStep } from '../graph/training-step.js';
import type { Tensor, Weights } from '../tensor.js';
import { type Backend, type BackendOptions, type Program, type Runtime, WeightsNeeded } from './backend.js';
import { selfCheck } from './check.js';
import type { EngineName, Measurement, Precision } from './engine.js';
import { onnx } from './onnx/session.js';
import { reference } from './reference/run.js';
import type { StepResult, TrainerOptions, TrainerState, Update } from './trainer.js';

type Inputs = Readonly<Record<string, Tensor>>;

/** An answer; or the inputs again, where the network needs its weights before it can answer. */
export type Answer<T> = { readonly answer: T } | { readonly again: Inputs };

/** What the one worker thread does for the others: it holds every engine and every compiled network. */
export interface WorkerApi {
  runtime(engine: EngineName, options: BackendOptions): Runtime;
  /** The largest relative difference to `reference` on a small network. */
  check(engine: EngineName, options: BackendOptions): number;
  processor(): { model: string; cores: number };
  /** Layers for which oneDNN has no fast kernel. */
  slow(graph: Graph, precision: Precision): readonly string[];
  /** Keeps the network under `id`, a number of the caller's choice. */
  compile(id: number, engine: EngineName, graph: Graph, weights: Weights, options: BackendOptions): void;
  /** With its weights where it asked for them: no other call may come between, or that could let go of them. */
  run(id: number, inputs: Inputs, weights: Weights | undefined): Answer<Record<string, Tensor>>;
  measure(id: number, inputs: Inputs, weights: Weights | undefined): Answer<Measurement>;
  dispose(id: number): void;
  /** Before any other call of the engine. @throws where it does not run here */
  trainBegin(engine: EngineName): void;
  /** What learns, kept under numbers of its own. */
  train(id: number, engine: EngineName, step: TrainingStep, weights: Weights, options: TrainerOptions): void;
  trainStep(id: number, inputs: Inputs, update: Update | undefined): StepResult;
  trainSave(id: number): TrainerState;
  trainGradients(id: number): Weights;
  trainRestore(id: number, state: TrainerState): void;
  trainEnd(id: number): void;
}

const backends = { onednn, onnx, reference } satisfies Record<EngineName, Backend>;
const programs = new Map<number, Program>();
/** The bytes of each network's weights. */
const sizes = new Map<number, number>();
/** Bytes of disposed networks that were not collected yet. Collecting takes longer than a small network's work. */
let disposed = 0;
const worthCollecting = 2 ** 24;
const checks = new Map<string, Promise<number>>();

/** Checks an engine once on each device and for each set of ways, in f32: scales are those of another network. */
function check(engine: EngineName, options: BackendOptions): Promise<number> {
  const { threads, device } = options;
  const backend: Backend = backends[engine];
  const ways = backend.ways?.(options) ?? [undefined];
  const key = `${engine} ${device ?? 'cpu'} ${ways}`;
  const begun = checks.get(key) ?? selfCheck(engine, backend, ways, { threads, device });
  checks.set(key, begun);
  begun.catch(() => checks.delete(key));
  return begun;
}

function programOf(id: number): Program {
  const program = programs.get(id);
  if (program === undefined) throw new ResidualError('DISPOSED', 'this network was disposed; compile it again');
  return program;
}

const buffersOf = (tensors: Inputs): ArrayBuffer[] => [
  ...new Set(Object.values(tensors).flatMap(({ data: { buffer } }) => (buffer instanceof ArrayBuffer ? buffer : []))),
];

/** Inputs were moved here: they go back with the question. */
function orAgain(error: unknown, inputs: Inputs) {
  if (error instanceof WeightsNeeded) return move({ again: inputs }, buffersOf(inputs));
  throw error;
}

serveThread<WorkerApi>({
  runtime: (engine, options) => backends[engine].runtime(options),
  check,
  processor,
  slow: (graph, precision) => onednn.slow?.(graph, precision) ?? [],
  async compile(id, engine, graph, weights, options) {
    if (engine !== 'reference') await check(engine, options);
    programs.set(id, await backends[engine].compile(graph, weights, options));
    sizes.set(
      id,
      [...weights.values()].reduce((sum, { data }) => sum + data.byteLength, 0),
    );
    collectGarbageSoon();
  },
  async run(id, inputs, weights) {
    try {
      const answer = await programOf(id).run(inputs, weights);
      return move({ answer }, buffersOf(answer));
    } catch (error) {
      return orAgain(error, inputs);
    }
  },
  async measure(id, inputs, weights) {
    try {
      const program = programOf(id);
      const start = performance.now();
      await program.run(inputs, weights);
      const run = performance.now() - start;
      const convolutions = await program.convolutions?.();
      const slow = program.slow?.();
      return { answer: { run, ...(convolutions !== undefined && { convolutions }), ...(slow && { slow }) } };
    } catch (error) {
      return orAgain(error, inputs);
    }
  },
  async dispose(id) {
    const program = programs.get(id);
    programs.delete(id);
    await program?.dispose();
    disposed += sizes.get(id) ?? 0;
    sizes.delete(id);
    if (disposed < worthCollecting) return collectGarbageSoon();
    disposed = 0;
    collectGarbage();
  },
  trainBegin: async (engine) => (await trainingHere()).begin(engine),
  async train(id, engine, step, weights, options) {
    if (engine !== 'reference') await check(engine, { threads: options.threads });
    await (await trainingHere()).start(id, engine, step, weights, options);
  },
  trainStep: async (id, inputs, update) => (await trainingHere()).step(id, inputs, update),
  trainSave: async (id) => (await trainingHere()).save(id),
  trainGradients: async (id) => (await trainingHere()).gradients(id),
  trainRestore: async (id, state) => (await trainingHere()).restore(id, state),
  trainEnd: async (id) => (await trainingHere()).end(id),
});
