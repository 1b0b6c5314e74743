import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import fc from 'fast-check';
import sharp from 'sharp';
import { afterAll, describe, expect, test } from 'vitest';
import { ResidualError } from '../errors.js';
import { shared } from '../testing.js';
import { decode, encodePng } from './decode.js';
import { formatOf, type Pixels } from './pixels.js';
import type { Plan } from './plan.js';
import { preprocess } from './preprocess.js';
import { preset } from './presets.js';

const folder = mkdtempSync(join(tmpdir(), 'residual-decode-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const data = Uint8Array.from({ length: 40 * 30 * 3 }, (_, i) => (i * 31) % 251);
const picture = () => sharp(data, { raw: { width: 40, height: 30, channels: 3 } });

/** The error of a promise that must fail. */
async function failure(promise: Promise<unknown>): Promise<ResidualError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ResidualError);
  expect((error as ResidualError).message).not.toContain('\n');
  return error as ResidualError;
}

describe.skipIf(!shared)('the default decoding', () => {
  const samples = join(shared ?? '', 'data/samples');

  test('equals expected-pixels.json: means and a 3×3 grid', async () => {
    type Entry = { error?: string; width: number; height: number; mean_rgb: number[]; grid3x3_mean_rgb: number[][][] };
    const expected: Record<string, Entry> = JSON.parse(readFileSync(join(samples, 'expected-pixels.json'), 'utf8'));
    for (const [file, entry] of Object.entries(expected)) {
      if (entry.error) {
        expect((await failure(decode(join(samples, file), 'default'))).code).toBe('IMAGE');
        continue;
      }
      const { pixels } = await decode(join(samples, file), 'default');
      expect([pixels.width, pixels.height], file).toEqual([entry.width, entry.height]);
      // The file's figures are rounded to 0.001 and 0.01; libheif differs from the libavif that made them.
      const [whole, part] = file.endsWith('.avif') ? [0.2, 0.3] : [0.00051, 0.0051];
      const { width, height } = pixels;
      near(means(pixels, 0, 0, width, height), entry.mean_rgb, whole, file);
      const cut = (side: number, i: number): number => Math.floor((side * i) / 3);
      for (let y = 0; y < 3; y++)
        for (let x = 0; x < 3; x++)
          near(
            means(pixels, cut(width, x), cut(height, y), cut(width, x + 1), cut(height, y + 1)),
            entry.grid3x3_mean_rgb[y][x],
            part,
            file,
          );
    }
  });

  test('says what was in the file', async () => {
    const origin = async (file: string, as: 'default' | 'pillow' = 'default') =>
      (await decode(join(samples, 'formats', file), as)).origin;
    expect(await origin('exif-orientation-6.jpg')).toMatchObject({
      format: 'jpeg',
      width: 150,
      height: 226,
      turned: 6,
    });
    expect(await origin('exif-orientation-6.jpg', 'pillow')).toMatchObject({ turned: 1 });
    expect(await origin('png-named.jpg')).toMatchObject({ format: 'png', colours: 'palette' });
    expect(await origin('cmyk.jpg')).toMatchObject({ colours: 'cmyk', alpha: false });
    expect(await origin('gray-16bit.png')).toMatchObject({ colours: 'grey', bits: 16 });
    expect(await origin('gray-alpha.png')).toMatchObject({ colours: 'grey', alpha: true });
    expect(await origin('photo.avif')).toMatchObject({ format: 'avif', colours: 'rgb' });
    expect(await origin('photo.bmp')).toMatchObject({ format: 'bmp', width: 113, height: 75 });
  });

  test('a file, its bytes and a Blob of them are the same picture', async () => {
    const path = join(samples, 'cat.jpg');
    const bytes = readFileSync(path);
    const fromFile = await decode(path, 'default');
    for (const input of [bytes, new Uint8Array(bytes), new Blob([bytes])])
      expect(Buffer.compare((await decode(input, 'default')).pixels.data, fromFile.pixels.data)).toBe(0);
  });

  test('damaged files of every format give pixels or one clear error', async () => {
    const files = readdirSync(join(samples, 'formats')).filter((file) =>
      /^(animated|alpha|photo|progressive|arithmetic|one-bit|rgb-16bit|lossless|cmyk)\./.test(file),
    );
    expect(files.length).toBeGreaterThanOrEqual(10);
    for (const file of files) {
      const whole = new Uint8Array(readFileSync(join(samples, 'formats', file)));
      await fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 1, max: whole.length }),
          fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(7)), { maxLength: 8 }),
          fc.constantFrom('default' as const, 'pillow' as const),
          async (length, flips, as) => {
            const bytes = whole.slice(0, flips.length > 4 ? whole.length : length);
            for (const [at, bit] of flips) if (at < bytes.length) bytes[at] ^= 1 << bit;
            try {
              const { pixels } = await decode(bytes, as, { pixelLimit: 1e6 });
              expect(pixels.data.length).toBe(pixels.width * pixels.height * 3);
            } catch (error) {
              if (!(error instanceof ResidualError)) throw error;
              expect(error.code).toBe('IMAGE');
            }
          },
        ),
        { numRuns: 100 },
      );
    }
  });
});

