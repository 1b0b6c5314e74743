import type { Batch, Dataset, Example } from '../data/dataset.js';
import { batches } from '../data/loader.js';
import { epochOrder } from '../data/order.js';
import { classWeights } from '../data/targets.js';
import { ResidualError } from '../errors.js';
import { findValue, type Graph, inferShapes } from '../graph/graph.js';
import { sizeOfPlan } from '../image/plan.js';
import type { EngineOptions } from '../tasks/model.js';
import { sharedFloats, sizeOf, type Tensor } from '../tensor.js';
import { type Feed, type Fetching, judged, judgedTogether, weigh } from './feed.js';
import { momentary } from './judging.js';
import type { Recipe } from './settings.js';
import type { Student } from './transfer.js';

/** Features of more pictures are not kept: 4 GiB. */
const most = 2 ** 32;

/**
 * What is behind a point of a network, as a network of its own that takes the features of that point.
 * @param tested size of the pictures, where not the network's own.
 * @throws UNKNOWN_NAME; GRAPH when something passes by the point, or nothing is behind it.
 */
export function headBehind(graph: Graph, point: string, tested?: { height: number; width: number }): Graph {
  const value = findValue(graph, point);
  const [{ name, shape: picture }] = graph.inputs;
  const shapes = inferShapes(graph, tested && { [name]: [1, picture[1], tested.height, tested.width] });
  // What can be reached from the point, in the order of the network.
  const reached = new Set([value]);
  const nodes = graph.nodes.filter(({ inputs, outputs }) => {
    if (!inputs.some((input) => reached.has(input))) return false;
    for (const output of outputs) reached.add(output);
    return true;
  });
  const used = new Set(nodes.flatMap(({ inputs }) => inputs));
  const parameters = graph.parameters.filter((parameter) => used.has(parameter.value));
  const given = new Set(parameters.map((parameter) => parameter.value));
  const stray = [...used].find((input) => !reached.has(input) && !given.has(input));
  const ends = graph.outputs.every((output) => reached.has(output.value) && output.value !== value);
  if (stray !== undefined || !ends)
    throw new ResidualError(
      'GRAPH',
      `${graph.name}: not everything passes through ${point}; compute features once at a point where it does, such as ${Object.keys(graph.features).join(', ')}`,
    );
  return {
    ...graph,
    inputs: [{ value, name: 'features', shape: shapes[value] }],
    parameters,
    nodes,
    features: Object.fromEntries(Object.entries(graph.features).filter(([, one]) => reached.has(one) && one !== value)),
  };
}

/** How pictures become features. */
export interface FeatureOptions extends Fetching {
  readonly seed: number;
  readonly channels: 1 | 3;
  readonly engine: EngineOptions;
  readonly signal?: AbortSignal | undefined;
  /** Told of a picture that is skipped. */
  readonly onNote?: ((text: string) => void) | undefined;
}

/** Features of pictures and what these show. */
interface Kept {
  readonly features: Float32Array;
  readonly targets: Float32Array;
  readonly examples: readonly Example[];
}

/**
 * The features of all pictures at the point up to which a network is frozen, computed once: a run on them takes seconds.
 * Every picture is seen as it is, without augmentation.
 *
 * @throws ARGUMENT when nothing is frozen or the features take more than 4 GiB; what the loader and the engine throw.
 */
export async function featureFeed(
  { graph, weights, record }: Student,
  data: Dataset,
  recipe: Recipe,
  options: FeatureOptions,
): Promise<{ feed: Feed; head: Graph }> {
  if (recipe.freeze === '')
    throw new ResidualError('ARGUMENT', 'features can be computed once of frozen layers only: --set freeze=avgpool', {
      setting: 'freeze',
    });
  const head = headBehind(graph, recipe.freeze, sizeOfPlan(record.plan));
  const [{ shape }] = head.inputs;
  const size = sizeOf(shape.slice(1));
  const classes = data.classes.length;
  const count = data.train.length + (data.validation?.length ?? 0);
  if (4 * size * count > most)
    throw new ResidualError(
      'ARGUMENT',
      `the features of ${count} pictures at ${recipe.freeze} take ${(4e-9 * size * count).toFixed(1)} GB; freeze up to a later point, such as avgpool`,
      { setting: 'freeze' },
    );
  const { seed, channels, workers, strict = false, engine, signal, onNote } = options;
  const model = momentary(graph, record, weights, { ...engine, precision: recipe.precision });

  async function keep(examples: readonly Example[], smoothing: number): Promise<Kept> {
    const [features, targets] = [sharedFloats(examples.length * size), sharedFloats(examples.length * classes)];
    const kept: Example[] = [];
    const common = { plan: record.plan, classes, channels, workers, strict, seed, signal, smoothing };
    for await (const batch of batches(examples, { ...judged(examples), ...common })) {
      for (const { error } of batch.skipped) onNote?.(`skipped ${error.message}`);
      if (batch.indices.length === 0) continue;
      const { [recipe.freeze]: found } = await model.run(batch.images, [recipe.freeze], { signal });
      features.set(found.data.subarray(0, batch.indices.length * size), kept.length * size);
      targets.set(batch.targets.data.subarray(0, batch.indices.length * classes), kept.length * classes);
      for (const index of batch.indices) kept.push(examples[index]);
    }
    return { features, targets, examples: kept };
  }

  try {
    const train = await keep(data.train, recipe.smoothing);
    const validation = data.validation?.length ? await keep(data.validation, 0) : undefined;
    const weighing = recipe.classWeights ? classWeights(train.examples, classes) : undefined;
    const gather = (from: Kept, indices: Int32Array): Batch => {
      const images = rows(from.features, indices, [indices.length, ...shape.slice(1)]);
      const targets = rows(from.targets, indices, [indices.length, classes]);
      return { indices, images, targets, skipped: [] };
    };
    const feed: Feed = {
      pictures: train.examples.length,
      async *train(epoch, from, batch) {
        const sampling = recipe.sampling === 'balanced' ? recipe.sampling : undefined;
        const order = epochOrder(train.examples, classes, { seed, epoch, sampling, wholeBatches: batch });
        for (let at = from * batch; at < order.length; at += batch) {
          const one = gather(train, order.slice(at, at + batch));
          if (weighing) weigh(one.targets.data, weighing);
          yield one;
        }
      },
      ...(validation && {
        validation: {
          examples: validation.examples,
          async *open() {
            for (let at = 0; at < validation.examples.length; at += judgedTogether) {
              const length = Math.min(judgedTogether, validation.examples.length - at);
              yield gather(
                validation,
                Int32Array.from({ length }, (_, i) => at + i),
              );
            }
          },
        },
      }),
    };
    return { feed, head };
  } finally {
    await model.dispose();
  }
}

function rows(from: Float32Array, indices: Int32Array, shape: readonly number[]): Tensor {
  const size = sizeOf(shape.slice(1));
  const data = new Float32Array(indices.length * size);
  indices.forEach((index, row) => {
    data.set(from.subarray(index * size, (index + 1) * size), row * size);
  });
  return { dtype: 'float32', shape, data };
}
