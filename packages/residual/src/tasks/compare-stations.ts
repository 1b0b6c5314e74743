import type { Graph } from '../graph/graph.js';
import { layerNames } from '../models/layer-names.js';
import { type Shape, sameShape, type Tensor } from '../tensor.js';

/** One place where two computations are compared. */
export interface Station {
  /** `decoded`, `resized`, `cropped`, `input`, then layers by torchvision's names: `stem`, `layer1.0.conv1`, `layer1`. */
  readonly name: string;
  /** Pictures are `[H, W, 3]`, tensors `[N, C, H, W]` or `[N, features]`. */
  readonly shapes: { readonly a: Shape; readonly b: Shape };
  /** The largest |a − b|; null when the shapes differ or a value is not finite. */
  readonly maxAbs: number | null;
  /** `maxAbs` divided by the largest |value| of both sides; null with it. */
  readonly relative: number | null;
  /** Where the difference is largest, and the values there; absent when there is none or the shapes differ. */
  readonly worst?: { readonly at: readonly number[]; readonly a: number | null; readonly b: number | null };
  /** Whether it is beyond the tolerance. */
  readonly parts: boolean;
}

/** Numbers with a shape, of whatever type. */
export interface Values {
  readonly shape: Shape;
  readonly data: Float32Array | Float64Array | Uint8Array;
}

/** The largest |a − b| over the largest |value|; ∞ for other shapes and for what is not finite on one side only. */
export function relativeError(a: Values, b: Values): number {
  return difference(a, b).relative;
}

function difference(a: Values, b: Values): { maxAbs: number; relative: number; at: number } {
  if (!sameShape(a.shape, b.shape))
    return { maxAbs: Number.POSITIVE_INFINITY, relative: Number.POSITIVE_INFINITY, at: -1 };
  let [maxAbs, largest, at] = [0, 0, -1];
  for (let i = 0; i < a.data.length; i++) {
    const [x, y] = [a.data[i], b.data[i]];
    if (Object.is(x, y) || x === y) {
      if (Number.isFinite(x)) largest = Math.max(largest, Math.abs(x));
      continue;
    }
    const apart = Math.abs(x - y);
    if (!Number.isFinite(apart)) return { maxAbs: Number.POSITIVE_INFINITY, relative: Number.POSITIVE_INFINITY, at: i };
    largest = Math.max(largest, Math.abs(x), Math.abs(y));
    if (apart > maxAbs) [maxAbs, at] = [apart, i];
  }
  return { maxAbs, relative: maxAbs === 0 ? 0 : maxAbs / largest, at };
}

/** Compares both sides' values at one station. */
export function station(name: string, a: Values, b: Values, tolerance: number): Station {
  const { maxAbs, relative, at } = difference(a, b);
  return {
    name,
    shapes: { a: a.shape, b: b.shape },
    maxAbs: finite(maxAbs),
    relative: finite(relative),
    ...(at < 0 ? {} : { worst: { at: place(at, a.shape), a: finite(a.data[at]), b: finite(b.data[at]) } }),
    parts: !(relative <= tolerance),
  };
}

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);

function place(index: number, shape: Shape): number[] {
  const at: number[] = [];
  for (const size of shape.toReversed()) {
    at.unshift(index % size);
    index = Math.floor(index / size);
  }
  return at;
}

/** A value of a network where it can be compared. */
export interface Point {
  /** Torchvision's name for it where it has one. */
  readonly name: string;
  readonly value: number;
  /** The network's large parts: stem, blocks, pooled features, logits, outputs. The others are layers within. */
  readonly coarse: boolean;
  /** All that it is called: by this network, by torchvision. */
  readonly aliases: readonly string[];
}

/** Names of layers in every spelling → torchvision's. */
const common: ReadonlyMap<string, string> = commonNames();

function commonNames(): Map<string, string> {
  const names = new Map<string, string>();
  const to = layerNames.torchvision;
  for (const from of Object.values(layerNames)) {
    names.set(from.stem.conv, to.stem.conv).set(from.stem.norm, to.stem.norm).set(from.stem.relu, to.stem.relu);
    names.set(from.stem.pool, to.stem.pool).set(from.pooled, to.pooled);
    for (let stage = 1; stage <= 4; stage++)
      for (let index = 0; index < 48; index++) {
        const [here, there] = [from.block(stage, index), to.block(stage, index)];
        names.set(here, there).set(from.add(here), to.add(there)).set(from.out(here), to.out(there));
        for (let unit = 0; unit <= 3; unit++) {
          names.set(from.conv(here, unit), to.conv(there, unit)).set(from.norm(here, unit), to.norm(there, unit));
          if (unit) names.set(from.relu(here, unit), to.relu(there, unit));
        }
      }
  }
  return names;
}

/** A layer's name as torchvision spells it; another network's own names stay. */
export const commonName = (name: string): string =>
  common.get(name) ?? (/^(fc\d+|predictions|linear|classifier)$/.test(name) ? 'fc' : name);

/** What recordings call the values of a network, beside its layers' own names. */
const recordedNames: Readonly<Record<string, string>> = {
  stage2: 'layer1',
  stage3: 'layer2',
  stage4: 'layer3',
  stage5: 'layer4',
  pooled: 'avgpool',
  pool: 'avgpool',
  features: 'avgpool',
  scores: 'logits',
  output: 'logits',
  softmax: 'probabilities',
  probs: 'probabilities',
};

/** The name of ours that a recorded tensor goes by. */
export const recordedName = (name: string): string => recordedNames[name] ?? commonName(name);