test('the format is told by content', async () => {
  for (const format of ['jpeg', 'png', 'webp', 'avif', 'gif', 'tiff'] as const) {
    const bytes = await picture().toFormat(format).toBuffer();
    expect(formatOf(bytes)).toBe(format);
    expect((await decode(bytes, 'default')).origin).toMatchObject({ format, width: 40, height: 30, name: 'bytes' });
  }
});

test('16 bits by the upper byte; Pillow cuts grey at 255 instead', async () => {
  const wide = Uint16Array.of(0, 0x00ff, 0x0100, 0x12ff, 0xffff, 300);
  const grey = await sharp(wide, { raw: { width: 6, height: 1, channels: 1 } })
    .toColourspace('grey16')
    .png()
    .toBuffer();
  const first = async (bytes: Uint8Array, as: 'default' | 'pillow') =>
    (await decode(bytes, as)).pixels.data.filter((_, i) => i % 3 === 0);
  expect([...(await first(grey, 'default'))]).toEqual([0, 0, 1, 0x12, 255, 1]);
  expect([...(await first(grey, 'pillow'))]).toEqual([0, 255, 255, 255, 255, 255]);
  const rgb = await sharp(wide, { raw: { width: 2, height: 1, channels: 3 } })
    .toColourspace('rgb16')
    .png()
    .toBuffer();
  for (const as of ['default', 'pillow'] as const)
    expect([...(await decode(rgb, as)).pixels.data]).toEqual([0, 0, 1, 0x12, 255, 1]);
});

test('transparency is laid over white, or dropped as Pillow drops it', async () => {
  const rgba = Uint8Array.of(10, 20, 30, 0, 10, 20, 30, 128, 10, 20, 30, 255);
  const png = await sharp(rgba, { raw: { width: 3, height: 1, channels: 4 } })
    .png()
    .toBuffer();
  expect([...(await decode(png, 'default')).pixels.data]).toEqual([255, 255, 255, 132, 137, 142, 10, 20, 30]);
  expect([...(await decode(png, 'pillow')).pixels.data]).toEqual([10, 20, 30, 10, 20, 30, 10, 20, 30]);
});

test('encodePng keeps every pixel', async () => {
  const pixels: Pixels = { width: 40, height: 30, data };
  expect((await decode(await encodePng(pixels), 'pillow')).pixels).toEqual(pixels);
});

test('preprocess: its result survives another thread, and errors name the file', async () => {
  const png = await picture().png().toBuffer();
  const plan = preset('caffe', { height: 16, width: 16 });
  const made = await preprocess(png, plan, 'pillow');
  expect(structuredClone(made)).toEqual(made);
  expect(made.stages[0].step).toEqual({ step: 'decode', as: 'pillow' });
  const slim = await sharp(data, { raw: { width: 120, height: 10, channels: 3 } })
    .png()
    .toBuffer();
  const huge: Plan = [
    { step: 'decode', as: 'pillow' },
    { step: 'resizeShortSide', size: 8192, filter: 'box' },
  ];
  expect((await failure(preprocess(slim, huge))).message).toMatch(
    /^bytes: a 120×10 picture resized to 98304×8192 is over the limit/,
  );
});

