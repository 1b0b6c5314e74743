import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Augment, augmentNames, augmentText, checkAugment, parseAugment } from './augment.js';

test('text becomes steps with the usual numbers', () => {
  expect(parseAugment('random-resized-crop 0.2, flip,rand-augment 2 7 0.5 , erase 0.1')).toEqual([
    { step: 'random-resized-crop', least: 0.2, most: 1 },
    { step: 'flip', chance: 0.5 },
    { step: 'rand-augment', operations: 2, magnitude: 7, deviation: 0.5 },
    { step: 'erase', chance: 0.1 },
  ]);
  expect(parseAugment('none')).toEqual([]);
  expect(parseAugment('')).toEqual([]);
});

test('the text form comes back, shortest', () => {
  for (const text of [
    'none',
    'pad-crop 4, flip',
    'jitter 0.4 0.4 0.4 0.1, grey 0.2, blur',
    'flip-alternating',
    'rotate 15',
  ])
    expect(augmentText(parseAugment(text))).toBe(text);
  expect(augmentText(parseAugment('random-resized-crop 0.08 1, flip 0.5'))).toBe('random-resized-crop, flip');
});

test('every step with any fitting numbers goes through text unchanged', () => {
  const number = fc.double({ min: 0.01, max: 0.5, noNaN: true });
  fc.assert(
    fc.property(fc.constantFrom(...augmentNames), number, (name, x) => {
      const whole = /crop|^rand-/.test(name);
      const text = name === 'random-resized-crop' || !whole ? name : `${name} 3`;
      const needs = name === 'rotate' || name === 'jitter' ? `${text} ${x}` : text;
      const steps = parseAugment(needs);
      expect(parseAugment(augmentText(steps))).toEqual(steps);
    }),
  );
});

test.each([
  ['flop', 'there is no augmentation "flop"; did you mean "flip"?'],
  ['flip 2', 'the augmentation "flip": expected a number from 0 to 1 for chance but received 2'],
  ['flip x', 'the augmentation "flip": expected a number from 0 to 1 for chance but received NaN'],
  ['pad-crop', 'the augmentation "pad-crop" needs pixels; expected pad-crop pixels'],
  ['pad-crop 1.5', 'the augmentation "pad-crop": expected a whole number from 1 to 512 for pixels but received 1.5'],
  ['grey 0.1 0.2', 'the augmentation "grey 0.1 0.2" has too many numbers; expected grey chance'],
  ['blur 1 3 2', 'the augmentation "blur": least is 3, which is more than most, 2'],
  [
    'flip, random-resized-crop',
    'the augmentation "random-resized-crop" must come first: it crops the picture as it was decoded; received flip, random-resized-crop',
  ],
])('%s is refused', (text, message) => {
  expect(() => parseAugment(text)).toThrow(message);
});

test('steps out of a file are checked too', () => {
  const steps = (value: unknown) => value as Augment;
  expect(() => checkAugment(steps([{ step: 'flip' }]))).toThrow('received undefined');
  expect(() => checkAugment(steps([{ step: 'flip', chance: 1, more: 2 }]))).toThrow('has no more');
  expect(() => checkAugment(steps([{ step: 'toString' }]))).toThrow('no augmentation "toString"');
});
