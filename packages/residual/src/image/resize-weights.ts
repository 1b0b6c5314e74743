import type { Filter } from './plan.js';

/** Weight at a distance, and the distance beyond which it is nothing (Resample.c; Hamming's constants are C floats). */
const filters: Record<Exclude<Filter, 'nearest'>, { support: number; weight(x: number): number }> = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    weight(x) {
      if (x === 0) return 1;
      if (Math.abs(x) >= 1) return 0;
      const angle = Math.abs(x) * Math.PI;
      return (Math.sin(angle) / angle) * (Math.fround(0.54) + Math.fround(0.46) * Math.cos(angle));
    },
  },
  bicubic: {
    support: 2,
    weight(x) {
      const a = -0.5;
      const d = Math.abs(x);
      if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
    },
  },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

/** Weights of one pass. New pixel i is made of old ones `start[i] … start[i] + count[i]`, weights at `first[i]`. */
export interface PassWeights {
  readonly start: Int32Array;
  readonly count: Int32Array;
  readonly first: Int32Array;
  readonly weight: Int32Array;
  /** The greatest count. */
  readonly widest: number;
}

/** Bits behind the point of a weight. */
export const precision = 22;

const cache = new Map<string, PassWeights | undefined>();
const cacheEntries = 32;
const cacheableWeights = 1 << 18;

/** The weights of a pass for new pixels `from … to`; undefined when the side keeps its length and is all wanted. */
export function weightsFor(
  before: number,
  after: number,
  filter: Exclude<Filter, 'nearest'>,
  from: number,
  to: number,
): PassWeights | undefined {
  const key = `${before} ${after} ${filter} ${from} ${to}`;
  const known = cache.get(key);
  if (known) return known;
  const made = computeWeights(before, after, filter, from, to);
  if (made === undefined || made.weight.length > cacheableWeights) return made;
  if (cache.size >= cacheEntries) cache.delete(cache.keys().next().value as string);
  cache.set(key, made);
  return made;
}

function computeWeights(
  before: number,
  after: number,
  filter: Exclude<Filter, 'nearest'>,
  from: number,
  to: number,
): PassWeights | undefined {
  const size = to - from;
  if (before === after) {
    if (size === before) return undefined;
    return {
      start: Int32Array.from({ length: size }, (_, i) => from + i),
      count: new Int32Array(size).fill(1),
      first: new Int32Array(size),
      weight: Int32Array.of(1 << precision),
      widest: 1,
    };
  }
  const { support, weight: weigh } = filters[filter];
  const scale = before / after;
  const stretch = Math.max(1, scale);
  const reach = support * stretch;
  const start = new Int32Array(size);
  const count = new Int32Array(size);
  const first = new Int32Array(size);
  let total = 0;
  for (let i = 0; i < size; i++) {
    const center = (from + i + 0.5) * scale;
    start[i] = Math.max(0, Math.trunc(center - reach + 0.5));
    count[i] = Math.min(before, Math.trunc(center + reach + 0.5)) - start[i];
    first[i] = total;
    total += count[i];
  }
  const weight = new Int32Array(total);
  let widest = 0;
  for (const n of count) widest = Math.max(widest, n);
  const exact = new Float64Array(widest);
  for (let i = 0; i < size; i++) {
    const center = (from + i + 0.5) * scale;
    let sum = 0;
    for (let j = 0; j < count[i]; j++) {
      exact[j] = weigh((start[i] + j - center + 0.5) * (1 / stretch));
      sum += exact[j];
    }
    for (let j = 0; j < count[i]; j++) {
      const share = (sum === 0 ? exact[j] : exact[j] / sum) * (1 << precision);
      weight[first[i] + j] = Math.trunc(share < 0 ? share - 0.5 : share + 0.5);
    }
  }
  return { start, count, first, weight, widest };
}
