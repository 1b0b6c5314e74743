import type { Pixels } from './pixels.js';

// Pillow's operations on colours, byte for byte (ImageOps, ImageEnhance, Blend.c, Convert.c of Pillow 9.4). None changes
// the picture it is given; one that has nothing to do may give it back.

/** What a byte becomes, by its value: one table for all channels, or one for each. */
type Table = Uint8Array | readonly [Uint8Array, Uint8Array, Uint8Array];

function look({ width, height, data }: Pixels, table: Table): Pixels {
  const [r, g, b] = table instanceof Uint8Array ? [table, table, table] : table;
  const out = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i += 3) {
    out[i] = r[data[i]];
    out[i + 1] = g[data[i + 1]];
    out[i + 2] = b[data[i + 2]];
  }
  return { width, height, data: out };
}

/** Cut to a byte; a fraction is dropped, as a C cast does. */
const clip = (value: number): number => Math.max(0, Math.min(255, Math.trunc(value)));

const bytes = (value: (byte: number) => number): Uint8Array =>
  Uint8Array.from({ length: 256 }, (_, i) => clip(value(i)));

/** 255 − value. */
export const invert = (pixels: Pixels): Pixels =>
  look(
    pixels,
    bytes((byte) => 255 - byte),
  );

/** Values of at least the threshold are inverted. */
export const solarize = (pixels: Pixels, threshold: number): Pixels =>
  look(
    pixels,
    bytes((byte) => (byte < threshold ? byte : 255 - byte)),
  );

/** Adds to values below 128 (timm's solarize_add). */
export const solarizeAdd = (pixels: Pixels, add: number): Pixels =>
  look(
    pixels,
    bytes((byte) => (byte < 128 ? byte + add : byte)),
  );

/** Keeps the upper `bits` of each value, 0 to 8. */
export const posterize = (pixels: Pixels, bits: number): Pixels =>
  look(
    pixels,
    bytes((byte) => byte & (256 - 2 ** (8 - bits))),
  );

/** Stretches each channel to 0 … 255. */
export const autoContrast = (pixels: Pixels): Pixels =>
  look(
    pixels,
    perChannel(pixels, (counts) => {
      const least = counts.findIndex((n) => n > 0);
      const most = counts.findLastIndex((n) => n > 0);
      if (most <= least) return bytes((byte) => byte);
      const scale = 255 / (most - least);
      const offset = -least * scale;
      return bytes((byte) => byte * scale + offset);
    }),
  );

/** Makes the values of each channel about equally frequent. */
export const equalize = (pixels: Pixels): Pixels =>
  look(
    pixels,
    perChannel(pixels, (counts) => {
      const last = counts.findLastIndex((n) => n > 0);
      const step = Math.floor((pixels.width * pixels.height - counts[last]) / 255);
      if (step === 0) return bytes((byte) => byte);
      let n = Math.floor(step / 2);
      return bytes((byte) => {
        const value = Math.floor(n / step);
        n += counts[byte];
        return value;
      });
    }),
  );

function perChannel({ data }: Pixels, tableOf: (counts: Int32Array) => Uint8Array): Table {
  const counts = [0, 1, 2].map(() => new Int32Array(256));
  const [r, g, b] = counts;
  for (let i = 0; i < data.length; i += 3) {
    r[data[i]]++;
    g[data[i + 1]]++;
    b[data[i + 2]]++;
  }
  return [tableOf(r), tableOf(g), tableOf(b)];
}

/** Luma of ITU-R 601-2 with weights of 16 bits (Convert.c, L24). */
const luma = (data: Uint8Array, i: number): number =>
  (data[i] * 19595 + data[i + 1] * 38470 + data[i + 2] * 7471 + 0x8000) >> 16;

/** Grey, in three equal channels. */
export function grey({ width, height, data }: Pixels): Pixels {
  const out = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i += 3) out[i] = out[i + 1] = out[i + 2] = luma(data, i);
  return { width, height, data: out };
}

const { fround } = Math;

/** from + factor · (value − from), in float32 as Blend.c computes it; beyond 0 … 1 cut to a byte. */
const blend = (from: number, value: number, factor: number): number =>
  clip(fround(from + fround(fround(factor) * (value - from))));

/** Black at 0, the picture at 1, brighter beyond (ImageEnhance.Brightness). */
export const brightness = (pixels: Pixels, factor: number): Pixels =>
  look(
    pixels,
    bytes((byte) => blend(0, byte, factor)),
  );

