import type { Pixels } from './pixels.js';

/** Mirrors left and right. */
export function mirror({ width, height, data }: Pixels): Pixels {
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++)
    for (let i = y * width * 3, o = i + (width - 1) * 3, end = i + width * 3; i < end; i += 3, o -= 3) {
      out[o] = data[i];
      out[o + 1] = data[i + 1];
      out[o + 2] = data[i + 2];
    }
  return { width, height, data: out };
}

/** Mirrors top and bottom. */
export function upsideDown({ width, height, data }: Pixels): Pixels {
  const out = new Uint8Array(data.length);
  const row = width * 3;
  for (let y = 0; y < height; y++) out.set(data.subarray(y * row, (y + 1) * row), (height - 1 - y) * row);
  return { width, height, data: out };
}

/** A rectangle of a picture; it may reach over the edge by less than the picture's side. */
export interface Part {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

const shortRow = 64;

/** Cuts a part out. What lies outside is black, or the picture mirrored at its edge, which is not repeated. */
export function cut({ width, height, data }: Pixels, part: Part, outside: 'black' | 'mirrored' = 'black'): Pixels {
  const out = new Uint8Array(part.width * part.height * 3);
  if (outside === 'mirrored') {
    const columns = reflected(part.left, part.width, width);
    const rows = reflected(part.top, part.height, height);
    let o = 0;
    for (const y of rows)
      for (const x of columns) {
        const i = (y * width + x) * 3;
        out[o++] = data[i];
        out[o++] = data[i + 1];
        out[o++] = data[i + 2];
      }
  } else {
    const x = Math.max(0, part.left);
    const length = Math.min(width, part.left + part.width) - x;
    if (length > 0)
      for (let y = Math.max(0, part.top); y < Math.min(height, part.top + part.height); y++) {
        const from = (y * width + x) * 3;
        const to = ((y - part.top) * part.width + x - part.left) * 3;
        // A row of a tiny picture is copied sooner than a view of it is made.
        if (length < shortRow) for (let i = 0; i < length * 3; i++) out[to + i] = data[from + i];
        else out.set(data.subarray(from, from + length * 3), to);
      }
  }
  return { width: part.width, height: part.height, data: out };
}

function reflected(from: number, count: number, side: number): Int32Array {
  const period = Math.max(1, 2 * (side - 1));
  return Int32Array.from({ length: count }, (_, i) => {
    const place = (((from + i) % period) + period) % period;
    return Math.min(place, period - place);
  });
}

/** Of each new pixel (x, y) the place it comes from: (a·x + b·y + c, d·x + e·y + f). */
export type Affine = readonly [a: number, b: number, c: number, d: number, e: number, f: number];

/** Pillow's Image.transform(size, AFFINE, matrix, BILINEAR), byte for byte (Geometry.c); black from outside. */
export function warp({ width, height, data }: Pixels, [a, b, c, d, e, f]: Affine): Pixels {
  const out = new Uint8Array(data.length);
  const row = width * 3;
  for (let y = 0, o = 0; y < height; y++)
    for (let x = 0; x < width; x++, o += 3) {
      const u = a * (x + 0.5) + b * (y + 0.5) + c;
      const v = d * (x + 0.5) + e * (y + 0.5) + f;
      if (!(u >= 0 && u < width && v >= 0 && v < height)) continue;
      const left = Math.floor(u - 0.5);
      const top = Math.floor(v - 0.5);
      const across = u - 0.5 - left;
      const down = v - 0.5 - top;
      const x0 = left < 0 ? 0 : left * 3;
      const x1 = left + 1 < width ? (left + 1) * 3 : (width - 1) * 3;
      const first = top < 0 ? 0 : top * row;
      const second = top + 1 < height ? (top + 1) * row : first;
      for (let k = 0; k < 3; k++) {
        const p = data[first + x0 + k];
        const upper = p + (data[first + x1 + k] - p) * across;
        const q = data[second + x0 + k];
        const lower = q + (data[second + x1 + k] - q) * across;
        out[o + k] = upper + (lower - upper) * down;
      }
    }
  return { width, height, data: out };
}

/** Turns anticlockwise by an angle in degrees about the middle, as Pillow's Image.rotate(angle, BILINEAR). */
export function rotate(pixels: Pixels, degrees: number): Pixels {
  const { width, height } = pixels;
  const turned = ((degrees % 360) + 360) % 360;
  if (turned === 0) return pixels;
  if (turned === 180) return mirror(upsideDown(pixels));
  const angle = (-turned * Math.PI) / 180;
  // Pillow rounds to 15 digits.
  const cos = Number(Math.cos(angle).toFixed(15));
  const sin = Number(Math.sin(angle).toFixed(15));
  const [x, y] = [width / 2, height / 2];
  return warp(pixels, [cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y]);
}
