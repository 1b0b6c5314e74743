import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { remember } from './remember.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'residual-times-'));
  vi.stubEnv('RESIDUAL_CACHE', folder);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

test('times are kept for the next process, by their conditions', () => {
  const first = remember('here');
  first.measured.set('a', 1.5).set('b', Number.POSITIVE_INFINITY);
  first.save();
  expect([...remember('here').measured]).toEqual([
    ['a', 1.5],
    ['b', Number.POSITIVE_INFINITY],
  ]);
  expect(remember('elsewhere').measured.size).toBe(0);
  const [file] = readdirSync(join(folder, 'onednn'));
  writeFileSync(join(folder, 'onednn', file), '{"conditions": "here", "times": {"a":');
  expect(remember('here').measured.size).toBe(0);
});

test('as many as 20,000, the latest', () => {
  const times = remember('here');
  for (let i = 0; i < 20_010; i++) times.measured.set(`job ${i}`, i);
  times.save();
  expect(times.measured.size).toBe(20_000);
  times.measured.set('job 20010', 1);
  times.save();
  const { measured } = remember('here');
  expect(measured.size).toBe(20_000);
  expect(measured.has('job 10')).toBe(false);
  expect(measured.has('job 20010')).toBe(true);
});
