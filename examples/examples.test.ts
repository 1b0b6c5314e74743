import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { load } from 'residual';
import { folder } from 'residual/train';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gradientsAtStart, learn } from './degradation.js';
import { finetune } from './finetune.js';
import { trainFromScratch } from './train-from-scratch.js';

const shared = process.env.RESIDUAL_SHARED ? resolve(process.env.RESIDUAL_SHARED) : undefined;

describe('why residual learning, in short', () => {
  const ends = async (normalised: boolean, residual: boolean, gain: number) => {
    const norms = await gradientsAtStart(32, { normalised, residual, gain });
    expect(norms).toHaveLength(31);
    return { first: norms[1].norm, last: norms[norms.length - 1].norm };
  };

  test('without BatchNorm gradients vanish or explode with the scale of the weights', async () => {
    const [small, he, large] = [
      await ends(false, false, 0.7),
      await ends(false, false, 1),
      await ends(false, false, 1.4),
    ];
    expect(small.first / he.first).toBeLessThan(1e-3);
    expect(large.first / he.first).toBeGreaterThan(1e3);
  });

  test('with BatchNorm the scale does not matter; shortcuts keep the first layers’ gradients near the last’s', async () => {
    const [plain, scaled, residual] = [
      await ends(true, false, 1),
      await ends(true, false, 2),
      await ends(true, true, 1),
    ];
    expect(scaled.first / plain.first).toBeGreaterThan(0.1);
    expect(scaled.first / plain.first).toBeLessThan(1);
    expect(plain.first / plain.last).toBeGreaterThan(5 * (residual.first / residual.last));
  });
});

describe.skipIf(!shared)('the examples do what they say', () => {
  const place = mkdtempSync(join(tmpdir(), 'residual-examples-'));
  const pictures = join(place, 'train');
  beforeAll(() => {
    // Two classes of CIFAR-10, 400 pictures each.
    const some = ['automobile', 'frog'].map((name) => `train/${name}/0[0-3]*`);
    mkdirSync(pictures);
    execFileSync('tar', [
      'xJf',
      join(shared as string, 'data/cifar10-jpeg.tar.xz'),
      '-C',
      place,
      '--wildcards',
      ...some,
    ]);
  }, 120_000);
  afterAll(() => rmSync(place, { recursive: true, force: true }));

  test('from scratch: cars and frogs are told apart', async () => {
    const lines: string[] = [];
    const { accuracy, pictures: unseen, classes } = await trainFromScratch(pictures, 4, (line) => lines.push(line));
    expect(lines).toHaveLength(4);
    expect(classes).toEqual(['automobile', 'frog']);
    expect(unseen).toBe(160);
    expect(accuracy).toBeGreaterThan(0.85);
  });

  /** So many of each class. */
  function some(count: number): string {
    const folder = join(place, `${count}`);
    for (const name of ['automobile', 'frog']) {
      mkdirSync(join(folder, name), { recursive: true });
      const files = readdirSync(join(pictures, name)).slice(0, count);
      for (const file of files) copyFileSync(join(pictures, name, file), join(folder, name, file));
    }
    return folder;
  }

  test('from scratch: a few pictures make one batch', async () => {
    const lines: string[] = [];
    expect(await trainFromScratch(some(4), 2, (line) => lines.push(line))).toMatchObject({ pictures: 2 });
    expect(lines[1]).toMatch(/^epoch 2 of 2: loss \d/);
  });

  test('the deeper a plain network, the slower it learns; a residual one does not mind', async () => {
    const data = await folder(pictures);
    const loss = async (name: string) => {
      // Other tests have the other cores: two threads would wait for each other at each of some hundred ops of a step.
      const how = { batch: 16, every: 50, rate: 0.02, threads: 1 };
      const { rows, gradients } = await learn(name, data, 150, how);
      expect(gradients.map(({ update }) => update)).toEqual([0, 4, 38, 149]);
      return rows[2].loss;
    };
    expect(await loss('resnet56')).toBeLessThan(0.75 * (await loss('plain56')));
  }, 180_000);

  test('fine-tuned: what the bundled network knows helps', async () => {
    const out = join(place, 'run');
    const to = join(place, 'two.residual');
    const { epochs } = await finetune(some(60), 'resnet16-cifar10', out, to);
    expect(epochs).toHaveLength(3);
    expect(epochs[2].validation?.top1).toBeGreaterThan(0.9);
    await using model = await load(to);
    expect(model.record.classes?.map(({ label }) => label)).toEqual(['automobile', 'frog']);
    expect(existsSync(join(out, 'checkpoints', 'best.safetensors'))).toBe(true);
  });
});
