import type { Pixels } from './pixels.js';

const passes = 3;

/**
 * Pillow's GaussianBlur, byte for byte: three box blurs each way, with a fractional radius (BoxBlur.c, after Gwosdek et
 * al. 2011). Beyond the edge the edge goes on.
 *
 * @param radius standard deviation in pixels
 */
export function blur({ width, height, data }: Pixels, radius: number): Pixels {
  const box = boxOf(radius);
  const buffers = [new Uint8Array(data.length), new Uint8Array(data.length)];
  let from = data;
  for (let pass = 0; pass < 2 * passes; pass++) {
    const to = buffers[pass % 2];
    (pass < passes ? across : down)({ width, height, data: from }, box, to);
    from = to;
  }
  return { width, height, data: from };
}

/** A box of 2 · `whole` + 1 pixels of weight `inner`, and one at each end of weight `outer`; together 2²⁴. */
interface Box {
  readonly whole: number;
  readonly inner: number;
  readonly outer: number;
}

/** The box that, so many times over, spreads like a Gaussian. All in float32, as there. */
function boxOf(deviation: number): Box {
  const { fround } = Math;
  const variance = fround(fround(fround(deviation) * fround(deviation)) / passes);
  const length = fround(Math.sqrt(12 * variance + 1));
  const part = fround(Math.floor((length - 1) / 2));
  const upper = fround(fround(2 * part + 1) * fround(fround(part * (part + 1)) - fround(3 * variance)));
  const lower = fround(6 * fround(variance - fround((part + 1) * (part + 1))));
  const radius = fround(part + fround(upper / lower));
  const whole = Math.trunc(radius);
  const inner = Math.trunc(fround((1 << 24) / fround(radius * 2 + 1)));
  return { whole, inner, outer: Math.trunc(((1 << 24) - (whole * 2 + 1) * inner) / 2) };
}

const half = 1 << 23;

/** One pass along the rows. All sums stay below 2³². */
function across({ width, height, data }: Pixels, { whole, inner, outer }: Box, to: Uint8Array): void {
  // The row with its edges drawn out, so that no place is outside.
  const margin = (whole + 1) * 3;
  const row = width * 3;
  const line = new Uint8Array(row + 2 * margin);
  const reach = whole * 6 + 6;
  for (let y = 0, o = 0; y < height; y++) {
    const start = y * row;
    line.set(data.subarray(start, start + row), margin);
    for (let i = 0; i < margin; i++) {
      line[i] = data[start + (i % 3)];
      line[margin + row + i] = data[start + row - 3 + (i % 3)];
    }
    let [r, g, b] = [0, 0, 0];
    for (let i = 0; i < reach - 3; i += 3) {
      r += line[i];
      g += line[i + 1];
      b += line[i + 2];
    }
    for (let i = 0; i < row; i += 3, o += 3) {
      // From the pixel before the box to the one behind it.
      const k = i + reach;
      r += line[k - 3] - line[i];
      g += line[k - 2] - line[i + 1];
      b += line[k - 1] - line[i + 2];
      to[o] = (Math.imul(r, inner) + Math.imul(line[i] + line[k], outer) + half) >>> 24;
      to[o + 1] = (Math.imul(g, inner) + Math.imul(line[i + 1] + line[k + 1], outer) + half) >>> 24;
      to[o + 2] = (Math.imul(b, inner) + Math.imul(line[i + 2] + line[k + 2], outer) + half) >>> 24;
    }
  }
}

/** One pass along the columns, all of them together. */
function down({ width, height, data }: Pixels, { whole, inner, outer }: Box, to: Uint8Array): void {
  const row = width * 3;
  const sums = new Int32Array(row);
  const start = (y: number): number => Math.max(0, Math.min(height - 1, y)) * row;
  for (let y = -whole - 1; y < whole; y++) {
    const at = start(y);
    for (let i = 0; i < row; i++) sums[i] += data[at + i];
  }
  for (let y = 0, o = 0; y < height; y++, o += row) {
    const before = start(y - whole - 1);
    const last = start(y + whole);
    const behind = start(y + whole + 1);
    for (let i = 0; i < row; i++) {
      const first = data[before + i];
      const sum = sums[i] + data[last + i] - first;
      sums[i] = sum;
      to[o + i] = (Math.imul(sum, inner) + Math.imul(first + data[behind + i], outer) + half) >>> 24;
    }
  }
}
