import { aborted } from '../errors.js';
import type { Decoded } from '../image/pixels.js';
import type { Decoding, Plan } from '../image/plan.js';
import type { Tensor } from '../tensor.js';
import type { Finding } from './compare.js';
import { type Change, changed, draw, knownChanges, likelyChanges, type Recipe, recipeOf } from './compare-recipe.js';
import type { FloatPicture } from './compare-resample.js';
import { relativeError } from './compare-stations.js';
import { type Chain, chainFindings, chainOf, likelyChains, named } from './compare-values.js';

// Why two inputs made from one picture differ: one side is redone with one thing changed, then two, until it gives the
// other's input. What values do (order of channels, range, means) is fitted rather than tried: it is linear.

/** The side that is redone. */
export interface PictureBase {
  readonly plan: Plan;
  readonly decoded: Record<Decoding, Decoded>;
  readonly input: Tensor;
}

/** A cause found: what differs, and the inputs' relative difference before, after, and with all but this one. */
export interface PictureCause {
  readonly finding: Finding;
  readonly before: number;
  readonly after: number;
  readonly without: number;
  /** Whether what is left after is rounding to 8 bits. */
  readonly rounding: boolean;
}

/** Differences in levels of 0–255 that count as none, and as rounding to 8 bits, where whole numbers come out. */
const exact = { rms: 0.02, most: 0.1 };
const rounding = { rms: 0.5, most: 1.05, whole: 0.05 };
/** What float32 leaves of no difference. */
const noise = 1e-5;

/**
 * What makes `other`, an input `[1, 3, H, W]` of unknown or known making, from the picture that `base` was made from.
 * Empty when no combination of two changes of the table (or, where the other plan is known, of its own differences) does:
 * what is left must be within the tolerance, or rounding to 8 bits. A linear change of values is not believed beyond that,
 * since it comes near much that is not linear (brightness with its clipping, gamma).
 * @throws ABORTED
 */
export async function explainPicture(
  base: PictureBase,
  other: { input: Tensor; plan?: Plan | undefined },
  { signal, tolerance }: { signal?: AbortSignal | undefined; tolerance: number },
): Promise<PictureCause[]> {
  const [, , height, width] = base.input.shape;
  const start = recipeOf(base.plan, height, width);
  const goal = other.plan && recipeOf(other.plan, other.input.shape[2], other.input.shape[3]);
  const changes = goal
    ? knownChanges(start, goal, base.decoded.default)
    : likelyChanges(start, other.input, base.decoded);
  const theirs = other.plan && chainOf(other.plan);
  const ours = chainOf(base.plan);
  let best: (Fit & { used: readonly Change[]; recipe: Recipe }) | undefined;
  for (const used of combinations(changes, goal ? changes.length : 2)) {
    await breath(signal);
    const recipe = changed(start, used);
    const picture = draw(recipe, base.decoded);
    const fit = picture && fitValues(picture, planes(other.input, recipe.layout), ours, theirs);
    if (!fit) continue;
    if (fit.rms <= exact.rms && fit.most <= exact.most) {
      best = { ...fit, used, recipe };
      break;
    }
    const rounded =
      fit.rms <= 2 * rounding.rms &&
      roundedFit(picture, planes(other.input, recipe.layout), theirs ?? named(fit.chain, ours));
    const better = best === undefined || fit.rms < best.rms * (used.length > best.used.length ? 0.7 : 1);
    if (rounded && better) best = { ...rounded, used, recipe };
  }
  if (!best) return [];

  const { used, recipe, chain } = best;
  const error = (tried: Recipe, values: Chain): number => {
    const picture = draw(tried, base.decoded);
    return picture
      ? relativeError(valued(picture, values), planes(other.input, tried.layout))
      : Number.POSITIVE_INFINITY;
  };
  const before = relativeError(base.input, other.input);
  const after = error(recipe, chain);
  const rest = { before, after, rounding: after > Math.max(tolerance, noise) };
  if (rest.rounding && !best.rounded) return [];
  return [
    ...used.map((change) => {
      const others = used.filter((one) => one !== change);
      return { finding: change.finding, ...rest, without: error(changed(start, others), chain) };
    }),
    ...chainFindings(ours, chain).map((finding) => ({ finding, ...rest, without: error(recipe, ours) })),
  ];
}

/** Lets the rest of the program run, and ends cancelled work. */
async function breath(signal: AbortSignal | undefined): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve));
  if (signal?.aborted) throw aborted();
}

/**
 * The inputs that another system may have made of the picture, for recordings that hold none: each single change of the
 * table, each way with values that has a name, and Keras' and PyTorch's whole preprocessings.
 */
export function* likelyInputs(base: PictureBase): Generator<{ findings: readonly Finding[]; input: Tensor }> {
  const [, , height, width] = base.input.shape;
  const start = recipeOf(base.plan, height, width);
  const ours = chainOf(base.plan);
  const changes = likelyChanges(start, base.input, base.decoded).filter(({ factors }) => !factors.includes('layout'));
  const values = likelyChains(ours);
  const squash = { ...start, shape: 'squash', filter: 'nearest' } as const;
  const geometries = [
    { findings: [], recipe: start },
    ...changes.map((change) => ({ findings: [change.finding], recipe: changed(start, [change]) })),
  ];
  if (start.shape !== 'squash' && start.filter !== 'nearest')
    geometries.push({
      findings: knownChanges(start, squash, base.decoded.default).map(({ finding }) => finding),
      recipe: squash,
    });
  for (const [i, { findings, recipe }] of geometries.entries()) {
    const picture = draw(recipe, base.decoded);
    if (!picture) continue;
    // All ways with values for the plain picture and for Keras' squashed one; otherwise one change at a time.
    const chains = i === 0 || i === geometries.length - 1 ? [ours, ...values] : [ours];
    for (const chain of chains)
      yield { findings: [...findings, ...chainFindings(ours, chain)], input: valued(picture, chain) };
  }
}

