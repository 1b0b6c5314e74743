import { ResidualError } from '../errors.js';
import { between, integer, random, shuffle } from '../random.js';
import { placePixels, valueTables } from './apply.js';
import { type Augment, type AugmentName, type AugmentStep, checkAugment } from './augment.js';
import { randAugment, trivialAugment } from './augment-policies.js';
import { blur } from './blur.js';
import { brightness, contrast, grey, hue, saturation } from './colours.js';
import type { Pixels } from './pixels.js';
import { movesPixels, type Plan, sizeOfPlan } from './plan.js';
import { resize, type Size } from './resize.js';
import { cut, mirror, type Part, rotate, upsideDown } from './warp.js';

/** What all randomness of one picture hangs on. */
export interface AugmentKey {
  readonly seed: number;
  readonly epoch: number;
  /** The example's place in its list. */
  readonly index: number;
  /** How often the same example came before in this epoch. */
  readonly repeat: number;
}

interface Context {
  readonly draw: () => number;
  readonly key: AugmentKey;
  /** The network's input; a crop needs it. */
  readonly size: Size | undefined;
  /** The bytes that the plan makes nearest to 0. */
  readonly zero: readonly [r: number, g: number, b: number];
}

/**
 * The way of a decoded picture to what the network sees, still as bytes: the plan's resizing and cropping with the
 * augmentation in it. Nothing but the key decides what is drawn.
 *
 * @throws ARGUMENT as `checkAugment` and `checkPlan`, and for a random resized crop where the plan fixes no size.
 * @example const look = augmenter(plan, parseAugment('random-resized-crop, flip')); look(pixels, { seed, epoch, index, repeat: 0 })
 */
export function augmenter(plan: Plan, augment: Augment): (pixels: Pixels, key: AugmentKey) => Pixels {
  checkAugment(augment);
  const size = sizeOfPlan(plan);
  const crops = augment[0]?.step === 'random-resized-crop';
  if (crops && size === undefined)
    throw new ResidualError(
      'ARGUMENT',
      'random-resized-crop needs the size of the input, which the plan leaves to the picture; give a plan that ends in a crop or a resize to a fixed size',
    );
  const zero = zeroBytes(plan);
  const onlyResizes = plan.every((step) => step.step === 'resize' || !movesPixels(step));
  const place = (pixels: Pixels): Pixels =>
    // Tiny pictures, of which there are thousands a second, are of the size already.
    onlyResizes && pixels.width === size?.width && pixels.height === size.height
      ? pixels
      : placePixels(pixels, plan).cropped;
  return (pixels, key) => {
    let seen = crops ? pixels : place(pixels);
    if (augment.length === 0) return seen;
    const context: Context = { draw: random(key.seed, key.epoch, key.index, key.repeat, 'augment'), key, size, zero };
    for (const step of augment) seen = (actions[step.step] as Action)(seen, step, context);
    return seen;
  };
}

/** For red, green and blue the byte whose value after the plan is nearest to 0: usually the mean colour. */
function zeroBytes(plan: Plan): [number, number, number] {
  const zero: [number, number, number] = [0, 0, 0];
  for (const { from, values } of valueTables(plan))
    zero[from] = values.reduce((best, value, byte) => (Math.abs(value) < Math.abs(values[best]) ? byte : best), 0);
  return zero;
}

type Action<Name extends AugmentName = AugmentName> = (
  pixels: Pixels,
  step: Extract<AugmentStep, { step: Name }>,
  context: Context,
) => Pixels;

