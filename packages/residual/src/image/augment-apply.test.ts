import { describe, expect, test } from 'vitest';
import { random } from '../random.js';
import { placePixels } from './apply.js';
import { parseAugment } from './augment.js';
import { type AugmentKey, augmenter } from './augment-apply.js';
import { brightness } from './colours.js';
import type { Pixels } from './pixels.js';
import { preset } from './presets.js';
import { mirror, upsideDown } from './warp.js';

const [width, height] = [20, 16];
const picture: Pixels = (() => {
  const draw = random('apply');
  return { width, height, data: Uint8Array.from({ length: width * height * 3 }, () => 1 + draw() * 255) };
})();
const plan = preset('cifar', { height, width });
const key = (index: number, epoch = 0): AugmentKey => ({ seed: 1, epoch, index, repeat: 0 });
const many = Array.from({ length: 300 }, (_, index) => index);
const at = ({ data }: Pixels, x: number, y: number) => [...data.subarray((y * width + x) * 3, (y * width + x) * 3 + 3)];

test('without steps it is the plan', () => {
  const look = augmenter(preset('torchvision', { height: 8, width: 8 }), []);
  expect(look(picture, key(0))).toEqual(placePixels(picture, preset('torchvision', { height: 8, width: 8 })).cropped);
});

test('flips come as often as they are said to', () => {
  const look = augmenter(plan, parseAugment('flip 0.25'));
  const flipped = many.filter(
    (index) => at(look(picture, key(index)), 0, 0).join() === at(mirror(picture), 0, 0).join(),
  );
  expect(flipped.length).toBeGreaterThan(45);
  expect(flipped.length).toBeLessThan(105);
  expect(augmenter(plan, parseAugment('vertical-flip 1'))(picture, key(0)).data).toEqual(upsideDown(picture).data);
});

test('the alternating flip mirrors every other epoch, half of the pictures in the first', () => {
  const look = augmenter(plan, parseAugment('flip-alternating'));
  const mirrored = (index: number, epoch: number) =>
    at(look(picture, key(index, epoch)), 0, 0).join() !== at(picture, 0, 0).join();
  for (const index of many.slice(0, 20))
    expect([0, 1, 2, 3].map((epoch) => mirrored(index, epoch) === mirrored(index, 0))).toEqual([
      true,
      false,
      true,
      false,
    ]);
  const first = many.filter((index) => mirrored(index, 0)).length;
  expect(Math.abs(first - 150)).toBeLessThan(50);
});

