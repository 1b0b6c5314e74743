import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { random } from '../random.js';
import { runPython, scratch } from '../testing.js';
import { blur } from './blur.js';
import {
  autoContrast,
  brightness,
  contrast,
  equalize,
  grey,
  hue,
  invert,
  posterize,
  saturation,
  sharpness,
  solarize,
} from './colours.js';
import type { Pixels } from './pixels.js';
import { mirror, rotate, upsideDown, warp } from './warp.js';

// Each operation against Pillow (and what torchvision does with it), on a picture with smooth parts, noise and flat areas.

const [width, height] = [61, 47];

const picture: Pixels = (() => {
  const draw = random('pillow test');
  const data = new Uint8Array(width * height * 3);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++, i++)
        data[i] = y < 12 ? draw() * 256 : y < 24 ? 40 + 60 * c : 20 + ((x * (c + 2) + y * 3) % 200) + 30 * draw();
  return { width, height, data };
})();

/** The same with few values, which histograms see otherwise. */
const narrow: Pixels = { ...picture, data: picture.data.map((byte) => 90 + (byte >> 4)) };
const flat: Pixels = { ...picture, data: new Uint8Array(picture.data.length).fill(77) };

const operations: Record<string, readonly [ours: (pixels: Pixels) => Pixels, python: string]> = {
  mirror: [mirror, 'ImageOps.mirror(i)'],
  'upside down': [upsideDown, 'ImageOps.flip(i)'],
  invert: [invert, 'ImageOps.invert(i)'],
  'solarize 100': [(p) => solarize(p, 100), 'ImageOps.solarize(i, 100)'],
  'solarize 255': [(p) => solarize(p, 255), 'ImageOps.solarize(i, 255)'],
  'solarize 0': [(p) => solarize(p, 0), 'ImageOps.solarize(i, 0)'],
  ...Object.fromEntries(
    [0, 1, 3, 7, 8].map((n) => [`posterize ${n}`, [(p: Pixels) => posterize(p, n), `F.posterize(i, ${n})`]]),
  ),
  'auto contrast': [autoContrast, 'ImageOps.autocontrast(i)'],
  equalize: [equalize, 'ImageOps.equalize(i)'],
  grey: [grey, 'F.to_grayscale(i, 3)'],
  ...Object.fromEntries(
    [0, 0.01, 0.37, 1, 1.6, 1.99].flatMap((n) => [
      [`brightness ${n}`, [(p: Pixels) => brightness(p, n), `F.adjust_brightness(i, ${n})`]],
      [`contrast ${n}`, [(p: Pixels) => contrast(p, n), `F.adjust_contrast(i, ${n})`]],
      [`saturation ${n}`, [(p: Pixels) => saturation(p, n), `F.adjust_saturation(i, ${n})`]],
      [`sharpness ${n}`, [(p: Pixels) => sharpness(p, n), `F.adjust_sharpness(i, ${n})`]],
    ]),
  ),
  ...Object.fromEntries(
    [-0.5, -0.21, -0.003, 0, 0.1, 0.5].map((n) => [`hue ${n}`, [(p: Pixels) => hue(p, n), `F.adjust_hue(i, ${n})`]]),
  ),
  ...Object.fromEntries(
    [0, 15, -15, 90, 180, 33.3, -134.7].map((n) => [
      `rotate ${n}`,
      [(p: Pixels) => rotate(p, n), `i.rotate(${n}, Image.BILINEAR)`],
    ]),
  ),
  ...Object.fromEntries(
    [
      [1, 0.3, 0, 0, 1, 0],
      [1, -0.99, 0, 0, 1, 0],
      [1, 0, 0, -0.27, 1, 0],
      [1, 0, 12, 0, 1, 0],
      [1, 0, 0, 0, 1, -7.3],
      [0.7, 0.2, 3.1, -0.4, 1.3, 5.5],
    ].map((m) => [
      `warp ${m}`,
      [
        (p: Pixels) => warp(p, m as [number, number, number, number, number, number]),
        `i.transform(i.size, Image.AFFINE, (${m}), Image.BILINEAR)`,
      ],
    ]),
  ),
  ...Object.fromEntries(
    [0, 0.1, 0.5, 1, 1.37, 2, 7.5, 40].map((n) => [
      `blur ${n}`,
      [(p: Pixels) => blur(p, n), `i.filter(ImageFilter.GaussianBlur(${n}))`],
    ]),
  ),
};

const pictures = { picture, narrow, flat };
const folder = scratch();

// Once for all: it takes seconds to load torchvision.
beforeAll(() => {
  for (const [name, { data }] of Object.entries(pictures)) writeFileSync(join(folder, name), data);
  const lines = Object.values(operations).map(([, python], n) => `  save(${n}, ${python})`);
  runPython(
    `
from PIL import Image, ImageOps, ImageFilter
import torchvision.transforms.functional as F
d = sys.argv[1]
for name in ['picture', 'narrow', 'flat']:
  i = Image.frombytes('RGB', (${width}, ${height}), open(f'{d}/{name}', 'rb').read())
  save = lambda n, out: open(f'{d}/{name}.{n}', 'wb').write(out.tobytes())
${lines.join('\n')}
colours = open(d + '/colours', 'rb').read()
i = Image.frombytes('RGB', (len(colours) // 3, 1), colours)
open(d + '/turned', 'wb').write(F.adjust_hue(i, 0.13).tobytes())
`,
    folder,
  );
}, 60_000);

const colours = (() => {
  const levels = [0, 1, 2, 17, 90, 128, 200, 254, 255];
  return Uint8Array.from(levels.flatMap((r) => levels.flatMap((g) => levels.flatMap((b) => [r, g, b]))));
})();
writeFileSync(join(folder, 'colours'), colours);

describe.each(Object.entries(pictures))('%s', (name, pixels) => {
  test.each(Object.keys(operations))('%s has the bytes of Pillow', (operation) => {
    const before = pixels.data.slice();
    const [ours] = operations[operation];
    const result = ours(pixels);
    expect(pixels.data).toEqual(before);
    const wanted = readFileSync(join(folder, `${name}.${Object.keys(operations).indexOf(operation)}`));
    expect([result.width, result.height, result.data.length]).toEqual([width, height, wanted.length]);
    const wrong = wanted.reduce((n, byte, i) => n + (byte === result.data[i] ? 0 : 1), 0);
    expect(wrong).toBe(0);
  });
});

test('the hue of colours all over the cube', () => {
  const turned = hue({ width: colours.length / 3, height: 1, data: colours }, 0.13);
  expect(Buffer.from(turned.data)).toEqual(readFileSync(join(folder, 'turned')));
});
