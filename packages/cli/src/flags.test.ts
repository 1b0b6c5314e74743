import { recipes } from 'residual/train';
import { expect, test } from 'vitest';
import { bytes } from './flag-values.js';
import { classifyFlags, flagName, recipeNames } from './flags.js';

const parse = (key: keyof typeof classifyFlags, text: string): unknown => {
  const flag = classifyFlags[key];
  return 'parse' in flag ? flag.parse(text, flagName(key)) : undefined;
};

test.each([
  ['top', '0', 'Expected an integer from 1 to 1000 for --top but received 0'],
  ['top', '5x', 'Expected an integer from 1 to 1000 for --top but received 5x'],
  ['top', '1e2', 'Expected an integer from 1 to 1000 for --top but received 1e2'],
  ['batch', '', 'Expected an integer from 1 to 1024 for --batch but received nothing'],
  ['minProbability', '1.5', 'Expected a number from 0 to 1 for --min-probability but received 1.5'],
  ['minProbability', 'NaN', 'Expected a number from 0 to 1 for --min-probability but received NaN'],
  ['engine', 'onx', 'Expected auto, onnx, onednn or reference for --engine but received onx'],
  ['device', 'gpu', 'Expected cpu, webgpu, coreml, dml or cuda for --device but received gpu'],
  ['labels', ' ', 'Expected a name or a path for --labels but received  '],
] as const)('--%s %j is refused politely', (key, text, message) => {
  expect(() => parse(key, text)).toThrow(expect.objectContaining({ code: 'ARGUMENT', message }));
});

test.each([
  ['top', '1000', 1000],
  ['minProbability', '.5', 0.5],
  ['engine', 'auto', 'auto'],
  ['saveInput', 'seen.png', 'seen.png'],
] as const)('--%s %s is taken', (key, text, value) => {
  expect(parse(key, text)).toBe(value);
});

test('the help of --recipe names every recipe', () => {
  expect([...recipeNames].sort()).toEqual(Object.keys(recipes).sort());
});

test('one table, at most 25 rows', () => {
  expect(Object.keys(classifyFlags).length).toBeLessThanOrEqual(25);
});

test.each([
  ['0', 0],
  ['640b', 640],
  ['1.5kB', 1500],
  ['500MB', 5e8],
  ['2gib', 2 ** 31],
])('a size of %s', (text, value) => {
  expect(bytes(text, '--to')).toBe(value);
});
