import { aborted, ResidualError } from '../errors.js';
import { sameShape, type Tensor } from '../tensor.js';
import type { Finding } from './compare.js';
import { evaluate, fits, type Net } from './compare-network.js';
import { outputCause } from './compare-outputs.js';
import { matchPoints, type Pair, relativeError } from './compare-stations.js';
import { copies, pairs, singles, type Trial, type Trials } from './compare-trials.js';

// Why two networks differ on one and the same input. From the first station that parts, each row of the table is tried on
// the layers that lead to it, fed with the other side's values; what makes the difference vanish there is then tried on
// the whole network. Then the search goes on from where they part next.

/** One side: a network, or values that somebody recorded. */
export interface NetworkSide {
  readonly net?: Net | undefined;
  readonly input: Tensor;
  /** Values by the name of their station. */
  readonly values: Map<string, Tensor>;
}

/** A station of the search, and its value's number in each side's graph. */
export type Stop = Pick<Pair, 'name' | 'coarse'> & { readonly a?: number | undefined; readonly b?: number | undefined };

/** A cause found: where it acts, which side was redone, and the error there before and after. */
export interface NetworkCause {
  readonly finding: Finding;
  readonly at: string;
  readonly redone: 'a' | 'b';
  readonly before: number;
  readonly after: number;
  /** Whether nothing parts any more once this and the causes before it are applied. */
  readonly settles: boolean;
}

/** What counts as no difference, and a way to stop. */
export interface Task {
  readonly tolerance: number;
  readonly signal: AbortSignal | undefined;
}

/** Causes beyond these would be a different network, not a difference. */
const mostCauses = 5;
/** What float32 leaves of no difference, for tolerances below. */
const noise = 1e-5;
/** By how much an error must fall for a change to be one of several that explain it. */
const largeFactor = 30;

/** The causes, in the order of the stations where they act. Leaves both sides as they were. */
export async function explainNetworks(
  start: Readonly<Record<'a' | 'b', NetworkSide>>,
  stops: readonly Stop[],
  task: Task,
): Promise<NetworkCause[]> {
  const sides = { a: { ...start.a }, b: { ...start.b } };
  let line = [...stops];
  const causes: NetworkCause[] = [];
  const refined = new Set<string>();
  while (causes.length < mostCauses) {
    const at = firstParting(sides, line, task.tolerance);
    if (at < 0) break;
    if (line[at].coarse && !refined.has(line[at].name) && sides.a.net && sides.b.net) {
      refined.add(line[at].name);
      line = await refine(sides as Record<'a' | 'b', NetworkSide>, line, at, task);
      continue;
    }
    const found =
      outputCause(sides, line, at, task) ??
      (await bestExperiment(sides, line, at, task, singles)) ??
      (await bestExperiment(sides, line, at, task, pairs)) ??
      (await bestExperiment(sides, line, at, task, copies));
    if (!found) break;
    sides[found.side] = found.changed;
    const settles = firstParting(sides, line, task.tolerance) < 0;
    for (const finding of found.findings)
      causes.push({
        finding,
        at: line[at].name,
        redone: found.side,
        before: found.before,
        after: found.after,
        settles,
      });
  }
  // What leaves a difference where it acts explains part of it at most, and is not called its cause.
  const stuck = line[firstParting(sides, line, task.tolerance)]?.name;
  return causes.filter(({ at, after }) => at !== stuck || after <= noise);
}

function firstParting(sides: Record<'a' | 'b', NetworkSide>, line: readonly Stop[], tolerance: number): number {
  return line.findIndex(({ name }) => !(errorAt(sides, name) <= tolerance));
}

function errorAt(sides: Record<'a' | 'b', NetworkSide>, name: string): number {
  const [a, b] = [sides.a.values.get(name), sides.b.values.get(name)];
  return a && b ? relativeError(a, b) : 0;
}

