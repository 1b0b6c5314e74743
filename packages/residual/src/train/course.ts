import type { Update } from '../engines/trainer.js';
import { ResidualError } from '../errors.js';
import type { Optimizer } from '../updates/optimizers.js';
import { checkSchedule, momentumAt, rateAt, type Schedule, type WarmUp } from './schedules.js';
import type { Recipe } from './settings.js';

/** How long a run is and how its rate goes: a recipe and a number of pictures. */
export interface Course {
  readonly epochs: number;
  /** Pictures of a step: the recipe's, or all of them where there are fewer. */
  readonly batch: number;
  /** Steps of an update: the recipe's, or all of an epoch where there are fewer. */
  readonly accumulate: number;
  readonly steps: number;
  readonly updates: number;
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  readonly warmUp: WarmUp;
}

/**
 * Counts a run's steps. An epoch has whole batches only, and whole updates; what is left over comes in another order in
 * the next one.
 * @param pictures of an epoch
 * @throws ARGUMENT for a schedule that cannot be followed.
 */
export function courseOf(recipe: Recipe, pictures: number): Course {
  const batch = Math.min(recipe.batch, pictures);
  const whole = Math.floor(pictures / batch);
  const accumulate = Math.min(recipe.accumulate, whole);
  const updates = Math.floor(whole / accumulate);
  const schedule = scheduleOf(recipe);
  const warmUp = { epochs: Math.min(recipe.warmup, recipe.epochs), from: recipe.warmupFrom };
  checkSchedule(schedule, warmUp);
  return {
    epochs: recipe.epochs,
    batch,
    accumulate,
    steps: updates * accumulate,
    updates,
    optimizer: optimizerOf(recipe),
    schedule,
    warmUp,
  };
}

function optimizerOf({ optimizer, momentum, nesterov, secondMoment, epsilon, weightDecay }: Recipe): Optimizer {
  if (optimizer === 'sgd') return { name: 'sgd', momentum, nesterov, decay: weightDecay };
  return { name: optimizer, beta1: momentum, beta2: secondMoment, epsilon, decay: weightDecay };
}

function scheduleOf(recipe: Recipe): Schedule {
  const { schedule: name, epochs, every, fall: gamma, up, start, end, power, patience } = recipe;
  switch (name) {
    case 'constant':
      return { name };
    case 'step':
      return { name, step: every, gamma };
    case 'multi-step':
      return { name, milestones: sharesOf(recipe.milestones).map((share) => share * epochs), gamma };
    case 'cosine':
      return { name, end };
    case 'one-cycle':
      return { name, up, start, end };
    case 'triangle':
      return { name, up, start };
    case 'polynomial':
      return { name, power, end };
    case 'plateau':
      return { name, patience, gamma };
  }
}

function sharesOf(text: string): number[] {
  const shares =
    text.trim() === ''
      ? []
      : text
          .trim()
          .split(/[\s,]+/)
          .map(Number);
  if (shares.some((share) => !(share >= 0 && share <= 1)))
    throw new ResidualError(
      'ARGUMENT',
      `expected shares of the run from 0 to 1, such as "0.5 0.75", for milestones but received "${text}"`,
      { setting: 'milestones' },
    );
  return shares;
}

/**
 * One update's numbers; a pure function.
 * @param update from 0, over the whole run
 * @param losses of the validations so far, for the schedule "plateau"
 */
export function updateAt(course: Course, recipe: Recipe, update: number, losses: readonly number[]): Update {
  const at = { update, perEpoch: course.updates, epochs: course.epochs };
  const { average, averageEvery } = recipe;
  return {
    rate: rateAt(recipe.rate, course.schedule, course.warmUp, { ...at, losses }),
    momentum: momentumAt(recipe.momentum, course.schedule, at),
    ...(average > 0 && (update + 1) % averageEvery === 0 && { averageDecay: average }),
  };
}
