import { aborted, ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { sameShape, type Tensor } from '../tensor.js';
import { softmax } from './classify.js';
import type { Finding } from './compare.js';
import { networkHypotheses } from './compare-causes.js';
import type { Experiment } from './compare-causes-weights.js';
import { evaluate, fits, type Net } from './compare-network.js';
import { commonName, matchPoints, type Pair, relativeError } from './compare-stations.js';

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

interface Task {
  readonly tolerance: number;
  readonly signal?: AbortSignal | undefined;
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

/** One or more changes of a network, tried together. */
interface Trial {
  readonly findings: readonly Finding[];
  readonly net: Net;
}

interface Found {
  readonly side: 'a' | 'b';
  readonly findings: readonly Finding[];
  readonly changed: NetworkSide;
  readonly before: number;
  readonly after: number;
}

/** Rows of trials; of each row the best trial counts. */
type Trials = (net: Net, other: Net | undefined, line: readonly Stop[], at: number) => Iterable<readonly Trial[]>;

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

const trialOf = ({ finding, net }: Experiment): Trial => ({ findings: [finding], net });

const singles: Trials = function* (net, other) {
  for (const hypothesis of Object.values(networkHypotheses))
    yield hypothesis(net, other).flatMap((found) => (found ? [trialOf(found)] : []));
};

/** The rows that go together where weights are put into another system's network. */
const topology = ['epsilon', 'strideOn', 'stemPool', 'samePadding', 'biases', 'missingRelu', 'pooledShortcut'] as const;

/**
 * Two rows at once, for recordings, which have few stations: between two of them several things may differ. Only for
 * parts of a network, where a trial takes milliseconds.
 */
const pairs: Trials = function* (net, other, line, at) {
  const [from, to] = [line[at - 1], line[at]].map((stop) => stop?.a ?? stop?.b ?? -1);
  const between = net.graph.nodes.filter(({ outputs: [value] }) => value > from && value <= to).length;
  if (other || between > 60) return;
  const rows = topology.map((name) => networkHypotheses[name]);
  for (const [i, first] of rows.entries())
    for (const begun of first(net, other).slice(0, 3))
      if (begun)
        for (const second of rows.slice(i + 1))
          yield second(begun.net, other).flatMap((found) =>
            found ? [{ findings: [begun.finding, found.finding], net: found.net }] : [],
          );
};

/** What the other network has in the same layers: settings, then weights. */
const copies: Trials = function* (net, other) {
  if (!other) return;
  yield settings(net, other);
  yield weights(net, other);
};

function settings(net: Net, other: Net): Trial[] {
  const theirs = new Map(other.graph.nodes.map((node) => [commonName(node.name), node]));
  const findings: Finding[] = [];
  const nodes = net.graph.nodes.map((node) => {
    const like = theirs.get(commonName(node.name));
    if (like?.op !== node.op) return node;
    const [mine, wanted] = [node.attributes, like.attributes] as Record<string, unknown>[];
    const keys = Object.keys(mine).filter((key) => JSON.stringify(mine[key]) !== JSON.stringify(wanted[key]));
    for (const key of keys)
      findings.push({
        id: 'layer-setting',
        subject: `${key} of ${commonName(node.name)}`,
        base: JSON.stringify(mine[key]),
        other: JSON.stringify(wanted[key]),
      });
    return keys.length ? ({ ...node, attributes: wanted } as unknown as Graph['nodes'][number]) : node;
  });
  return findings.length ? [{ findings: findings.slice(0, 3), net: { ...net, graph: { ...net.graph, nodes } } }] : [];
}

function weights(net: Net, other: Net): Trial[] {
  const key = (name: string) => commonName(name.slice(0, name.lastIndexOf('.'))) + name.slice(name.lastIndexOf('.'));
  const theirs = new Map(other.graph.parameters.map((parameter) => [key(parameter.name), parameter]));
  const taken = new Map<string, Tensor>();
  const layers = new Set<string>();
  for (const parameter of net.graph.parameters) {
    const like = theirs.get(key(parameter.name));
    if (!like || !sameShape(like.shape, parameter.shape)) continue;
    const values = other.weight(like);
    if (relativeError(values, net.weight(parameter)) === 0) continue;
    taken.set(parameter.name, values);
    layers.add(commonName(parameter.name.slice(0, parameter.name.lastIndexOf('.'))));
  }
  if (!taken.size) return [];
  const [first, ...more] = layers;
  const all = new Set(net.graph.parameters.map(({ name }) => name.slice(0, name.lastIndexOf('.'))));
  const some = more.length
    ? `the weights of ${layers.size} of ${all.size} layers differ, first ${first}`
    : `the weights of one layer differ: ${first}`;
  const plain = more.length && layers.size === all.size ? 'other weights altogether' : some;
  return [
    {
      findings: [{ id: 'weights', plain, base: '', other: '' }],
      net: { ...net, weight: (parameter) => taken.get(parameter.name) ?? net.weight(parameter) },
    },
  ];
}

/** What can be seen in the outputs alone: a softmax too many or too few, the classes in another order. */
function outputCause(
  sides: Record<'a' | 'b', NetworkSide>,
  line: readonly Stop[],
  at: number,
  { tolerance }: Task,
): Found | undefined {
  const { name } = line[at];
  const [a, b] = [sides.a.values.get(name) as Tensor, sides.b.values.get(name) as Tensor];
  if (at < line.length - 2 || a.shape.length !== 2 || !sameShape(a.shape, b.shape) || name === 'avgpool')
    return undefined;
  const before = relativeError(a, b);
  const isShare = ({ shape, data }: Tensor) =>
    data.every((x) => x >= 0) && Math.abs(data.reduce((sum, x) => sum + x, 0) - shape[0]) < 1e-3 * shape[0];
  for (const [side, base, other] of [
    ['a', a, b],
    ['b', b, a],
  ] as const) {
    const found = (changed: Tensor, finding: Finding, later: (t: Tensor) => Tensor): Found => ({
      side,
      findings: [finding],
      before,
      after: relativeError(changed, other),
      changed: {
        ...sides[side],
        values: new Map(
          [...sides[side].values].map(([key, value]) => {
            const index = line.findIndex((stop) => stop.name === key);
            return [key, index === at ? changed : index > at ? later(value) : value] as const;
          }),
        ),
      },
    });
    const once = overRows(base);
    if (relativeError(once, other) <= tolerance) {
      const already = isShare(base);
      const finding: Finding = already
        ? { id: 'softmax', subject: 'softmax', base: 'once', other: 'twice' }
        : { id: 'softmax', base: 'logits', other: 'probabilities' };
      return found(once, finding, (t) => t);
    }
    const twice = overRows(once);
    if (!isShare(base) && relativeError(twice, other) <= tolerance)
      return found(twice, { id: 'softmax', base: 'logits', other: 'softmax applied twice' }, (t) => t);
  }
  // Of probabilities nearly all are nearly 0: their logarithms tell them apart.
  const shares = isShare(a) && isShare(b);
  const order = shares ? permutation(logarithms(a), logarithms(b), tolerance) : permutation(a, b, tolerance);
  if (!order) return undefined;
  const place = (t: Tensor): Tensor => {
    const data = new Float32Array(t.data.length);
    const classes = t.shape[1];
    for (let i = 0; i < data.length; i++) data[i] = t.data[i - (i % classes) + order[i % classes]];
    return { ...t, data };
  };
  const moved = order.findIndex((from, to) => from !== to);
  const asText = order.map((_, i) => i).sort((x, y) => (String(x) < String(y) ? -1 : 1));
  const back = order.map((_, i) => asText.indexOf(i));
  const sorted = [asText, back].some((known) => known.every((from, i) => from === order[i]));
  const changed = place(a);
  const finding: Finding = {
    id: 'class-order',
    plain: `the classes are in another order${sorted ? ', sorted as text (10 before 2)' : ''}: class ${moved} of b is class ${order[moved]} of a`,
    base: '',
    other: '',
  };
  const values = new Map(
    [...sides.a.values].map(([key, value]) => {
      const index = line.findIndex((stop) => stop.name === key);
      return [key, index >= at && sameShape(value.shape, a.shape) ? place(value) : value] as const;
    }),
  );
  return { side: 'a', findings: [finding], before, after: relativeError(changed, b), changed: { ...sides.a, values } };
}

const logarithms = (t: Tensor): Tensor => ({ ...t, data: t.data.map((x) => Math.log(Math.max(x, 1e-30))) });

function overRows({ shape, data }: Tensor): Tensor {
  const classes = shape[1];
  const out = new Float32Array(data.length);
  for (let row = 0; row < data.length; row += classes) out.set(softmax(data.subarray(row, row + classes)), row);
  return { dtype: 'float32', shape, data: out };
}

/** `order[i]`: which output of `a` output i of `b` is, when both have the same values in other places. */
function permutation({ shape, data }: Tensor, b: Tensor, tolerance: number): number[] | undefined {
  const classes = shape[1];
  const ranked = (values: Float32Array) =>
    Array.from({ length: classes }, (_, i) => i).sort((x, y) => values[x] - values[y]);
  const [here, there] = [ranked(data), ranked(b.data)];
  const largest = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const near = here.every((from, i) => Math.abs(data[from] - b.data[there[i]]) <= tolerance * largest);
  // Where neighbouring values are as close as the tolerance, any two lists of numbers would seem the same.
  if (!near || classes < 3) return undefined;
  const order = new Array<number>(classes);
  here.forEach((from, i) => {
    order[there[i]] = from;
  });
  return order.some((from, to) => from !== to) ? order : undefined;
}
