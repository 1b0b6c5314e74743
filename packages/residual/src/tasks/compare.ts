import { decode } from '#decode';
import type { EngineName } from '../engines/index.js';
import { ResidualError } from '../errors.js';
import { applyPlan, decodingOf, withDecoding } from '../image/apply.js';
import type { Decoded, PictureInput } from '../image/pixels.js';
import type { Decoding, Plan } from '../image/plan.js';
import type { Tensor } from '../tensor.js';
import type { CheckpointInput } from '../weights/open.js';
import { type Prediction, rankRow } from './classify.js';
import { evaluate, type Net } from './compare-network.js';
import { explainPicture, likelyInputs, type PictureCause } from './compare-picture.js';
import { type Recording, readRecording } from './compare-recorded.js';
import { explainNetworks, type NetworkCause, refine, type Stop } from './compare-search.js';
import { matchPoints, pointsOf, relativeError, type Station, station, type Values } from './compare-stations.js';
import type { Model } from './model.js';

export type { Station } from './compare-stations.js';

/** One of the two that are compared: a model, or what another program computed and wrote into a file. */
export type ComparedSide =
  | {
      readonly model: Model;
      /** Preprocessing in place of the model's own. */
      readonly plan?: Plan | undefined;
      readonly decode?: Decoding | undefined;
      readonly engine?: EngineName | 'auto' | undefined;
    }
  | {
      /**
       * Named tensors in any weight format: `input`, `stem`, `layer1` … `layer4`, `pooled`, `logits`, `probabilities`,
       * or layers by their names, in `[N, C, H, W]` or Keras' `[N, H, W, C]`.
       */
      readonly recorded: CheckpointInput;
    };

