import { applyPlan, decodingOf } from '../image/apply.js';
import type { Decoded, Pixels } from '../image/pixels.js';
import type { Decoding, Filter, Plan, Step } from '../image/plan.js';
import { resize } from '../image/resize.js';
import type { Tensor } from '../tensor.js';
import type { Finding } from './compare.js';
import { type FloatPicture, resample, type Sampling } from './compare-resample.js';

/** The geometry of a plan as things that can be changed one at a time. */
export interface Recipe {
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

export interface Change {
  readonly factors: readonly (keyof Recipe)[];
  readonly to: Partial<Recipe>;
  readonly finding: Finding;
}

/** A recipe with changes made to it. */
export const changed = (recipe: Recipe, changes: readonly Change[]): Recipe =>
  Object.assign({}, recipe, ...changes.map(({ to }) => to));

/** A plan as a recipe, for an input of this size. */
export function recipeOf(plan: Plan, height: number, width: number): Recipe {
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
export function draw(recipe: Recipe, decoded: Record<Decoding, Decoded>): FloatPicture | undefined {
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

const greys = new WeakMap<Pixels, Pixels>();

/** Pillow's `convert('L')` (ITU-R 601 in 16 bits) laid out as RGB. */
function grey(pixels: Pixels): Pixels {
  const known = greys.get(pixels);
  if (known) return known;
  const { width, height, data } = pixels;
  const out = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i += 3)
    out.fill((data[i] * 19595 + data[i + 1] * 38470 + data[i + 2] * 7471 + 0x8000) >> 16, i, i + 3);
  const made = { width, height, data: out };
  greys.set(pixels, made);
  return made;
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
export function knownChanges(from: Recipe, to: Recipe, { origin }: Decoded): Change[] {
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
export function likelyChanges(
  from: Recipe,
  { shape: [, , height, width] }: Tensor,
  decoded: Record<Decoding, Decoded>,
): Change[] {
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
