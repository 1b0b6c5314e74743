import { ResidualError } from '../errors.js';
import { openFile } from '../weights/file.js';
import { decodeBmp } from './bmp.js';
import { type GifFrame, readGifFrame } from './gif.js';
import { readJpegHeader } from './jpeg.js';
import { cmykToRgb, type Decoded, defaultPixelLimit, formatOf, type Origin, type Pixels, toRgb } from './pixels.js';
import type { Decoding } from './plan.js';

type Sharp = typeof import('sharp').default;

export interface DecodeOptions {
  /** Pictures of more pixels are refused before anything is allocated; 100 million when left out. */
  readonly pixelLimit?: number;
}

/** Longer files are refused before they are read. */
const longestFile = 1 << 30;

/**
 * The picture in a file (by path), in bytes or in a Blob, as 8-bit RGB. JPEG, PNG, WebP, AVIF, GIF, TIFF by sharp, BMP
 * by `bmp.ts`; the content decides which, not the name. See `Decoding` for what `as` chooses.
 *
 * `pillow` gives the bytes of Pillow 9.4 but for these: AVIF, which that version does not read (libavif 0.11 differs by
 * 0.14 in the mean of samples/formats/photo.avif); uncompressed or packed YCbCr TIFF, which it takes for RGB; TIFF of 32 bits
 * and CIELAB, which are refused here.
 *
 * @throws FILE when the path cannot be read, IMAGE for a picture that is damaged, cut off, too large or of another
 * format, MISSING_PACKAGE when sharp is not installed.
 */
export async function decode(
  input: string | Uint8Array | Blob,
  as: Decoding,
  { pixelLimit = defaultPixelLimit }: DecodeOptions = {},
): Promise<Decoded> {
  const { name, bytes } = await read(input);
  const format = formatOf(bytes);
  if (format === undefined) throw unknownFormat(name, bytes);
  if (format === 'bmp') return decodeBmp(bytes, name, pixelLimit);
  const sharp = await loadSharp();
  const options = {
    ignoreIcc: true,
    // Pillow obeys TIFF's own orientation even where it leaves EXIF's alone.
    autoOrient: as === 'default' || format === 'tiff',
    // Warnings are what Pillow reads on through; errors and cut-off data are what it stops at.
    failOn: 'error' as const,
    limitInputPixels: false,
  };
  try {
    const facts = format === 'jpeg' ? jpegFacts(bytes, name) : await otherFacts(sharp, bytes, name, format, options);
    const { width, height } = facts.origin;
    if (width * height > pixelLimit)
      throw new ResidualError(
        'IMAGE',
        `${name}: ${width}×${height} is over the limit of ${pixelLimit} pixels; make it smaller`,
        { file: name, width, height, limit: pixelLimit },
      );
    const origin = options.autoOrient ? facts.origin : { ...facts.origin, turned: 1 };
    const frame = format === 'gif' && as === 'pillow' ? readGifFrame(bytes) : undefined;
    // The limit a second time, for a file whose header sharp reads otherwise.
    const limited = { ...options, limitInputPixels: Math.min(pixelLimit, Number.MAX_SAFE_INTEGER) };
    const pixels = await rawPixels(sharp(frame?.opaque ?? bytes, limited), facts, as);
    if (frame) fillAround(pixels, frame);
    return { pixels, origin };
  } catch (error) {
    if (error instanceof ResidualError) throw error;
    const reason = error instanceof Error ? error.message.split('\n')[0].trim() : String(error);
    throw new ResidualError(
      'IMAGE',
      `${name}: the ${format.toUpperCase()} cannot be decoded (${reason}); it is damaged or cut off, fetch it again`,
      { file: name, format },
      { cause: error },
    );
  }
}

/** A picture as a PNG file, for people to look at. @throws MISSING_PACKAGE when sharp is not installed. */
export async function encodePng({ width, height, data }: Pixels): Promise<Uint8Array> {
  const sharp = await loadSharp();
  return sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}

/** The same as a JPEG of high quality. */
export async function encodeJpeg({ width, height, data }: Pixels): Promise<Uint8Array> {
  const sharp = await loadSharp();
  return sharp(data, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 92, chromaSubsampling: '4:4:4' })
    .toBuffer();
}

/** What decides how sharp is asked, beside what is told to people. */
interface Facts {
  readonly origin: Origin;
  /** 16-bit grey, which Pillow cuts at 255 on its way to RGB. */
  readonly clips: boolean;
}

function jpegFacts(bytes: Uint8Array, name: string): Facts {
  const header = readJpegHeader(bytes);
  if (header.width === 0 || header.height === 0)
    throw new ResidualError(
      'IMAGE',
      `${name}: the JPEG has no frame header; it is damaged or cut off, fetch it again`,
      {
        file: name,
        format: 'jpeg',
      },
    );
  const colours = header.components === 4 ? 'cmyk' : header.components === 1 ? 'grey' : 'rgb';
  return {
    origin: {
      name,
      format: 'jpeg',
      width: header.width,
      height: header.height,
      turned: header.orientation,
      colours,
      bits: header.bits,
      alpha: false,
    },
    clips: false,
  };
}

