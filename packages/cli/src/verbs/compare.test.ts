import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { residual, samples } from '../running.js';

const cat = join(samples, 'cat.jpg');
const bundled = ['--model', 'resnet16-cifar10'];

test('status 0 when two engines agree, and a sentence says so', async () => {
  const { status, out, err } = await residual('compare', ...bundled, '--against-engine', 'reference', cat);
  expect({ status, err }).toEqual({ status: 0, err: '' });
  expect(out).toMatch(/\n {2}station +shape +largest \|a − b\| +relative\n {2}decoded +\[300, 451, 3\] +0 +0\n/);
  expect(out).toMatch(/\nThey agree: no station differs by more than 1e-4 of its largest value\.\n$/);
});

test('status 1 when they part: the station is marked, the causes are named', async () => {
  const { status, out } = await residual('compare', ...bundled, '--against-preprocess', 'caffe', cat);
  expect(status).toBe(1);
  expect(out).toMatch(/\n> resized +\[40, 40, 3\]/);
  expect(out).toContain('\nCause: bilinear against nearest.\n');
  expect(out).toContain('\nCause: preprocessing mode torch against caffe.\n');
  expect(out).toContain('Given one and the same input, the networks agree (0).');
  expect(out).toMatch(/\na says cat \(96\.\d %\), b says \w+ \(\d+\.\d %\)\.\n$/);
});

test('a value that is no number is not called another shape', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'residual-compare-'));
  const header = JSON.stringify({ logits: { dtype: 'F32', shape: [1, 10], data_offsets: [0, 40] } });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const values = Buffer.from(new Float32Array(10).fill(Number.NaN).buffer);
  const file = join(folder, 'nan.safetensors');
  await writeFile(file, Buffer.concat([length, Buffer.from(header), values]));
  const { status, out } = await residual('compare', ...bundled, '--against', file, cat);
  await rm(folder, { recursive: true });
  expect(status).toBe(1);
  expect(out).toContain('They part at logits: a value is NaN or infinite on one side; most at [0, 0]: ');
});

test('--json holds the same', async () => {
  const { status, out } = await residual('compare', ...bundled, '--against-preprocess', 'tf', '--json', cat);
  const found = JSON.parse(out);
  expect(status).toBe(1);
  expect(found).toMatchObject({ picture: cat, tolerance: 1e-4, parts: 1 });
  expect(found.stations[found.parts]).toMatchObject({ name: 'resized', parts: true });
  expect(found.causes.map(({ id }: { id: string }) => id)).toEqual(['resize-filter', 'preprocess-mode']);
});

test.each([
  [[cat], 'ARGUMENT', 'no weights were given'],
  [[...bundled, cat], 'ARGUMENT', 'nothing to compare with'],
  [[...bundled, '--against-engine', 'reference'], 'ARGUMENT', 'nothing to compute on'],
  [[...bundled, '--against', 'absent.pth', cat], 'FILE', 'absent.pth'],
  [[...bundled, '--against-decode', 'pillow', 'absent.jpg'], 'FILE', 'absent.jpg'],
])('%j is trouble: status 2', async (args, code, message) => {
  const { status, out, err } = await residual('compare', ...args);
  expect({ status, out }).toEqual({ status: 2, out: '' });
  expect(err).toContain(`residual: [${code}] `);
  expect(err).toContain(message);
});
