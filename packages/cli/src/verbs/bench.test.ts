import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { jsonLines, residual } from '../running.js';

const folder = mkdtempSync(join(tmpdir(), 'residual-bench-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('bench prints a table and writes it as CSV', async () => {
  const csv = join(folder, 'speed.csv');
  const { status, out, err } = await residual(
    'bench',
    '--model',
    'resnet16-cifar10',
    '--batch',
    '1,4',
    '--rounds',
    '1',
    '--csv',
    csv,
  );
  expect({ status, err }).toEqual({ status: 0, err: '' });
  expect(out).toMatch(/^resnet16 {2}40×40, 0\.193 GMAC a picture; \d+ threads, .+\n/);
  expect(out.match(/^\w+ +f32 +[14] +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +\d+ % +[\d.]+$/gm)).toHaveLength(2);
  expect(out).toMatch(/^peak measured here: \d+.* GMAC\/s in f32/m);
  const [head, ...lines] = readFileSync(csv, 'utf8').trimEnd().split('\n');
  expect(head).toMatch(/^network,size,threads,processor,engine,runtime,precision,batch,runs,median_ms,/);
  expect(lines.map((line) => /,f32,(\d+),/.exec(line)?.[1])).toEqual(['1', '4']);
});

test('bench --json; what an engine cannot do is a note, and an error where nothing is left', async () => {
  const args = ['bench', '--model', 'resnet16-cifar10', '--engine', 'onnx,reference', '--rounds', '1'];
  const both = await residual(...args, '--precision', 'f32,bf16', '--json');
  expect(both.status).toBe(0);
  const [{ rows, left, peaks }] = jsonLines(both.out);
  expect(rows.map(({ engine, precision }: Record<string, string>) => [engine, precision])).toEqual([
    ['onnx', 'f32'],
    ['reference', 'f32'],
  ]);
  expect(left).toHaveLength(2);
  expect(peaks[0]).toMatchObject({ precision: 'f32', engine: 'onnx', macsPerSecond: expect.any(Number) });
  const none = await residual('bench', '--engine', 'reference', '--precision', 'bf16', '--size', '32');
  expect(none).toMatchObject({ status: 1, out: '', err: expect.stringContaining('nothing could be measured') });
});

test.each([
  [['--batch', '1,x'], 'Expected an integer from 1 to 1024 for --batch but received x'],
  [['--engine', 'onnx,fast'], 'Expected auto, onnx, onednn or reference for --engine but received fast'],
  [['--csv', '/nowhere/x.csv'], '/nowhere/x.csv'],
])('bench %j is refused before anything is measured', async (args, complaint) => {
  const { status, out, err } = await residual('bench', '--model', 'resnet16-cifar10', ...args);
  expect({ status: status !== 0, out, err }).toEqual({
    status: true,
    out: '',
    err: expect.stringContaining(complaint),
  });
});
