import type { Filter } from '../image/plan.js';
import type { Size } from '../image/resize.js';

/**
 * How another system reads a picture between its pixels; Pillow's own way is `image/resize.ts`.
 * `float`: Pillow's filters without its rounding to 8 bits (torchvision's tensors with antialias). `plain`: no
 * antialias, pixel centres at .5 (OpenCV, torch's interpolate). `corner`: no antialias, pixels at whole numbers
 * (TensorFlow 1, torch's old nearest). `aligned`: the corner pixels lie on one another (`align_corners`).
 */
export type Sampling = 'pillow' | 'float' | 'plain' | 'corner' | 'aligned';

/** A picture in floats: `data[(y · width + x) · 3 + c]`. */
export interface FloatPicture extends Size {
  readonly data: Float64Array | Uint8Array;
}

const triangle = (x: number): number => Math.max(0, 1 - Math.abs(x));

/** Keys' cubic: a = −0.5 in Pillow, −0.75 in OpenCV and torch's interpolate. */
function cubic(x: number, a: number): number {
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((d - 5) * d + 8) * d * a - 4 * a : 0;
}

/** Resamples in floats, for diagnosis only: columns and rows one after the other, the edge pixels repeated. */
export function resample(
  picture: FloatPicture,
  to: Size,
  filter: Filter,
  sampling: Exclude<Sampling, 'pillow'>,
): FloatPicture {
  const across = taps(picture.width, to.width, filter, sampling);
  const down = taps(picture.height, to.height, filter, sampling);
  const middle = new Float64Array(picture.height * to.width * 3);
  for (let y = 0; y < picture.height; y++)
    for (let x = 0; x < to.width; x++)
      for (const { at, weight } of across[x])
        for (let c = 0; c < 3; c++)
          middle[(y * to.width + x) * 3 + c] += weight * picture.data[(y * picture.width + at) * 3 + c];
  const data = new Float64Array(to.height * to.width * 3);
  const stride = to.width * 3;
  for (let y = 0; y < to.height; y++)
    for (const { at, weight } of down[y])
      for (let i = 0; i < stride; i++) data[y * stride + i] += weight * middle[at * stride + i];
  return { ...to, data };
}

interface Tap {
  readonly at: number;
  readonly weight: number;
}

function taps(before: number, after: number, filter: Filter, sampling: Exclude<Sampling, 'pillow'>): Tap[][] {
  const scale = sampling === 'aligned' ? (after > 1 ? (before - 1) / (after - 1) : 0) : before / after;
  // Only antialiasing widens the filter when a picture shrinks.
  const stretch = sampling === 'float' ? Math.max(1, scale) : 1;
  const cubicA = sampling === 'float' ? -0.5 : -0.75;
  const weigh = filter === 'bicubic' ? (x: number) => cubic(x, cubicA) : triangle;
  const reach = (filter === 'bicubic' ? 2 : 1) * stretch;
  return Array.from({ length: after }, (_, i) => {
    const center = sampling === 'corner' || sampling === 'aligned' ? i * scale : (i + 0.5) * scale - 0.5;
    if (filter === 'nearest') {
      const at =
        sampling === 'aligned' ? Math.round(center) : Math.floor(sampling === 'corner' ? center : center + 0.5);
      return [{ at: Math.min(Math.max(at, 0), before - 1), weight: 1 }];
    }
    const found: { at: number; weight: number }[] = [];
    let sum = 0;
    for (let at = Math.ceil(center - reach); at <= center + reach; at++) {
      const weight = weigh((at - center) / stretch);
      // Pillow leaves out what lies beyond the edge; the others repeat the edge.
      if (weight === 0 || (sampling === 'float' && (at < 0 || at >= before))) continue;
      found.push({ at: Math.min(Math.max(at, 0), before - 1), weight });
      sum += weight;
    }
    return found.map(({ at, weight }) => ({ at, weight: weight / sum }));
  });
}
