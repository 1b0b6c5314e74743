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
  const stride = to.width * 3;
  const source = picture.data;
  const middle = new Float64Array(picture.height * stride);
  // Without antialias a large picture has rows that nothing reads.
  for (const y of new Set(down.at)) {
    const from = y * picture.width * 3;
    for (let x = 0, o = y * stride; x < to.width; x++, o += 3)
      for (let k = across.first[x]; k < across.first[x + 1]; k++) {
        const weight = across.weight[k];
        const i = from + across.at[k] * 3;
        middle[o] += weight * source[i];
        middle[o + 1] += weight * source[i + 1];
        middle[o + 2] += weight * source[i + 2];
      }
  }
  const data = new Float64Array(to.height * stride);
  for (let y = 0; y < to.height; y++)
    for (let k = down.first[y]; k < down.first[y + 1]; k++) {
      const weight = down.weight[k];
      const row = down.at[k] * stride;
      for (let i = 0, o = y * stride; i < stride; i++, o++) data[o] += weight * middle[row + i];
    }
  return { ...to, data };
}

/** New pixel i is made of the old ones `at[first[i]] … at[first[i + 1] − 1]`, by their weights. */
interface Taps {
  readonly first: readonly number[];
  readonly at: readonly number[];
  readonly weight: readonly number[];
}

function taps(before: number, after: number, filter: Filter, sampling: Exclude<Sampling, 'pillow'>): Taps {
  const scale = sampling === 'aligned' ? (after > 1 ? (before - 1) / (after - 1) : 0) : before / after;
  // Only antialiasing widens the filter when a picture shrinks.
  const stretch = sampling === 'float' ? Math.max(1, scale) : 1;
  const cubicA = sampling === 'float' ? -0.5 : -0.75;
  const weigh = filter === 'bicubic' ? (x: number) => cubic(x, cubicA) : triangle;
  const reach = (filter === 'bicubic' ? 2 : 1) * stretch;
  const inside = (place: number) => Math.min(Math.max(place, 0), before - 1);
  const first = [0];
  const at: number[] = [];
  const weight: number[] = [];
  for (let i = 0; i < after; i++) {
    const center = sampling === 'corner' || sampling === 'aligned' ? i * scale : (i + 0.5) * scale - 0.5;
    if (filter === 'nearest') {
      const place =
        sampling === 'aligned' ? Math.round(center) : Math.floor(center + (sampling === 'corner' ? 0 : 0.5));
      at.push(inside(place));
      weight.push(1);
    } else {
      let sum = 0;
      for (let place = Math.ceil(center - reach); place <= center + reach; place++) {
        const share = weigh((place - center) / stretch);
        // Pillow leaves out what lies beyond the edge; the others repeat the edge.
        if (share === 0 || (sampling === 'float' && (place < 0 || place >= before))) continue;
        at.push(inside(place));
        weight.push(share);
        sum += share;
      }
      for (let k = first[i]; k < weight.length; k++) weight[k] /= sum;
    }
    first.push(at.length);
  }
  return { first, at, weight };
}
