import { chooseEngine, type Executable } from '../engines/index.js';
import { ResidualError, unknownName } from '../errors.js';
import { layersOfEightBits, roundedWeights, type StoredValue, storedValues } from '../graph/eight-bits.js';
import { type Graph, inferShapes } from '../graph/graph.js';
import { foldBatchNorm, prune } from '../graph/passes.js';
import type { Quantisation } from '../graph/quantisation.js';
import { sharedFloats, sizeOf, type Tensor, type Weights } from '../tensor.js';
import { createModel, type EngineOptions, type Model } from './model.js';
import { type Batch, batches, isTensor, type OnSkipped, type Sample } from './quantize-batches.js';
import { type Agreement, agreement, decibels, type LayerLoss, noiseOf } from './quantize-judge.js';
import { chooseScale, nothingSeen, type Observed, observe, type RangeMethod, rangeMethods } from './quantize-ranges.js';

export interface QuantizeOptions extends Omit<EngineOptions, 'precision'> {
  /** How ranges are chosen; `mse` when left out. */
  readonly method?: RangeMethod | undefined;
  /** Convolutions and dense layers that shall compute in float, by name; `first` and `last` are those of the network. */
  readonly float?: readonly string[] | undefined;
  /** Pictures on which both networks are compared; the calibration pictures when left out. */
  readonly judge?: readonly Sample[] | undefined;
  /** The class that each picture of `judge` shows: accuracy is then counted. */
  readonly expected?: readonly number[] | undefined;
  /**
   * Told of each picture that cannot be read, which is then left out; without it such a picture is an error. Where none of
   * `judge` is left, both networks are compared on the pictures of the calibration.
   */
  readonly onSkipped?: OnSkipped | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The `warn` of the quantised model. */
  readonly warn?: ((text: string) => void) | undefined;
  /** Told after each batch how many pictures of how many are done. */
  readonly onProgress?: ((step: 'calibrate' | 'judge', done: number, total: number) => void) | undefined;
}

export interface QuantizeReport {
  readonly method: RangeMethod;
  /** Pictures that were calibrated with. */
  readonly calibrated: number;
  /** Layers that compute in 8 bits, and those that do not. */
  readonly layers: { readonly eightBits: number; readonly float: readonly string[] };
  readonly agreement: Agreement;
  /** What the agreement was measured on: pictures of its own, or those of the calibration, which flatter. */
  readonly judgedOn: 'judge' | 'calibration';
  /** The values kept in 8 bits, in the order of the network. */
  readonly losses: readonly LayerLoss[];
}

/**
 * Makes a network of 8 bits out of one in float, without training: BatchNorm is folded into the convolutions; weights are
 * rounded to s8 with a scale for each output channel; the activations between layers get one scale each, from what
 * `pictures` make of them (u8 where a ReLU stands before, else s8); biases take up the mean error of the rounded weights
 * (Nagel et al. 2019, section 4.2). The pictures should be such as the model will meet: some dozens, of all classes.
 *
 * The quantised model computes in int8 unless told otherwise, and `save` and `exportOnnx` keep its scales.
 *
 * @param pictures to calibrate with: any number of them in the same memory.
 * @throws ARGUMENT when the model is quantised already, none of the pictures is given or nothing is left to quantise;
 * UNKNOWN_NAME for `float`; NUMERICS when a value is not finite; what reading pictures and the engine throw; ABORTED.
 * @example const { model: small, report } = await quantize(model, files); await save(small, 'resnet50-int8.residual');
 */
