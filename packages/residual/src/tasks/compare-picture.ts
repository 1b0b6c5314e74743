import { aborted } from '../errors.js';
import { applyPlan, decodingOf } from '../image/apply.js';
import type { Decoded, Pixels } from '../image/pixels.js';
import type { Decoding, Filter, Plan, Step } from '../image/plan.js';
import { resize } from '../image/resize.js';
import type { Tensor } from '../tensor.js';
import type { Finding } from './compare.js';
import { type FloatPicture, resample, type Sampling } from './compare-resample.js';
import { relativeError } from './compare-stations.js';
import { type Chain, chainFindings, chainOf, likelyChains } from './compare-values.js';

// Why two inputs made from one picture differ: one side is redone with one thing changed, then two, until it gives the
// other's input. What values do (order of channels, range, means) is fitted rather than tried: it is linear.

/** The geometry of a plan as things that can be changed one at a time. */
interface Recipe {
  readonly decode: Decoding | 'grey';
  readonly shape: 'shortSide' | 'squash' | 'cropFirst' | 'other';
  /** The short side of `shortSide`. */
  readonly size: number;
  readonly filter: Filter;
  readonly sampling: Sampling;
  /** How half a pixel at the start of a crop is rounded. */
  readonly rounding: 'even' | 'down' | 'up';
  readonly height: number;
  readonly width: number;
  /** How the other side's buffer is read. */
  readonly layout: 'planes' | 'transposed' | 'interleaved' | 'deinterleaved';
  /** The steps themselves, of a plan that is none of these shapes. */
  readonly steps: Plan;
}

type Factor = Exclude<keyof Recipe, 'steps'> | 'steps';

interface Change {
  readonly factors: readonly Factor[];
  readonly to: Partial<Recipe>;
  readonly finding: Finding;
}

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
}

/** Differences in levels of 0–255 that count as none, and as rounding. */
const exact = { rms: 0.02, most: 0.1 };
const rounding = { rms: 0.5, most: 2.5 };

/**
 * What makes `other`, an input `[1, 3, H, W]` of unknown or known making, from the picture that `base` was made from.
 * Empty when no combination of two changes of the table (or, where the other plan is known, of its own differences) does.
 * @throws ABORTED
 */