const actions = {
  flip: (pixels, { chance }, { draw }) => (draw() < chance ? mirror(pixels) : pixels),
  'flip-alternating': (pixels, _, { key: { seed, index, epoch } }) =>
    integer(random(seed, index, 'flip'), 2) === epoch % 2 ? mirror(pixels) : pixels,
  'vertical-flip': (pixels, { chance }, { draw }) => (draw() < chance ? upsideDown(pixels) : pixels),
  rotate: (pixels, { degrees }, { draw }) => rotate(pixels, between(draw, -degrees, degrees)),
  'random-resized-crop': (pixels, { least, most }, { draw, size }) => {
    const part = resizedCrop(pixels, least, most, draw);
    return resize(cut(pixels, part), size as Size, 'bilinear');
  },
  'pad-crop': (pixels, { pixels: margin }, { draw }) => cut(pixels, shifted(pixels, margin, draw)),
  'reflect-crop': (pixels, { pixels: margin }, { draw }) => cut(pixels, shifted(pixels, margin, draw), 'mirrored'),
  jitter: (pixels, step, { draw }) => {
    // Each factor is drawn, whether it comes first or last.
    const around = (by: number) => between(draw, Math.max(0, 1 - by), 1 + by);
    const factors = { b: around(step.brightness), c: around(step.contrast), s: around(step.saturation) };
    const turns = between(draw, -step.hue, step.hue);
    const changes: ((pixels: Pixels) => Pixels)[] = [];
    if (step.brightness > 0) changes.push((one) => brightness(one, factors.b));
    if (step.contrast > 0) changes.push((one) => contrast(one, factors.c));
    if (step.saturation > 0) changes.push((one) => saturation(one, factors.s));
    if (step.hue > 0) changes.push((one) => hue(one, turns));
    return shuffle(changes, draw).reduce((one, change) => change(one), pixels);
  },
  grey: (pixels, { chance }, { draw }) => (draw() < chance ? grey(pixels) : pixels),
  blur: (pixels, { chance, least, most }, { draw }) =>
    draw() < chance ? blur(pixels, between(draw, least, most)) : pixels,
  'trivial-augment': (pixels, _, { draw }) => trivialAugment(pixels, draw),
  'rand-augment': (pixels, step, { draw }) => randAugment(pixels, draw, step),
  erase: (pixels, { chance }, { draw, zero }) => {
    if (draw() >= chance) return pixels;
    const part = erased(pixels, draw);
    return part ? fill(pixels, part, zero) : pixels;
  },
} satisfies { [Name in AugmentName]: Action<Name> };

/** A place up to `margin` away in each direction. */
function shifted({ width, height }: Pixels, margin: number, draw: () => number): Part {
  const left = integer(draw, 2 * margin + 1) - margin;
  const top = integer(draw, 2 * margin + 1) - margin;
  return { left, top, width, height };
}

/** Attempts at a rectangle that fits (torchvision's RandomResizedCrop and RandomErasing). */
const attempts = 10;

/** Sides of a rectangle of an area and a shape of 1 : `widest` to `widest` : 1, both drawn. */
function rectangle(least: number, most: number, widest: number, draw: () => number): Size {
  const area = between(draw, least, most);
  const shape = Math.exp(between(draw, -Math.log(widest), Math.log(widest)));
  return { width: Math.round(Math.sqrt(area * shape)), height: Math.round(Math.sqrt(area / shape)) };
}

const placed = (pixels: Size, { width, height }: Size, draw: () => number): Part => {
  const top = integer(draw, pixels.height - height + 1);
  return { left: integer(draw, pixels.width - width + 1), top, width, height };
};

function resizedCrop({ width, height }: Pixels, least: number, most: number, draw: () => number): Part {
  const area = width * height;
  for (let i = 0; i < attempts; i++) {
    const part = rectangle(least * area, most * area, 4 / 3, draw);
    if (part.width > 0 && part.width <= width && part.height > 0 && part.height <= height)
      return placed({ width, height }, part, draw);
  }
  // The middle, in the nearest shape that is allowed.
  const w = Math.max(1, Math.min(width, Math.round((height * 4) / 3)));
  const h = Math.max(1, Math.min(height, Math.round((width * 4) / 3)));
  return { left: Math.floor((width - w) / 2), top: Math.floor((height - h) / 2), width: w, height: h };
}

function erased({ width, height }: Pixels, draw: () => number): Part | undefined {
  const area = width * height;
  for (let i = 0; i < attempts; i++) {
    const part = rectangle(0.02 * area, 0.33 * area, 3.3, draw);
    if (part.width < width && part.height < height) return placed({ width, height }, part, draw);
  }
  return undefined;
}

function fill({ width, height, data }: Pixels, part: Part, [r, g, b]: readonly [number, number, number]): Pixels {
  const out = data.slice();
  for (let y = part.top; y < part.top + part.height; y++)
    for (let i = (y * width + part.left) * 3, end = i + part.width * 3; i < end; i += 3) {
      out[i] = r;
      out[i + 1] = g;
      out[i + 2] = b;
    }
  return { width, height, data: out };
}
