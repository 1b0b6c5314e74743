import { ResidualError } from '../errors.js';
import { decodeBmp } from './bmp.js';
import type { DecodeOptions } from './decode.js';
import { readJpegHeader } from './jpeg.js';
import { type Decoded, defaultPixelLimit, formatOf, type Origin, type Pixels, toRgb } from './pixels.js';
import type { Decoding } from './plan.js';

/**
 * The browser's half of `#decode`; see decode.ts for what it does. A string is a URL. The browser's own decoders do
 * the work, told to leave colours alone: `createImageBitmap` obeys orientation, so it serves `default`; `ImageDecoder`
 * does not, so it serves `pillow`. (16-bit grey, which Pillow cuts at 255, is taken by its upper byte here.)
 *
 * @throws FILE, IMAGE; ENGINE for `pillow` where the browser has no ImageDecoder.
 */
export async function decode(
  input: string | Uint8Array | Blob,
  as: Decoding,
  { pixelLimit = defaultPixelLimit }: DecodeOptions = {},
): Promise<Decoded> {
  const { name, bytes } = await read(input);
  const format = formatOf(bytes);
  if (format === undefined)
    throw new ResidualError(
      'IMAGE',
      `${name}: not a picture of a known format; expected JPEG, PNG, WebP, AVIF, GIF or BMP`,
      {
        file: name,
      },
    );
  if (format === 'bmp') return decodeBmp(bytes, name, pixelLimit);
  try {
    const { rgba, width, height } = await (as === 'pillow' ? storedPixels : turnedPixels)(bytes, format, (size) => {
      if (size.width * size.height > pixelLimit)
        throw new ResidualError(
          'IMAGE',
          `${name}: ${size.width}×${size.height} is over the limit of ${pixelLimit} pixels`,
        );
    });
    const jpeg = format === 'jpeg' ? readJpegHeader(bytes) : undefined;
    const turned = as === 'default' ? (jpeg?.orientation ?? 1) : 1;
    const stored = turned > 4 ? { width: height, height: width } : { width, height };
    const origin: Origin = {
      name,
      format,
      ...stored,
      turned,
      colours: 'rgb',
      bits: jpeg?.bits ?? 8,
      alpha: !opaque(rgba),
    };
    return { pixels: { width, height, data: toRgb(rgba, 4, as === 'default' ? 'white' : 'drop') }, origin };
  } catch (error) {
    if (error instanceof ResidualError) throw error;
    throw new ResidualError(
      'IMAGE',
      `${name}: this browser cannot decode the ${format.toUpperCase()} (${error instanceof Error ? error.message : error})`,
      { file: name, format },
      { cause: error },
    );
  }
}

/** A picture as a PNG file, for people to look at. */
export async function encodePng({ width, height, data }: Pixels): Promise<Uint8Array> {
  const rgba = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let i = 0, o = 0; i < data.length; i += 3, o += 4) rgba.set(data.subarray(i, i + 3), o);
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext('2d')?.putImageData(new ImageData(rgba, width, height), 0, 0);
  return new Uint8Array(await (await canvas.convertToBlob({ type: 'image/png' })).arrayBuffer());
}

interface Rgba {
  readonly rgba: Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
}

type CheckSize = (size: { width: number; height: number }) => void;

async function turnedPixels(bytes: Uint8Array, format: Origin['format'], check: CheckSize): Promise<Rgba> {
  const blob = new Blob([bytes as Uint8Array<ArrayBuffer>], { type: `image/${format}` });
  using bitmap = closing(
    await createImageBitmap(blob, {
      colorSpaceConversion: 'none',
      premultiplyAlpha: 'none',
      imageOrientation: 'from-image',
    }),
  );
  const { width, height } = bitmap.held;
  check({ width, height });
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('no canvas');
  context.drawImage(bitmap.held, 0, 0);
  return { rgba: context.getImageData(0, 0, width, height).data, width, height };
}

async function storedPixels(bytes: Uint8Array, format: Origin['format'], check: CheckSize): Promise<Rgba> {
  if (typeof ImageDecoder === 'undefined')
    throw new ResidualError('ENGINE', 'this browser has no ImageDecoder, which decoding as pillow needs; use default');
  using decoder = closing(
    new ImageDecoder({
      data: bytes as Uint8Array<ArrayBuffer>,
      type: `image/${format}`,
      colorSpaceConversion: 'none',
    }),
  );
  const { image } = await decoder.held.decode();
  using frame = closing(image);
  const { codedWidth: width, codedHeight: height } = frame.held;
  check({ width, height });
  const rgba = new Uint8ClampedArray(width * height * 4);
  await frame.held.copyTo(rgba, { format: 'RGBA' });
  return { rgba, width, height };
}

/** Closes what it holds at the end of a block. */
const closing = <T extends { close(): void }>(held: T) => ({ held, [Symbol.dispose]: () => held.close() });

function opaque(rgba: Uint8ClampedArray): boolean {
  for (let i = 3; i < rgba.length; i += 4) if (rgba[i] !== 255) return false;
  return true;
}

async function read(input: string | Uint8Array | Blob): Promise<{ name: string; bytes: Uint8Array }> {
  if (input instanceof Uint8Array) return { name: 'bytes', bytes: input };
  if (input instanceof Blob)
    return { name: input instanceof File ? input.name : 'blob', bytes: new Uint8Array(await input.arrayBuffer()) };
  const response = await fetch(input).catch((cause) => {
    throw new ResidualError('FILE', `${input}: cannot be fetched (${cause.message})`, { file: input }, { cause });
  });
  if (!response.ok)
    throw new ResidualError('FILE', `${input}: the server answered ${response.status}`, { file: input });
  return { name: input, bytes: new Uint8Array(await response.arrayBuffer()) };
}
