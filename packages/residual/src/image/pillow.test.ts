import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { shared } from '../testing.js';
import { applyPlan } from './apply.js';
import { decode } from './decode.js';
import type { Pixels } from './pixels.js';
import type { Filter } from './plan.js';
import { preprocess } from './preprocess.js';
import { preset } from './presets.js';
import { resize } from './resize.js';

interface Index {
  decoded: { file: string; width: number; height: number; raw: string }[];
  resized: { source: number; width: number; height: number; filter: Filter; raw: string }[];
  cropped: { source: string; width: number; height: number; raw: string }[];
  inputs: { source: number; preset: string; side: number; raw: string }[];
}

/** What Pillow, torchvision and Keras' arithmetic make of the same files, by scripts/pillow-reference.py. */
describe.skipIf(!shared)('the bytes of Pillow and the floats of torchvision', () => {
  const folder = mkdtempSync(join(tmpdir(), 'residual-pillow-'));
  let index: Index;
  const raw = (name: string): Uint8Array => new Uint8Array(readFileSync(join(folder, name)));
  const pictureOf = ({ width, height, raw: name }: Index['decoded'][number]): Pixels => ({
    width,
    height,
    data: raw(name),
  });

  beforeAll(() => {
    const program = fileURLToPath(new URL('../../../../scripts/pillow-reference.py', import.meta.url));
    execFileSync('/usr/bin/python3', [program, String(shared), folder], { stdio: ['ignore', 'ignore', 'inherit'] });
    index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8'));
  }, 120_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('decoding as pillow: every photograph, and pictures of every mode', async () => {
    const wrong: string[] = [];
    for (const entry of index.decoded) {
      const { pixels } = await decode(entry.file, 'pillow');
      const difference = compare(pixels, pictureOf(entry));
      if (difference) wrong.push(`${basename(entry.file)}: ${difference}`);
    }
    expect(wrong).toEqual([]);
    expect(index.decoded.length).toBeGreaterThan(200);
  });

  test('resizing: 180 random sizes and filters', () => {
    const wrong: string[] = [];
    for (const { source, width, height, filter, raw: name } of index.resized) {
      const picture = pictureOf(index.decoded[source]);
      const difference = compare(resize(picture, { width, height }, filter), { width, height, data: raw(name) });
      if (difference) wrong.push(`${picture.width}×${picture.height} → ${width}×${height} ${filter}: ${difference}`);
    }
    expect(wrong).toEqual([]);
    expect(index.resized.length).toBeGreaterThanOrEqual(150);
  });

  test("centre crops: torchvision's rounding and padding", async () => {
    for (const { source, width, height, raw: name } of index.cropped) {
      const { pixels } = await decode(source, 'pillow');
      const plan = [{ step: 'decode', as: 'pillow' } as const, { step: 'centerCrop', height, width } as const];
      const { cropped } = applyPlan(pixels, plan);
      expect(compare(cropped, { width, height, data: raw(name) }), `${width}×${height}`).toBe('');
    }
  });

  test('the presets: every float32 of the input, bit for bit', async () => {
    expect(new Set(index.inputs.map((entry) => entry.preset)).size).toBe(6);
    for (const { source, preset: name, side, raw: file } of index.inputs) {
      const plan = preset(name, { height: side, width: side, decode: 'pillow' });
      const { input, width, height } = await preprocess(index.decoded[source].file, plan);
      const expected = new Float32Array(raw(file).buffer);
      expect([width, height, input.length]).toEqual([side, side, expected.length]);
      const different = input.findIndex((value, i) => value !== expected[i]);
      expect(
        different,
        `${name} of ${index.decoded[source].file}: ${input[different]} for ${expected[different]}`,
      ).toBe(-1);
    }
  });
});

/** Empty when equal, else how many bytes differ and by how much at most. */
function compare(a: Pixels, b: Pixels): string {
  if (a.width !== b.width || a.height !== b.height) return `${a.width}×${a.height} for ${b.width}×${b.height}`;
  if (a.data.length !== b.data.length) return `${a.data.length} bytes for ${b.data.length}`;
  let count = 0;
  let most = 0;
  for (let i = 0; i < a.data.length; i++) {
    if (a.data[i] === b.data[i]) continue;
    count++;
    most = Math.max(most, Math.abs(a.data[i] - b.data[i]));
  }
  return count ? `${count} of ${a.data.length} bytes differ, by ${most} at most` : '';
}
