import { decode } from '#decode';
import { ResidualError } from '../errors.js';
import { freeFrom, type Graph, type Node } from '../graph/graph.js';
import { applyPlan, decodingOf, type PictureChannels, withDecoding } from '../image/apply.js';
import type { Decoded, PictureInput } from '../image/pixels.js';
import type { Decoding, Plan } from '../image/plan.js';
import type { Tensor } from '../tensor.js';
import type { ComparedSide, Comparison } from './compare.js';
import { evaluate, type Net } from './compare-network.js';
import { endInSoftmax, type Recording, readRecording } from './compare-recorded.js';
import type { Stop } from './compare-search.js';
import { matchPoints, pointsOf, type Station, station, type Values } from './compare-stations.js';
import type { Model } from './model.js';

// The two sides of a comparison, opened: pictures, input, network or recording, and their values at the stations.

/** What both ways of decoding make of the picture. */
export type Decodings = Record<Decoding, Decoded>;

export async function bothDecodings(picture: PictureInput): Promise<Decodings> {
  return { default: await decode(picture, 'default'), pillow: await decode(picture, 'pillow') };
}

/** A side, opened: what it has of pictures, its input, its network or its recording. */
export interface Side {
  readonly model?: Model;
  readonly net?: Net;
  readonly plan?: Plan;
  readonly decoded?: Decodings;
  readonly recording?: Recording;
  readonly pictures: ReadonlyMap<string, Values>;
  input?: Tensor | undefined;
  /** Whether the input is this side's own. */
  readonly made: boolean;
}

export async function open(side: ComparedSide, decoded: Decodings | undefined): Promise<Side> {
  if ('recorded' in side) {
    const recording = await readRecording(side.recorded);
    const { input, pictures } = recording;
    return { recording, pictures, made: input !== undefined, ...(input && { input }) };
  }
  const { model, engine = 'auto' } = side;
  const weights = await model.weights();
  const net: Net = { graph: model.graph, engine, weight: ({ name }) => weights.get(name) as Tensor };
  const given = side.plan ?? model.record.plan;
  const plan = side.decode ? withDecoding(given, side.decode) : given;
  if (!decoded) return { model, net, plan, pictures: new Map(), made: false };
  const channels = model.graph.inputs[0].shape[1] === 1 ? 1 : 3;
  const { input, pictures } = prepared(decoded, plan, channels);
  return { model, net, plan, decoded, input, pictures, made: true };
}

/** The picture after each step that moves pixels, and the input. */
function prepared(
  decoded: Decodings,
  plan: Plan,
  channels: PictureChannels,
): { input: Tensor; pictures: Map<string, Values> } {
  const { pixels } = decoded[decodingOf(plan)];
  const shape = (picture: { width: number; height: number }) => [picture.height, picture.width, 3];
  const pictures = new Map<string, Values>([['decoded', { shape: shape(pixels), data: pixels.data }]]);
  const applied = applyPlan(pixels, plan, channels);
  plan.forEach(({ step }, i) => {
    const name = step === 'centerCrop' ? 'cropped' : step === 'resize' || step === 'resizeShortSide' ? 'resized' : '';
    const { after } = applied.stages[i];
    // A narrow strip may grow beyond all measure before it is cropped.
    if (!name || after.width * after.height > 3e7) return;
    const { cropped } = applyPlan(pixels, plan.slice(0, i + 1));
    pictures.set(name, { shape: shape(cropped), data: cropped.data });
  });
  const { height, width } = applied;
  return { pictures, input: { dtype: 'float32', shape: [1, channels, height, width], data: applied.input } };
}

/** Where one side has probabilities, those that the other's logits come to. */
export function withProbabilities([a, b]: readonly [Side, Side]): readonly [Side, Side] {
  const has = ({ net, recording }: Side, name: string) =>
    recording ? recording.names.has(name) : (net?.graph.outputs.some((output) => output.name === name) ?? false);
  const recorded = [a, b].some(({ recording }) => recording?.names.has('probabilities'));
  const added = (side: Side): Side => {
    if (!recorded || has(side, 'probabilities') || !has(side, 'logits')) return side;
    const { net, recording } = side;
    if (recording) return { ...side, recording: endInSoftmax(recording) };
    return net ? { ...side, net: { ...net, graph: softmaxAfterLogits(net.graph) } } : side;
  };
  return [added(a), added(b)];
}

