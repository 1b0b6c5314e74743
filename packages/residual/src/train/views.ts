import { movesPixels, type Plan, planAt, sizeOfPlan } from '../image/plan.js';
import type { Tensor } from '../tensor.js';

/** Looking at a picture in several ways and taking the mean of the answers. */
export type Views = 'one' | 'flip' | 'ten-crop';

export const viewNames = ['one', 'flip', 'ten-crop'] as const satisfies readonly Views[];

/** How pictures are prepared for views, and the views of a prepared batch. */
export interface Viewing {
  readonly plan: Plan;
  /** What the network is given for each view. */
  readonly height: number;
  readonly width: number;
  views(images: Tensor): Iterable<Tensor>;
}

/**
 * `flip`: the picture and its mirror image. `ten-crop`: the corners and the centre of the square in the middle of the
 * resized picture, each with its mirror image (Krizhevsky et al. 2012, section 4.1); a plan that crops nothing away
 * resizes to 8/7 of the input first.
 *
 * @param size side of the network's input where it is not the plan's
 */
export function viewing(plan: Plan, views: Views, size?: number): Viewing {
  const sized = size === undefined ? plan : planAt(plan, size);
  const { height, width } = sizeOfPlan(sized) ?? { height: size ?? 0, width: size ?? 0 };
  if (views !== 'ten-crop')
    return {
      plan: sized,
      height,
      width,
      *views(images) {
        yield images;
        if (views === 'flip') yield mirrored(images);
      },
    };
  const short = sized.find((step) => step.step === 'resizeShortSide');
  const longest = Math.max(height, width);
  const side = short && short.size > longest ? short.size : Math.round((longest * 8) / 7);
  const larger = sized.map((step) => {
    if (!movesPixels(step)) return step;
    if (step.step === 'resizeShortSide') return { ...step, size: side };
    return { ...step, height: side, width: side };
  });
  return {
    plan: larger,
    height,
    width,
    *views(images) {
      const [down, right] = [side - height, side - width];
      const corners = [
        [0, 0],
        [0, right],
        [down, 0],
        [down, right],
        [Math.round(down / 2), Math.round(right / 2)],
      ] as const;
      for (const [top, left] of corners) {
        const part = cropped(images, { top, left, height, width });
        yield part;
        yield mirrored(part);
      }
    },
  };
}

/** `[N, C, H, W]` turned left to right. */
export function mirrored({ shape, data }: Tensor): Tensor {
  const width = shape[3];
  const out = new Float32Array(data.length);
  for (let row = 0; row < data.length; row += width)
    for (let x = 0; x < width; x++) out[row + x] = data[row + width - 1 - x];
  return { dtype: 'float32', shape, data: out };
}

/** A part of each picture. */
export function cropped(
  { shape: [n, c, h, w], data }: Tensor,
  { top, left, height, width }: { top: number; left: number; height: number; width: number },
): Tensor {
  const out = new Float32Array(n * c * height * width);
  for (let plane = 0; plane < n * c; plane++)
    for (let y = 0; y < height; y++) {
      const from = (plane * h + top + y) * w + left;
      out.set(data.subarray(from, from + width), (plane * height + y) * width);
    }
  return { dtype: 'float32', shape: [n, c, height, width], data: out };
}
