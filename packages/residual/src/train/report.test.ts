import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { summary } from '../graph/summary.js';
import { refusal, scratch } from '../testing.js';
import { findRate, found } from './lr-find.js';
import { planRun } from './plan.js';
import { flopsOf } from './report.js';
import { chart } from './report-chart.js';
import { fileOf } from './run-folder.js';
import { compareRuns } from './runs.js';
import { presets } from './settings.js';
import { train } from './train.js';
import { tinyData, tinyGraph, tinyModel, tinyRecipe } from './train.test.helper.js';

test('a report stands by itself, and names cannot break out of it', async () => {
  const folder = scratch();
  const out = join(folder, 'a<b>');
  const classes = ['</td><script>alert(1)</script>', 'green & blue', 'plain'];
  await train(tinyModel(), tinyData(24, classes), { recipe: tinyRecipe, engine: 'reference', out });
  const html = readFileSync(fileOf(out, 'report'), 'utf8');
  expect(html).toMatch(/^<!doctype html>/);
  expect(html).not.toMatch(/<script|https?:\/\/(?!www\.w3\.org)|<link/);
  expect(html).toContain('green &#38; blue');
  expect(html).toContain('<title>a&#60;b&#62;: tiny</title>');
  for (const heading of ['Loss', 'Right answers', 'Learning rate', 'Throughput', 'Confusion', 'Classes', 'Recipe'])
    expect(html).toContain(`${heading}`);
  expect(html).toMatch(/throughput<\/th><td>[\d.]+ images\/s, [\d.]+ GFLOP/);
  expect(html.match(/<svg /g)?.length).toBeGreaterThanOrEqual(6);
});

test('operations of a step: three times forward but for the first layer, and less where something is frozen', () => {
  const graph = tinyGraph();
  const { macs } = summary(graph).totals;
  // No gradient by the picture is needed.
  const first = summary(graph).rows.find(({ layer }) => layer === 'conv1')?.macs ?? 0;
  expect(flopsOf(graph, presets)).toBe(2 * (3 * macs - first));
  expect(flopsOf(graph, { ...presets, freeze: 'avgpool' })).toBe(2 * (macs + 12));
  expect(flopsOf(graph, { ...presets, freeze: 'avgpool', featuresOnce: true })).toBe(2 * 2 * 12);
});

test('rates are not suggested out of the first steps, where the mean is over a few', () => {
  const points = (smooth: (i: number) => number) =>
    Array.from({ length: 20 }, (_, i) => ({ rate: 1e-5 * 2 ** i, loss: smooth(i), smooth: smooth(i) }));
  // By chance the very first loss is the least.
  const noisy = found(points((i) => (i === 0 ? 0.5 : i < 10 ? 3 : ([2, 1.2, 1][i - 10] ?? i))));
  expect(noisy.steepest).toBe(1e-5 * 2 ** 10);
  expect(noisy.cautious).toBe((1e-5 * 2 ** 12) / 10);
  const late = found(points((i) => 20 - i + (i < 6 ? 6 - i : 0)));
  expect(late.cautious).toBe(late.steepest);
});

test('numbers of many digits have their room beside the axis', () => {
  const drawn = (most: number) =>
    chart(
      [
        {
          name: 'a',
          color: 'red',
          points: [
            [0, 0],
            [most, most],
          ],
        },
      ],
      { x: 'x', y: 'y' },
    );
  const words = (most: number) => [...drawn(most).matchAll(/>([^<>]*)<\/text>/g)].map(([, word]) => word);
  expect(words(8_000_000)).toEqual(expect.arrayContaining(['2e6', '8e6']));
  expect(words(0.0000123)).toEqual(expect.arrayContaining(['5e-6', '1e-5']));
  expect(words(40_000)).toEqual(expect.arrayContaining(['10000', '40000']));
  for (const most of [1, 123_456, 8_000_000, 1.2345e-7])
    expect(Math.max(...words(most).map((word) => word.length))).toBeLessThanOrEqual(7);
});