function softmaxAfterLogits(graph: Graph): Graph {
  const logits = graph.outputs.find(({ name }) => name === 'logits')?.value as number;
  const value = freeFrom(graph);
  const softmax: Node = { op: 'softmax', name: 'probabilities', inputs: [logits], outputs: [value], attributes: {} };
  const outputs = [...graph.outputs, { name: 'probabilities', value }];
  return { ...graph, nodes: [...graph.nodes, softmax], outputs };
}

/** A side without an input of its own takes the other's. @throws ARGUMENT when neither has one. */
export function lendInputs([a, b]: readonly [Side, Side]): void {
  const any = a.input ?? b.input;
  if (!any && (a.net || b.net))
    throw new ResidualError('ARGUMENT', 'nothing to compute on: pass a picture, or a recording with a tensor "input"');
  a.input ??= any;
  b.input ??= any;
}

export function pictureStations([a, b]: readonly [Side, Side], tolerance: number): Station[] {
  return ['decoded', 'resized', 'cropped'].flatMap((name) => {
    const [x, y] = [a.pictures.get(name), b.pictures.get(name)];
    return x && y ? [station(name, x, y, tolerance)] : [];
  });
}

/** The stations that both sides have. */
export function stopsOf([a, b]: readonly [Side, Side]): Stop[] {
  if (a.net && b.net) return matchPoints(a.net.graph, b.net.graph).filter(({ coarse }) => coarse);
  const recording = a.recording ?? b.recording;
  const net = a.net ?? b.net;
  if (!net)
    return [...(a.recording?.names ?? [])]
      .filter((name) => b.recording?.names.has(name))
      .map((name) => ({ name, coarse: false }));
  return pointsOf(net.graph).flatMap(({ name, value, aliases }): Stop[] => {
    const found = [name, ...aliases].find((alias) => recording?.names.has(alias));
    return found === undefined ? [] : [{ name, coarse: false, [a.net ? 'a' : 'b']: value }];
  });
}

/** Recorded tensors for which the other side has no station, and which are no copies of ones that were compared. */
export async function leftOut(sides: readonly [Side, Side], line: readonly Stop[]): Promise<Comparison['leftOut']> {
  const compared = new Set(line.map(({ name }) => name));
  const names = async ({ recording }: Side, other: Side): Promise<string[]> => {
    if (!recording) return [];
    const seen = await Promise.all([...compared].map((name) => recording.read(name, undefined)));
    const rest = [...recording.pictures.keys()].filter((name) => !other.pictures.has(name));
    for (const name of recording.names) {
      if (compared.has(name)) continue;
      const { data } = await recording.read(name, undefined);
      // Hooks on a module and on its last layer record the same twice.
      if (!seen.some((one) => one.data.length === data.length && one.data.every((x, i) => Object.is(x, data[i]))))
        rest.push(name);
    }
    return rest;
  };
  const [a, b] = [await names(sides[0], sides[1]), await names(sides[1], sides[0])];
  return a.length || b.length ? { a, b } : undefined;
}

export type SideValues = Record<'a' | 'b', { net?: Net | undefined; input: Tensor; values: Map<string, Tensor> }>;

/** Each side's values at the stations, for an input of each. */
export async function layerValues(
  sides: readonly [Side, Side],
  line: readonly Stop[],
  inputs: readonly Tensor[],
  signal: AbortSignal | undefined,
): Promise<SideValues> {
  const computed = sides.map(() => new Map<string, Tensor>());
  for (const [i, { net }] of sides.entries()) {
    if (!net) continue;
    const numbers = line.flatMap((stop) => stop[i ? 'b' : 'a'] ?? []);
    const found = await evaluate(net, new Map([[net.graph.inputs[0].value, inputs[i]]]), numbers, { signal });
    for (const stop of line) computed[i].set(stop.name, found.get(stop[i ? 'b' : 'a'] as number) as Tensor);
  }
  for (const [i, { recording }] of sides.entries()) {
    if (!recording) continue;
    for (const { name } of line) computed[i].set(name, await recording.read(name, computed[1 - i].get(name)));
  }
  const side = (i: 0 | 1) => ({ net: sides[i].net, input: inputs[i], values: computed[i] });
  return { a: side(0), b: side(1) };
}