/** Adds the layers between the station that parts and the one before it. */
export async function refine(
  sides: Record<'a' | 'b', NetworkSide>,
  line: readonly Stop[],
  at: number,
  { signal }: Pick<Task, 'signal'>,
): Promise<Stop[]> {
  const [netA, netB] = [sides.a.net as Net, sides.b.net as Net];
  const all = matchPoints(netA.graph, netB.graph);
  const end = all.findIndex(({ name }) => name === line[at].name);
  const begin = at === 0 ? -1 : all.findIndex(({ name }) => name === line[at - 1].name);
  const fine = all.slice(begin + 1, Math.max(end, begin + 1)).filter(({ coarse }) => !coarse);
  if (!fine.length) return [...line];
  for (const [side, net] of [
    ['a', netA],
    ['b', netB],
  ] as const) {
    const numbers = fine.map((pair) => pair[side]);
    const values = await evaluate(net, inputOf(net, sides[side].input), numbers, { signal });
    const merged = new Map(sides[side].values);
    fine.forEach(({ name }, i) => {
      merged.set(name, values.get(numbers[i]) as Tensor);
    });
    sides[side] = { ...sides[side], values: merged };
  }
  return [...line.slice(0, at), ...fine, ...line.slice(at)];
}

const inputOf = (net: Net, input: Tensor): Map<number, Tensor> => new Map([[net.graph.inputs[0].value, input]]);

/** A trial that explains what parts, with the side redone by it. */
export interface Found {
  readonly side: 'a' | 'b';
  readonly findings: readonly Finding[];
  readonly changed: NetworkSide;
  readonly before: number;
  readonly after: number;
}

async function bestExperiment(
  sides: Record<'a' | 'b', NetworkSide>,
  line: readonly Stop[],
  at: number,
  task: Task,
  trials: Trials,
): Promise<Found | undefined> {
  const { tolerance, signal } = task;
  let best: (Found & { reaches: number }) | undefined;
  for (const [side, opposite] of [
    ['a', 'b'],
    ['b', 'a'],
  ] as const) {
    const [{ net, input }, other] = [sides[side], sides[opposite]];
    const value = line[at][side];
    const target = other.values.get(line[at].name);
    if (!net || value === undefined || !target) continue;
    // What the other side had before it parted, so that errors from further up do not blur the picture.
    const known = inputOf(net, input);
    for (const stop of line.slice(0, at)) {
      const [number, seen] = [stop[side], other.values.get(stop.name)];
      const own = sides[side].values.get(stop.name);
      if (number !== undefined && seen && own && sameShape(own.shape, seen.shape)) known.set(number, seen);
    }
    const error = async (tried: Net): Promise<number> => {
      if (signal?.aborted) throw aborted();
      if (!fits(tried.graph, input)) return Number.POSITIVE_INFINITY;
      try {
        return relativeError((await evaluate(tried, known, [value], { signal })).get(value) as Tensor, target);
      } catch (error) {
        // An engine need not be able to do every variant.
        if (error instanceof ResidualError && error.code === 'ENGINE') return Number.POSITIVE_INFINITY;
        throw error;
      }
    };
    const before = await error(net);
    for (const row of trials(net, other.net, line, at)) {
      let winner: (Trial & { after: number }) | undefined;
      for (const trial of row) {
        const after = await error(trial.net);
        if (!winner || after < winner.after) winner = { ...trial, after };
      }
      if (!winner || !explains(before, winner.after, tolerance)) continue;
      const changed = await redone(sides[side], winner.net, side, line, signal);
      const next = firstParting({ ...sides, [side]: changed }, line, tolerance);
      const found = { side, findings: winner.findings, changed, before, after: winner.after };
      if (next < 0) return found;
      if (next >= at && (!best || next > best.reaches || (next === best.reaches && found.after < best.after)))
        best = { ...found, reaches: next };
    }
  }
  return best;
}

function explains(before: number, after: number, tolerance: number): boolean {
  if (!Number.isFinite(before)) return after <= tolerance;
  return after <= before / largeFactor || (after <= tolerance / 10 && after <= before / 10);
}

/** A side with another network: its values at every station anew. */
async function redone(
  side: NetworkSide,
  net: Net,
  which: 'a' | 'b',
  line: readonly Stop[],
  signal: AbortSignal | undefined,
): Promise<NetworkSide> {
  const wanted = line.flatMap((stop) => stop[which] ?? []);
  const values = await evaluate(net, inputOf(net, side.input), wanted, { signal });
  const named = line.flatMap((stop): [string, Tensor][] => {
    const number = stop[which];
    return number === undefined ? [] : [[stop.name, values.get(number) as Tensor]];
  });
  return { ...side, net, values: new Map(named) };
}
