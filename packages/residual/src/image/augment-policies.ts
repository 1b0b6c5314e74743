import { integer, normal } from '../random.js';
import {
  autoContrast,
  brightness,
  contrast,
  equalize,
  invert,
  posterize,
  saturation,
  sharpness,
  solarize,
  solarizeAdd,
} from './colours.js';
import type { Pixels } from './pixels.js';
import { rotate, warp } from './warp.js';

/** An operation at a strength, 0 … 1; signed ones are also given −1 … 0. */
interface Operation {
  readonly signed?: boolean;
  readonly apply: (pixels: Pixels, strength: number) => Pixels;
}

const shearX = (by: number) => (pixels: Pixels, strength: number) => warp(pixels, [1, by * strength, 0, 0, 1, 0]);
const shearY = (by: number) => (pixels: Pixels, strength: number) => warp(pixels, [1, 0, 0, by * strength, 1, 0]);

/** TrivialAugment's wide space of 14 operations (torchvision's TrivialAugmentWide, _augmentation_space). */
const wide: readonly Operation[] = [
  { apply: (pixels) => pixels },
  { signed: true, apply: shearX(0.99) },
  { signed: true, apply: shearY(0.99) },
  { signed: true, apply: (pixels, x) => warp(pixels, [1, 0, -Math.trunc(32 * x), 0, 1, 0]) },
  { signed: true, apply: (pixels, x) => warp(pixels, [1, 0, 0, 0, 1, -Math.trunc(32 * x)]) },
  { signed: true, apply: (pixels, x) => rotate(pixels, 135 * x) },
  { signed: true, apply: (pixels, x) => brightness(pixels, 1 + 0.99 * x) },
  { signed: true, apply: (pixels, x) => saturation(pixels, 1 + 0.99 * x) },
  { signed: true, apply: (pixels, x) => contrast(pixels, 1 + 0.99 * x) },
  { signed: true, apply: (pixels, x) => sharpness(pixels, 1 + 0.99 * x) },
  { apply: (pixels, x) => posterize(pixels, 8 - Math.round(6 * x)) },
  { apply: (pixels, x) => solarize(pixels, 255 - 255 * x) },
  { apply: autoContrast },
  { apply: equalize },
];

/** Strengths that are drawn from, evenly spaced from 0 to 1. */
const strengths = 31;

/** One operation, at one strength. */
export function trivialAugment(pixels: Pixels, draw: () => number): Pixels {
  const { apply, signed } = wide[integer(draw, wide.length)];
  const strength = integer(draw, strengths) / (strengths - 1);
  return apply(pixels, signed && draw() < 0.5 ? -strength : strength);
}

const enhance =
  (change: (pixels: Pixels, factor: number) => Pixels) =>
  (pixels: Pixels, strength: number): Pixels =>
    change(pixels, Math.max(0.1, 1 + 0.9 * strength));

/** timm's 15 operations whose effect grows with the magnitude (timm/data/auto_augment.py, _RAND_INCREASING_TRANSFORMS). */
const increasing: readonly Operation[] = [
  { apply: autoContrast },
  { apply: equalize },
  { apply: invert },
  { signed: true, apply: (pixels, x) => rotate(pixels, 30 * x) },
  { apply: (pixels, x) => posterize(pixels, 4 - Math.trunc(4 * x)) },
  { apply: (pixels, x) => solarize(pixels, 256 - Math.trunc(256 * x)) },
  { apply: (pixels, x) => solarizeAdd(pixels, Math.trunc(110 * x)) },
  { signed: true, apply: enhance(saturation) },
  { signed: true, apply: enhance(contrast) },
  { signed: true, apply: enhance(brightness) },
  { signed: true, apply: enhance(sharpness) },
  { signed: true, apply: shearX(0.3) },
  { signed: true, apply: shearY(0.3) },
  { signed: true, apply: (pixels, x) => warp(pixels, [1, 0, 0.45 * x * pixels.width, 0, 1, 0]) },
  { signed: true, apply: (pixels, x) => warp(pixels, [1, 0, 0, 0, 1, 0.45 * x * pixels.height]) },
];

/** Some operations, each left out half the time, at magnitudes about the given one of 10. */
export function randAugment(
  pixels: Pixels,
  draw: () => number,
  { operations, magnitude, deviation }: { operations: number; magnitude: number; deviation: number },
): Pixels {
  let changed = pixels;
  for (let i = 0; i < operations; i++) {
    const { apply, signed } = increasing[integer(draw, increasing.length)];
    if (draw() < 0.5) continue;
    const strength = Math.max(0, Math.min(10, magnitude + deviation * normal(draw))) / 10;
    changed = apply(changed, signed && draw() < 0.5 ? -strength : strength);
  }
  return changed;
}