export async function explainPicture(
  base: PictureBase,
  other: { input: Tensor; plan?: Plan | undefined },
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<PictureCause[]> {
  const [, , height, width] = base.input.shape;
  const start = recipeOf(base.plan, height, width);
  const goal = other.plan && recipeOf(other.plan, other.input.shape[2], other.input.shape[3]);
  const changes = goal ? known(start, goal, base.decoded.default) : table(start, other.input, base.decoded);
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
    const better = best === undefined || fit.rms < best.rms * (used.length > best.used.length ? 0.7 : 1);
    if (fit.rms <= rounding.rms && fit.most <= rounding.most && better) best = { ...fit, used, recipe };
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
  return [
    ...used.map((change) => {
      const rest = used.filter((one) => one !== change);
      return { finding: change.finding, before, after, without: error(changed(start, rest), chain) };
    }),
    ...chainFindings(ours, chain).map((finding) => ({ finding, before, after, without: error(recipe, ours) })),
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
  const changes = table(start, base.input, base.decoded).filter(({ factors }) => !factors.includes('layout'));
  const values = likelyChains(ours);
  const squash = { ...start, shape: 'squash', filter: 'nearest' } as const;
  const geometries = [
    { findings: [], recipe: start },
    ...changes.map((change) => ({ findings: [change.finding], recipe: changed(start, [change]) })),
  ];
  if (start.shape !== 'squash' && start.filter !== 'nearest')
    geometries.push({
      findings: known(start, squash, base.decoded.default).map(({ finding }) => finding),
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

const changed = (recipe: Recipe, changes: readonly Change[]): Recipe =>
  Object.assign({}, recipe, ...changes.map(({ to }) => to));

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

function recipeOf(plan: Plan, height: number, width: number): Recipe {
  const moves = plan.filter(({ step }) => step === 'resize' || step === 'resizeShortSide' || step === 'centerCrop');
  const [first, second] = moves;
  const common = {
    decode: decodingOf(plan),
    size: 0,
    filter: 'bilinear',
    sampling: 'pillow',
    rounding: 'even',
    height,
    width,
    layout: 'planes',
    steps: [],
  } as const;
  if (moves.length === 2 && first.step === 'resizeShortSide' && second.step === 'centerCrop')
    return { ...common, shape: 'shortSide', size: first.size, filter: first.filter };
  if (moves.length === 1 && first.step === 'resize') return { ...common, shape: 'squash', filter: first.filter };
  return { ...common, shape: 'other', steps: moves };
}

/** The picture that a recipe makes; undefined when it cannot be made. */
function draw(recipe: Recipe, decoded: Record<Decoding, Decoded>): FloatPicture | undefined {
  const { height, width, shape, filter, sampling } = recipe;
  // The sampler for diagnosis knows the filters that other systems have.
  if (sampling !== 'pillow' && !['nearest', 'bilinear', 'bicubic'].includes(filter)) return undefined;
  const pixels = recipe.decode === 'grey' ? grey(decoded.default.pixels) : decoded[recipe.decode].pixels;
  if (shape === 'other') {
    const begin: Step = { step: 'decode', as: 'default' };
    return applyPlan(pixels, [begin, ...recipe.steps]).cropped;
  }
  const scaled = (picture: Pixels, to: { width: number; height: number }): FloatPicture =>
    sampling === 'pillow' ? resize(picture, to, filter) : resample(picture, to, filter, sampling);
  if (shape === 'squash') return scaled(pixels, { width, height });
  if (shape === 'cropFirst') {
    const side = Math.min(pixels.width, pixels.height);
    return scaled(cut(pixels, side, side, 'even') as Pixels, { width, height });
  }
  const short = Math.min(pixels.width, pixels.height);
  const length = (side: number) => Math.trunc((recipe.size * side) / short);
  const to = { width: length(pixels.width), height: length(pixels.height) };
  // Enlarging a narrow strip this far explains nothing and fills the memory.
  if (to.width * to.height > 2e7 || to.width < width || to.height < height) return undefined;
  return cut(scaled(pixels, to), width, height, recipe.rounding);
}

function cut<P extends FloatPicture>(picture: P, width: number, height: number, round: Recipe['rounding']): P {
  const start = (gap: number) =>
    gap % 2 === 0 ? gap / 2 : round === 'down' || (round === 'even' && gap % 4 === 1) ? (gap - 1) / 2 : (gap + 1) / 2;
  const [left, top] = [start(picture.width - width), start(picture.height - height)];
  const data =
    picture.data instanceof Uint8Array ? new Uint8Array(width * height * 3) : new Float64Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const row = ((top + y) * picture.width + left) * 3;
    data.set(picture.data.subarray(row, row + width * 3), y * width * 3);
  }
  return { ...picture, width, height, data };
}

/** Pillow's `convert('L')` (ITU-R 601 in 16 bits) laid out as RGB. */
function grey({ width, height, data }: Pixels): Pixels {
  const out = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i += 3)
    out.fill((data[i] * 19595 + data[i + 1] * 38470 + data[i + 2] * 7471 + 0x8000) >> 16, i, i + 3);
  return { width, height, data: out };
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

const sizeWords = ({ height, width }: { height: number; width: number }): string => `${width}×${height}`;
const shapeWords = ({ shape, size, height, width, steps }: Recipe): string =>
  ({
    shortSide: `short side ${size} and centre crop`,
    squash: `squashed to ${sizeWords({ height, width })}`,
    cropFirst: 'centre crop before the resize',
    other: steps.length ? steps.map(({ step }) => step).join(', ') : 'no resize',
  })[shape];

const cropShare = (size: number, { height, width }: Recipe): string =>
  size > 0 ? ` (crop_pct ${Number((Math.max(height, width) / size).toPrecision(3))})` : '';

/** The things in which two known plans differ. */
function known(from: Recipe, to: Recipe, { origin }: Decoded): Change[] {
  const changes: Change[] = [];
  if (from.decode !== to.decode) changes.push(decodeChange(from, to.decode, origin));
  if (from.shape !== to.shape || from.shape === 'other') {
    const { shape, size, steps } = to;
    if (shapeWords(from) !== shapeWords(to)) changes.push(shapeChange(from, { shape, size, steps }));
  } else if (from.size !== to.size) changes.push(sizeChange(from, to.size));
  if (from.filter !== to.filter) changes.push(filterChange(from, to.filter));
  if (from.height !== to.height || from.width !== to.width) changes.push(inputChange(from, to.height, to.width));
  return changes;
}

const filters: readonly Filter[] = ['nearest', 'bilinear', 'bicubic', 'lanczos', 'box', 'hamming'];
const samplingWords: Readonly<Record<Sampling, string>> = {
  pillow: 'with antialias',
  float: 'in floats',
  plain: 'without antialias',
  corner: 'without antialias and without half-pixel centres',
  aligned: 'without antialias and with aligned corners',
};

/** What another system may have done otherwise; each row is tried alone and with every other. */
function table(from: Recipe, { shape: [, , height, width] }: Tensor, decoded: Record<Decoding, Decoded>): Change[] {
  const { pixels, origin } = decoded.default;
  const changes: Change[] = [];
  if (height !== from.height || width !== from.width) changes.push(inputChange(from, height, width));
  const other = from.decode === 'default' ? 'pillow' : 'default';
  if (!samePixels(pixels, decoded.pillow.pixels)) changes.push(decodeChange(from, other, origin));
  changes.push(decodeChange(from, 'grey', origin));
  const longest = Math.max(height, width);
  // The published pairs of resize and crop, and the crop_pct that timm and Hugging Face write.
  const sizes = [256 / 224, 232 / 224, 1, 1 / 0.95, 1 / 0.9, 1 / 0.96, 235 / 224, 288 / 224].flatMap((share) => [
    Math.floor(longest * share + 1e-9),
    Math.round(longest * share),
  ]);
  const distinct = [...new Set(sizes)];
  if (from.shape === 'shortSide')
    for (const size of distinct) if (size !== from.size) changes.push(sizeChange(from, size));
  if (from.shape !== 'squash') changes.push(shapeChange(from, { shape: 'squash' }));
  if (from.shape !== 'cropFirst') changes.push(shapeChange(from, { shape: 'cropFirst' }));
  if (from.shape !== 'shortSide')
    for (const size of distinct) changes.push(shapeChange(from, { shape: 'shortSide', size }));
  for (const filter of filters) if (filter !== from.filter) changes.push(filterChange(from, filter));
  for (const sampling of ['plain', 'corner', 'aligned', 'float'] as const)
    changes.push({
      factors: ['sampling'],
      to: { sampling },
      finding: { id: 'resize-sampling', subject: 'resize', base: 'with antialias', other: samplingWords[sampling] },
    });
  for (const round of ['down', 'up'] as const)
    changes.push({
      factors: ['rounding'],
      to: { rounding: round },
      finding: { id: 'crop-rounding', subject: 'crop offset rounded', base: 'half to even', other: round },
    });
  for (const layout of ['transposed', 'interleaved', 'deinterleaved'] as const)
    changes.push({
      factors: ['layout'],
      to: { layout },
      finding: {
        id: layout === 'transposed' ? 'height-width' : 'layout',
        base: layout === 'transposed' ? 'height before width' : 'channels first',
        other: {
          transposed: 'width before height',
          interleaved: 'an NHWC buffer read as NCHW',
          deinterleaved: 'an NCHW buffer read as NHWC',
        }[layout],
      },
    });
  return changes;
}

function decodeChange(from: Recipe, to: Recipe['decode'], origin: Decoded['origin']): Change {
  const words = (as: Recipe['decode']): [id: string, subject: string, word: string] => {
    if (to === 'grey' || from.decode === 'grey') return ['grey', 'colours', as === 'grey' ? 'turned to grey' : 'kept'];
    const ours = as === 'default';
    if (origin.turned > 1) return ['exif-turn', 'EXIF turn', ours ? 'obeyed' : 'ignored'];
    if (origin.alpha) return ['transparency', 'transparency', ours ? 'laid over white' : 'dropped'];
    if (origin.bits === 16) return ['bits', '16 bits', ours ? 'by their upper byte' : 'cut at 255'];
    return ['decoding', 'decoding', as];
  };
  const [id, subject, base] = words(from.decode);
  return { factors: ['decode'], to: { decode: to }, finding: { id, subject, base, other: words(to)[2] } };
}

const shapeChange = (from: Recipe, to: Partial<Recipe>): Change => ({
  factors: ['shape', 'size', 'steps'],
  to,
  finding: { id: 'resize-shape', base: shapeWords(from), other: shapeWords({ ...from, ...to }) },
});

const sizeChange = (from: Recipe, size: number): Change => ({
  factors: ['size'],
  to: { size },
  finding: {
    id: 'resize-size',
    subject: 'resize',
    base: `${from.size}${cropShare(from.size, from)}`,
    other: `${size}${cropShare(size, from)}`,
  },
});

const filterChange = (from: Recipe, filter: Filter): Change => ({
  factors: ['filter'],
  to: { filter },
  finding: { id: 'resize-filter', base: from.filter, other: filter },
});

const inputChange = (from: Recipe, height: number, width: number): Change => ({
  factors: ['height', 'width'],
  to: { height, width },
  finding: { id: 'input-size', subject: 'input', base: sizeWords(from), other: sizeWords({ height, width }) },
});

const samePixels = (a: Pixels, b: Pixels): boolean =>
  a.width === b.width && a.height === b.height && a.data.every((value, i) => value === b.data[i]);