export interface CompareOptions {
  /** The largest relative difference that counts as none; 1e-4 when left out. */
  readonly tolerance?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How two sides differ in one thing, as seen from the side that an experiment changes. */
export interface Finding {
  /** For programs: `channel-order`, `epsilon`, `stride` … */
  readonly id: string;
  readonly subject?: string;
  readonly base: string;
  readonly other: string;
  /** The whole in words, where it is not one thing against another. */
  readonly plain?: string;
}

/** Why two sides part, found by experiment: one of them was redone with the other's way. */
export interface Cause {
  /** For programs: `channel-order`, `resize-filter`, `epsilon`, `stride` … */
  readonly id: string;
  /** In words, a's way first: `BGR against RGB`, `stride on the first 1×1 against on the 3×3`. */
  readonly what: string;
  /** What the experiment showed. */
  readonly evidence: string;
  /** The station where it shows first. */
  readonly at: string;
}

export interface Comparison {
  readonly tolerance: number;
  /** In the order of computation, each side with its own input. */
  readonly stations: readonly Station[];
  /** Index of the first station beyond the tolerance; absent when they agree everywhere. */
  readonly parts?: number;
  /** Where the inputs part: the stations behind, both sides given one and the same input. */
  readonly sameInput?: readonly Station[];
  /** In the order of where they act; empty when nothing parts, or nothing known explains it. */
  readonly causes: readonly Cause[];
  /** The best class of each side, where both end in a classifier. */
  readonly answers?: { readonly a: Prediction; readonly b: Prediction };
}

/** The largest difference at a station, divided by its largest value, that counts as none: what two float32 programs differ by. */
export const defaultTolerance = 1e-4;

/**
 * Where two computations on one picture part, and why: decoding, resizing, the input, then layer by layer.
 *
 * @param picture may be left out when a recording has an `input`
 * @throws ARGUMENT when there is nothing to compare; what loading, decoding and engines throw.
 * @example const { stations, parts, causes } = await compare({ model }, { recorded: 'torch.safetensors' }, 'cat.jpg');
 */
export async function compare(
  a: ComparedSide,
  b: ComparedSide,
  picture?: PictureInput,
  options: CompareOptions = {},
): Promise<Comparison> {
  const { tolerance = defaultTolerance, signal } = options;
  if (!(tolerance >= 0 && tolerance < 1))
    throw new ResidualError('ARGUMENT', `expected a number from 0 to below 1 for tolerance but received ${tolerance}`);
  const decoded = picture === undefined ? undefined : await bothDecodings(picture);
  const sides = [await open(a, decoded), await open(b, decoded)] as const;
  lendInputs(sides);
  const task = { tolerance, signal };

  const pictures = pictureStations(sides, tolerance);
  const [x, y] = sides.map(({ input }) => input as Tensor);
  const inputs = sides.every(({ made }) => made) ? [station('input', x, y, tolerance)] : [];
  const inputsPart = inputs.some(({ parts }) => parts);

  const line = stopsOf(sides);
  const own = await layerValues(sides, line, [x, y], signal);
  const layers = inputsPart || !own.a.net || !own.b.net ? undefined : await refined(own, line, task);
  const seen = layers ?? { line, sides: own };
  const stations = [...pictures, ...inputs, ...layerStations(seen.sides, seen.line, tolerance)];
  if (!stations.length)
    throw new ResidualError(
      'ARGUMENT',
      'the two sides have no station in common: no input and no layer of one name; name recorded tensors input, stem, layer1 … layer4, pooled, logits',
    );

  // Networks are judged on one input, or else everything behind a difference of the inputs would seem to differ.
  const guessed = inputsPart ? undefined : await guessInput(sides, line, own, task);
  const shared = inputsPart ? await onOneInput(sides, line, own, signal) : (guessed?.shared ?? own);
  const causes = [
    ...(inputsPart ? await pictureCauses(sides, task) : (guessed?.causes ?? [])),
    ...networkCauses(shared ? await explainNetworks(shared, line, task) : [], tolerance),
  ];
  const parts = stations.findIndex((one) => one.parts);
  const answers = answersOf(sides, own);
  return {
    tolerance,
    stations,
    ...(parts < 0 ? {} : { parts }),
    ...(inputsPart && shared ? { sameInput: layerStations(shared, line, tolerance) } : {}),
    causes,
    ...(answers ? { answers } : {}),
  };
}

type Decodings = Record<Decoding, Decoded>;
/** Options with the tolerance settled. */
type Task = CompareOptions & { tolerance: number };

async function bothDecodings(picture: PictureInput): Promise<Decodings> {
  return { default: await decode(picture, 'default'), pillow: await decode(picture, 'pillow') };
}

/** A side, opened: what it has of pictures, its input, its network or its recording. */
interface Side {
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

async function open(side: ComparedSide, decoded: Decodings | undefined): Promise<Side> {
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
  const { input, pictures } = prepared(decoded, plan);
  return { model, net, plan, decoded, input, pictures, made: true };
}

/** The picture after each step that moves pixels, and the input. */
function prepared(decoded: Decodings, plan: Plan): { input: Tensor; pictures: Map<string, Values> } {
  const { pixels } = decoded[decodingOf(plan)];
  const shape = (picture: { width: number; height: number }) => [picture.height, picture.width, 3];
  const pictures = new Map<string, Values>([['decoded', { shape: shape(pixels), data: pixels.data }]]);
  const applied = applyPlan(pixels, plan);
  plan.forEach(({ step }, i) => {
    const name = step === 'centerCrop' ? 'cropped' : step === 'resize' || step === 'resizeShortSide' ? 'resized' : '';
    const { after } = applied.stages[i];
    // A narrow strip may grow beyond all measure before it is cropped.
    if (!name || after.width * after.height > 3e7) return;
    const { cropped } = applyPlan(pixels, plan.slice(0, i + 1));
    pictures.set(name, { shape: shape(cropped), data: cropped.data });
  });
  const { height, width } = applied;
  return { pictures, input: { dtype: 'float32', shape: [1, 3, height, width], data: applied.input } };
}

/** A side without an input of its own takes the other's. @throws ARGUMENT when neither has one. */
function lendInputs([a, b]: readonly [Side, Side]): void {
  const any = a.input ?? b.input;
  if (!any && (a.net || b.net))
    throw new ResidualError('ARGUMENT', 'nothing to compute on: pass a picture, or a recording with a tensor "input"');
  a.input ??= any;
  b.input ??= any;
}

function pictureStations([a, b]: readonly [Side, Side], tolerance: number): Station[] {
  return ['decoded', 'resized', 'cropped'].flatMap((name) => {
    const [x, y] = [a.pictures.get(name), b.pictures.get(name)];
    return x && y ? [station(name, x, y, tolerance)] : [];
  });
}

/** The stations that both sides have. */
function stopsOf([a, b]: readonly [Side, Side]): Stop[] {
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

type Values2 = Record<'a' | 'b', { net?: Net | undefined; input: Tensor; values: Map<string, Tensor> }>;

/** Each side's values at the stations, for an input of each. */
async function layerValues(
  sides: readonly [Side, Side],
  line: readonly Stop[],
  inputs: readonly Tensor[],
  signal: AbortSignal | undefined,
): Promise<Values2> {
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

/** With the layers between the station where they part and the one before, where they part inside. */
async function refined(sides: Values2, line: Stop[], { tolerance, signal }: Task) {
  const at = layerStations(sides, line, tolerance).findIndex(({ parts }) => parts);
  if (at < 0) return undefined;
  const own = { ...sides };
  return { line: await refine(own, line, at, { signal }), sides: own };
}

const layerStations = ({ a, b }: Values2, line: readonly Stop[], tolerance: number): Station[] =>
  line.map(({ name }) => station(name, a.values.get(name) as Tensor, b.values.get(name) as Tensor, tolerance));

/** Both networks on the first side's input, or on the recording's, which cannot be redone; undefined where it does not fit. */
async function onOneInput(
  sides: readonly [Side, Side],
  line: readonly Stop[],
  own: Values2,
  signal: AbortSignal | undefined,
): Promise<Values2 | undefined> {
  const fixed = sides[1].recording ? 1 : 0;
  const [redone, kept] = [sides[1 - fixed], sides[fixed]];
  const input = kept.input as Tensor;
  const channels = redone.net?.graph.inputs[0].shape[1];
  if (!redone.net || (redone.recording && kept.recording) || input.shape[1] !== channels) return undefined;
  const inputs = [input, input];
  if (kept.net) {
    // Only the second is computed anew.
    const again = await layerValues([{ pictures: new Map(), made: false }, sides[1]] as const, line, inputs, signal);
    return { a: own.a, b: again.b };
  }
  return layerValues(sides, line, inputs, signal);
}

/** Why the inputs differ. The side that is redone is a model; the other may be one. */
async function pictureCauses([a, b]: readonly [Side, Side], options: Task): Promise<Cause[]> {
  const redone = a.decoded ? 'a' : 'b';
  const [base, other] = redone === 'a' ? [a, b] : [b, a];
  const { plan, decoded, input } = base;
  if (!plan || !decoded || !input || !other.input || input.shape[1] !== 3 || other.input.shape[0] !== 1) return [];
  const found = await explainPicture({ plan, decoded, input }, { input: other.input, plan: other.plan }, options);
  return found.map((cause) => ({
    id: cause.finding.id,
    what: words(cause.finding, redone),
    at: 'input',
    evidence: pictureEvidence(cause, redone, found.length),
  }));
}

/**
 * For a recording without an input: the likely input that makes the first recorded station come out as recorded, and both
 * sides' values on it. Undefined where nothing parts or nothing fits.
 */
async function guessInput(
  sides: readonly [Side, Side],
  line: readonly Stop[],
  own: Values2,
  { tolerance, signal }: Task,
): Promise<{ shared: Values2; causes: Cause[] } | undefined> {
  const redone = sides[0].decoded ? 'a' : 'b';
  const [base, other] = redone === 'a' ? sides : [sides[1], sides[0]];
  const { net, plan, decoded, input } = base;
  if (!net || !plan || !decoded || !input || other.made || other.net || !line.length || input.shape[1] !== 3) return;
  const [{ name }] = line;
  const value = line[0][redone] as number;
  const target = own[redone === 'a' ? 'b' : 'a'].values.get(name) as Tensor;
  const before = relativeError(own[redone].values.get(name) as Tensor, target);
  if (before <= tolerance) return;
  let best: { after: number; input: Tensor; findings: readonly Finding[] } | undefined;
  for (const group of groupsOf(likelyInputs({ plan, decoded, input }), 8)) {
    const known = new Map([[net.graph.inputs[0].value, batchOf(group.map((likely) => likely.input))]]);
    const computed = (await evaluate(net, known, [value], { signal })).get(value) as Tensor;
    const size = computed.data.length / group.length;
    for (const [i, likely] of group.entries()) {
      const data = computed.data.subarray(i * size, (i + 1) * size);
      const after = relativeError({ shape: [1, ...computed.shape.slice(1)], data }, target);
      if (!best || after < best.after) best = { ...likely, after };
    }
    if (best && best.after <= tolerance) break;
  }
  if (!best?.findings.length || best.after > Math.min(tolerance, before / 10)) return;
  const { after, findings } = best;
  return {
    shared: await layerValues(sides, line, [best.input, best.input], signal),
    causes: findings.map((finding) => ({
      id: finding.id,
      what: words(finding, redone),
      at: name,
      evidence: `${redone} redone with ${findings.map((one) => `"${one.other}"`).join(' and ')}: the relative difference at ${name} goes from ${short(before)} to ${short(after)}`,
    })),
  };
}

function* groupsOf<T>(items: Iterable<T>, size: number): Generator<T[]> {
  let group: T[] = [];
  for (const item of items) {
    group.push(item);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length) yield group;
}

/** Pictures of one size as one batch. */
function batchOf(inputs: readonly Tensor[]): Tensor {
  const [{ shape, data: first }] = inputs;
  const data = new Float32Array(first.length * inputs.length);
  inputs.forEach((one, i) => {
    data.set(one.data, i * first.length);
  });
  return { dtype: 'float32', shape: [inputs.length, ...shape.slice(1)], data };
}

function pictureEvidence(
  { finding, before, after, without, rounding }: PictureCause,
  redone: 'a' | 'b',
  causes: number,
): string {
  const rest = causes > 1 ? ` together with the other ${causes === 2 ? 'cause' : `${causes - 1} causes`}` : '';
  const alone = causes > 1 ? `; without this one it stays at ${short(without)}` : '';
  return `${redone} redone with "${finding.other}"${rest}: the relative difference of the inputs goes from ${short(before)} to ${short(after)}${rounding ? ', which is rounding to 8 bits' : ''}${alone}`;
}

function networkCauses(found: readonly NetworkCause[], tolerance: number): Cause[] {
  return found.map(({ finding, at, redone, before, after, settles }) => ({
    id: finding.id,
    what: words(finding, redone),
    at,
    evidence: `${redone} redone ${finding.plain ? 'accordingly' : `with "${finding.other}"`}: the relative difference at ${at} goes from ${short(before)} to ${short(after)}${settles ? `, and no station is beyond ${short(tolerance)} any more` : ''}`,
  }));
}

/** `subject a's way against b's way`. */
function words({ subject, base, other, plain }: Finding, redone: 'a' | 'b'): string {
  if (plain !== undefined) return plain;
  const [first, second] = redone === 'a' ? [base, other] : [other, base];
  return `${subject ? `${subject} ` : ''}${first} against ${second}`;
}

/** `0`, `4.1e-7`, `0.083`. */
function short(value: number): string {
  if (!Number.isFinite(value)) return 'another shape';
  const rounded = Number(value.toPrecision(2));
  return rounded > 0 && rounded < 1e-3 ? rounded.toExponential() : String(rounded);
}

function answersOf([a, b]: readonly [Side, Side], { a: x, b: y }: Values2): Comparison['answers'] {
  const best = (values: Map<string, Tensor>, labels: Side | undefined): Prediction | undefined => {
    const logits = values.get('logits');
    const output = logits ?? values.get('probabilities');
    if (output?.shape.length !== 2 || !output.data.every(Number.isFinite)) return undefined;
    const classes = labels?.model?.record.classes;
    const row = output.data.subarray(0, output.shape[1]);
    return rankRow(row, { logits: output === logits, top: 1, classes })[0];
  };
  const [first, second] = [best(x.values, a.model ? a : b), best(y.values, b.model ? b : a)];
  return first && second ? { a: first, b: second } : undefined;
}