/** The mean grey at 0, the picture at 1, more contrast beyond (ImageEnhance.Contrast). */
export function contrast(pixels: Pixels, factor: number): Pixels {
  const { data, width, height } = pixels;
  let sum = 0;
  for (let i = 0; i < data.length; i += 3) sum += luma(data, i);
  const mean = Math.trunc(sum / (width * height) + 0.5);
  return look(
    pixels,
    bytes((byte) => blend(mean, byte, factor)),
  );
}

/** Grey at 0, the picture at 1, more colour beyond (ImageEnhance.Color). */
export function saturation({ width, height, data }: Pixels, factor: number): Pixels {
  const out = new Uint8ClampedArray(data.length);
  const share = differences(factor);
  for (let i = 0; i < data.length; i += 3) {
    const from = luma(data, i);
    for (let c = i; c < i + 3; c++) out[c] = Math.trunc(fround(from + share[data[c] - from + 255]));
  }
  return { width, height, data: new Uint8Array(out.buffer) };
}

/** Smoothed at 0, the picture at 1, sharper beyond (ImageEnhance.Sharpness: blended with the 3×3 filter SMOOTH). */
export function sharpness({ width, height, data }: Pixels, factor: number): Pixels {
  // The edges are not smoothed, so they stay.
  const out = new Uint8ClampedArray(data);
  const share = differences(factor);
  const row = width * 3;
  for (let y = 1; y < height - 1; y++)
    for (let i = y * row + 3, end = (y + 1) * row - 3; i < end; i++) {
      const above = i - row;
      const below = i + row;
      const sum =
        data[above - 3] +
        data[above] +
        data[above + 3] +
        data[i - 3] +
        5 * data[i] +
        data[i + 3] +
        data[below - 3] +
        data[below] +
        data[below + 3];
      // sum / 13 to the nearest whole number; 13 is odd, so there are no ties.
      const from = ((2 * sum + 13) / 26) | 0;
      out[i] = Math.trunc(fround(from + share[data[i] - from + 255]));
    }
  return { width, height, data: new Uint8Array(out.buffer) };
}

/** factor · difference for differences from −255 to 255, in float32. */
const differences = (factor: number): Float32Array =>
  Float32Array.from({ length: 511 }, (_, i) => fround(factor) * (i - 255));

/** Turns hues by `turns` (−½ … ½) of the circle, in steps of 1/255 (torchvision's adjust_hue, by way of Pillow's HSV). */
export function hue({ width, height, data }: Pixels, turns: number): Pixels {
  const by = Math.trunc(turns * 255);
  const out = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i += 3) {
    const r = data[i];
    const g = data[i + 1];
    const b = data[i + 2];
    const most = Math.max(r, g, b);
    const least = Math.min(r, g, b);
    let h = 0;
    let s = 0;
    if (most > least) {
      const span = most - least;
      const rc = fround((most - r) / span);
      const gc = fround((most - g) / span);
      const bc = fround((most - b) / span);
      const sixths = r === most ? fround(bc - gc) : g === most ? fround(2 + rc - bc) : fround(4 + gc - rc);
      h = clip(fround((sixths / 6 + 1) % 1) * 255);
      s = clip(fround(span / most) * 255);
    }
    toRgb((h + by) & 255, s, most, out, i);
  }
  return { width, height, data: out };
}

/** HSV of bytes to RGB (Convert.c, hsv2rgb). */
function toRgb(h: number, s: number, v: number, out: Uint8Array, o: number): void {
  const place = fround(fround(h * 6) / 255);
  const sector = Math.floor(place);
  const f = fround(place - sector);
  const fs = fround(s / 255);
  const p = round(v * (1 - fs));
  const q = round(v * (1 - fs * f));
  const t = round(v * (1 - fs * (1 - f)));
  const turn = sector % 6;
  out[o] = turn === 0 || turn === 5 ? v : turn === 1 ? q : turn === 4 ? t : p;
  out[o + 1] = turn === 1 || turn === 2 ? v : turn === 3 ? q : turn === 0 ? t : p;
  out[o + 2] = turn === 3 || turn === 4 ? v : turn === 5 ? q : turn === 2 ? t : p;
}

const round = (value: number): number => Math.floor(value + 0.5);
