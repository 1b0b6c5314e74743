import type { Batch, Dataset, Example } from '../data/dataset.js';
import { batches } from '../data/loader.js';
import { epochOrder, inOrder } from '../data/order.js';
import { classWeights } from '../data/targets.js';
import { parseAugment } from '../image/augment.js';
import type { Plan } from '../image/plan.js';
import type { Recipe } from './settings.js';

/** How pictures are fetched; none of it changes what is learnt. */
export interface Fetching {
  /** Threads that decode and augment; one a core when left out. */
  readonly workers?: number | undefined;
  /** Keeps decoded pictures in memory. */
  readonly cache?: 'ram' | undefined;
  /** A picture that cannot be read is fatal; else it is skipped and reported. */
  readonly strict?: boolean | undefined;
}

/** Where a run's batches come from. */
export interface Feed {
  /** Pictures of an epoch. */
  readonly pictures: number;
  /** The steps of an epoch from the one numbered `from`; always full batches. */
  train(epoch: number, from: number, batch: number): AsyncIterable<Batch>;
  /** What the network is judged by, in order, unaugmented; absent where there is nothing. */
  readonly validation?: { readonly examples: readonly Example[]; open(signal?: AbortSignal): AsyncIterable<Batch> };
}

/** Pictures that are judged together. */
export const judgedTogether = 64;

/** Pictures, decoded and augmented by the recipe. */
export function pictureFeed(
  data: Dataset,
  recipe: Recipe,
  options: Fetching & {
    readonly plan: Plan;
    /** The plan of tests; the same when left out. */
    readonly tested?: Plan;
    /** Side of the training pictures, where not the plan's. */
    readonly size?: number | undefined;
    readonly seed: number;
    readonly channels: 1 | 3;
  },
): Feed {
  const { plan, tested = plan, size, seed, channels, workers, cache, strict = false } = options;
  const { train, validation, classes } = data;
  const augment = parseAugment(recipe.augment);
  const { mixup, cutmix, smoothing, repeats, accumulate } = recipe;
  const sampling = recipe.sampling === 'balanced' ? recipe.sampling : undefined;
  const common = { plan, classes: classes.length, channels, workers, cache };
  const weights = recipe.classWeights ? classWeights(train, classes.length) : undefined;
  return {
    pictures: train.length,
    async *train(epoch, from, batch) {
      const found = batches(train, {
        ...common,
        order: epochOrder(train, classes.length, { seed, epoch, sampling, repeats, accumulate, wholeBatches: batch }),
        batch,
        from,
        augment,
        mix: mixup > 0 || cutmix > 0 ? { mixup, cutmix } : undefined,
        smoothing,
        seed,
        epoch,
        size,
        strict,
        full: true,
      });
      if (!weights) return yield* found;
      for await (const one of found) {
        weigh(one.targets.data, weights);
        yield one;
      }
    },
    ...(validation?.length && {
      validation: {
        examples: validation,
        open: (signal) => batches(validation, { ...common, ...judged(validation), plan: tested, seed, strict, signal }),
      },
    }),
  };
}

/** Pictures as they are, in order. */
export const judged = (examples: readonly Example[]) => ({
  order: inOrder(examples.length),
  batch: judgedTogether,
  augment: [],
  epoch: 0,
});

/** Counts every class as its weight says: the loss is linear in the targets. */
export function weigh(targets: Float32Array, weights: Float32Array): void {
  for (let i = 0; i < targets.length; i++) targets[i] *= weights[i % weights.length];
}
