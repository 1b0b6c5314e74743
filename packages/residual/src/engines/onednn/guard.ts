import { ResidualError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import type { Folding } from '../../graph/passes.js';
import type { Quantisation } from '../../graph/quantisation.js';
import { magnitudesOf, type Shape, sizeOf, type Tensor } from '../../tensor.js';
import type { Step } from './fuse.js';

/**
 * What no value may pass. A tenth of a billionth of what f32 holds: the rest is for what kernels have on the way, sums
 * of a whole picture for its mean and Winograd's transforms (below 3,000 times the values for tiles of 4×4).
 */
const largestSafe = 2 ** 100;

/** What values are taken to stay below as long as nothing is known of them, where it is settled which to look at. */
const ordinary = 2 ** 10;

/** How much larger than any that was seen values may get before others are chosen to be looked at. */
const headroom = 2 ** 6;

/** Rounding to bf16, of weights and results, and that of long sums. */
const rounding = 1 + 1 / 64;

/** How a step's result is bounded: |y| ≤ gain · min(|x|, from) + offset, and ≤ to. */
interface Limit {
  readonly gain: number;
  readonly offset: number;
  /** What 8 bits hold of the input and of the result; infinite where they are floats. */
  readonly from: number;
  readonly to: number;
}

/** A network's steps with what bounds their results. */
export interface Guard {
  readonly steps: readonly Step[];
  /** By step; absent for those without weights. */
  readonly limits: readonly (Limit | undefined)[];
}

/**
 * Bounds the results of every step by the weights: a convolution's are at most the largest sum of an output channel's
 * magnitudes times the largest input, and so on (the norm that belongs to the largest magnitude).
 * @throws NUMERICS for weights by which any picture's values may overflow, or that are no numbers.
 */
export function guardOf(folding: Folding, steps: readonly Step[], quantisation?: Quantisation): Guard {
  const { graph, weights, factors } = folding;
  const parameters = new Map(graph.parameters.map(({ value, name }) => [value, name]));
  const names = new Map([
    ...graph.inputs.map(({ value, name }) => [value, name] as const),
    ...steps.map(({ output, name }) => [output, name] as const),
  ]);
  const tensorOf = (name: string): Tensor => weights.get(name) as Tensor;

  function checked(value: number, name: string, folded = false): number {
    if (value <= largestSafe) return value;
    throw new ResidualError(
      'NUMERICS',
      `${graph.name}: ${name}${folded ? ' and the BatchNorm behind it hold' : ' holds'} numbers that let values overflow (${value}); the weights are damaged`,
      { parameter: name },
    );
  }
  const most = (name: string, folded = false): number => checked(largestOf(tensorOf(name).data), name, folded);
  function held(value: number): number {
    const kept = quantisation?.activations[names.get(value) ?? ''];
    return kept ? 255 * kept.scale : Number.POSITIVE_INFINITY;
  }
  const limits = steps.map(({ node, output }): Limit | undefined => {
    const [first, ...rest] = node.inputs.map((value) => parameters.get(value) ?? '').slice(1);
    if (node.op === 'batchNorm') {
      const [beta, mean] = rest.slice(0, 2).map((name) => most(name));
      const roots = tensorOf(rest[2]).data.map((x) => Math.sqrt(x + node.attributes.epsilon));
      checked(largestOf(roots), rest[2]);
      const gain = checked(largestOf(tensorOf(first).data.map((x, c) => x / roots[c])), first);
      return { gain, offset: gain * mean + beta, from: Number.POSITIVE_INFINITY, to: Number.POSITIVE_INFINITY };
    }
    if (node.op !== 'conv2d' && node.op !== 'dense') return undefined;
    const factor = factors.get(first);
    const folded = factor !== undefined;
    if (factor) checked(largestOf(factor), first, folded);
    const sums = sumsOfMagnitudes(tensorOf(first));
    const gain = checked(largestOf(factor ? sums.map((sum, c) => sum * factor[c]) : sums), first, folded);
    const offset = rest[0] === undefined ? 0 : most(rest[0], folded);
    const inEightBits = quantisation && !quantisation.float.includes(node.name);
    const from = inEightBits ? held(node.inputs[0]) : Number.POSITIVE_INFINITY;
    return { gain, offset, from, to: Number.isFinite(from) ? held(output) : Number.POSITIVE_INFINITY };
  });
  return { steps, limits };
}

/** What a step's result is bounded by, where `of` bounds what it reads. */
function boundOf({ node, residual }: Step, limit: Limit | undefined, of: (value: number) => number): number {
  const x = of(node.inputs[0]);
  const added = residual === undefined ? 0 : of(residual);
  if (limit) {
    const { gain, offset, from, to } = limit;
    return Math.min(to, rounding * (gain * Math.min(x, from) + offset + added));
  }
  if (node.op === 'add') return rounding * (x + of(node.inputs[1]) + added);
  if (node.op === 'mul') return rounding * (x * of(node.inputs[1]) + added);
  if (node.op === 'concat') return Math.max(...node.inputs.map(of));
  if (node.op === 'sigmoid' || node.op === 'softmax') return 1;
  // The others pick values, or weigh them by what sums to 1.
  return x * rounding;
}

/**
 * Bounds of all values, given the largest magnitudes of the inputs and of whichever values were looked at. While they
 * are safe, all values are numbers: the first that were none would have come of numbers too large.
 */
export function boundsOf({ steps, limits }: Guard, seen: ReadonlyMap<number, number>): ReadonlyMap<number, number> {
  const bounds = new Map(seen);
  const of = (value: number): number => seen.get(value) ?? bounds.get(value) ?? Number.NaN;
  steps.forEach((step, i) => void bounds.set(step.output, boundOf(step, limits[i], of)));
  return bounds;
}

/** Whether no value can have overflown. */
export const isSafe = (guard: Guard, seen: ReadonlyMap<number, number>): boolean =>
  Array.from(boundsOf(guard, seen).values()).every((bound) => bound <= largestSafe);

/**
 * Remembers how large sound values were.
 * @returns whether they were larger than was thought, so that others may have to be looked at.
 */
export function learnUsual(usual: Map<number, number>, seen: ReadonlyMap<number, number>): boolean {
  let isNew = false;
  for (const [value, most] of seen)
    if (most > (usual.get(value) ?? ordinary)) {
      usual.set(value, Math.min(most * headroom, largestSafe));
      isNew = true;
    }
  return isNew;
}

/** Steps back from an unsafe one among which a value to look at is searched, and steps on that are to profit by it. */
const [back, ahead] = [64, 8];

/**
 * Values to look at while a network runs, so that ordinary pictures are known to be safe: few numbers, and those that
 * lower the bounds behind them most.
 * @param usual what values stay below, where more is known of them than nothing.
 */
export function chooseStations(
  guard: Guard,
  graph: Graph,
  shapes: readonly Shape[],
  usual: ReadonlyMap<number, number> = new Map(),
): Set<number> {
  const { steps, limits } = guard;
  const stations = new Set<number>();
  const below = (value: number): number => usual.get(value) ?? ordinary;
  const bounds = new Map(graph.inputs.map(({ value }) => [value, below(value)]));
  const own = (i: number, of: ReadonlyMap<number, number>) =>
    boundOf(steps[i], limits[i], (value) => of.get(value) ?? Number.NaN);
  /** The bounds from an unsafe step on, if the result of the step `at` before it is known to be ordinary. */
  function boundsAfter(at: number, unsafe: number): number[] {
    const known = new Map(bounds);
    if (at < unsafe) known.set(steps[at].output, below(steps[at].output));
    for (let i = at + 1; i < Math.min(steps.length, unsafe + ahead); i++)
      if (!stations.has(steps[i].output)) known.set(steps[i].output, own(i, known));
    return steps.slice(unsafe, unsafe + ahead).map(({ output }) => known.get(output) as number);
  }
  const cost = ({ output, relu }: Step): number => sizeOf(shapes[output]) * (relu ? 1 : signedCost);
  for (let i = 0; i < steps.length; i++) {
    const { output } = steps[i];
    const bound = stations.has(output) ? below(output) : own(i, bounds);
    bounds.set(output, bound);
    if (bound <= largestSafe) continue;
    const without = boundsAfter(i, i);
    const useful = Array.from({ length: Math.min(i, back) }, (_, k) => i - 1 - k).filter(
      (at) => (bounds.get(steps[at].output) as number) > below(steps[at].output),
    );
    const found = useful
      .map((at) => ({ at, after: boundsAfter(at, i) }))
      .filter(({ after }) => after[0] <= largestSafe)
      .map(({ at, after }) => {
        const lowered = after.reduce((sum, x, k) => sum + Math.log2(without[k] / x), 0);
        return { at, worth: lowered / cost(steps[at]), lasts: after.every((x) => x <= largestSafe) };
      });
    const lasting = found.filter(({ lasts }) => lasts);
    const best = (lasting.length ? lasting : found).sort((a, b) => b.worth - a.worth)[0]?.at;
    // Where no single one will do, the results from here on back are looked at, and at last this one.
    const chosen = best ?? useful[0] ?? i;
    stations.add(steps[chosen].output);
    bounds.set(steps[chosen].output, below(steps[chosen].output));
    i = chosen;
  }
  // Later ones make some needless.
  const isEnough = () => ceilingsOf(guard, graph, stations, usual) !== undefined;
  if (isEnough())
    for (const station of [...stations]) {
      stations.delete(station);
      if (!isEnough()) stations.add(station);
    }
  return stations;
}

/**
 * By inputs and stations, magnitudes with which all is safe; undefined where they are not enough. Bounds grow with what
 * they begin with, so that whatever stays below needs none computed.
 */
export function ceilingsOf(
  guard: Guard,
  graph: Graph,
  stations: Iterable<number>,
  usual: ReadonlyMap<number, number> = new Map(),
): ReadonlyMap<number, number> | undefined {
  const known = [...graph.inputs.map(({ value }) => value), ...stations];
  const ceilings = new Map(known.map((value) => [value, usual.get(value) ?? ordinary]));
  return isSafe(guard, ceilings) ? ceilings : undefined;
}

/** Numbers below zero are looked at by JavaScript, others by the library. */
const signedCost = 8;

/** The sum of the magnitudes of each output channel's weights. */
function sumsOfMagnitudes(weight: Tensor): Float64Array {
  const { eightBits } = weight;
  if (eightBits === undefined) return magnitudesOf(weight);
  const { whole, scales } = eightBits;
  return magnitudesOf({ data: whole, shape: weight.shape }).map((sum, c) => sum * scales[c]);
}

/** NaN where there is one. */
function largestOf(numbers: Float32Array | Float64Array): number {
  let most = 0;
  for (const x of numbers) most = Math.max(most, Math.abs(x));
  return most;
}