test('a decompression bomb is refused before anything is allocated', async () => {
  const chunk = (type: string, body: Uint8Array): Buffer => {
    const out = Buffer.alloc(body.length + 12);
    out.writeUInt32BE(body.length);
    out.write(type, 4, 'latin1');
    out.set(body, 8);
    out.writeUInt32BE(crc(out.subarray(4, -4)), body.length + 8);
    return out;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(60_000, 0);
  header.writeUInt32BE(60_000, 4);
  header.set([8, 2], 8);
  const bomb = Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(Buffer.alloc(1000))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
  const error = await failure(decode(bomb, 'default'));
  expect(error.code).toBe('IMAGE');
  expect(error.message).toBe('bytes: 60000×60000 is over the limit of 100000000 pixels; make it smaller');
  expect((await failure(decode(await picture().png().toBuffer(), 'default', { pixelLimit: 1199 }))).message).toMatch(
    /40×30 is over the limit of 1199/,
  );
});

test('what is no picture is said to be none, by name', async () => {
  const file = (name: string, bytes: Uint8Array): string => {
    writeFileSync(join(folder, name), bytes);
    return join(folder, name);
  };
  const png = await picture().png().toBuffer();
  const pipe = join(folder, 'pipe.jpg');
  execFileSync('mkfifo', [pipe]);
  const cases: [string, string, RegExp][] = [
    [join(folder, 'absent.jpg'), 'FILE', /absent\.jpg: there is no such file/],
    [folder, 'FILE', /it is a folder/],
    ['', 'FILE', /the path is empty/],
    [pipe, 'FILE', /pipe\.jpg: it is no ordinary file/],
    ['/dev/zero', 'FILE', /\/dev\/zero: it is no ordinary file/],
    [file('empty.png', new Uint8Array(0)), 'IMAGE', /empty\.png: the file is empty/],
    [
      file('zeros.jpg', new Uint8Array(1 << 20)),
      'IMAGE',
      /zeros\.jpg: not a picture of a known format \(it begins with 00 00/,
    ],
    [
      file('text.gif', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"/>')),
      'IMAGE',
      /not a picture of a known format/,
    ],
    [
      file('phone.jpg', Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic')),
      'IMAGE',
      /HEIC is not read; save the picture as JPEG/,
    ],
    [file('cut.png', png.subarray(0, png.length - 200)), 'IMAGE', /cut\.png: the PNG cannot be decoded/],
    [file('start.jpg', Uint8Array.of(0xff, 0xd8, 0xff, 0xe0)), 'IMAGE', /start\.jpg: the JPEG has no frame header/],
  ];
  for (const [path, code, message] of cases) {
    const error = await failure(decode(path, 'default'));
    expect(error.code, path).toBe(code);
    expect(error.message).toMatch(message);
  }
});

function means({ width, data }: Pixels, left: number, top: number, right: number, bottom: number): number[] {
  const sums = [0, 0, 0];
  for (let y = top; y < bottom; y++)
    for (let x = left; x < right; x++) for (let c = 0; c < 3; c++) sums[c] += data[(y * width + x) * 3 + c];
  return sums.map((sum) => sum / ((right - left) * (bottom - top)));
}

function near(received: number[], expected: number[], tolerance: number, file: string): void {
  for (const [c, value] of received.entries())
    expect(Math.abs(value - expected[c]), `${file}: ${value} for ${expected[c]}`).toBeLessThanOrEqual(tolerance);
}

/** PNG's checksum (PNG specification, annex D). */
function crc(bytes: Uint8Array): number {
  let value = -1;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value >>> 0;
}