export async function quantize(
  model: Model,
  pictures: readonly Sample[],
  options: QuantizeOptions = {},
): Promise<{ model: Model; report: QuantizeReport }> {
  const { method = 'mse', judge = pictures, expected, signal, onSkipped, onProgress } = options;
  const { engine, threads, device } = options;
  const on: EngineOptions = { engine, threads, device };
  check(model, pictures, options);
  const folded = foldBatchNorm(prune(model.graph), await model.weights());
  const float = floatLayers(folded.graph, options.float ?? []);
  const stored = storedValues(folded.graph, float);
  const batch = batchFor(folded.graph, stored);

  const total = countOf(pictures);
  // A picture is told of once, though it may be read thrice.
  const lost = new Set<Sample>();
  const skip = (picture: Sample, error: ResidualError) => {
    if (!lost.has(picture)) onSkipped?.(picture, error);
    lost.add(picture);
  };
  const reading = { signal, ...(onSkipped && { onSkipped: skip }) };
  const inside = withOutputs(folded.graph, stored);
  const before = await chooseEngine(engine).compile(inside, { weights: folded.weights, threads, device });
  try {
    const seen = await calibrate(before, inside, stored, batches(pictures, model, batch, reading), {
      signal,
      onPictures: (done) => onProgress?.('calibrate', done, total),
    });
    const calibrated = pictures.filter((picture) => !lost.has(picture));
    const activations = Object.fromEntries(
      stored.map(({ name, dtype, like }) => [name, chooseScale(seen.get(like) as Observed, dtype, method)]),
    );
    const quantisation: Quantisation = { activations, float };
    const layers = layersOfEightBits(folded.graph, quantisation);
    if (layers.length === 0)
      throw new ResidualError('ARGUMENT', `${model.name}: no layer is left to quantise; name fewer as float`);
    const weights = corrected(folded, quantisation, seen);
    const { config: _, ...record } = model.record;
    const small = createModel(
      folded.graph,
      { ...record, quantisation },
      { ...on, name: model.name, weights, warn: options.warn },
    );
    try {
      const losses = await lossesOf(
        before,
        small,
        stored,
        batches(calibrated.slice(0, judged), model, batch, reading),
        on,
        signal,
      );
      const compare = (samples: readonly Sample[], classes?: readonly number[]) => {
        let done = 0;
        return agreement(model, small, samples, {
          expected: classes,
          batch,
          ...reading,
          onPictures(count) {
            done += count;
            onProgress?.('judge', done, countOf(samples));
          },
        });
      };
      const found = await compare(judge, expected);
      const report: QuantizeReport = {
        method,
        calibrated: countOf(calibrated),
        layers: { eightBits: layers.length, float: float.toSorted() },
        agreement: found.pictures > 0 ? found : await compare(calibrated),
        judgedOn: options.judge && found.pictures > 0 ? 'judge' : 'calibration',
        losses,
      };
      return { model: small, report };
    } catch (error) {
      await small.dispose();
      throw error;
    }
  } finally {
    await before.dispose();
  }
}

/** A tensor holds several. */
const countOf = (samples: readonly Sample[]): number =>
  samples.reduce<number>((sum, sample) => sum + (isTensor(sample) ? sample.shape[0] : 1), 0);

/** Pictures on which the loss of each layer is measured. */
const judged = 16;

/** @throws ARGUMENT */
function check(
  { name, record }: Model,
  pictures: readonly Sample[],
  { method, judge, expected }: QuantizeOptions,
): void {
  const refuse = (what: string) => {
    throw new ResidualError('ARGUMENT', `${name}: ${what}`, { model: name });
  };
  if (record.quantisation) refuse('is quantised already; quantise the float model it was made of');
  if (pictures.length === 0)
    refuse('quantising needs pictures to calibrate with, some dozens such as the model will meet');
  if (method !== undefined && !rangeMethods.includes(method))
    refuse(`the method must be ${rangeMethods.join(', ')} but received ${JSON.stringify(method)}`);
  if (judge?.length === 0) refuse('judge holds no pictures; leave it out to compare on those of the calibration');
  const count = countOf(judge ?? pictures);
  if (expected && expected.length !== count)
    refuse(`expected has ${expected.length} classes for ${count} pictures; give one each`);
}

/** The layers that `float` names. @throws UNKNOWN_NAME */
function floatLayers(graph: Graph, float: readonly string[]): string[] {
  const layers = graph.nodes.filter(({ op }) => op === 'conv2d' || op === 'dense').map(({ name }) => name);
  const named = new Map(layers.map((name) => [name, name]));
  if (layers.length && !named.has('first')) named.set('first', layers[0]);
  if (layers.length && !named.has('last')) named.set('last', layers[layers.length - 1]);
  return [
    ...new Set(
      float.map((name) => {
        const found = named.get(name);
        if (found === undefined) throw unknownName(`convolution or dense layer of ${graph.name}`, name, named.keys());
        return found;
      }),
    ),
  ];
}

/** The graph with the values that are kept as its outputs; the network's inputs are known without it. */
function withOutputs(graph: Graph, stored: readonly StoredValue[]): Graph {
  const inputs = new Set(graph.inputs.map(({ value }) => value));
  return {
    ...graph,
    outputs: stored.filter(({ value }) => !inputs.has(value)).map(({ name, value }) => ({ name, value })),
    features: {},
  };
}

/** Values of a batch that come back from the engine: 128 MB. */
const mostValues = 2 ** 25;

function batchFor(graph: Graph, stored: readonly StoredValue[]): number {
  const shapes = inferShapes(graph);
  const values = stored.reduce((sum, { value }) => sum + sizeOf(shapes[value]), 0);
  return Math.max(1, Math.min(32, Math.floor(mostValues / values)));
}

