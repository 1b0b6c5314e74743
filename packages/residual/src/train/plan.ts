import type { Dataset } from '../data/dataset.js';
import { aborted } from '../errors.js';
import { isTrainable } from '../graph/graph.js';
import { summary } from '../graph/summary.js';
import type { Model } from '../tasks/model.js';
import { sizeOf } from '../tensor.js';
import { updateAt } from './course.js';
import { start } from './loop.js';
import { masksOf } from './masks.js';
import type { Recipe } from './settings.js';
import type { Phase } from './stages.js';
import { prepare, type TrainOptions } from './train.js';

/** What a run will do. Times are in seconds, memory in bytes. */
export interface RunPlan {
  readonly network: string;
  readonly recipe: Recipe;
  readonly notes: readonly string[];
  readonly data: { readonly classes: number; readonly train: number; readonly validation: number };
  /** Numbers that learn at first, and those that stay, running statistics left out. */
  readonly parameters: { readonly trained: number; readonly frozen: number };
  readonly phases: readonly Phase[];
  /** Of an epoch. */
  readonly steps: number;
  readonly updates: number;
  readonly batch: number;
  readonly epochs: number;
  /** The rate at the beginning of some epochs, the last one among them. */
  readonly rates: readonly { readonly epoch: number; readonly rate: number }[];
  /** Multiply-adds of one picture forward; training takes three times as many. */
  readonly macs: number;
  readonly trial: {
    readonly engine: string;
    readonly steps: number;
    /** Median of the steps after the first two, and how much of it the engine worked. */
    readonly seconds: number;
    readonly busy: number;
    readonly imagesPerSecond: number;
    /** The process's peak after the trial. */
    readonly peak: number;
  };
  /** Of all epochs, without validation. */
  readonly expected: number;
}

const trialSteps = 10;
/** Before these the engine makes itself ready. */
const warming = 2;

/**
 * Plans a run and tries ten steps of it; nothing is written.
 * @throws what `train` throws of model, data and recipe; ABORTED.
 * @example const plan = await planRun(model, data, { recipe: 'he2015-cifar', out: 'runs/1' });
 */
export async function planRun(model: Model, data: Dataset, options: TrainOptions): Promise<RunPlan> {
  const { lesson, notes } = await prepare(model, data, options);
  const { student, recipe, course, phases, feed, seed } = lesson;
  const { graph, weights } = student;
  const { step, trainer } = await start(lesson, phases[0], weights);
  const times: { whole: number; step: number }[] = [];
  try {
    let [number, from] = [0, performance.now()];
    for (let epoch = 0; number < trialSteps; epoch++)
      for await (const { images, targets } of feed.train(epoch, 0, course.batch)) {
        if (options.signal?.aborted) throw aborted();
        const got = performance.now();
        const inputs = { [graph.inputs[0].name]: images, targets, ...masksOf(step.masks, seed, epoch, number) };
        await trainer.step(inputs, updateAt(course, recipe, 0, []));
        const now = performance.now();
        times.push({ whole: now - from, step: now - got });
        from = now;
        number++;
        if (number === trialSteps) break;
      }
  } finally {
    await trainer.dispose();
  }
  const counted = times.slice(warming);
  const seconds = median(counted.map(({ whole }) => whole)) / 1000;
  const sum = (of: (time: { whole: number; step: number }) => number) =>
    counted.reduce((total, time) => total + of(time), 0);
  const learning = new Set(step.trained.map(({ name }) => name));
  const learnable = graph.parameters.filter(isTrainable);
  const count = (learns: boolean) =>
    learnable.reduce((total, { name, shape }) => total + (learning.has(name) === learns ? sizeOf(shape) : 0), 0);
  const shown = [...new Set([0, 1, 2, 3, 4].map((part) => Math.round((part * (course.epochs - 1)) / 4)))];
  return {
    network: student.record.architecture,
    recipe,
    notes,
    data: { classes: data.classes.length, train: data.train.length, validation: data.validation?.length ?? 0 },
    parameters: { trained: count(true), frozen: count(false) },
    phases,
    steps: course.steps,
    updates: course.updates,
    batch: course.batch,
    epochs: course.epochs,
    rates: shown.map((epoch) => ({
      epoch: epoch + 1,
      rate: updateAt(course, recipe, epoch * course.updates, []).rate,
    })),
    macs: summary(graph, recipe.size > 0 ? { size: recipe.size } : {}).totals.macs,
    trial: {
      engine: trainer.engine,
      steps: counted.length,
      seconds,
      busy: sum(({ step: busy }) => busy) / sum(({ whole }) => whole),
      imagesPerSecond: course.batch / seconds,
      peak: process.resourceUsage().maxRSS * 1024,
    },
    expected: seconds * course.steps * course.epochs,
  };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
