import type { Dataset } from '../data/dataset.js';
import { startTrainer } from '../engines/trainer.js';
import { ResidualError } from '../errors.js';
import type { Model } from '../tasks/model.js';
import { masksOf } from './masks.js';
import { stepOf, trainerOptions } from './step.js';
import { prepare, type TrainOptions } from './train.js';

/** The loss at one rate. */
export interface RatePoint {
  readonly rate: number;
  readonly loss: number;
  /** A running mean, without the bias of its beginning. */
  readonly smooth: number;
}

/** What an LR range test found. */
export interface RateRange {
  readonly points: readonly RatePoint[];
  /** Where the smooth loss falls most steeply: a good highest rate for a schedule that begins lower. */
  readonly steepest: number;
  /** A tenth of the rate where the smooth loss is least after that, and no more than the steepest: a cautious one. */
  readonly cautious: number;
}

export interface RateOptions extends Omit<TrainOptions, 'out' | 'most'> {
  /** From here, multiplied at every step, up to there; 1e-5 and 10 when left out. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  /** 100 when left out. */
  readonly steps?: number | undefined;
}

/** Share of the mean that stays at every step. */
const smoothing = 0.9;
/** A smooth loss so many times the least one ends the test. */
const tooHigh = 4;

/**
 * LR range test (Smith 2017, section 3.3): the rate rises from step to step until the loss runs away. Nothing is kept
 * and nothing written.
 *
 * @throws ARGUMENT for a range that is none; what `train` throws of model, data and recipe.
 * @example const { steepest } = await findRate(model, data, { recipe: 'he2015-cifar' });
 */
export async function findRate(model: Model, data: Dataset, options: RateOptions): Promise<RateRange> {
  const { from = 1e-5, to = 10, steps = 100, signal } = options;
  if (!(from > 0 && to > from && Number.isInteger(steps) && steps >= 10))
    throw new ResidualError(
      'ARGUMENT',
      `expected rates from low to high, in 10 steps or more, but received ${from} to ${to} in ${steps}`,
    );
  const { lesson } = await prepare(model, data, { ...options, out: '' });
  const { student, recipe, course, phases, feed, engine, seed } = lesson;
  const { graph, weights } = student;
  const step = stepOf(graph, recipe, course.batch, phases[0].freeze);
  // A clipped gradient would hide that the loss runs away.
  const { clip: _, ...told } = trainerOptions(lesson, step);
  const trainer = await startTrainer(engine.engine ?? 'auto', step, weights, { ...told, average: false });
  const points: RatePoint[] = [];
  try {
    let [mean, least] = [0, Number.POSITIVE_INFINITY];
    for (let epoch = 0; points.length < steps; epoch++)
      for await (const { images, targets } of feed.train(epoch, 0, course.batch)) {
        if (signal?.aborted) throw new ResidualError('ABORTED', 'the work was cancelled before it was done');
        const number = points.length;
        const rate = from * (to / from) ** (number / (steps - 1));
        const inputs = { [graph.inputs[0].name]: images, targets, ...masksOf(step.masks, seed, epoch, number) };
        const { loss } = await trainer.step(inputs, { rate });
        mean = smoothing * mean + (1 - smoothing) * loss;
        const smooth = mean / (1 - smoothing ** (number + 1));
        if (!Number.isFinite(smooth) || smooth > tooHigh * least) return found(points);
        points.push({ rate, loss, smooth });
        least = Math.min(least, smooth);
        if (points.length === steps) break;
      }
  } finally {
    await trainer.dispose();
  }
  return found(points);
}

/** What the points suggest. @throws NUMERICS for fewer than three */
export function found(points: readonly RatePoint[]): RateRange {
  if (points.length < 3)
    throw new ResidualError('NUMERICS', 'the loss runs away at once; begin with a lower rate (from)', {
      points: points.length,
    });
  // Slopes along the logarithm of the rate, over several steps: a single one is noise.
  const width = Math.max(1, Math.floor(points.length / 20));
  // At first the mean is over a few steps only.
  const first = Math.max(width, Math.ceil(points.length / 8));
  let [at, slope] = [first, Number.POSITIVE_INFINITY];
  for (let i = first; i + width < points.length; i++) {
    const [before, after] = [points[i - width], points[i + width]];
    const fall = (after.smooth - before.smooth) / Math.log(after.rate / before.rate);
    if (fall < slope) [slope, at] = [fall, i];
  }
  const steepest = points[at].rate;
  // Before that the loss has not fallen yet, and what is least there is noise.
  const least = points.slice(at).reduce((a, b) => (b.smooth < a.smooth ? b : a));
  return { points, steepest, cautious: Math.min(steepest, least.rate / 10) };
}
