import { ResidualError } from '../errors.js';
import type { Pixels } from './pixels.js';
import type { Filter } from './plan.js';
import { type PassWeights, precision, weightsFor } from './resize-weights.js';

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Region extends Size {
  readonly left: number;
  readonly top: number;
}

/** Pixels that a result, and a side even where only a region is wanted, may have: the default limit of decoding. */
const largestResult = 100_000_000;

/**
 * Resizes as Pillow resizes 8-bit pictures, byte for byte. With `region`, only that part of the result is computed:
 * the same bytes as cutting it out afterwards, for less work.
 *
 * The method (Pillow's Resample.c and Geometry.c, restated): rows first, then columns, each pass rounding to 8 bits; a
 * pass is left out when that side keeps its length; when shrinking the filter is stretched by the ratio, so every
 * pixel counts; weights are fixed-point numbers of 22 bits. `nearest` reads the pixel under the centre of each new one.
 *
 * @throws ARGUMENT when a side is not a whole number ≥ 1, IMAGE when the result would be over 100 megapixels.
 */
export function resize(pixels: Pixels, to: Size, filter: Filter, region?: Region): Pixels {
  for (const side of ['width', 'height'] as const)
    if (!Number.isSafeInteger(to[side]) || to[side] < 1)
      throw new ResidualError('ARGUMENT', `expected a whole number ≥ 1 for ${side} but received ${to[side]}`);
  const part = region ?? { left: 0, top: 0, ...to };
  if (Math.max(to.width, to.height, part.width * part.height) > largestResult)
    throw new ResidualError(
      'IMAGE',
      `a ${pixels.width}×${pixels.height} picture resized to ${to.width}×${to.height} is over the limit of ${largestResult} pixels; crop it or choose a smaller size`,
      { width: to.width, height: to.height },
    );
  const result: Pixels = {
    width: part.width,
    height: part.height,
    data: new Uint8Array(part.width * part.height * 3),
  };
  const right = part.left + part.width;
  const bottom = part.top + part.height;
  if (filter === 'nearest')
    takeNearest(
      pixels,
      nearestIndices(pixels.width, to.width, part.left, right),
      nearestIndices(pixels.height, to.height, part.top, bottom),
      result.data,
    );
  else
    passes(
      pixels,
      weightsFor(pixels.width, to.width, filter, part.left, right),
      weightsFor(pixels.height, to.height, filter, part.top, bottom),
      result.data,
    );
  return result;
}

// Nearest

/** For each new place `from … to` the old one; −1 where rounding ran past the end (Pillow leaves those pixels black). */
function nearestIndices(before: number, after: number, from: number, to: number): Int32Array {
  const indices = new Int32Array(to - from);
  const step = before / after;
  // The place is a running sum of doubles, as in Pillow: multiplying would round differently.
  let place = step * 0.5;
  for (let i = 0; i < to; i++, place += step)
    if (i >= from) indices[i - from] = place < before ? Math.floor(place) : -1;
  return indices;
}

function takeNearest(pixels: Pixels, columns: Int32Array, rows: Int32Array, target: Uint8Array): void {
  let o = 0;
  for (const y of rows)
    for (let x = 0; x < columns.length; x++, o += 3) {
      if (y < 0 || columns[x] < 0) continue;
      const i = (y * pixels.width + columns[x]) * 3;
      target[o] = pixels.data[i];
      target[o + 1] = pixels.data[i + 1];
      target[o + 2] = pixels.data[i + 2];
    }
}

// The other filters

/** Of this module, so that the loops below know them as constants. */
const bits = precision;
/** Half of a sum's last place, so that cutting rounds. */
const half = 1 << (bits - 1);

/** Kept between calls: fresh memory costs more than the arithmetic on it. */
const bandBytes = 1 << 20;
let scratch = new ArrayBuffer(0);

function passes(
  pixels: Pixels,
  across: PassWeights | undefined,
  down: PassWeights | undefined,
  target: Uint8Array,
): void {
  const source = new Uint8Array(pixels.data.buffer, pixels.data.byteOffset, pixels.data.length);
  const out = new Uint8ClampedArray(target.buffer, target.byteOffset, target.length);
  const stride = pixels.width * 3;
  const length = across ? across.start.length * 3 : stride;
  if (!down) {
    if (!across) out.set(source);
    else passAcross(source, 0, stride, pixels.height, across, out);
    return;
  }
  const rows = down.start.length;
  const sums = new Int32Array(length);
  if (!across) {
    for (let y = 0; y < rows; y++) passDown(source, down.start[y] * stride, down, y, sums, out);
    return;
  }
  // Bands of rows, so that the result of the first pass is still in the cache for the second and takes little memory.
  const bandRows = Math.max(down.widest, Math.floor(bandBytes / length));
  const needed = Math.min(bandRows, pixels.height) * length;
  const memory = needed > scratch.byteLength ? new ArrayBuffer(needed) : scratch;
  if (needed <= bandBytes) scratch = memory;
  const band = new Uint8Array(memory);
  const clamped = new Uint8ClampedArray(memory);
  for (let y = 0, end = 0; y < rows; y = end) {
    const top = down.start[y];
    while (end < rows && down.start[end] + down.count[end] <= top + bandRows) end++;
    const bottom = down.start[end - 1] + down.count[end - 1];
    passAcross(source, top * stride, stride, bottom - top, across, clamped);
    for (let i = y; i < end; i++) passDown(band, (down.start[i] - top) * length, down, i, sums, out);
  }
}

/**
 * `rows` rows from `offset` made into rows of new length. The sums stay below 2³¹; the clamped array cuts to 0–255.
 * Two orders of the same sums: each is the faster one for its number of weights (half the time of the other).
 */
