import type { EngineName } from '../engines/index.js';
import { ResidualError } from '../errors.js';
import type { PictureInput } from '../image/pixels.js';
import type { Decoding, Plan } from '../image/plan.js';
import type { Tensor } from '../tensor.js';
import type { CheckpointInput } from '../weights/open.js';
import { type Prediction, rankRow } from './classify.js';
import { guessInput, onOneInput, pictureCauses } from './compare-input.js';
import { explainNetworks, refine, type Stop, type Task } from './compare-search.js';
import {
  bothDecodings,
  layerValues,
  leftOut,
  lendInputs,
  open,
  pictureStations,
  type Side,
  type SideValues,
  stopsOf,
  withProbabilities,
} from './compare-sides.js';
import { type Station, station } from './compare-stations.js';
import { networkCauses } from './compare-words.js';
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
  /** Names of recorded tensors that took no part, because the other side has nothing of that name. */
  readonly leftOut?: { readonly a: readonly string[]; readonly b: readonly string[] };
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
  const sides = withProbabilities([await open(a, decoded), await open(b, decoded)]);
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
      'the two sides have no station in common: no input and no layer of one name; name recorded tensors input, stem, layer1 … layer4, pooled, logits, probabilities',
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
  const rest = await leftOut(sides, line);
  return {
    tolerance,
    stations,
    ...(parts < 0 ? {} : { parts }),
    ...(inputsPart && shared ? { sameInput: layerStations(shared, line, tolerance) } : {}),
    ...(rest ? { leftOut: rest } : {}),
    causes,
    ...(answers ? { answers } : {}),
  };
}

/** With the layers between the station where they part and the one before, where they part inside. */
async function refined(sides: SideValues, line: Stop[], { tolerance, signal }: Task) {
  const at = layerStations(sides, line, tolerance).findIndex(({ parts }) => parts);
  if (at < 0) return undefined;
  const own = { ...sides };
  return { line: await refine(own, line, at, { signal }), sides: own };
}

const layerStations = ({ a, b }: SideValues, line: readonly Stop[], tolerance: number): Station[] =>
  line.map(({ name }) => station(name, a.values.get(name) as Tensor, b.values.get(name) as Tensor, tolerance));

function answersOf([a, b]: readonly [Side, Side], { a: x, b: y }: SideValues): Comparison['answers'] {
  const best = (values: Map<string, Tensor>, labels: Side | undefined): Prediction | undefined => {
    const logits = values.get('logits');
    const output = logits ?? values.get('probabilities');
    if (output?.shape.length !== 2 || !output.data.every(Number.isFinite)) return undefined;
    const classes = labels?.model?.record.classes;
    const row = output.data.subarray(0, output.shape[1]);
    return rankRow(row, { kind: output === logits ? 'logits' : 'probabilities', top: 1, classes })[0];
  };
  const [first, second] = [best(x.values, a.model ? a : b), best(y.values, b.model ? b : a)];
  return first && second ? { a: first, b: second } : undefined;
}
