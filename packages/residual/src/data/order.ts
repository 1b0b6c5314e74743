import { ResidualError } from '../errors.js';
import { random, shuffle } from '../random.js';
import type { Example } from './dataset.js';
import { countClasses } from './targets.js';

export interface OrderOptions {
  readonly seed: number;
  readonly epoch: number;
  /** `balanced`: every class as often as any other; or a weight for each example. Drawn with replacement. */
  readonly sampling?: 'balanced' | Float64Array | undefined;
  /** Repeated augmentation: each example so often in an update, in an epoch of the usual length (Hoffer et al. 2020). */
  readonly repeats?: number;
  /** Batches of an update: repeats go to as many of them as there are, and never stand side by side. */
  readonly accumulate?: number;
  /** With a batch, the order is cut to whole batches: what is left over waits for another epoch's order. */
  readonly wholeBatches?: number | undefined;
}

/**
 * Which examples an epoch goes through, in which order. A pure function: a resumed run asks again and goes on where it
 * was.
 *
 * @throws ARGUMENT for weights that are none, CLASSES when nothing can be drawn.
 * @example const order = epochOrder(dataset.train, dataset.classes.length, { seed: 1, epoch: 0 });
 */
export function epochOrder(examples: readonly Example[], classes: number, options: OrderOptions): Int32Array {
  const { seed, epoch, sampling, repeats = 1, accumulate = 1, wholeBatches } = options;
  if (!Number.isInteger(repeats) || repeats < 1)
    throw new ResidualError('ARGUMENT', `expected a whole number ≥ 1 for repeats but received ${repeats}`);
  const draw = random(seed, epoch, 'order');
  const count = examples.length;
  const once = sampling
    ? sampled(sampling === 'balanced' ? balance(examples, classes) : sampling, count, draw)
    : shuffle(inOrder(count), draw);
  const order = repeats === 1 ? once : repeated(once, { repeats, accumulate, batch: wholeBatches ?? count });
  if (wholeBatches === undefined || count < wholeBatches) return order;
  return order.subarray(0, count - (count % wholeBatches));
}

/**
 * Each of the first so often. Within an update every so-manieth comes first, as torchvision's RASampler gives them to so
 * many devices: mixup blends neighbours, and a picture is not to be blended with itself.
 */
function repeated(
  once: Int32Array,
  { repeats, accumulate, batch }: { repeats: number; accumulate: number; batch: number },
): Int32Array {
  const order = new Int32Array(once.length);
  const devices = Math.max(repeats, accumulate);
  let at = 0;
  for (let begin = 0; begin < order.length; begin += batch * accumulate) {
    const end = Math.min(begin + batch * accumulate, order.length);
    for (let device = 0; device < devices; device++)
      for (let i = begin + device; i < end; i += devices) order[at++] = once[Math.floor(i / repeats)];
  }
  return order;
}

/** 0, 1, 2 …: for evaluation. */
export const inOrder = (count: number): Int32Array => Int32Array.from({ length: count }, (_, i) => i);

/** For each example 1 / the size of its class; of several classes, the rarest counts. */
function balance(examples: readonly Example[], classes: number): Float64Array {
  const counts = countClasses(examples, classes);
  return Float64Array.from(examples, ({ target }) => {
    if (typeof target === 'number') return 1 / counts[target];
    const shares = target instanceof Float32Array ? target : undefined;
    const shown = shares ? [...shares.keys()].filter((i) => shares[i] > 0) : (target as readonly number[]);
    // A picture that shows nothing is as usual as the most frequent class.
    return shown.length > 0 ? Math.max(...shown.map((i) => 1 / counts[i])) : 1 / Math.max(1, ...counts);
  });
}

/**
 * `count` indices, each as often as its weight says, rounded up or down (one random start, then even steps through the
 * weights: Baker 1987), in random order.
 */
function sampled(weights: Float64Array, count: number, draw: () => number): Int32Array {
  if (weights.length !== count || !weights.every((weight) => weight >= 0 && Number.isFinite(weight)))
    throw new ResidualError(
      'ARGUMENT',
      `expected ${count} weights ≥ 0, one for each example, but received ${weights.length}`,
    );
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (count > 0 && !(total > 0)) throw new ResidualError('CLASSES', 'all weights are 0; there is nothing to draw');
  const order = new Int32Array(count);
  // Equal classes get equal numbers, but which of their pictures come is up to the order they stand in here.
  const candidates = shuffle(inOrder(count), draw);
  const start = draw();
  let sum = 0;
  let at = 0;
  for (const index of candidates) {
    sum += weights[index];
    for (; at < count && (at + start) * total < sum * count; at++) order[at] = index;
  }
  // Rounding may leave the last place.
  for (; at < count; at++) order[at] = order[at - 1];
  return shuffle(order, draw);
}
