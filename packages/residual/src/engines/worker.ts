import { onednn } from '#onednn';
import { collectGarbage, collectGarbageSoon, processor } from '#runtime';
import { move, serveThread } from '#thread';
import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { Tensor, Weights } from '../tensor.js';
import type { Backend, BackendOptions, Program, Runtime } from './backend.js';
import { selfCheck } from './check.js';
import type { EngineName, Measurement } from './engine.js';
import { onnx } from './onnx/session.js';
import { reference } from './reference/run.js';

/** What the one worker thread does for the others: it holds every engine and every compiled network. */
export interface WorkerApi {
  runtime(engine: EngineName, options: BackendOptions): Runtime;
  /** The largest relative difference to `reference` on a small network. */
  check(engine: EngineName, options: BackendOptions): number;
  processor(): { model: string; cores: number };
  /** Keeps the network under `id`, a number of the caller's choice. */
  compile(id: number, engine: EngineName, graph: Graph, weights: Weights, options: BackendOptions): void;
  run(id: number, inputs: Readonly<Record<string, Tensor>>): Record<string, Tensor>;
  measure(id: number, inputs: Readonly<Record<string, Tensor>>): Measurement;
  dispose(id: number): void;
}

const backends = { onednn, onnx, reference } satisfies Record<EngineName, Backend>;
const programs = new Map<number, Program>();
const checks = new Map<string, Promise<number>>();

/** Checks an engine once on each device, in f32: scales are those of another network. */
function check(engine: EngineName, { threads, device }: BackendOptions): Promise<number> {
  const key = `${engine} ${device ?? 'cpu'}`;
  const begun = checks.get(key) ?? selfCheck(engine, backends[engine], { threads, device });
  checks.set(key, begun);
  begun.catch(() => checks.delete(key));
  return begun;
}

function programOf(id: number): Program {
  const program = programs.get(id);
  if (program === undefined) throw new ResidualError('DISPOSED', 'this network was disposed; compile it again');
  return program;
}

serveThread<WorkerApi>({
  runtime: (engine, options) => backends[engine].runtime(options),
  check,
  processor,
  async compile(id, engine, graph, weights, options) {
    if (engine !== 'reference') await check(engine, options);
    programs.set(id, await backends[engine].compile(graph, weights, options));
    collectGarbageSoon();
  },
  async run(id, inputs) {
    const results = await programOf(id).run(inputs);
    return move(results, [...new Set(Object.values(results).map(({ data }) => data.buffer as ArrayBuffer))]);
  },
  async measure(id, inputs) {
    const program = programOf(id);
    const start = performance.now();
    await program.run(inputs);
    const run = performance.now() - start;
    const convolutions = await program.convolutions?.();
    const slow = program.slow?.();
    return { run, ...(convolutions !== undefined && { convolutions }), ...(slow && { slow }) };
  },
  async dispose(id) {
    const program = programs.get(id);
    programs.delete(id);
    await program?.dispose();
    collectGarbage();
  },
});
