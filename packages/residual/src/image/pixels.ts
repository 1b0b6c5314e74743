/** A picture by path (in a page: URL), as the bytes of its file, or as a Blob. */
export type PictureInput = string | Uint8Array | Blob;

/** A picture: 8 bits a channel, `data[(y · width + x) · 3 + c]`, c = red, green, blue. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

export type PictureFormat = 'jpeg' | 'png' | 'webp' | 'avif' | 'gif' | 'tiff' | 'bmp';

/** What was in the file, for explanations: nothing here is needed to use the pixels. */
export interface Origin {
  /** The path as given, the name of a File, or `bytes`. */
  readonly name: string;
  readonly format: PictureFormat;
  /** Size as stored, before any turn. */
  readonly width: number;
  readonly height: number;
  /** The turn that was applied: EXIF's 1 (none) to 8. */
  readonly turned: number;
  /** How colours are stored: `palette` means that pixels were numbers of colours. */
  readonly colours: 'grey' | 'rgb' | 'cmyk' | 'palette';
  /** Bits of one stored sample. */
  readonly bits: number;
  readonly alpha: boolean;
}

export interface Decoded {
  readonly pixels: Pixels;
  readonly origin: Origin;
}

/** 100 megapixels, 300 MB as RGB: beyond what most cameras make, and what a server can still bear. */
export const defaultPixelLimit = 100_000_000;

/** What EXIF's orientations 1–8 mean, by index. */
export const turns = [
  '',
  'as stored',
  'mirrored left to right',
  'turned by 180°',
  'mirrored top to bottom',
  'mirrored along the falling diagonal',
  'turned clockwise by 90°',
  'mirrored along the rising diagonal',
  'turned anticlockwise by 90°',
] as const;

/**
 * The format by the first bytes (64 are enough), never by the name; undefined when it is none of those read here.
 * Signatures: each format's own specification.
 */
export function formatOf(bytes: Uint8Array): PictureFormat | undefined {
  const text = String.fromCharCode(...bytes.subarray(0, 64));
  if (text.startsWith('\xff\xd8\xff')) return 'jpeg';
  if (text.startsWith('\x89PNG\r\n\x1a\n')) return 'png';
  if (text.startsWith('RIFF') && text.slice(8, 12) === 'WEBP') return 'webp';
  if (/^.{4}ftyp.*(avif|avis)/s.test(text)) return 'avif';
  if (/^GIF8[79]a/.test(text)) return 'gif';
  if (/^(II[*+]\0|MM\0[*+])/.test(text)) return 'tiff';
  if (text.startsWith('BM')) return 'bmp';
  return undefined;
}

/** Cyan, magenta, yellow, black (0 = no ink) to red, green, blue as Pillow computes it (Convert.c, cmyk2rgb). */
export function cmykToRgb(cmyk: Uint8Array): Uint8Array {
  const rgb = new Uint8Array((cmyk.length / 4) * 3);
  for (let i = 0, o = 0; i < cmyk.length; i += 4, o += 3) {
    const light = 255 - cmyk[i + 3];
    for (let c = 0; c < 3; c++) rgb[o + c] = Math.max(0, light - over255(cmyk[i + c] * light));
  }
  return rgb;
}

/** Grey, grey + alpha, RGB or RGBA, 8 bits, to RGB: alpha dropped, or the picture laid over white by it. */
export function toRgb(data: Uint8Array | Uint8ClampedArray, channels: number, alpha: 'drop' | 'white'): Uint8Array {
  if (channels === 3) return new Uint8Array(data.buffer, data.byteOffset, data.length);
  const colours = channels < 3 ? 1 : 3;
  const count = data.length / channels;
  const rgb = new Uint8Array(count * 3);
  const lay = alpha === 'white' && channels > colours;
  for (let i = 0, o = 0; o < rgb.length; i += channels)
    for (let c = 0; c < 3; c++, o++) {
      const value = data[i + (colours === 3 ? c : 0)];
      const opacity = lay ? data[i + colours] : 255;
      rgb[o] = over255(value * opacity + 255 * (255 - opacity));
    }
  return rgb;
}

/** n / 255 rounded to the nearest whole number, for 0 ≤ n ≤ 65025. */
const over255 = (n: number): number => (n + 128 + ((n + 128) >> 8)) >> 8;
