import { integer, normal, random } from '../random.js';
import type { Mix } from './dataset.js';

/** How a batch is blended with itself moved on by one: the last picture with the first. */
export type Blend =
  /** Every value: share · own + (1 − share) · the other's. */
  | { readonly kind: 'mixup'; readonly share: number }
  /** A rectangle is the other's; `share` is what is left of the own picture. */
  | {
      readonly kind: 'cutmix';
      readonly share: number;
      readonly left: number;
      readonly top: number;
      readonly right: number;
      readonly bottom: number;
    };

/** What is done to a batch (torchvision's references/classification/transforms.py); undefined for nothing. */
export function blendFor(
  { mixup, cutmix }: Mix,
  { seed, epoch, batch }: { seed: number; epoch: number; batch: number },
  { height, width }: { height: number; width: number },
): Blend | undefined {
  if (mixup === 0 && cutmix === 0) return undefined;
  const draw = random(seed, epoch, batch, 'mix');
  const cuts = mixup === 0 || (cutmix > 0 && draw() < 0.5);
  const share = beta(draw, cuts ? cutmix : mixup);
  if (!cuts) return { kind: 'mixup', share };
  const [x, y] = [integer(draw, width), integer(draw, height)];
  const half = 0.5 * Math.sqrt(1 - share);
  const [w, h] = [Math.trunc(half * width), Math.trunc(half * height)];
  const left = Math.max(0, x - w);
  const top = Math.max(0, y - h);
  const right = Math.min(width, x + w);
  const bottom = Math.min(height, y + h);
  return {
    kind: 'cutmix',
    share: 1 - ((right - left) * (bottom - top)) / (width * height),
    left,
    top,
    right,
    bottom,
  };
}

/** Blends pictures `[N, C, H, W]` in place. */
export function blendImages(images: Float32Array, [n, channels, height, width]: readonly number[], blend: Blend): void {
  const size = channels * height * width;
  const { fround } = Math;
  const [own, others] = [fround(blend.share), fround(1 - blend.share)];
  const last = images.slice((n - 1) * size, n * size);
  // From the end, so that each still finds its neighbour as it was.
  for (let i = n - 1; i >= 0; i--) {
    const at = i * size;
    const other = i === 0 ? last : images.subarray(at - size, at);
    if (blend.kind === 'mixup')
      for (let k = 0; k < size; k++) images[at + k] = fround(own * images[at + k]) + fround(others * other[k]);
    else
      for (let row = 0; row < channels * height; row++) {
        const y = row % height;
        if (y < blend.top || y >= blend.bottom) continue;
        const from = row * width + blend.left;
        images.set(other.subarray(from, row * width + blend.right), at + from);
      }
  }
}

/** Blends targets `[N, classes]` in place, by the same shares. */
export function blendTargets(targets: Float32Array, classes: number, { share }: Blend): void {
  const before = targets.slice();
  for (let i = 0; i < targets.length; i++) {
    const other = (i - classes + targets.length) % targets.length;
    targets[i] = share * before[i] + (1 - share) * before[other];
  }
}

/** A number of Beta(α, α): the share of the first of two numbers of Gamma(α). */
function beta(draw: () => number, alpha: number): number {
  const a = gamma(draw, alpha);
  const b = gamma(draw, alpha);
  // Both are too small to tell apart for a very small α: then the distribution is all at its ends.
  return a + b > 0 ? a / (a + b) : integer(draw, 2);
}

/** A number of Gamma(shape), by rejection (Marsaglia and Tsang 2000). */
function gamma(draw: () => number, shape: number): number {
  if (shape < 1) return gamma(draw, shape + 1) * draw() ** (1 / shape);
  const d = shape - 1 / 3;
  for (;;) {
    const x = normal(draw);
    const v = (1 + x / Math.sqrt(9 * d)) ** 3;
    if (v > 0 && Math.log(1 - draw()) < 0.5 * x * x + d * (1 - v + Math.log(v))) return d * v;
  }
}
