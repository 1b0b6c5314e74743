import { ResidualError } from '../errors.js';
import type { Decoded, Origin } from './pixels.js';

type Header = ReturnType<typeof readHeader>;

/**
 * Windows and OS/2 bitmaps: 1, 4, 8, 16, 24 and 32 bits, palettes, bit fields, RLE4 and RLE8, either row order.
 * Layout: Microsoft's BITMAPINFOHEADER … BITMAPV5HEADER; colours as Pillow's BmpImagePlugin gives them, alpha dropped.
 * @throws IMAGE for a damaged or cut-off file, one over `pixelLimit`, or a JPEG or PNG inside a BMP.
 */
export function decodeBmp(bytes: Uint8Array, name: string, pixelLimit: number): Decoded {
  const fail = (what: string): never => {
    throw new ResidualError('IMAGE', `${name}: ${what}`, { file: name, format: 'bmp' });
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 26) fail(`the BMP ends after ${bytes.length} bytes, inside its header; copy the file again`);
  const h = readHeader(view, fail);
  const { width, height } = h;
  if (width < 1 || height < 1) fail(`the BMP says it is ${width}×${height}; expected at least 1×1`);
  if (width * height > pixelLimit) fail(`${width}×${height} is over the limit of ${pixelLimit} pixels`);
  const data = new Uint8Array(width * height * 3);
  const put = (x: number, y: number, colour: number): void => {
    const at = ((h.topDown ? y : height - 1 - y) * width + x) * 3;
    data[at] = colour >> 16;
    data[at + 1] = colour >> 8;
    data[at + 2] = colour;
  };
  if (h.compression === 1 || h.compression === 2) readRuns(bytes, h, put);
  else {
    const stride = ((width * h.bits + 31) >>> 5) * 4;
    const missing = h.offset + stride * (height - 1) + ((width * h.bits + 7) >>> 3) - bytes.length;
    if (missing > 0) fail(`the BMP is cut off, ${missing} bytes are missing; copy the file again`);
    const pixel = pixelReader(view, h, fail);
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) put(x, y, pixel(h.offset + y * stride, x));
  }
  const colours: Origin['colours'] = h.bits <= 8 ? 'palette' : 'rgb';
  return {
    pixels: { width, height, data },
    origin: { name, format: 'bmp', width, height, turned: 1, colours, bits: Math.min(8, h.bits), alpha: false },
  };
}

function readHeader(view: DataView, fail: (what: string) => never) {
  const size = view.getUint32(14, true);
  const old = size === 12;
  if (!old && ![40, 52, 56, 64, 108, 124].includes(size)) fail(`unknown BMP header of ${size} bytes`);
  const short = 'the BMP ends inside its header; copy the file again';
  if (view.byteLength < 14 + size) fail(short);
  const stored = old ? view.getUint16(20, true) : view.getInt32(22, true);
  const bits = view.getUint16(old ? 24 : 28, true);
  const compression = old ? 0 : view.getUint32(30, true);
  if (![1, 4, 8, 16, 24, 32].includes(bits)) fail(`unknown BMP depth of ${bits} bits`);
  if (compression > 3 || (compression === 1 && bits !== 8) || (compression === 2 && bits !== 4))
    fail(`BMP compression ${compression} with ${bits} bits cannot be read; save it as PNG`);
  if (compression === 3 && view.byteLength < 66) fail(short);
  const masks =
    compression === 3
      ? [54, 58, 62].map((at) => view.getUint32(at, true))
      : bits === 16
        ? [0x7c00, 0x3e0, 0x1f]
        : [0xff0000, 0xff00, 0xff];
  const entry = old ? 3 : 4;
  const colours = bits > 8 ? 0 : Math.min((old ? 0 : view.getUint32(46, true)) || 1 << bits, 1 << bits);
  const palette: number[] = [];
  for (let i = 0, at = 14 + size; i < colours && at + 3 <= view.byteLength; i++, at += entry)
    palette.push((view.getUint8(at + 2) << 16) | (view.getUint8(at + 1) << 8) | view.getUint8(at));
  // Some writers leave the place of the pixels out, or give the palette's.
  const offset = view.getUint32(10, true) || 14 + size;
  return {
    width: old ? view.getUint16(18, true) : view.getInt32(18, true),
    height: Math.abs(stored),
    topDown: stored < 0,
    bits,
    compression,
    masks,
    palette,
    offset: offset === 14 + size ? offset + entry * colours : offset,
  };
}

/** The colour 0xrrggbb of pixel x in the row that begins at a byte. */
function pixelReader(view: DataView, h: Header, fail: (what: string) => never): (row: number, x: number) => number {
  if (h.bits <= 8) {
    const perByte = 8 / h.bits;
    const mask = (1 << h.bits) - 1;
    return (row, x) => {
      const byte = view.getUint8(row + Math.floor(x / perByte));
      return h.palette[(byte >> (8 - h.bits * ((x % perByte) + 1))) & mask] ?? 0;
    };
  }
  if (h.bits === 24) return (row, x) => view.getUint16(row + x * 3, true) | (view.getUint8(row + x * 3 + 2) << 16);
  const fields = h.masks.map((mask) => {
    const shift = mask === 0 ? 0 : 31 - Math.clz32(mask & -mask);
    return { shift, most: mask >>> shift };
  });
  if (fields.some(({ most }) => (most & (most + 1)) !== 0)) fail('the BMP has a colour mask with holes in it');
  const read = h.bits === 16 ? (at: number) => view.getUint16(at, true) : (at: number) => view.getUint32(at, true);
  const bytes = h.bits / 8;
  return (row, x) => {
    const value = read(row + x * bytes);
    let colour = 0;
    for (const { shift, most } of fields)
      colour = (colour << 8) | (most === 0 ? 0 : Math.floor((((value >>> shift) & most) * 255) / most));
    return colour;
  };
}

/** Run lengths: (count, value), (0, 0) end of row, (0, 1) end, (0, 2, right, up), (0, n, n values). What is cut off stays colour 0. */
function readRuns(bytes: Uint8Array, h: Header, put: (x: number, y: number, colour: number) => void): void {
  const { width, height, palette } = h;
  const nibbles = h.compression === 2;
  let [x, y] = [0, 0];
  const emit = (index: number): void => {
    if (x < width && y < height) put(x, y, palette[index] ?? 0);
    x++;
  };
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++) put(column, row, palette[0] ?? 0);
  for (let at = h.offset; at + 1 < bytes.length && y < height; ) {
    const [count, value] = [bytes[at], bytes[at + 1]];
    at += 2;
    if (count > 0) for (let i = 0; i < count; i++) emit(!nibbles ? value : i % 2 === 0 ? value >> 4 : value & 15);
    else if (value === 0) [x, y] = [0, y + 1];
    else if (value === 1) return;
    else if (value === 2) {
      x += bytes[at] ?? 0;
      y += bytes[at + 1] ?? 0;
      at += 2;
    } else {
      for (let i = 0; i < value; i++) {
        const byte = bytes[at + (nibbles ? i >> 1 : i)] ?? 0;
        emit(!nibbles ? byte : i % 2 === 0 ? byte >> 4 : byte & 15);
      }
      at += nibbles ? (value + 1) >> 1 : value;
      if (at % 2 !== 0) at++;
    }
  }
}