function passAcross(
  source: Uint8Array,
  offset: number,
  stride: number,
  rows: number,
  across: PassWeights,
  target: Uint8ClampedArray,
): void {
  if (across.widest <= 4) columnByColumn(source, offset, stride, rows, across, target);
  else for (let y = 0; y < rows; y++) oneRow(source, offset + y * stride, across, target, y * across.start.length * 3);
}

/** At most four weights a column, read once for all rows. */
function columnByColumn(
  source: Uint8Array,
  offset: number,
  stride: number,
  rows: number,
  { start, count, first, weight }: PassWeights,
  target: Uint8ClampedArray,
): void {
  const length = start.length * 3;
  for (let x = 0; x < start.length; x++) {
    // Pixels missing from the four weigh nothing, so they may be any pixel.
    const n = count[x];
    const b = n > 1 ? 3 : 0;
    const c = n > 2 ? 6 : 0;
    const d = n > 3 ? 9 : 0;
    const f = first[x];
    const t = weight[f];
    const u = n > 1 ? weight[f + 1] : 0;
    const v = n > 2 ? weight[f + 2] : 0;
    const w = n > 3 ? weight[f + 3] : 0;
    for (let y = 0, i = offset + start[x] * 3, o = x * 3; y < rows; y++, i += stride, o += length) {
      const j = i + b;
      const k = i + c;
      const l = i + d;
      target[o] =
        (half +
          Math.imul(source[i], t) +
          Math.imul(source[j], u) +
          Math.imul(source[k], v) +
          Math.imul(source[l], w)) >>
        bits;
      target[o + 1] =
        (half +
          Math.imul(source[i + 1], t) +
          Math.imul(source[j + 1], u) +
          Math.imul(source[k + 1], v) +
          Math.imul(source[l + 1], w)) >>
        bits;
      target[o + 2] =
        (half +
          Math.imul(source[i + 2], t) +
          Math.imul(source[j + 2], u) +
          Math.imul(source[k + 2], v) +
          Math.imul(source[l + 2], w)) >>
        bits;
    }
  }
}

/** Any number of weights, two at a time. */
function oneRow(
  source: Uint8Array,
  offset: number,
  { start, count, first, weight }: PassWeights,
  target: Uint8ClampedArray,
  o: number,
): void {
  for (let x = 0; x < start.length; x++, o += 3) {
    let r = half;
    let g = half;
    let b = half;
    let i = offset + start[x] * 3;
    let k = first[x];
    const end = k + count[x];
    for (; k + 1 < end; k += 2, i += 6) {
      const v = weight[k];
      const w = weight[k + 1];
      r = (r + Math.imul(source[i], v) + Math.imul(source[i + 3], w)) | 0;
      g = (g + Math.imul(source[i + 1], v) + Math.imul(source[i + 4], w)) | 0;
      b = (b + Math.imul(source[i + 2], v) + Math.imul(source[i + 5], w)) | 0;
    }
    if (k < end) {
      const w = weight[k];
      r = (r + Math.imul(source[i], w)) | 0;
      g = (g + Math.imul(source[i + 1], w)) | 0;
      b = (b + Math.imul(source[i + 2], w)) | 0;
    }
    target[o] = r >> bits;
    target[o + 1] = g >> bits;
    target[o + 2] = b >> bits;
  }
}

/** Row y of the result from the rows that begin at `offset`, four at a time; `sums` carries what more than four need. */
function passDown(
  source: Uint8Array,
  offset: number,
  { count, first, weight }: PassWeights,
  y: number,
  sums: Int32Array,
  target: Uint8ClampedArray,
): void {
  const length = sums.length;
  const rows = count[y];
  if (rows > 4) sums.fill(half);
  for (let j = 0; j < rows; j += 4) {
    // Rows missing from the last four weigh nothing, so they may be any row.
    const k = first[y] + j;
    const left = rows - j;
    const a = offset + j * length;
    const b = left > 1 ? a + length : a;
    const c = left > 2 ? b + length : a;
    const d = left > 3 ? c + length : a;
    const t = weight[k];
    const u = left > 1 ? weight[k + 1] : 0;
    const v = left > 2 ? weight[k + 2] : 0;
    const w = left > 3 ? weight[k + 3] : 0;
    if (rows <= 4) fourRows(source, a, b, c, d, t, u, v, w, length, target, y * length);
    else addFourRows(source, a, b, c, d, t, u, v, w, sums);
  }
  if (rows > 4) for (let i = 0, o = y * length; i < length; i++, o++) target[o] = sums[i] >> bits;
}

function fourRows(
  source: Uint8Array,
  a: number,
  b: number,
  c: number,
  d: number,
  t: number,
  u: number,
  v: number,
  w: number,
  length: number,
  target: Uint8ClampedArray,
  o: number,
): void {
  for (let i = 0; i < length; i++)
    target[o + i] =
      (half +
        Math.imul(source[a + i], t) +
        Math.imul(source[b + i], u) +
        Math.imul(source[c + i], v) +
        Math.imul(source[d + i], w)) >>
      bits;
}

function addFourRows(
  source: Uint8Array,
  a: number,
  b: number,
  c: number,
  d: number,
  t: number,
  u: number,
  v: number,
  w: number,
  sums: Int32Array,
): void {
  for (let i = 0; i < sums.length; i++)
    sums[i] +=
      Math.imul(source[a + i], t) +
      Math.imul(source[b + i], u) +
      Math.imul(source[c + i], v) +
      Math.imul(source[d + i], w);
}
