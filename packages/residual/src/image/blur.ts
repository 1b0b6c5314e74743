import type { Pixels } from './pixels.js';

const passes = 3;

/**
 * Pillow's GaussianBlur, byte for byte: three box blurs each way, with a fractional radius (BoxBlur.c, after Gwosdek et
 * al. 2011). Beyond the edge the edge goes on.
 *
 * @param radius standard deviation in pixels
 */
export function blur({ width, height, data }: Pixels, radius: number): Pixels {
  const box = boxRadius(radius);
  if (box === 0) return { width, height, data };
  const buffers = [new Uint8Array(data.length), new Uint8Array(data.length)];
  const row = width * 3;
  let from: Uint8Array = data;
  for (let pass = 0; pass < 2 * passes; pass++) {
    const to = buffers[pass % 2];
    if (pass < passes)
      for (let y = 0; y < height; y++) for (let c = 0; c < 3; c++) blurLine(from, to, y * row + c, width, 3, box);
    else for (let i = 0; i < row; i++) blurLine(from, to, i, height, row, box);
    from = to;
  }
  return { width, height, data: from };
}

/** The radius of a box that, so many times over, spreads like a Gaussian. All in float32, as there. */
function boxRadius(deviation: number): number {
  const { fround } = Math;
  const variance = fround(fround(fround(deviation) * fround(deviation)) / passes);
  const length = fround(Math.sqrt(12 * variance + 1));
  const whole = fround(Math.floor((length - 1) / 2));
  const upper = fround(fround(2 * whole + 1) * fround(fround(whole * (whole + 1)) - fround(3 * variance)));
  const lower = fround(6 * fround(variance - fround((whole + 1) * (whole + 1))));
  return fround(whole + fround(upper / lower));
}

/** `length` bytes, `step` apart: weights of 24 bits for the whole pixels of the box and for the two at its ends. */
function blurLine(from: Uint8Array, to: Uint8Array, at: number, length: number, step: number, radius: number): void {
  const whole = Math.trunc(radius);
  const inner = Math.trunc(Math.fround((1 << 24) / Math.fround(radius * 2 + 1)));
  const outer = Math.trunc(((1 << 24) - (whole * 2 + 1) * inner) / 2);
  const last = length - 1;
  const value = (x: number): number => from[at + (x < 0 ? 0 : x > last ? last : x) * step];
  let sum = 0;
  for (let x = -whole - 1; x < whole; x++) sum += value(x);
  for (let x = 0; x < length; x++) {
    sum += value(x + whole) - value(x - whole - 1);
    to[at + x * step] = (sum * inner + (value(x - whole - 1) + value(x + whole + 1)) * outer + (1 << 23)) / (1 << 24);
  }
}
