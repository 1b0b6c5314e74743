import { collectGarbageSoon, processor } from '#runtime';
import { ResidualError } from '../../errors.js';
import { type Graph, inferShapes } from '../../graph/graph.js';
import { type Folding, planFolding } from '../../graph/passes.js';
import type { Shape, Tensor, Weights } from '../../tensor.js';
import type { Backend, BackendOptions, Program } from '../backend.js';
import { largestOfEach, spoil } from '../unsound-pictures.js';
import { chooseVariants } from './choose.js';
import { candidatesOf, compilePlan, kindOf, type WatchedPlan } from './compile.js';
import { direct, ways } from './convolve.js';
import type { Dnnl } from './dnnl.js';
import { fuse, type Step } from './fuse.js';
import { ceilingsOf, chooseStations, type Guard, guardOf, isSafe, learnUsual } from './guard.js';
import { openDnnl } from './library.js';
import { type PackedStore, type PackedWeights, packWeights } from './packed.js';
import type { Plan } from './plan.js';
import { type Remembered, remember } from './remember.js';
import { slowLayers, slowOnes } from './slow.js';
import { measureTimings } from './timings.js';

/** Plans that a network keeps, one for each set of input shapes; the least recently used goes first. */
const plansKept = 4;

/** oneDNN by its C API. All of it lives in the worker thread and blocks that. */
export const onednn: Backend = {
  // What Winograd's cannot do is computed in blocks.
  ways: (options) => (isFixed(options) ? ['direct'] : ['direct', 'winograd']),
  async runtime() {
    const dnnl = openDnnl();
    const runtime = `oneDNN ${dnnl.version} (${dnnl.processor.isa})`;
    const { avx2, isa } = dnnl.processor;
    return avx2 ? { runtime } : { runtime, note: `its fast kernels need AVX2; this processor has ${isa}` };
  },
  async compile(graph, weights, options) {
    const dnnl = openDnnl();
    checkPrecision(dnnl, options);
    return prepare(dnnl, graph, weights, options);
  },
  slow(graph, precision) {
    const dnnl = openDnnl();
    checkPrecision(dnnl, { precision });
    return slowLayers(dnnl, graph, precision);
  },
};

/** Whether the clock has no say. Kernels of 8 bits are for channels that lie together. */
const isFixed = ({ deterministic, precision }: BackendOptions): boolean =>
  deterministic === true || precision === 'int8';

/** @throws ENGINE for numbers that this processor only has slow kernels for, or would compute wrongly with. */
export function checkPrecision(dnnl: Dnnl, { precision }: BackendOptions): void {
  const { isa, bf16, vnni, amx } = dnnl.processor;
  // The library would compute in f32 all the same, and say nothing.
  if (precision === 'f32-bf16' && !(dnnl.major === 3 && amx))
    throw new ResidualError(
      'ENGINE',
      `precision f32-bf16 needs oneDNN 3 and a processor with AMX, and this is oneDNN ${dnnl.version} (${isa}); use f32${bf16 ? ' or bf16' : ''}`,
      { precision },
    );
  if (precision === 'bf16' && !bf16)
    throw new ResidualError(
      'ENGINE',
      `precision bf16 needs a processor with AVX512-BF16 or AMX, and this one has ${isa}; use f32`,
      { precision },
    );
  // Sums of two products of u8 by s8 overflow 16 bits there.
  if (precision === 'int8' && !vnni)
    throw new ResidualError(
      'ENGINE',
      `precision int8 on engine "onednn" needs a processor with VNNI, and this one has ${isa}; use engine "onnx"`,
      { precision },
    );
}

/** What was timed on this machine, by the number of threads. */
const remembered = new Map<number, Remembered>();

function timesOf(dnnl: Dnnl, threads: number): Remembered {
  const { model, cores } = processor();
  const conditions = `oneDNN ${dnnl.version} (${dnnl.processor.isa}), ${model}, ${cores} cores, ${threads} threads`;
  const known = remembered.get(threads) ?? remember(conditions);
  remembered.set(threads, known);
  return known;
}

/** Packed weights by the number of the weights they were made of. */
const stores = new Map<number, PackedStore>();

function storeOf(number: number | undefined): PackedStore {
  const found = number === undefined ? undefined : stores.get(number);
  // One that its last user left is empty, and as good as new.
  const store = found ?? { kept: new Map(), users: 0 };
  if (number !== undefined) stores.set(number, store);
  for (const [other, { users }] of stores) if (users === 0 && other !== number) stores.delete(other);
  return store;
}

