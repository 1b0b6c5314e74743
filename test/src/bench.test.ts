import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';

const bench = resolve(import.meta.dirname, '../../bench');
const module = (name: string) => import(pathToFileURL(join(bench, name)).href);
const { csv, markdown, median, ratio } = (await module('tables.js')) as {
  csv(rows: readonly object[]): string;
  markdown(head: readonly string[], rows: readonly (readonly string[])[]): string;
  median(values: readonly number[]): number;
  ratio(value: number | undefined): string;
};
const { targets } = (await module('targets.js')) as { targets(results: object): string[][] };

test('the median of an odd and an even number of values', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([7])).toBe(7);
});

test('ratios have the digits that mean something', () => {
  expect([1, 1.128, 2.999, 9.04, 24.4, undefined, Number.NaN].map(ratio)).toEqual([
    '1.00',
    '1.13',
    '3.00',
    '9.0',
    '24',
    '–',
    '–',
  ]);
});

test('a table in Markdown', () => {
  expect(markdown(['a', 'b'], [['x', '1']])).toBe('| a | b |\n| --- | ---: |\n| x | 1 |');
});

test('CSV has the columns of every row and quotes what needs it', () => {
  const rows = [{ a: 1, b: 'x, "y"' }, { c: 2.5 }];
  expect(csv(rows)).toBe('a,b,c\n1,"x, ""y""",\n,,2.5\n');
});

test('targets say what was reached, missed and not measured', () => {
  const row = (name: string, batch: number, median: number, more = {}) => ({
    ...{ network: 'resnet50', name, batch, median, runtime: 'oneDNN 2.6.3' },
    ...more,
  });
  const rows = [
    row('onednn f32', 1, 10, { overConvolutions: 1.02 }),
    row('onednn f32', 8, 100, { overConvolutions: 1.1 }),
    row('ort f32', 1, 12),
    row('ort f32', 8, 110),
  ];
  const table = targets({ engines: { rows } });
  expect(table[0]).toEqual([
    'f32, time over the convolutions alone, batch 1 and 8',
    '≤ 1.03',
    '1.02; **1.10**, missed',
  ]);
  expect(table[1]).toEqual([
    'f32 speed over onnxruntime-node, batch 1 and 8',
    '≥ 1.06, ≥ 1.18',
    '1.20; **1.10**, missed',
  ]);
  expect(new Set(table.slice(2).map(([, , measured]) => measured))).toEqual(new Set(['not measured']));
});

test('peers stay out of the project: none of them but what it has itself is in the root lock file', () => {
  const own = JSON.parse(readFileSync(join(bench, 'package.json'), 'utf8')) as { dependencies: Record<string, string> };
  const root = JSON.parse(readFileSync(resolve(bench, '../package-lock.json'), 'utf8')) as { packages: object };
  const shared = Object.keys(own.dependencies).filter((name) => `node_modules/${name}` in root.packages);
  expect(shared).toEqual(['onnxruntime-node', 'onnxruntime-web']);
});
