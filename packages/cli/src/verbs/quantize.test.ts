import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { residual, samples } from '../running.js';

let folder: string;
const at = (name: string) => join(folder, name);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'residual-quantize-'));
});
afterAll(() => rm(folder, { recursive: true }));

const bundled = ['quantize', '--model', 'resnet16-cifar10', '--data', samples];

test('writes a model that classifies, and says what it costs', async () => {
  const { status, out, err } = await residual(
    ...bundled,
    '--out',
    at('q.residual'),
    '--float',
    'first',
    '--calibrate',
    '3',
  );
  expect({ status, err }).toEqual({ status: 0, err: '' });
  expect(out).toMatch(
    /resnet16-cifar10 → .*q\.residual {2}.* MB, 15 layers in 8 bits, ranges by mse on 3 pictures, float: conv1\n/,
  );
  expect(out).toMatch(/\nsame answer {12}100\.0 % \(2 of 2\)\n/);
  expect(out).toMatch(/\nLayers that lose most:\n( {2}\S+ +[\d.]+ dB, -?[\d.]+ below what it was given\n){5}$/);
  const classified = await residual('classify', '-w', at('q.residual'), '--json', join(samples, 'cat.jpg'));
  expect(JSON.parse(classified.out).predictions[0]).toMatchObject({ label: 'cat' });

  const again = await residual(...bundled, '--out', at('q.residual'));
  expect(again).toMatchObject({
    status: 1,
    out: '',
    err: expect.stringMatching(/\[FILE\] .*is there already; .*--force\n$/),
  });
});

test('a damaged picture is told of and left out', async () => {
  const pictures = at('pictures');
  await cp(samples, pictures, { recursive: true });
  await writeFile(join(pictures, 'a.jpg'), (await readFile(join(samples, 'cat.jpg'))).subarray(0, 300));
  const args = ['quantize', '--model', 'resnet16-cifar10', '--data', pictures, '--out', at('some.residual')];
  const { status, err } = await residual(...args, '--calibrate', '4');
  expect({ status, notes: err.match(/note: skipped: .*a\.jpg/g)?.length }).toEqual({ status: 0, notes: 1 });
});

test('JSON has every layer, and where nothing is left over that is noted', async () => {
  const { status, out, err } = await residual(...bundled, '--out', at('q.onnx'), '--json', '--method', 'minmax');
  expect(status).toBe(0);
  expect(JSON.parse(err).note).toMatch(/all pictures are calibrated with/);
  const report = JSON.parse(out);
  expect(report).toMatchObject({ from: 'resnet16-cifar10', file: at('q.onnx'), method: 'minmax', calibrated: 5 });
  expect(report.losses.length).toBeGreaterThan(10);
  expect(report.agreement).not.toHaveProperty('right');
});

test.each<[string, string[], RegExp]>([
  ['no model', ['quantize', '--data', samples, '--out', 'x'], /ARGUMENT.*--weights FILE/],
  ['no pictures', ['quantize', '--model', 'resnet16-cifar10', '--out', 'x'], /ARGUMENT.*--data FOLDER/],
  ['no file', bundled, /ARGUMENT.*--out FILE/],
  ['a layer that is none', [...bundled, '--out', 'x.residual', '--float', 'conv2'], /UNKNOWN_NAME.*"conv1"/],
  ['a file that cannot keep scales', [...bundled, '--out', 'x.pth'], /ARGUMENT.*x\.pth: a \.pth file has no place for/],
])('%s', async (_, args, message) => {
  const { status, out, err } = await residual(...args);
  expect({ status, out }).toEqual({ status: 2, out: '' });
  expect(err).toMatch(message);
});
