import type { Executable } from '../engines/index.js';
import { ResidualError } from '../errors.js';
import { softmax } from './classify.js';
import type { Model } from './model.js';
import { type Batch, batches, type OnSkipped, type Sample } from './quantize-batches.js';

/** How a model answers before and after. */
export interface Agreement {
  readonly pictures: number;
  /** The share of pictures whose best class is the same, 0 … 1. */
  readonly top1: number;
  /** The mean over pictures and classes of |probability after − probability before|. */
  readonly probabilities: number;
  /** Where it is known what the pictures show: the right answers. */
  readonly right?: { readonly before: number; readonly after: number };
}

/** What a layer's result has lost. */
export interface LayerLoss {
  readonly name: string;
  /** The power of the float network's values over that of the difference to them, in decibels. */
  readonly signalToNoise: number;
  /** By how much that is below the lowest of the values it was computed from. */
  readonly lost: number;
}

/**
 * Runs both models on the same pictures. `expected`: the class of each.
 * @throws NUMERICS when an answer is not finite; what reading pictures and the engine throw.
 */
export async function agreement(
  before: Model,
  after: Model,
  samples: readonly Sample[],
  options: {
    readonly expected?: readonly number[] | undefined;
    readonly batch: number;
    readonly signal?: AbortSignal | undefined;
    readonly onSkipped?: OnSkipped | undefined;
    readonly onPictures?: (count: number) => void;
  },
): Promise<Agreement> {
  const { expected, batch, signal, onSkipped, onPictures } = options;
  const [{ name }] = before.graph.outputs;
  const isLogits = name !== 'probabilities';
  let [pictures, same, difference, rightBefore, rightAfter] = [0, 0, 0, 0, 0];
  for await (const { x, indices } of batches(samples, before, batch, { signal, onSkipped })) {
    const [a, b] = [(await before.run(x, [name], { signal }))[name], (await after.run(x, [name], { signal }))[name]];
    const rows = indices.length;
    const classes = a.data.length / rows;
    for (const [row, index] of indices.entries()) {
      const [p, q] = [a, b].map(({ data }) => {
        const values = data.subarray(row * classes, (row + 1) * classes);
        return isLogits ? softmax(values) : Float64Array.from(values);
      });
      const [first, second] = [bestOf(p), bestOf(q)];
      difference += p.reduce((sum, value, i) => sum + Math.abs(value - q[i]), 0) / classes;
      if (first === second) same++;
      if (first === expected?.[index]) rightBefore++;
      if (second === expected?.[index]) rightAfter++;
    }
    pictures += rows;
    onPictures?.(rows);
  }
  if (!Number.isFinite(difference))
    throw new ResidualError(
      'NUMERICS',
      `${before.name}: answers are not finite numbers on the pictures to compare on; they are damaged`,
    );
  return {
    pictures,
    top1: same / pictures,
    probabilities: difference / pictures,
    ...(expected && { right: { before: rightBefore, after: rightAfter } }),
  };
}

const bestOf = (values: Float64Array): number => values.indexOf(values.reduce((a, b) => Math.max(a, b), -Infinity));

/** The power of what `before` computes, and of how far `after` is from it, by output. */
export async function noiseOf(
  before: Executable,
  after: Executable,
  input: string,
  all: AsyncIterable<Batch>,
  signal?: AbortSignal,
): Promise<Map<string, { signal: number; noise: number }>> {
  const powers = new Map<string, { signal: number; noise: number }>();
  for await (const { x } of all) {
    const [a, b] = [await before.run({ [input]: x }, { signal }), await after.run({ [input]: x }, { signal })];
    for (const [name, { data }] of Object.entries(a)) {
      const other = b[name].data;
      const power = powers.get(name) ?? { signal: 0, noise: 0 };
      for (let i = 0; i < data.length; i++) {
        power.signal += data[i] * data[i];
        power.noise += (data[i] - other[i]) ** 2;
      }
      powers.set(name, power);
    }
  }
  return powers;
}

/** Where nothing differs: more than 32 bits can say. */
const most = 200;

export const decibels = ({ signal, noise }: { signal: number; noise: number }): number =>
  noise === 0 ? most : Math.min(most, 10 * Math.log10(signal / noise));
