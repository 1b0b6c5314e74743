import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { build } from '../models/resnet.js';
import { createModel } from '../tasks/model.js';
import { refusal, scratch } from '../testing.js';
import { fileOf } from './run-folder.js';
import { resume, train } from './train.js';
import { bits, tinyData, tinyModel, tinyRecipe } from './train.test.helper.js';

const options = { recipe: tinyRecipe, engine: 'reference', seed: 3 } as const;

describe('what is refused', () => {
  const one = async (data: ReturnType<typeof tinyData>) => {
    const out = join(scratch(), 'run');
    const error = await refusal(train(tinyModel(data.classes.length), data, { ...options, out }));
    expect(existsSync(out)).toBe(false);
    return error;
  };

  test('a BatchNorm that would measure one number', async () => {
    const small = createModel(
      build('resnet18', { classes: 3, size: 32, width: 4, widthPerGroup: 4 }),
      tinyModel().record,
    );
    const recipe = { ...tinyRecipe, batch: 1, mixup: 0 };
    expect(await refusal(train(small, tinyData(), { ...options, recipe, out: join(scratch(), 'one') }))).toMatchObject({
      code: 'GRAPH',
      message: expect.stringMatching(/layer4\.0\.bn1 would measure .* larger batches/),
    });
  });

  test('data that cannot be learnt from, before anything is written', async () => {
    expect(await one(tinyData(24, ['red']))).toMatchObject({
      code: 'CLASSES',
      message: expect.stringMatching(/one class/),
    });
    expect(await one(tinyData(24, ['Cat', 'cat', 'dog']))).toMatchObject({
      code: 'CLASSES',
      message: expect.stringMatching(/"Cat" and "cat" differ in case alone/),
    });
    // What a record refuses when it is read.
    expect(await one(tinyData(24, ['', 'dog']))).toMatchObject({
      code: 'CLASSES',
      message: expect.stringMatching(/empty name/),
    });
    expect(await one(tinyData(24, ['cat', 'x'.repeat(1001)]))).toMatchObject({
      code: 'CLASSES',
      message: expect.stringMatching(/"x{40}…".* 1001 characters.*shorten it/),
    });
    for (const seed of [-1, 1.5])
      expect(await refusal(train(tinyModel(), tinyData(), { ...options, seed, out: 'never' }))).toMatchObject({
        code: 'ARGUMENT',
        message: expect.stringMatching(/for seed but received/),
      });
    const { classes, ...data } = tinyData();
    expect(await one({ ...data, classes: [...classes, 'yellow'] })).toMatchObject({
      code: 'CLASSES',
      message: expect.stringMatching(/"yellow": no picture/),
    });
    expect(await one({ ...data, classes, train: [] })).toMatchObject({ code: 'CLASSES' });
  });

  test('a loss that is no number: the step, the layer, and the last good checkpoint', async () => {
    const out = join(scratch(), 'run');
    const recipe = { ...tinyRecipe, rate: 1000, warmup: 0, schedule: 'constant', momentum: 0.99 } as const;
    const recipes = { ...recipe, epochs: 40 };
    const error = await refusal(train(tinyModel(), tinyData(), { ...options, recipe: recipes, out }));
    expect(error).toMatchObject({
      code: 'NUMERICS',
      message: expect.stringMatching(/^update \d+ in epoch \d+: (the loss is|.* holds) .*; try a lower rate/),
    });
    // What was saved before is all numbers.
    if (existsSync(fileOf(out, 'last')))
      expect((await bits(out)).weights.flat(3).every((x) => typeof x !== 'number' || Number.isFinite(x))).toBe(true);
  });

  test('weights that hold NaN are named', async () => {
    const model = tinyModel();
    const weights = new Map(await model.weights());
    const bad = new Float32Array(4).fill(Number.NaN);
    weights.set('layer1.0.bn1.weight', { dtype: 'float32', shape: [4], data: bad });
    const broken = { ...model, weights: async () => weights };
    const error = await refusal(train(broken, tinyData(), { ...options, out: join(scratch(), 'run') }));
    expect(error).toMatchObject({
      code: 'NUMERICS',
      message: expect.stringMatching(/update 1 in epoch 1.*layer1\.0\.bn1/),
    });
  });

  test('a changed class list, a folder that is taken, no run, another format', async () => {
    const folder = scratch();
    const out = join(folder, 'run');
    await refusal(train(tinyModel(), tinyData(), { ...options, out, most: 2 }));
    expect(await refusal(resume(out, tinyData(24, ['red', 'green', 'violet'])))).toMatchObject({
      code: 'CLASSES',
      message: expect.stringMatching(/"violet" came, "blue" went/),
    });
    expect(await refusal(train(tinyModel(), tinyData(), { ...options, out }))).toMatchObject({
      code: 'FILE',
      message: expect.stringMatching(/a run is there already/),
    });
    expect(await refusal(resume(folder, tinyData()))).toMatchObject({
      code: 'FILE',
      message: expect.stringMatching(/no folder of a run/),
    });
    expect(await refusal(train(tinyModel(), tinyData(), { ...options, out: '/dev/null/run' }))).toMatchObject({
      code: 'FILE',
    });
    const other = join(folder, 'an other');
    expect(await refusal(train(tinyModel(), tinyData(), { ...options, seed: 4, out: other, most: 2 }))).toMatchObject({
      message: expect.stringContaining(`--resume '${other}'`),
    });
    const own = readFileSync(fileOf(out, 'last'));
    copyFileSync(fileOf(other, 'last'), fileOf(out, 'last'));
    expect(await refusal(resume(out, tinyData()))).toMatchObject({
      code: 'WEIGHTS_MISMATCH',
      message: expect.stringMatching(/of another run: of tiny with seed 4/),
    });
    writeFileSync(fileOf(out, 'last'), own);
    const notes: string[] = [];
    await resume(out, tinyData(23), { onNote: (text) => notes.push(text) });
    // What comes after the 23 is set aside, too: another picture there.
    expect(notes).toEqual([
      expect.stringMatching(/training pictures .*23 now, 24 then/),
      expect.stringMatching(/validation pictures .*6 now, 6 then/),
    ]);
    expect(readFileSync(fileOf(out, 'metrics'), 'utf8').trimEnd().split('\n').length).toBeGreaterThan(5);
  });
});
