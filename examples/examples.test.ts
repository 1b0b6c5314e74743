import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { load } from 'residual';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { finetune } from './finetune.js';
import { trainFromScratch } from './train-from-scratch.js';

const shared = process.env.RESIDUAL_SHARED ? resolve(process.env.RESIDUAL_SHARED) : undefined;

describe.skipIf(!shared)('the examples do what they say', () => {
  const folder = mkdtempSync(join(tmpdir(), 'residual-examples-'));
  const pictures = join(folder, 'train');
  beforeAll(() => {
    // Two classes of CIFAR-10, 400 pictures each.
    const some = ['automobile', 'frog'].map((name) => `train/${name}/0[0-3]*`);
    mkdirSync(pictures);
    execFileSync('tar', [
      'xJf',
      join(shared as string, 'data/cifar10-jpeg.tar.xz'),
      '-C',
      folder,
      '--wildcards',
      ...some,
    ]);
  }, 120_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('from scratch: cars and frogs are told apart', async () => {
    const lines: string[] = [];
    const { accuracy, pictures: unseen, classes } = await trainFromScratch(pictures, 4, (line) => lines.push(line));
    expect(lines).toHaveLength(4);
    expect(classes).toEqual(['automobile', 'frog']);
    expect(unseen).toBe(160);
    expect(accuracy).toBeGreaterThan(0.85);
  });

  test('fine-tuned: what the bundled network knows helps', async () => {
    const out = join(folder, 'run');
    const to = join(folder, 'two.residual');
    const { epochs } = await finetune(pictures, 'resnet8-cifar10', out, to);
    expect(epochs).toHaveLength(3);
    await using model = await load(to);
    expect(model.record.classes?.map(({ label }) => label)).toEqual(['automobile', 'frog']);
    expect(existsSync(join(out, 'checkpoints', 'best.safetensors'))).toBe(true);
  });
});
