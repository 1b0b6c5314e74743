import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundled } from 'residual';
import { expect, test } from 'vitest';
import { mlperfResnet8, residual } from '../running.js';

const weights = fileURLToPath(bundled['resnet16-cifar10'].weights);

test('doctor says what works here', async () => {
  const { status, out, err } = await residual('doctor', '--json');
  expect({ status, err }).toEqual({ status: 0, err: '' });
  const { host, packages, engines, kernels } = JSON.parse(out);
  expect(host).toMatchObject({ node: process.version, cores: expect.any(Number) });
  expect(packages).toContainEqual({ name: 'sharp', ok: true, says: expect.stringContaining('decodes pictures') });
  expect(engines).toContainEqual(expect.objectContaining({ engine: 'onnx', ok: true }));
  expect(kernels).toMatchObject({ f32: { slow: [] }, bf16: expect.anything(), int8: expect.anything() });
  const text = (await residual('doctor')).out;
  expect(text).toMatch(/auto takes onednn on oneDNN /);
  expect(text).toMatch(/✓ onednn in f32 +a fast kernel for every layer of all \d+ networks\n/);
  expect(text).toMatch(/engine onnx .*; differs from reference by \de-\d+ at most\n/);
  expect(text).toMatch(/engine reference .*; what the others are compared with\n/);
});

test('summary of an architecture, of a bundled model, of a weight file', async () => {
  const { status, out, err } = await residual('summary', 'resnet18', '--classes', '5', '--size', '192x256');
  expect({ status, err }).toEqual({ status: 0, err: '' });
  expect(out).toMatch(/\[N, 64, 96, 128\][\s\S]*\nfc \(Dense\) +\[N, 5\] +2,565 /);
  const byName = JSON.parse((await residual('summary', 'resnet16-cifar10', '--json')).out);
  expect(byName.totals.parameters).toBe(983_786);
  expect(JSON.parse((await residual('summary', weights, '--json')).out).totals).toEqual(byName.totals);
});

test('summary draws', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'residual-summary-'));
  try {
    const svg = join(folder, 'a.svg');
    expect(await residual('summary', 'resnet18', '--svg', svg)).toEqual({ status: 0, out: '', err: '' });
    expect(await readFile(svg, 'utf8')).toMatch(/^<svg[\s\S]*<\/svg>\s*$/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('inspect says what is in a file, and goes on after one it cannot read', async () => {
  const { status, out, err } = await residual('inspect', mlperfResnet8, 'absent.pth');
  expect(status).toBe(1);
  expect(out).toMatch(/ {2}format +keras-h5 \([\s\S]*… and \d+ more; --tensors lists all\n/);
  expect(err).toMatch(/^residual: \[FILE\] absent\.pth/);
  expect(out).toMatch(/ {2}parameters +78,186, and 480 running statistics\n/);
  const { tensors } = JSON.parse((await residual('inspect', '--json', mlperfResnet8)).out);
  expect((await residual('inspect', '--tensors', mlperfResnet8)).out.split('\n').length).toBeGreaterThan(
    tensors.length,
  );
});

test.each([
  [['summary', 'resnet51'], 2, '[UNKNOWN_NAME] unknown'],
  [['summary', './absent.pth'], 1, '[FILE] ./absent.pth'],
  [['summary', 'resnet18', '--size', '0x3'], 2, '[ARGUMENT] Expected a side such as 224'],
])('%j is refused', async (args, status, message) => {
  expect(await residual(...args)).toEqual({ status, out: '', err: expect.stringContaining(`residual: ${message}`) });
});
