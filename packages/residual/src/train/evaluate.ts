import type { Batch, Dataset, Example } from '../data/dataset.js';
import { batches } from '../data/loader.js';
import { ResidualError } from '../errors.js';
import { findClasses } from '../models/class-map.js';
import { outputKind } from '../tasks/classify.js';
import { classesOf } from '../tasks/labels.js';
import type { Model } from '../tasks/model.js';
import { outputsOf } from '../tasks/network.js';
import { type Fetching, judged } from './feed.js';
import { judgeModel } from './judging.js';
import type { Scores } from './scores.js';
import { type Views, viewing } from './views.js';

export interface EvaluateOptions extends Omit<Fetching, 'cache'> {
  /** Which pictures; when left out the test part, else validation, else all there are. */
  readonly part?: 'train' | 'validation' | 'test' | undefined;
  /** One look at each picture when left out. */
  readonly views?: Views | undefined;
  /** Side of the network's input, where not that of its preprocessing; all its sizes change in proportion. */
  readonly size?: number | undefined;
  /** `data`: choose among the classes that the data have only; `all` of the model's when left out. */
  readonly among?: 'all' | 'data' | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told after every batch. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What an evaluation found. */
export interface Evaluation extends Scores {
  readonly part: 'train' | 'validation' | 'test';
  readonly views: Views;
  /** Of the network's input. */
  readonly size: readonly [height: number, width: number];
  /** Pictures that could not be read; they count nowhere. */
  readonly skipped: readonly { readonly id: string; readonly reason: string }[];
}

/**
 * How well a model knows pictures: right answers, by class, confusion, calibration. The data's classes are found among
 * the model's by index, WordNet id or label; they may be some of them.
 *
 * @throws CLASSES naming each class of the data that the model does not have; ARGUMENT when there is no such part; IMAGE
 * with `strict`; ABORTED; ENGINE.
 * @example const { top1, classes } = await evaluate(model, await folder('val/'), { views: 'flip' });
 */
export async function evaluate(model: Model, data: Dataset, options: EvaluateOptions = {}): Promise<Evaluation> {
  const { views = 'one', size, among = 'all', workers, strict = false, signal, onProgress } = options;
  const count = outputsOf(model.graph);
  if (count === undefined)
    throw new ResidualError(
      'CLASSES',
      `${model.name} has no classifier: it ends in features; there is nothing to judge`,
    );
  const [part, examples] = partOf(data, options.part);
  const labels = classesOf(model);
  const places = findClasses(data.classes, labels, 'classes of the data');
  const channels = model.graph.inputs[0].shape[1];
  if (channels !== 1 && channels !== 3)
    throw new ResidualError('GRAPH', `${model.name} takes ${channels} channels, and pictures have 1 or 3`);
  const mapped = examples.map((example) => ({ ...example, target: moved(example.target, places, count) }));
  const seeing = viewing(model.record.plan, views, size);
  const skipped: { id: string; reason: string }[] = [];
  let done = 0;
  const pictures: AsyncIterable<Batch> = batches(mapped, {
    ...judged(mapped),
    plan: seeing.plan,
    classes: count,
    channels,
    seed: 0,
    workers,
    strict,
    signal,
  });
  const scores = await judgeModel(model, pictures, {
    labels: distinct(labels.map(({ label }) => label)),
    examples: mapped,
    kind: outputKind(model.graph, data.labels),
    only: among === 'data' ? places : undefined,
    views: views === 'one' ? undefined : seeing.views,
    signal,
    each(more, bad) {
      for (const { id, error } of bad) skipped.push({ id, reason: error.message });
      done += more + bad.length;
      onProgress?.(done, mapped.length);
    },
  });
  return { ...scores, part, views, size: [seeing.height, seeing.width], skipped };
}

function partOf(
  data: Dataset,
  wanted: EvaluateOptions['part'],
): [part: 'train' | 'validation' | 'test', examples: readonly Example[]] {
  const part = wanted ?? (data.test?.length ? 'test' : data.validation?.length ? 'validation' : 'train');
  const examples = data[part];
  if (examples?.length) return [part, examples];
  const there = (['train', 'validation', 'test'] as const).filter((one) => data[one]?.length);
  throw new ResidualError(
    'ARGUMENT',
    `the data have no ${part} part; there ${there.length > 1 ? 'are' : 'is'} ${there.join(', ') || 'nothing'}`,
  );
}

/** A target by the model's classes. */
function moved(target: Example['target'], places: readonly number[], classes: number): Example['target'] {
  if (typeof target === 'number') return places[target];
  if (!(target instanceof Float32Array)) return target.map((index) => places[index]);
  const shares = new Float32Array(classes);
  target.forEach((share, index) => {
    shares[places[index]] += share;
  });
  return shares;
}

/** ImageNet has two cranes. */
function distinct(labels: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  return labels.map((label, index) => ((counts.get(label) ?? 0) > 1 ? `${label} (${index})` : label));
}