test('a chart places its points', () => {
  const svg = chart(
    [
      {
        name: 'a',
        color: 'red',
        points: [
          [0, 0],
          [10, 1],
          [20, Number.NaN],
        ],
      },
    ],
    { x: 'x', y: 'y' },
  );
  expect(svg).toContain('points="52.0,206.0 448.0,12.0"');
  expect(chart([{ name: 'a', color: 'red', points: [] }], { x: 'x', y: 'y' })).toBe('');
});

test('runs side by side, and what tells them apart', async () => {
  const folder = scratch();
  for (const epochs of [1, 8])
    await train(tinyModel(), tinyData(), {
      recipe: { ...tinyRecipe, epochs },
      engine: 'reference',
      out: join(folder, String(epochs)),
    });
  const { runs, differences } = await compareRuns([folder]);
  expect(runs.map((run) => run.folder)).toEqual([join(folder, '8'), join(folder, '1')]);
  expect(runs[0]).toMatchObject({ epochs: 8, best: { validation: { pictures: 6 } } });
  expect(differences).toEqual([{ setting: 'epochs', values: [8, 1] }]);
  mkdirSync(join(folder, 'damaged'));
  writeFileSync(fileOf(join(folder, 'damaged'), 'config'), '{');
  const found = await compareRuns([folder]);
  expect(found.runs).toHaveLength(2);
  expect(found.unread).toMatchObject([{ folder: join(folder, 'damaged'), error: { code: 'FILE' } }]);
  expect(await refusal(compareRuns([join(folder, 'absent')]))).toMatchObject({ code: 'FILE' });
});

test('a plan counts without writing, and tries', async () => {
  const out = join(scratch(), 'run');
  const plan = await planRun(tinyModel(), tinyData(), {
    recipe: { ...tinyRecipe, freeze: 'stem' },
    engine: 'reference',
    out,
  });
  expect(plan).toMatchObject({
    data: { classes: 3, train: 24, validation: 6 },
    parameters: { trained: 144 + 8 + 15, frozen: 108 + 8 },
    steps: 6,
    epochs: 3,
    trial: { engine: 'reference', steps: 8 },
  });
  expect(plan.expected).toBeCloseTo(plan.trial.seconds * 18, 9);
  // Ctrl-C does not wait for the ten steps.
  const abort = new AbortController();
  const data = tinyData(4);
  const [picture] = data.train;
  let opened = 0;
  const watched = new Proxy(picture, {
    get(from, key) {
      if (key === 'source' && opened++ === 2) abort.abort();
      return Reflect.get(from, key);
    },
  });
  const stopped = planRun(
    tinyModel(),
    { ...data, train: [watched, ...data.train.slice(1)] },
    {
      recipe: tinyRecipe,
      engine: 'reference',
      out,
      signal: abort.signal,
    },
  );
  expect(await refusal(stopped)).toMatchObject({ code: 'ABORTED' });
  expect(opened).toBeLessThan(8);
  await expect(async () => readFileSync(fileOf(out, 'config'))).rejects.toThrow();
});

test('the rate rises until the loss runs away', async () => {
  const found = await findRate(tinyModel(), tinyData(), {
    recipe: { ...tinyRecipe, mixup: 0, dropPath: 0 },
    engine: 'reference',
    from: 1e-4,
    to: 1e4,
    steps: 60,
  });
  const rates = found.points.map(({ rate }) => rate);
  expect(rates).toEqual(rates.toSorted((a, b) => a - b));
  expect(rates.length).toBeLessThan(60);
  expect(found.steepest).toBeGreaterThan(1e-4);
  expect(found.cautious).toBeLessThan(rates.at(-1) as number);
  expect(await refusal(findRate(tinyModel(), tinyData(), { engine: 'reference', from: 1, to: 0.1 }))).toMatchObject({
    code: 'ARGUMENT',
  });
});