function prepare(dnnl: Dnnl, graph: Graph, given: Weights, options: BackendOptions): Program {
  const folding = planFolding(graph, given);
  const folded = folding.graph;
  const steps = fuse(folded);
  const guard = guardOf(folding, steps, options.quantisation);
  const packed = packWeights(dnnl, storeOf(options.store));
  const threads = options.threads ?? processor().cores;
  const plans = new Map<string, GuardedPlan>();
  let latest: Plan | undefined;
  /** What values stay below, as far as they were larger than is taken for granted. */
  const usual = new Map<number, number>();

  /** @param careful with every result looked at. */
  function planFor(inputs: Readonly<Record<string, Shape>>, careful = false): GuardedPlan {
    // A primitive must run in as many threads as it was made for; another network may have set another number since.
    dnnl.setThreads(threads);
    const key = `${folded.inputs.map(({ name }) => inputs[name].join('×')).join(' ')}${careful ? ', careful' : ''}`;
    const make = () => {
      const shapes = inferShapes(folded, inputs);
      const watching = (watched: ReadonlySet<number>) =>
        makePlan(dnnl, folded, steps, shapes, packed, options, threads, watched);
      if (careful) return watching(new Set(steps.map(({ output }) => output)));
      const stations = chooseStations(guard, folded, shapes, usual);
      return { ...watching(stations), ceilings: ceilingsOf(guard, folded, stations, usual) };
    };
    const plan = plans.get(key) ?? make();
    plans.delete(key);
    plans.set(key, plan);
    if (plans.size > plansKept) {
      const [oldest, old] = plans.entries().next().value as [string, Plan];
      plans.delete(oldest);
      old.dispose();
      collectGarbageSoon(); // Version 3 frees a plan's descriptors when they are collected.
    }
    if (!careful) latest = plan;
    return plan;
  }
  function disposePlans(): void {
    for (const plan of plans.values()) plan.dispose();
    plans.clear();
  }
  /** Pictures were sound, and only a look at everything showed it: from now on more is looked at. */
  function learn(seen: ReadonlyMap<number, number>, inputs: Readonly<Record<string, Shape>>): void {
    if (!learnUsual(usual, seen)) return;
    disposePlans();
    planFor(inputs);
  }
  /** Makes the weights known for as long as `use` takes. */
  function withWeights<T>(known: Folding, weights: Weights, use: () => T): T {
    packed.supply(known, weights);
    try {
      return use();
    } finally {
      packed.release();
    }
  }
  try {
    withWeights(folding, given, () =>
      planFor(options.shapes ?? Object.fromEntries(folded.inputs.map(({ name, shape }) => [name, shape]))),
    );
  } catch (error) {
    packed.dispose();
    throw error;
  }

  return {
    async run(inputs, weights) {
      const compute = () => runGuarded(guard, folded, planFor, learn, inputs);
      return weights ? withWeights(planFolding(graph, weights), weights, compute) : compute();
    },
    async convolutions() {
      dnnl.setThreads(threads);
      const began = performance.now();
      latest?.repeat('convolution');
      return performance.now() - began;
    },
    slow: () => slowOnes(latest?.kernels ?? []),
    async dispose() {
      disposePlans();
      packed.dispose();
    },
  };
}

/** A plan with magnitudes below which nothing can overflow. */
type GuardedPlan = WatchedPlan & { readonly ceilings?: ReadonlyMap<number, number> | undefined };

function makePlan(
  dnnl: Dnnl,
  graph: Graph,
  steps: readonly Step[],
  shapes: readonly Shape[],
  packed: PackedWeights,
  options: BackendOptions,
  threads: number,
  watched: ReadonlySet<number>,
): WatchedPlan {
  const { precision, quantisation, way } = options;
  const network = { graph, steps, shapes, quantisation, ...kindOf(precision) };
  if (isFixed(options)) return compilePlan(dnnl, network, packed, () => direct, watched);
  const candidates = candidatesOf(network);
  if (way) {
    const variants = candidates.map(({ job }) => (job ? ways[way as keyof typeof ways](job) : direct));
    return compilePlan(dnnl, network, packed, (step) => variants[step], watched);
  }
  const { measured, save } = timesOf(dnnl, threads);
  const timings = measureTimings(dnnl, measured);
  try {
    const variants = chooseVariants(dnnl, candidates, shapes, timings);
    save();
    return compilePlan(dnnl, network, packed, (step) => variants[step], watched);
  } finally {
    timings.done();
  }
}

/**
 * Runs a plan, and once more with every result looked at where that did not show all values to be numbers. Pictures of
 * which even that does not get NaN.
 */
function runGuarded(
  guard: Guard,
  graph: Graph,
  planFor: (shapes: Readonly<Record<string, Shape>>, careful?: boolean) => GuardedPlan,
  learn: (seen: ReadonlyMap<number, number>, shapes: Readonly<Record<string, Shape>>) => void,
  inputs: Readonly<Record<string, Tensor>>,
): Record<string, Tensor> {
  const shapes = Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape]));
  const given = graph.inputs.map(({ name, value }) => {
    const { data, shape } = inputs[name];
    const bits = new Int32Array(data.buffer, data.byteOffset, data.length);
    return [value, largestOfEach(bits, shape[0])] as const;
  });
  const seenOf = (picture: number, { seen }: GuardedPlan) =>
    new Map([...given, ...seen].map(([value, most]) => [value, most[picture]]));
  const isUsual = (picture: number, { seen, ceilings }: GuardedPlan): boolean =>
    [...given, ...seen].every(([value, most]) => most[picture] <= (ceilings?.get(value) ?? -1));
  const isDoubtful = (picture: number, plan: GuardedPlan): boolean =>
    !isUsual(picture, plan) && !isSafe(guard, seenOf(picture, plan));
  const plan = planFor(shapes);
  const results = plan.run(inputs);
  let doubtful = Array.from(given[0][1].keys()).filter((picture) => isDoubtful(picture, plan));
  if (doubtful.some((picture) => given.every(([, most]) => Number.isFinite(most[picture])))) {
    const careful = planFor(shapes, true);
    careful.run(inputs);
    const doubted = doubtful;
    doubtful = doubted.filter((picture) => isDoubtful(picture, careful));
    const sound = doubted.filter((picture) => !doubtful.includes(picture)).map((picture) => seenOf(picture, careful));
    learn(largestOfAll(sound), shapes);
  }
  for (const picture of doubtful) spoil(results, picture);
  return results;
}

/** The largest magnitudes among some pictures', by the value. */
function largestOfAll(seen: readonly ReadonlyMap<number, number>[]): Map<number, number> {
  const most = new Map<number, number>();
  for (const one of seen) for (const [value, x] of one) most.set(value, Math.max(x, most.get(value) ?? 0));
  return most;
}
