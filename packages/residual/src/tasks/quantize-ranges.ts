import { roundEven } from '../graph/eight-bits.js';
import type { ActivationScale } from '../graph/quantisation.js';
import type { Tensor } from '../tensor.js';

/**
 * How a range is chosen: `minmax`, the largest magnitude seen; `percentile`, the magnitude that one in ten thousand
 * values exceeds; `mse`, that which makes the mean squared error of rounding and clipping least.
 */
export type RangeMethod = 'minmax' | 'percentile' | 'mse';

export const rangeMethods = ['minmax', 'percentile', 'mse'] as const satisfies readonly RangeMethod[];

/** What was seen of a value on the calibration pictures: of any number of them in the same memory. */
export interface Observed {
  /** The largest magnitude. */
  largest: number;
  /** Magnitudes by bins of equal width, `reach` in all; zeros by themselves. */
  readonly bins: Float64Array;
  reach: number;
  zeros: number;
  /** By channel: the sum of the values, and how many of each channel there were. */
  readonly sums: Float64Array;
  count: number;
}

const binCount = 4096;

export const nothingSeen = (channels: number): Observed => ({
  largest: 0,
  bins: new Float64Array(binCount),
  reach: 2 ** -20,
  zeros: 0,
  sums: new Float64Array(channels),
  count: 0,
});

/** Adds the values `[N, C, …]`. Where one is not finite, neither are the sums. */
export function observe(seen: Observed, { shape, data }: Tensor): void {
  const [pictures, channels] = shape;
  const area = data.length / (pictures * channels);
  let largest = 0;
  for (let at = 0, row = 0; at < data.length; at += area, row++) {
    let sum = 0;
    for (let i = at; i < at + area; i++) {
      const x = data[i];
      sum += x;
      if (x > largest) largest = x;
      else if (-x > largest) largest = -x;
    }
    seen.sums[row % channels] += sum;
  }
  seen.count += pictures * area;
  seen.largest = Math.max(seen.largest, largest);
  // No range holds infinity; the sums tell of it.
  if (largest === Number.POSITIVE_INFINITY) return;
  while (largest >= seen.reach) widen(seen);
  const { bins } = seen;
  const perUnit = binCount / seen.reach;
  let zeros = 0;
  for (let i = 0; i < data.length; i++) {
    const x = data[i];
    if (x === 0) zeros++;
    else bins[((x < 0 ? -x : x) * perUnit) | 0]++;
  }
  seen.zeros += zeros;
}

/** Twice the reach: pairs of bins become one. */
function widen(seen: Observed): void {
  const { bins } = seen;
  for (let i = 0; i < binCount / 2; i++) bins[i] = bins[2 * i] + bins[2 * i + 1];
  bins.fill(0, binCount / 2);
  seen.reach *= 2;
}

/** The scale of a value of which this was seen. */
export function chooseScale(seen: Observed, dtype: ActivationScale['dtype'], method: RangeMethod): ActivationScale {
  const levels = dtype === 'u8' ? 255 : 127;
  const range = seen.largest === 0 ? levels : ranges[method](seen, levels);
  return { scale: Math.fround(range / levels), dtype };
}

const ranges: Readonly<Record<RangeMethod, (seen: Observed, levels: number) => number>> = {
  minmax: ({ largest }) => largest,
  percentile(seen) {
    let beyond = 1e-4 * (seen.zeros + seen.bins.reduce((sum, n) => sum + n, 0));
    let last = binCount - 1;
    while (last > 0 && beyond >= seen.bins[last]) beyond -= seen.bins[last--];
    return Math.min(seen.largest, ((last + 1) * seen.reach) / binCount);
  },
  mse(seen, levels) {
    let [best, least] = [seen.largest, Number.POSITIVE_INFINITY];
    for (let share = 1; share > 0.15; share *= 0.98) {
      const error = squaredError(seen, (share * seen.largest) / levels, levels);
      if (error < least) [best, least] = [share * seen.largest, error];
    }
    return best;
  },
};

/** The sum of the squared errors, each bin's values taken to lie in its middle. */
export function squaredError({ bins, reach }: Observed, scale: number, levels: number): number {
  const width = reach / binCount;
  let sum = 0;
  for (let i = 0; i < binCount; i++) {
    if (bins[i] === 0) continue;
    const x = (i + 0.5) * width;
    const error = x - Math.min(levels, roundEven(x / scale)) * scale;
    sum += bins[i] * error * error;
  }
  return sum;
}