async function otherFacts(
  sharp: Sharp,
  bytes: Uint8Array,
  name: string,
  format: Origin['format'],
  options: object,
): Promise<Facts> {
  const about = await sharp(bytes, options).metadata();
  const grey = about.space === 'b-w' || about.space === 'grey16';
  if (!['srgb', 'rgb16', 'b-w', 'grey16', 'cmyk'].includes(about.space) || !['uchar', 'ushort'].includes(about.depth))
    throw new ResidualError(
      'IMAGE',
      `${name}: ${about.space} samples of type ${about.depth} are not read; expected grey, RGB or CMYK of up to 16 bits`,
      { file: name, format },
    );
  // PNG's colour type 0 is grey; type 4, grey with alpha, is not cut by Pillow.
  const clips = about.space === 'grey16' && (format !== 'png' || bytes[25] === 0);
  return {
    origin: {
      name,
      format,
      width: about.width,
      height: about.height,
      turned: about.orientation ?? 1,
      colours:
        about.isPalette || format === 'gif' ? 'palette' : grey ? 'grey' : about.space === 'cmyk' ? 'cmyk' : 'rgb',
      bits: about.bitsPerSample ?? (about.depth === 'ushort' ? 16 : 8),
      alpha: about.hasAlpha,
    },
    clips,
  };
}

async function rawPixels(picture: import('sharp').Sharp, facts: Facts, as: Decoding): Promise<Pixels> {
  if (facts.origin.colours === 'cmyk') {
    const { data, info } = await picture
      .pipelineColourspace('cmyk')
      .toColourspace('cmyk')
      .raw()
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, data: cmykToRgb(data) };
  }
  if (as === 'pillow' && facts.clips) {
    const { data, info } = await picture
      .toColourspace('grey16')
      .raw({ depth: 'ushort' })
      .toBuffer({ resolveWithObject: true });
    const wide = new Uint16Array(data.buffer, data.byteOffset, data.length / 2);
    return { width: info.width, height: info.height, data: toRgb(Uint8ClampedArray.from(wide), info.channels, 'drop') };
  }
  const { data, info } = await picture.raw().toBuffer({ resolveWithObject: true });
  return {
    width: info.width,
    height: info.height,
    data: toRgb(data, info.channels, as === 'default' ? 'white' : 'drop'),
  };
}

function fillAround({ width, height, data }: Pixels, frame: GifFrame): void {
  const inside = (x: number, y: number): boolean =>
    x >= frame.left && x < frame.left + frame.width && y >= frame.top && y < frame.top + frame.height;
  if (inside(0, 0) && inside(width - 1, height - 1)) return;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) if (!inside(x, y)) data.set(frame.around, (y * width + x) * 3);
}

async function read(input: string | Uint8Array | Blob): Promise<{ name: string; bytes: Uint8Array }> {
  if (input instanceof Uint8Array) return { name: 'bytes', bytes: input };
  if (input instanceof Blob) {
    const name = 'name' in input && typeof input.name === 'string' ? input.name : 'blob';
    checkLength(name, input.size);
    return { name, bytes: new Uint8Array(await input.arrayBuffer()) };
  }
  if (typeof input !== 'string')
    throw new ResidualError(
      'ARGUMENT',
      `expected a picture: a path, the bytes of a file or a Blob, but received ${input === null ? 'null' : typeof input}`,
    );
  const file = await openFile(input);
  try {
    checkLength(input, file.size);
    // No more than was there when it was opened, should it grow.
    const bytes = new Uint8Array(file.size);
    await file.readInto(bytes, 0);
    return { name: input, bytes };
  } finally {
    await file.close();
  }
}

function checkLength(name: string, size: number): void {
  if (size > longestFile)
    throw new ResidualError('IMAGE', `${name}: ${size} bytes are too many for a picture; the limit is ${longestFile}`, {
      file: name,
    });
}

function unknownFormat(name: string, bytes: Uint8Array): ResidualError {
  const first = [...bytes.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  if (/^.{4}ftyp(hei|hev|mif1)/s.test(String.fromCharCode(...bytes.subarray(0, 16))))
    return new ResidualError('IMAGE', `${name}: HEIC is not read; save the picture as JPEG`, { file: name });
  return new ResidualError(
    'IMAGE',
    bytes.length === 0
      ? `${name}: the file is empty; expected a picture`
      : `${name}: not a picture of a known format (it begins with ${first}); expected JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP`,
    { file: name },
  );
}

let loading: Promise<Sharp> | undefined;

/** sharp, with its cache of decoded files off: it would hold memory and could answer with a file's older content. */
function loadSharp(): Promise<Sharp> {
  loading ??= import('sharp').then(
    ({ default: sharp }) => {
      sharp.cache(false);
      return sharp;
    },
    (cause) => {
      throw new ResidualError(
        'MISSING_PACKAGE',
        'reading pictures needs the package sharp; install it: npm install sharp',
        { package: 'sharp' },
        { cause },
      );
    },
  );
  return loading;
}
