import { expect, test } from 'vitest';
import { decodingOf, rangeOf } from './apply.js';
import { preset, presetNames } from './presets.js';

test('the published sizes, and the same ratio for other inputs', () => {
  const sizes = (name: string, height: number, width: number) =>
    preset(name, { height, width }).flatMap((step): (number | number[])[] => {
      if ('size' in step) return [step.size];
      return 'width' in step ? [[step.height, step.width]] : [];
    });
  expect(sizes('torchvision', 224, 224)).toEqual([256, [224, 224]]);
  expect(sizes('torchvision-v2', 224, 224)).toEqual([232, [224, 224]]);
  expect(sizes('torchvision-bicubic', 224, 224)).toEqual([256, [224, 224]]);
  expect(sizes('torchvision', 64, 64)).toEqual([73, [64, 64]]);
  expect(sizes('torchvision', 112, 448)).toEqual([512, [112, 448]]);
  expect(sizes('caffe', 64, 96)).toEqual([[64, 96]]);
});

test('every preset begins with the decoding asked for and yields its published range', () => {
  const ranges = Object.fromEntries(
    presetNames.map((name) => {
      const plan = preset(name, { height: 32, width: 32, decode: 'pillow' });
      expect(decodingOf(plan)).toBe('pillow');
      const { least, greatest } = rangeOf(plan);
      return [name, [least.toFixed(3), greatest.toFixed(3)]];
    }),
  );
  expect(ranges).toEqual({
    torchvision: ['-2.118', '2.640'],
    'torchvision-v2': ['-2.118', '2.640'],
    'torchvision-bicubic': ['-2.118', '2.640'],
    msra: ['-123.675', '151.470'],
    fair: ['-2.118', '2.640'],
    caffe: ['-123.680', '151.061'],
    tf: ['-1.000', '1.000'],
    cifar: ['-2.118', '2.640'],
    raw255: ['0.000', '255.000'],
  });
});

test('an unknown name says the nearest; a size must be one', () => {
  expect(() => preset('torchvison', { height: 224, width: 224 })).toThrow(
    'unknown preset "torchvison"; did you mean "torchvision"?',
  );
  expect(() => preset('toString', { height: 224, width: 224 })).toThrow(/unknown preset/);
  expect(() => preset('caffe', { height: 0, width: 224 })).toThrow(
    'preset caffe: expected a whole number ≥ 1 for height but received 0',
  );
});