async function calibrate(
  executable: Executable,
  graph: Graph,
  stored: readonly StoredValue[],
  all: AsyncIterable<Batch>,
  { signal, onPictures }: { signal: AbortSignal | undefined; onPictures(done: number): void },
): Promise<Map<number, Observed>> {
  const shapes = inferShapes(graph);
  const seen = new Map(stored.map(({ value }) => [value, nothingSeen(shapes[value][1])]));
  const [input] = graph.inputs;
  let done = 0;
  for await (const { x } of all) {
    const results: Record<string, Tensor> = await executable.run({ [input.name]: x }, { signal });
    for (const { value, name } of stored)
      observe(seen.get(value) as Observed, value === input.value ? x : results[name]);
    done += x.shape[0];
    onPictures(done);
  }
  if (done === 0)
    throw new ResidualError('IMAGE', `${graph.name}: none of the pictures to calibrate with can be read; pass others`);
  for (const { value, name } of stored) {
    const { sums } = seen.get(value) as Observed;
    if (!sums.every(Number.isFinite))
      throw new ResidualError(
        'NUMERICS',
        `${graph.name}: ${name} has values that are not finite numbers on these pictures; the weights or the pictures are damaged`,
        { layer: name },
      );
  }
  return seen;
}

/** Rounded weights, and biases that make up for the mean of what rounding does to each output channel. */
function corrected(
  { graph, weights }: { graph: Graph; weights: Weights },
  quantisation: Quantisation,
  seen: ReadonlyMap<number, Observed>,
): Weights {
  const names = new Map(graph.parameters.map(({ value, name }) => [value, name]));
  const rounded = new Map(roundedWeights(graph, weights, quantisation));
  for (const { op, inputs, attributes } of layersOfEightBits(graph, quantisation)) {
    const [x, weight, bias] = inputs;
    if (bias === undefined) continue;
    const { sums, count } = seen.get(x) as Observed;
    const [name, biasName] = [weight, bias].map((value) => names.get(value) as string);
    const [exact, near] = [weights, rounded].map((from) => (from.get(name) as Tensor).data);
    const { shape } = weights.get(name) as Tensor;
    const old = weights.get(biasName) as Tensor;
    const [out, channels] = shape;
    const area = sizeOf(shape.slice(2));
    const groups = op === 'conv2d' ? attributes.groups : 1;
    const data = sharedFloats(out);
    for (let o = 0; o < out; o++) {
      const first = Math.floor(o / (out / groups)) * channels;
      let error = 0;
      for (let c = 0; c < channels; c++) {
        let difference = 0;
        const at = (o * channels + c) * area;
        for (let i = at; i < at + area; i++) difference += near[i] - exact[i];
        error += (difference * sums[first + c]) / count;
      }
      data[o] = old.data[o] - error;
    }
    rounded.set(biasName, { ...old, data });
  }
  return rounded;
}

/** How much of each value is noise, in the order of the network. */
async function lossesOf(
  before: Executable,
  small: Model,
  stored: readonly StoredValue[],
  all: AsyncIterable<Batch>,
  { engine, threads, device }: EngineOptions,
  signal?: AbortSignal,
): Promise<LayerLoss[]> {
  const { graph, weights, record } = small;
  const { quantisation } = record;
  const after = await chooseEngine(engine).compile(withOutputs(graph, stored), {
    weights,
    threads,
    device,
    precision: 'int8',
    quantisation,
  });
  try {
    const powers = await noiseOf(before, after, graph.inputs[0].name, all, signal);
    const ratios = new Map(
      stored.flatMap(({ value, name }): [number, number][] => {
        const power = powers.get(name);
        return power ? [[value, decibels(power)]] : [];
      }),
    );
    const origins = originsOf(graph, new Set(ratios.keys()));
    return stored.flatMap(({ value, name }) => {
      const signalToNoise = ratios.get(value);
      if (signalToNoise === undefined) return [];
      const from = (origins.get(value) ?? []).map((origin) => ratios.get(origin) as number);
      return [{ name, signalToNoise, lost: from.length ? Math.min(...from) - signalToNoise : 0 }];
    });
  } finally {
    await after.dispose();
  }
}

/** For each of `values` those of them that it is computed from, with none between. */
function originsOf(graph: Graph, values: ReadonlySet<number>): Map<number, readonly number[]> {
  const origins = new Map<number, readonly number[]>();
  for (const { inputs, outputs } of graph.nodes)
    origins.set(outputs[0], [
      ...new Set(inputs.flatMap((value) => (values.has(value) ? [value] : (origins.get(value) ?? [])))),
    ]);
  return origins;
}