const joints: ReadonlySet<string> = new Set(['add', 'maxPool', 'globalAvgPool', 'flatten', 'dense']);

/** Every value of a network that can be compared, in the order of computation. */
export function pointsOf(graph: Graph): Point[] {
  const named = new Map<number, { aliases: string[]; coarse: boolean; name: string }>();
  const lastOfBlock = new Map<string, number>();
  const anchored = new Map<number, string>();
  for (const [name, value] of Object.entries(graph.features)) anchored.set(value, name);
  for (const { name, value } of graph.outputs) if (!anchored.has(value)) anchored.set(value, name);
  for (const node of graph.nodes) if (node.block !== undefined) lastOfBlock.set(node.block, node.outputs[0]);
  // A network whose parts have no names is taken apart at its sums, pools and dense layers.
  const nameless = lastOfBlock.size === 0;
  const blockAt = new Map([...lastOfBlock].map(([block, value]) => [value, block]));
  for (const node of graph.nodes) {
    if (node.op === 'dropout') continue;
    const [value] = node.outputs;
    const block = blockAt.get(value);
    const anchor = anchored.get(value);
    const aliases = [node.name, commonName(node.name)];
    if (block !== undefined) aliases.push(block, commonName(block));
    if (anchor !== undefined) aliases.push(anchor);
    named.set(value, {
      name: anchor ?? (block === undefined ? commonName(node.name) : commonName(block)),
      coarse: anchor !== undefined || block !== undefined || (nameless && joints.has(node.op)),
      aliases,
    });
  }
  // Where a layer and a part of the network share a name (Keras 2015 pools, then flattens), it is the part's.
  const parts = new Set(anchored.values());
  return [...named].map(([value, { name, coarse, aliases }]) => {
    if (anchored.has(value) || !parts.has(name)) return { value, name, coarse, aliases };
    return { value, name: `${name} layer`, coarse, aliases: aliases.filter((alias) => !parts.has(alias)) };
  });
}

/** One station of two networks: its name and each one's value. */
export interface Pair {
  readonly name: string;
  readonly a: number;
  readonly b: number;
  readonly coarse: boolean;
}

/**
 * The stations that both networks have, in order: by name where their names agree (in whichever spelling), else by
 * place: the k-th residual sum of as many, the pools and the dense layers alike, and the outputs.
 */
export function matchPoints(a: Graph, b: Graph): Pair[] {
  const [here, there] = [pointsOf(a), pointsOf(b)];
  const byName = new Map(there.flatMap((point) => point.aliases.map((alias) => [alias, point] as const)));
  // Where only one of them knows its parts (an imported graph has layers, no blocks), its parts are those of both.
  const [partsA, partsB] = [a, b].map(({ nodes }) => nodes.some(({ block }) => block !== undefined));
  const before = [a, b].map(
    ({ nodes }) => new Set(nodes.flatMap((node) => (node.op === 'batchNorm' ? node.inputs.slice(0, 1) : []))),
  );
  const pairs: Pair[] = [];
  for (const point of here) {
    const found = [point.name, ...point.aliases].flatMap((alias) => byName.get(alias) ?? [])[0];
    // A convolution into which its BatchNorm was folded is not the bare convolution.
    if (!found || before[0].has(point.value) !== before[1].has(found.value)) continue;
    const coarse = partsA === partsB ? point.coarse && found.coarse : partsA ? point.coarse : found.coarse;
    pairs.push({ name: partsA ? point.name : found.name, a: point.value, b: found.value, coarse });
  }
  const matched = pairs.some(({ a: value }) => !isOutput(a, value)) ? pairs : byPlace(a, b);
  const [outA, outB] = [a.outputs[0], b.outputs[0]];
  if (!matched.some((pair) => pair.a === outA.value || pair.b === outB.value))
    matched.push({ name: outA.name, a: outA.value, b: outB.value, coarse: true });
  return matched;
}

const isOutput = (graph: Graph, value: number): boolean => graph.outputs.some((output) => output.value === value);

/** Pairs of two networks whose names have nothing in common. */
function byPlace(a: Graph, b: Graph): Pair[] {
  const pairs: Pair[] = [];
  for (const op of ['maxPool', 'add', 'globalAvgPool', 'dense'] as const) {
    const [here, there] = [a, b].map((graph) => graph.nodes.filter((node) => node.op === op));
    if (here.length !== there.length) continue;
    here.forEach(({ name, outputs: [value] }, i) => {
      const [other] = there[i].outputs;
      pairs.push({ name: commonName(name), a: value, b: other, coarse: true });
    });
  }
  const place = new Map(a.nodes.map((node, i) => [node.outputs[0], i]));
  return pairs.sort((x, y) => (place.get(x.a) ?? 0) - (place.get(y.a) ?? 0));
}

/** A recording in `[N, H, W, C]` (Keras') as `[N, C, H, W]`, where its shape fits ours so and not as it is. */
export function channelsAsOurs(recorded: Tensor, ours: Shape): Tensor {
  const { shape, data } = recorded;
  if (shape.length !== 4 || ours.length !== 4 || shape[1] === ours[1] || shape[3] !== ours[1]) return recorded;
  const [n, h, w, c] = shape;
  const out = new Float32Array(data.length);
  for (let i = 0; i < n; i++)
    for (let p = 0; p < h * w; p++)
      for (let k = 0; k < c; k++) out[(i * c + k) * h * w + p] = data[(i * h * w + p) * c + k];
  return { dtype: 'float32', shape: [n, c, h, w], data: out };
}
