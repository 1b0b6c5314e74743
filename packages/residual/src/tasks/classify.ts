import { aborted, ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { PictureChannels } from '../image/apply.js';
import type { PictureInput } from '../image/pixels.js';
import { preprocessAside, warmPixels } from '../image/thread.js';
import type { Prepared } from '../image/worker.js';
import type { ClassLabel } from '../models/classes.js';
import { formatShape, type Tensor } from '../tensor.js';
import { headWeights } from '../weights/head.js';
import type { Model } from './model.js';
import { endsInSigmoid, list, outputsOf, pictureChannels } from './network.js';

/** One class and how sure the model is of it. */
export interface Prediction {
  /** Position in the model's output. */
  readonly index: number;
  readonly label: string;
  /** WordNet id, for ImageNet's classes. */
  readonly wnid?: string;
  /** 0 … 1; all classes together make 1. */
  readonly probability: number;
}

export interface ClassifyOptions {
  /** How many classes, best first; 5 when left out. */
  readonly top?: number;
  /** Leave out classes below this probability. */
  readonly minProbability?: number;
  /**
   * Choose among these classes only, by index: `matchClasses(['tench', 'tusker'], classesOf(model))`. Probabilities stay
   * as the model gave them, among all its classes: that none of these is likely should show.
   */
  readonly only?: readonly number[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One picture's answer out of many: its predictions, or the error that this picture alone met. */
export type Row =
  | { readonly file: string; readonly predictions: Prediction[]; readonly error?: never }
  | { readonly file: string; readonly error: ResidualError; readonly predictions?: never };

/**
 * Classifies one picture: a path, bytes, a Blob, or a tensor `[1, C, H, W]` that is already preprocessed.
 *
 * @throws FILE, IMAGE, GRAPH, also where the network takes neither three channels nor one; ENGINE, NUMERICS, ABORTED; CLASSES when the
 * model is no classifier.
 * @example const [best] = await classify(model, 'elephant.jpg', { top: 1 });
 */
async function one(model: Model, picture: PictureInput | Tensor, options: ClassifyOptions = {}): Promise<Prediction[]> {
  requireClassifier(model);
  checkOptions(model, options);
  if (!isTensor(picture)) pictureChannels(model);
  prepareAhead(model);
  const x = isTensor(picture)
    ? batchOfOne(picture)
    : toTensor([await preprocessAside(picture, model.record.plan, { ...options, channels: pictureChannels(model) })]);
  const output = isTensor(picture) ? await model.predict(x, options) : await scores(model, x, options);
  return rank(model, output, 0, options);
}

/**
 * Classifies many pictures, in their order. The next are under way while the caller looks at a row.
 * A picture that cannot be read gives a row with its `error`; the others go on.
 *
 * @param options `batch`: pictures that go through the network together. When left out: eight of a list for as long as
 * there are so many, else one; of an asynchronous sequence one, so that an answer does not wait for pictures to come.
 * @throws ENGINE, ABORTED; GRAPH when the network takes neither three channels nor one; CLASSES when the model is no classifier.
 */
async function* each(
  model: Model,
  pictures: Iterable<string> | AsyncIterable<string>,
  options: ClassifyOptions & { readonly batch?: number } = {},
): AsyncGenerator<Row, void, undefined> {
  requireClassifier(model);
  checkOptions(model, options);
  const channels = pictureChannels(model);
  const { batch, signal } = options;
  const many = batch ?? (Array.isArray(pictures) && pictures.length >= decodedTogether ? decodedTogether : 1);
  prepareAhead(model, many);
  const size = Symbol.iterator in pictures ? Math.max(batch ?? 1, decodedTogether) : (batch ?? 1);
  const running: Promise<Row[]>[] = [];
  const coming = groups(pictures, size);
  const ask = () => {
    const asked = coming.next();
    asked.catch(() => {}); // It is thrown where it is awaited.
    return asked;
  };
  let next = ask();
  let rows: Row[] = [];
  try {
    for (;;) {
      // What has come is begun before the caller sees the rows before it; they do not wait for what has not.
      while (running.length < groupsAtOnce) {
        const group = await (running.length || rows.length ? Promise.race([next, turn()]) : next);
        if (!group || group.done) break;
        next = ask();
        const { length } = group.value;
        const together = batch ?? Math.max(many, length === decodedTogether ? length : 1);
        const begun = classifyGroup(model, group.value, { ...options, batch: together, channels });
        begun.catch(() => {});
        running.push(begun);
      }
      yield* rows;
      if (signal?.aborted) throw aborted();
      const first = running.shift();
      if (!first && !rows.length) return;
      rows = first ? await first : [];
    }
  } finally {
    void coming.return(undefined).catch(() => {});
  }
}

/** What is there already has come within a turn of the event loop. */
const turn = (): Promise<undefined> => new Promise((resume) => setTimeout(resume));

/** One in the engine, the next being decoded. */
const groupsAtOnce = 2;

/**
 * Pictures of a list. Decoded together, on all cores, they disturb the engine shortly; one by one they would take a core
 * from it all the time, and all its threads would wait for the one that shares it.
 */
const decodedTogether = 8;

/**
 * Gets ready to decode while something else, such as `load`, is still under way: the first picture comes sooner.
 * @example classify.warm(); const model = await load('resnet50.pth');
 */
const warm = (): void => warmPixels();

export const classify = Object.assign(one, { each, warm });

async function classifyGroup(
  model: Model,
  files: readonly string[],
  options: ClassifyOptions & { readonly batch: number; readonly channels: PictureChannels },
): Promise<Row[]> {
  const inputs = await Promise.all(
    files.map((file) => preprocessAside(file, model.record.plan, options).catch((error: unknown) => ownError(error))),
  );
  const good = inputs.filter((input): input is Prepared => !(input instanceof ResidualError));
  // A plan need not fix the size: pictures go together with those of their own.
  const places = new Map<Prepared, { output: Tensor; row: number }>();
  const batches = bySize(good).flatMap((alike) => slices(alike, options.batch));
  await Promise.all(
    batches.map(async (together) => {
      const output = await scores(model, toTensor(together, options.batch), options);
      together.forEach((input, row) => {
        places.set(input, { output, row });
      });
    }),
  );
  return inputs.map((input, i) => {
    const file = files[i];
    if (input instanceof ResidualError) return { file, error: input };
    try {
      const { output, row } = places.get(input) as { output: Tensor; row: number };
      return { file, predictions: rank(model, output, row, options) };
    } catch (error) {
      return { file, error: ownError(error) };
    }
  });
}

/** `predict` without its look at the values: these were made by the plan itself. */
async function scores(model: Model, x: Tensor, { signal }: ClassifyOptions): Promise<Tensor> {
  const [{ name }] = model.graph.outputs;
  return (await model.run(x, [name], { signal }))[name];
}

/** Errors of one picture become its row; a cancelled call and errors that are no one picture's end the whole. */
function ownError(error: unknown): ResidualError {
  if (error instanceof ResidualError && error.code !== 'ABORTED' && error.code !== 'MISSING_PACKAGE') return error;
  throw error;
}

/** The best classes of row `row` of a model's output `[N, classes]`. */
function rank(model: Model, output: Tensor, row: number, options: ClassifyOptions): Prediction[] {
  const classes = output.shape[1];
  const values = output.data.subarray(row * classes, (row + 1) * classes);
  const ranked = rankRow(values, {
    ...options,
    kind: outputKind(model.graph, model.record.labels),
    classes: model.record.classes,
  });
  if (areEqual(values)) model.warn(`all ${classes} outputs are equal: are these trained weights?`);
  return ranked;
}

/** But for the order in which an engine adds: weights that are all the same tell no class from another. */
function areEqual(values: Float32Array): boolean {
  const [least, most] = values.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [values[0], values[0]]);
  return values.length > 1 && most - least <= 1e-6 * Math.max(Math.abs(least), Math.abs(most));
}

/** What a network's outputs are: of one class among all, of classes that stand each for itself, or done already. */
export type OutputKind = 'logits' | 'labels' | 'probabilities';

/** @param labels `several` where a picture may show any number of the classes */
export const outputKind = ({ outputs: [{ name }] }: Graph, labels: string | undefined): OutputKind =>
  name === 'probabilities' ? 'probabilities' : labels === 'several' ? 'labels' : 'logits';

const probabilitiesOf: { readonly [Kind in OutputKind]: (values: Float32Array) => Float64Array } = {
  logits: (values) => softmax(values),
  labels: (values) => Float64Array.from(values, (x) => 1 / (1 + Math.exp(-x))),
  probabilities: (values) => Float64Array.from(values),
};

/**
 * The best classes of one picture's outputs, best first; equal ones in the order of their index.
 * @throws NUMERICS when an output is not a number: an order among such values would mean nothing.
 */
export function rankRow(
  values: Float32Array,
  options: Omit<ClassifyOptions, 'signal'> & { kind: OutputKind; classes?: readonly ClassLabel[] | undefined },
): Prediction[] {
  const { kind, classes, top = 5, minProbability = 0, only } = options;
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new ResidualError(
      'NUMERICS',
      `output ${bad} is ${values[bad]}, not a number; the weights or the input hold NaN or overflow`,
      { index: bad },
    );
  const probabilities = probabilitiesOf[kind](values);
  const indices = only === undefined ? probabilities.keys() : new Set(only);
  return Array.from(indices, (index) => ({ index, probability: probabilities[index] }))
    .sort((a, b) => b.probability - a.probability || a.index - b.index)
    .slice(0, top)
    .filter(({ probability }) => probability >= minProbability)
    .map(({ index, probability }) => ({ index, ...(classes?.[index] ?? { label: `class ${index}` }), probability }));
}

/** exp(x) / Σ exp(x) in f64, the largest taken off first so that nothing overflows. */
export function softmax(logits: Float32Array): Float64Array {
  const largest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const powers = Float64Array.from(logits, (x) => Math.exp(x - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((x) => x / sum);
}

function batchOfOne(x: Tensor): Tensor {
  if (x.shape.length !== 4 || x.shape[0] !== 1)
    throw new ResidualError(
      'ARGUMENT',
      `expected one preprocessed picture [1, C, H, W] but received ${formatShape(x.shape)}; model.predict takes batches`,
    );
  return x;
}

function bySize(inputs: readonly Prepared[]): Prepared[][] {
  const sizes = new Map<string, Prepared[]>();
  for (const input of inputs) {
    const size = `${input.height}×${input.width}`;
    sizes.set(size, [...(sizes.get(size) ?? []), input]);
  }
  return [...sizes.values()];
}

const slices = <T>(items: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));

/** Prepared pictures of one size, `[N, C, H, W]`. */
function toTensor(inputs: readonly Prepared[], batch = 1): Tensor {
  const [{ input, height, width }] = inputs;
  // A batch that is almost full is filled with black: no plan need be made for its size.
  const count = inputs.length > batch / 2 ? Math.max(batch, inputs.length) : inputs.length;
  const shape = [count, input.length / (height * width), height, width];
  if (count === 1) return { dtype: 'float32', shape, data: input };
  const data = new Float32Array(count * input.length);
  inputs.forEach((one, i) => {
    data.set(one.input, i * input.length);
  });
  return { dtype: 'float32', shape, data };
}

/** The network is compiled while the first picture is decoded; a failure comes back at the first prediction. */
const prepareAhead = (model: Model, batch = 1): void => void model.prepare({ batch }).catch(() => {});

/** @throws ARGUMENT */
function checkOptions(model: Model, options: ClassifyOptions & { batch?: number }): void {
  const { top = 5, minProbability = 0, batch = 1, only } = options;
  const refuse = (expected: string, name: string, received: number | string) => {
    throw new ResidualError('ARGUMENT', `expected ${expected} for ${name} but received ${received}`);
  };
  if (!Number.isInteger(top) || top < 1) refuse('a positive integer', 'top', top);
  if (!Number.isInteger(batch) || batch < 1) refuse('a positive integer', 'batch', batch);
  if (!(minProbability >= 0 && minProbability <= 1)) refuse('a number from 0 to 1', 'minProbability', minProbability);
  if (only === undefined) return;
  if (only.length === 0) refuse('indices of classes', 'only', 'none');
  const classes = outputsOf(model.graph) ?? 0;
  for (const index of only)
    if (!Number.isInteger(index) || index < 0 || index >= classes)
      refuse(`indices of classes from 0 to ${classes - 1}`, 'only', index);
}

function requireClassifier(model: Model): void {
  if (outputsOf(model.graph) !== undefined) return;
  if (endsInSigmoid(model.graph))
    throw new ResidualError(
      'CLASSES',
      `${model.name} is no classifier of one class among many: its outputs stand each for itself (sigmoid); model.predict gives them`,
      { model: model.name },
    );
  const head = headWeights(model.report?.unexpected ?? []);
  const advice = head.length
    ? `its file's ${list(head)} may be a head of its own: build the network with it and pass it as architecture`
    : 'load weights with their top, or a new head';
  throw new ResidualError('CLASSES', `${model.name} has no classifier: it ends in features; ${advice}`, {
    model: model.name,
  });
}

async function* groups(pictures: Iterable<string> | AsyncIterable<string>, size: number): AsyncGenerator<string[]> {
  let group: string[] = [];
  for await (const picture of pictures) {
    group.push(picture);
    if (group.length === size) {
      yield group;
      group = [];
    }
  }
  if (group.length) yield group;
}

const isTensor = (picture: PictureInput | Tensor): picture is Tensor =>
  typeof picture === 'object' && picture !== null && 'dtype' in picture && 'shape' in picture;
