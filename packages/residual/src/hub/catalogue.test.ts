import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { summary } from '../graph/summary.js';
import { presetNames } from '../image/presets.js';
import { build } from '../models/resnet.js';
import { shared } from '../testing.js';
import { bareName, catalogue, findEntry, type HubEntry, isNonCommercial, planOf, published } from './catalogue.js';

const entries = await published();
const entry = (id: string) => entries.find((known) => known.id === id) as HubEntry;

test('ids and addresses are each their own, all https, and hashes are those that file names carry', () => {
  expect(new Set(entries.map(({ id }) => id)).size).toBe(entries.length);
  for (const { id, url, sha256, md5 } of entries) {
    expect(new URL(url), id).toMatchObject({ protocol: 'https:', search: '', hash: '' });
    if (sha256) expect([8, 64], id).toContain(sha256.length);
    if (sha256) expect(url, id).toContain(`-${sha256.slice(0, 8)}.pth`);
    if (md5) expect(md5, id).toMatch(/^[0-9a-f]{32}$/);
    expect(Boolean(sha256 ?? md5) || url.startsWith('https://huggingface.co/'), id).toBe(true);
  }
});

test('one entry for each published weight', () => {
  const count = (collection: string) => entries.filter((known) => known.collection === collection).length;
  expect(['torchvision', 'keras', 'microsoft', 'timm'].map(count)).toEqual([17, 14, 5, 150]);
});

test('entries of the catalogue can be built, with the published number of parameters', async () => {
  const known = await catalogue();
  const counts = new Map<string, number>();
  for (const { id, architecture, parameters, classes, collection, size } of known) {
    if (parameters === undefined) continue;
    const key = `${architecture} ${classes} ${size}`;
    const { totals } = counts.has(key) ? { totals: undefined } : summary(build(architecture, { classes, size }));
    if (totals) counts.set(key, collection === 'keras' ? totals.parameters : totals.trainable);
    const count = counts.get(key) as number;
    // timm publishes millions with two decimals.
    if (collection === 'timm') expect(Math.abs(count - parameters), id).toBeLessThanOrEqual(5001);
    else expect(count, id).toBe(parameters);
  }
  // What cannot be built says why.
  for (const { id } of entries.filter((each) => !known.includes(each)))
    await expect(findEntry(id), id).rejects.toThrow(/the family lacks (?!undefined)/);
});

test.skipIf(!shared)('timm’s rows are those of its own table', () => {
  const [head, ...lines] = readFileSync(join(shared as string, 'timm-resnet.csv'), 'utf8')
    .trim()
    .split(/\r?\n/);
  const columns = head.split(',');
  for (const line of lines) {
    const cells = line.split(',');
    const row = Object.fromEntries(columns.map((column, i) => [column, cells[i]]));
    const found = entry(`timm/${row.model}`);
    expect(Boolean(found), row.model).toBe(row.hf_hub_id !== '');
    if (!found) continue;
    const { crop, filter, mean, deviation } = found.preprocess as Exclude<HubEntry['preprocess'], string>;
    expect(
      [found.classes, found.size, crop, filter, mean[0], deviation[0], found.licence.toLowerCase()].map(String),
      row.model,
    ).toEqual([
      row.num_classes,
      row.input,
      String(Number(row.crop_pct)),
      row.interpolation,
      row.mean0,
      row.std0,
      row.license,
    ]);
    expect(found.url.replace(/^.*\//, ''), row.model).toBe(row.url_file || 'model.safetensors');
    const metrics = found.metrics.map(({ top1, size, crop }) => `${top1.toFixed(3)}@${size}(${crop?.toFixed(3)})`);
    expect(metrics.join(' '), row.model).toBe(row['top1@size(crop)']);
    expect(found.parameters === undefined ? '' : (found.parameters / 1e6).toFixed(2), row.model).toBe(row.params_M);
  }
});

test('names: a bare one is torchvision’s best', async () => {
  const id = async (name: string) => (await findEntry(name))?.id;
  expect(await id('resnet50')).toBe('resnet50-v2');
  expect(await id('resnet50-v1')).toBe('resnet50-v1');
  expect(await id('resnet18')).toBe('resnet18-v1');
  expect(await id('wide_resnet50_2')).toBe('wide_resnet50_2-v2');
  expect(await id('keras/resnet50v2')).toBe('keras/resnet50v2');
  expect(await id('timm/resnet50.a1_in1k')).toBe('timm/resnet50.a1_in1k');
  for (const none of [
    'resnet20',
    'plain18',
    'keras-resnet50',
    './resnet50',
    'resnet50.pth',
    'keras/x.h5',
    'timm/resnet50',
  ])
    expect(await id(none), none).toBeUndefined();
  expect(bareName(entry('resnet50-v2'), entries)).toBe('resnet50');
  expect(bareName(entry('resnet50-v1'), entries)).toBeUndefined();
});

test('plans are the published ones', () => {
  const size = { height: 224, width: 224 };
  const resized = (id: string, at = size) => planOf(entry(id), at).find(({ step }) => step.startsWith('resize'));
  expect(resized('resnet50-v1')).toEqual({ step: 'resizeShortSide', size: 256, filter: 'bilinear' });
  expect(resized('resnet50-v2')).toEqual({ step: 'resizeShortSide', size: 232, filter: 'bilinear' });
  expect(resized('resnext101_64x4d-v1')).toMatchObject({ size: 232 });
  expect(resized('timm/resnet50.a1_in1k')).toEqual({ step: 'resizeShortSide', size: 235, filter: 'bicubic' });
  expect(resized('timm/resnet50.a1h_in1k', { height: 176, width: 176 })).toMatchObject({ size: 195 });
  expect(planOf(entry('timm/resnet50d.ra4_e3600_r224_in1k'), size).at(-1)).toMatchObject({ mean: [0.5, 0.5, 0.5] });
  expect(resized('microsoft/resnet-50')).toEqual({ step: 'resizeShortSide', size: 256, filter: 'bicubic' });
  expect(resized('keras/resnet50')).toMatchObject({ step: 'resize', filter: 'nearest' });
  for (const { preprocess } of entries) if (typeof preprocess === 'string') expect(presetNames).toContain(preprocess);
});

test('licences: sixteen forbid commercial use', () => {
  expect(entries.filter(({ licence }) => isNonCommercial(licence))).toHaveLength(16);
  expect([...new Set(entries.map(({ licence }) => licence))].sort()).toEqual([
    'Apache-2.0',
    'BSD-3-Clause',
    'CC-BY-NC-4.0',
    'MIT',
  ]);
});
