import { expect, test } from 'vitest';
import { tensor } from '../tensor.js';
import { inputRangeWarning } from './input-range.js';
import { preset } from './presets.js';

/** 12 values spread evenly between two. */
const spread = (least: number, greatest: number) =>
  tensor(
    Float32Array.from({ length: 12 }, (_, i) => least + ((greatest - least) * i) / 11),
    [1, 3, 2, 2],
  );
const warning = (name: string, least: number, greatest: number) =>
  inputRangeWarning(spread(least, greatest), preset(name, { height: 2, width: 2 }));

test('what the plan yields raises no warning, nor does a picture of little contrast', () => {
  for (const [name, least, greatest] of [
    ['torchvision', -2.117, 2.64],
    ['torchvision', -1.8, 0.3],
    ['torchvision', -0.4, 2.2],
    ['caffe', -123.68, 151.061],
    ['caffe', -100, 20],
    ['tf', -1, 1],
    ['tf', -0.9, 0.2],
    ['raw255', 0, 255],
    ['raw255', 3, 180],
  ] as const)
    expect(warning(name, least, greatest), `${name} ${least} … ${greatest}`).toBeUndefined();
});

test('one value everywhere raises a warning where no picture of one colour has it', () => {
  const found = (name: string) => [0, 1, -1, 255].filter((value) => warning(name, value, value));
  expect(Object.fromEntries(['raw255', 'tf', 'torchvision', 'caffe'].map((name) => [name, found(name)]))).toEqual({
    raw255: [-1],
    tf: [0, 255],
    torchvision: [0, 1, -1, 255],
    caffe: [0, 1, -1, 255],
  });
  expect(warning('torchvision', 0, 0)).toBe(
    'all 12 input values are 0, which the plan makes of no picture; the result says nothing about one',
  );
  expect(inputRangeWarning(tensor([], [0, 3, 2, 2]), preset('tf', { height: 2, width: 2 }))).toBeUndefined();
});

test.each([
  ['torchvision', 0, 1, 'divided by 255 and not normalized'],
  ['torchvision', 0, 255, 'pixels as they are'],
  ['torchvision', -123, 151, "Caffe's means"],
  ['caffe', 0, 1, 'divided by 255'],
  ['caffe', 0, 255, 'pixels as they are'],
  ['caffe', -2.1, 2.6, "ImageNet's mean"],
  ['tf', 0, 1, 'divided by 255'],
  ['tf', 0, 255, 'pixels as they are'],
  ['raw255', 0, 1, 'divided by 255'],
  ['raw255', -1, 1, 'preset tf'],
  ['raw255', -2.1, 2.6, "ImageNet's mean"],
])('%s given %f … %f', (name, least, greatest, guess) => {
  expect(warning(name, least, greatest)).toContain(guess);
});

test('the warning says what was expected and what was received', () => {
  expect(warning('raw255', 0, 1)).toBe(
    'input values 0 … 1 do not fit the plan, which yields 0 … 255; they look like pixels divided by 255 and not normalized; preprocess them as the plan says, or give the pictures themselves',
  );
});

test('values that are no numbers', () => {
  const data = Float32Array.of(1, Number.NaN, Number.POSITIVE_INFINITY);
  expect(inputRangeWarning(tensor(data, [1, 3, 1, 1]), preset('tf', { height: 1, width: 1 }))).toMatch(
    /^2 of 3 input values are not finite/,
  );
});