/** All choices of up to `most` changes of different things, few first. */
function* combinations(changes: readonly Change[], most: number): Generator<readonly Change[]> {
  let level: { readonly used: readonly Change[]; readonly next: number }[] = [{ used: [], next: 0 }];
  for (let count = 0; count <= most; count++) {
    for (const { used } of level) yield used;
    level = level.flatMap(({ used, next }) =>
      changes.slice(next).flatMap((change, i) => {
        const clash = used.some(({ factors }) => factors.some((factor) => change.factors.includes(factor)));
        return clash ? [] : [{ used: [...used, change], next: next + i + 1 }];
      }),
    );
  }
}

/** The other side's input as planes `[1, 3, H, W]`, had its buffer been misread in this way. */
function planes(input: Tensor, layout: Recipe['layout']): Tensor {
  if (layout === 'planes') return input;
  const [, , h, w] = input.shape;
  const data = new Float32Array(input.data.length);
  for (let c = 0; c < 3; c++)
    for (let y = 0; y < h; y++)
      for (let x = 0; x < w; x++) {
        const here = (c * h + y) * w + x;
        if (layout === 'transposed') data[(c * w + x) * h + y] = input.data[here];
        else if (layout === 'interleaved') data[here] = input.data[(y * w + x) * 3 + c];
        else data[(y * w + x) * 3 + c] = input.data[here];
      }
  return { ...input, shape: layout === 'transposed' ? [1, 3, w, h] : input.shape, data };
}

interface Fit {
  readonly chain: Chain;
  /** Root of the mean square, and the largest, of what is left, in levels of 0–255. */
  readonly rms: number;
  readonly most: number;
  /** The values are whole numbers, and rounding explains what is left. */
  readonly rounded?: true;
}

/** With a chain that has a name, where whole numbers come out, none further than one from the picture: rounded there. */
function roundedFit(picture: FloatPicture, input: Tensor, chain: Chain | undefined): Fit | undefined {
  if (!chain) return undefined;
  const fit = left(picture, input, chain, 1);
  if (fit.rms > rounding.rms || fit.most > rounding.most) return undefined;
  const count = input.data.length / 3;
  const whole = input.data.every((value, i) => {
    const c = Math.floor(i / count);
    const level = (value - chain.offset[c]) / chain.scale[c];
    return Math.abs(level - Math.round(level)) <= rounding.whole;
  });
  return whole ? { ...fit, rounded: true } : undefined;
}

/** The best scale and offset of each channel, in either order of channels (ours where both do), or those of a known plan. */
function fitValues(picture: FloatPicture, input: Tensor, ours: Chain, theirs: Chain | undefined): Fit | undefined {
  const [, channels, height, width] = input.shape;
  if (channels !== 3 || picture.width !== width || picture.height !== height) return undefined;
  if (theirs) return left(picture, input, theirs, 1);
  const orders = [ours.order, ours.order === 'RGB' ? 'BGR' : 'RGB'] as const;
  const fit = (step: number): Fit => {
    const [first, second] = orders.map((order) =>
      left(picture, input, leastSquares(picture, input, order, ours, step), step),
    );
    return second.rms < 0.5 * first.rms ? second : first;
  };
  // A few thousand pixels tell most wrong ways apart.
  const glance = fit(Math.max(1, Math.floor((width * height) / 4000)));
  return glance.rms > 4 * rounding.rms ? glance : fit(1);
}

/** Over every `step`-th pixel. */
function leastSquares({ data }: FloatPicture, input: Tensor, order: Chain['order'], ours: Chain, step: number): Chain {
  const count = data.length / 3;
  const used = Math.ceil(count / step);
  const [scale, offset] = [
    [0, 0, 0],
    [0, 0, 0],
  ];
  for (let c = 0; c < 3; c++) {
    const from = order === 'RGB' ? c : 2 - c;
    let [p, x, pp, px] = [0, 0, 0, 0];
    for (let i = 0; i < count; i += step) {
      const [level, value] = [data[i * 3 + from], input.data[c * count + i]];
      p += level;
      x += value;
      pp += level * level;
      px += level * value;
    }
    const variance = pp - (p * p) / used;
    // A channel of one level says nothing about its scale.
    scale[c] = variance > 1e-6 * used ? (px - (p * x) / used) / variance : ours.scale[c];
    offset[c] = (x - scale[c] * p) / used;
  }
  return { order, scale, offset };
}

function left({ data }: FloatPicture, input: Tensor, chain: Chain, step: number): Fit {
  const count = data.length / 3;
  let [sum, most] = [0, 0];
  for (let c = 0; c < 3; c++) {
    const from = chain.order === 'RGB' ? c : 2 - c;
    for (let i = 0; i < count; i += step) {
      const apart = Math.abs((input.data[c * count + i] - chain.offset[c]) / chain.scale[c] - data[i * 3 + from]);
      sum += apart * apart;
      if (!(apart <= most)) most = apart;
    }
  }
  return { chain, rms: Math.sqrt(sum / (3 * Math.ceil(count / step))), most };
}

function valued({ width, height, data }: FloatPicture, { order, scale, offset }: Chain): Tensor {
  const count = width * height;
  const out = new Float32Array(count * 3);
  for (let c = 0; c < 3; c++)
    for (let i = 0, from = order === 'RGB' ? c : 2 - c; i < count; i++)
      out[c * count + i] = data[i * 3 + from] * scale[c] + offset[c];
  return { dtype: 'float32', shape: [1, 3, height, width], data: out };
}