describe('crops', () => {
  /** How far a shifted picture was moved, by its black edges. */
  test('pad-crop moves the picture by up to so many pixels each way, black around it', () => {
    const look = augmenter(plan, parseAugment('pad-crop 3'));
    const seen = new Set<string>();
    for (const index of many) {
      const found = look(picture, key(index));
      let shift: string | undefined;
      for (let dy = -3; dy <= 3; dy++)
        for (let dx = -3; dx <= 3; dx++) {
          const [x, y] = [10 - dx, 8 - dy];
          if (at(found, x, y).join() === at(picture, 10, 8).join()) shift = `${dx},${dy}`;
        }
      expect(shift).toBeDefined();
      seen.add(shift as string);
      const [dx, dy] = (shift as string).split(',').map(Number);
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) {
          const inside = x + dx >= 0 && x + dx < width && y + dy >= 0 && y + dy < height;
          expect(at(found, x, y)).toEqual(inside ? at(picture, x + dx, y + dy) : [0, 0, 0]);
        }
      if (seen.size > 12) break;
    }
    expect(new Set(many.map((index) => look(picture, key(index)).data.join())).size).toBe(49);
  });

  test('reflect-crop shows the picture mirrored at its edge', () => {
    const look = augmenter(plan, parseAugment('reflect-crop 2'));
    const found = many.map((index) => look(picture, key(index)));
    expect(new Set(found.map(({ data }) => data.join())).size).toBe(25);
    expect(found.every(({ data }) => !data.includes(0))).toBe(true);
    const left = found.find((one) => at(one, 2, 8).join() === at(picture, 0, 8).join()) as Pixels;
    expect([at(left, 0, 8), at(left, 1, 8)]).toEqual([at(picture, 2, 8), at(picture, 1, 8)]);
  });

  test('a random resized crop has the size of the input and takes parts of all sizes', () => {
    const look = augmenter(preset('torchvision', { height: 8, width: 8 }), parseAugment('random-resized-crop 0.1 1'));
    // Brightness grows to the right by 1 a pixel: the spread tells how wide the part was.
    const slope = { width: 200, height: 150, data: new Uint8Array(90_000).map((_, i) => Math.floor(i / 3) % 200) };
    const widths = many.map((index) => {
      const { width, height, data } = look(slope, key(index));
      expect([width, height]).toEqual([8, 8]);
      return data[21] - data[0];
    });
    expect(Math.min(...widths)).toBeLessThan(60);
    expect(Math.max(...widths)).toBeGreaterThan(150);
    // Ten attempts do not find a part of 3:4 to 4:3 that is nearly all of a long strip: the middle it is.
    const strip = { width: 200, height: 20, data: new Uint8Array(12_000).map((_, i) => Math.floor(i / 3) % 200) };
    const middle = augmenter(preset('torchvision', { height: 8, width: 8 }), parseAugment('random-resized-crop 1 1'));
    const { data } = middle(strip, key(0));
    expect(data[0]).toBeGreaterThan(84);
    expect(data[21]).toBeLessThan(115);
    expect(() => augmenter([{ step: 'decode', as: 'default' }], parseAugment('random-resized-crop'))).toThrow(
      'needs the size',
    );
  });
});

test('an erased rectangle has the colour that the plan makes 0, and 2 % to 33 % of the area', () => {
  const look = augmenter(plan, parseAugment('erase 1'));
  const colour = [0.485, 0.456, 0.406].map((mean) => Math.round(mean * 255));
  for (const index of many.slice(0, 50)) {
    const { data } = look(picture, key(index));
    let erased = 0;
    for (let i = 0; i < data.length; i += 3) {
      const isErased = colour.every((byte, c) => data[i + c] === byte);
      if (!isErased) expect([...data.subarray(i, i + 3)]).toEqual([...picture.data.subarray(i, i + 3)]);
      erased += Number(isErased);
    }
    expect(erased / (width * height)).toBeGreaterThan(0.01);
    expect(erased / (width * height)).toBeLessThan(0.4);
  }
});

test('jitter draws each factor around 1', () => {
  const look = augmenter(plan, parseAugment('jitter 0.4'));
  const dark = look(picture, key(0));
  const factors = Array.from({ length: 801 }, (_, i) => 0.6 + i / 1000);
  expect(
    factors.some((factor) => brightness(picture, factor).data.every((byte, i) => Math.abs(byte - dark.data[i]) <= 1)),
  ).toBe(true);
  const all = augmenter(plan, parseAugment('jitter 0.4 0.4 0.4 0.1'));
  expect(new Set(many.slice(0, 50).map((index) => all(picture, key(index)).data.join())).size).toBe(50);
});

test('the key decides, and the picture given stays as it is', () => {
  const before = picture.data.slice();
  const look = augmenter(
    plan,
    parseAugment('random-resized-crop, flip, jitter 0.4 0.4 0.4 0.1, grey, blur, rotate 20, vertical-flip, erase'),
  );
  const one = look(picture, { seed: 1, epoch: 2, index: 3, repeat: 0 });
  expect(look(picture, { seed: 1, epoch: 2, index: 3, repeat: 0 })).toEqual(one);
  for (const change of [{ seed: 2 }, { epoch: 3 }, { index: 4 }, { repeat: 1 }])
    expect(look(picture, { seed: 1, epoch: 2, index: 3, repeat: 0, ...change }).data).not.toEqual(one.data);
  expect(picture.data).toEqual(before);
});
