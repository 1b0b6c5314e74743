import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Dataset } from '../data/dataset.js';
import { engines } from '../engines/index.js';
import { preset } from '../image/presets.js';
import { build, family } from '../models/resnet.js';
import { createModel } from '../tasks/model.js';
import { decodePredictions } from '../tasks/tutorial.js';
import { tensor } from '../tensor.js';
import { refusal, scratch } from '../testing.js';
import { readCheckpoint } from './checkpoint.js';
import { evaluate } from './evaluate.js';
import { recipes, resolveRecipe } from './recipes.js';
import { fileOf, readConfig, readMetrics } from './run-folder.js';
import { presets } from './settings.js';
import { stepOf, trainerOptions } from './step.js';
import { readEvents } from './tensorboard.js';
import { prepare, resume, train } from './train.js';
import { bits, tinyData, tinyModel, tinyRecipe } from './train.test.helper.js';

const onednn = await engines.onednn.available();

const options = { recipe: tinyRecipe, engine: 'reference', seed: 3 } as const;

describe('a run', () => {
  test('learns, and leaves a folder from which its model loads', async () => {
    const out = join(scratch(), 'run');
    const seen: number[] = [];
    const run = await train(tinyModel(), tinyData(), {
      ...options,
      recipe: { ...tinyRecipe, epochs: 12, mixup: 0 },
      out,
      onStep: ({ loss }) => seen.push(loss),
    });
    expect(seen).toHaveLength(12 * 6);
    expect(run.epochs).toHaveLength(12);
    const last = run.epochs[11];
    expect(last).toMatchObject({ epoch: 12, update: 72, validation: { pictures: 6 } });
    expect(last.validation?.top1).toBe(1);
    expect(last.train.loss).toBeLessThan(run.epochs[0].train.loss);
    expect(readdirSync(out).sort()).toEqual(expect.arrayContaining(['checkpoints', 'config.json', 'metrics.jsonl']));
    const drawn = readEvents(out).filter(({ scalars }) => 'top1/validation' in scalars);
    expect(drawn.map(({ step }) => step)).toEqual(run.epochs.map(({ update }) => update));
    expect(await readConfig(out)).toMatchObject({ seed: 3, data: { classes: ['red', 'green', 'blue'], train: 24 } });
    await using best = await run.best({ engine: 'reference' });
    expect(best.record).toMatchObject({ classes: [{ label: 'red' }, { label: 'green' }, { label: 'blue' }] });
    expect(best.notes.join('\n')).toMatch(/took "model_ema", the average over the training run/);
    const learnt = await readCheckpoint(fileOf(out, 'best'));
    expect([...((await best.weights()).get('fc.bias')?.data ?? [])]).toEqual([
      ...(learnt.average?.get('fc.bias')?.data ?? [1]),
    ]);
  });

  test('stopped at any update and resumed, it ends in the same bits', async () => {
    const folder = scratch();
    const whole = join(folder, 'whole');
    await train(tinyModel(), tinyData(), { ...options, out: whole });
    const expected = await bits(whole);
    const rows = (await readMetrics(whole)).map(({ kind, update }) => [kind, update]);
    for (const stops of [[1], [6, 1, 5], [8, 7]]) {
      const out = join(folder, `stopped-${stops.join('-')}`);
      const [first, ...others] = stops;
      const error = await refusal(train(tinyModel(), tinyData(), { ...options, out, most: first }));
      expect(error).toMatchObject({ code: 'ABORTED', message: expect.stringContaining(`--resume ${out}`) });
      for (const most of others) await refusal(resume(out, tinyData(), { most }));
      await resume(out, tinyData());
      expect(await bits(out)).toEqual(expected);
      expect(await bits(out, 'best')).toEqual(await bits(whole, 'best'));
      expect((await readMetrics(out)).map(({ kind, update }) => [kind, update])).toEqual(rows);
    }
  });

  test('the number of workers changes nothing', async () => {
    const folder = scratch();
    for (const workers of [1, 3])
      await train(tinyModel(), tinyData(), { ...options, workers, out: join(folder, `${workers}`) });
    expect(await bits(join(folder, '1'))).toEqual(await bits(join(folder, '3')));
  });

  test('gradients of several steps make one update, and optimisers keep their arrays', async () => {
    const folder = scratch();
    const recipe = { ...tinyRecipe, optimizer: 'lamb', accumulate: 3, schedule: 'plateau', clip: 1 } as const;
    await train(tinyModel(), tinyData(), { ...options, recipe, out: join(folder, 'whole') });
    await refusal(train(tinyModel(), tinyData(), { ...options, recipe, out: join(folder, 'cut'), most: 3 }));
    await resume(join(folder, 'cut'), tinyData());
    const found = await bits(join(folder, 'cut'));
    expect(found).toEqual(await bits(join(folder, 'whole')));
    expect(found.updates).toBe(6);
    expect(found.optimizer.map(([array]) => array)).toEqual(['first', 'second']);
  });

  test('a network that is not square, tested at another size', async () => {
    const plan = preset('cifar', { height: 8, width: 12 });
    const graph = build('resnet20', { classes: 3, size: [8, 12], width: 4, widthPerGroup: 4, depths: [1, 1] });
    const model = createModel(graph, { architecture: 'small', preprocess: 'cifar', plan }, { engine: 'reference' });
    const recipe = { ...tinyRecipe, epochs: 1, testScale: 2 };
    const run = await train(model, tinyData(), { ...options, recipe, out: join(scratch(), 'run') });
    await using last = await run.last();
    expect(last.record.plan).toContainEqual({ step: 'centerCrop', height: 16, width: 24 });
  });

  test('right answers in training are counted: of one label, of any of several', async () => {
    // A new classifier answers with the first class, always.
    const still = { ...tinyRecipe, epochs: 1, rate: 0, mixup: 0, average: 0, headFirst: 0 };
    const data = tinyData(24, ['ant', 'bee', 'cat']);
    const of = async (labelled: Dataset, name: string) => {
      const run = await train(tinyModel(5), labelled, { ...options, recipe: still, out: join(scratch(), name) });
      return run.epochs[0].train.top1;
    };
    expect(await of(data, 'one')).toBe(1 / 3);
    const train24 = data.train.map((one, i) => ({ ...one, target: i % 4 ? [1, 2] : [0, 2] }));
    expect(await of({ ...data, labels: 'several', train: train24 }, 'several')).toBe(1 / 4);
  });

  test('the schedule plateau looks at validations alone', async () => {
    const recipe = { ...tinyRecipe, epochs: 5, validateEvery: 2, schedule: 'plateau' } as const;
    const run = await train(tinyModel(), tinyData(), { ...options, recipe, out: join(scratch(), 'run') });
    const { losses } = (await readCheckpoint(fileOf(run.folder, 'last'))).progress;
    const validated = run.epochs.flatMap(({ validation }) => (validation ? [validation.loss] : []));
    expect([validated.length, losses]).toEqual([3, validated]);
  });

  test('stages that begin to learn later', async () => {
    const folder = scratch();
    const recipe = { ...tinyRecipe, freeze: 'layer1', unfreeze: 1, stageRate: 0.5 };
    const model = tinyModel();
    const before = await model.weights();
    const out = join(folder, 'whole');
    await refusal(train(model, tinyData(), { ...options, recipe, out, most: 6 }));
    const first = (await readCheckpoint(fileOf(out, 'last'))).weights;
    for (const name of ['conv1.weight', 'layer1.0.conv1.weight', 'bn1.running_mean', 'layer1.0.bn1.running_var'])
      expect([...(first.get(name)?.data ?? [])]).toEqual([...(before.get(name)?.data ?? [1])]);
    await resume(out, tinyData());
    const { weights } = await readCheckpoint(fileOf(out, 'last'));
    for (const name of ['conv1.weight', 'layer1.0.conv1.weight', 'bn1.running_mean', 'fc.weight'])
      expect([...(weights.get(name)?.data ?? [])]).not.toEqual([...(before.get(name)?.data ?? [])]);
    await train(tinyModel(), tinyData(), { ...options, recipe, out: join(folder, 'through') });
    expect(await bits(join(folder, 'through'))).toEqual(await bits(out));
  });

  test('features once: the head learns on what the frozen part gives, and the whole is saved', async () => {
    const folder = scratch();
    const recipe = {
      ...presets,
      epochs: 30,
      batch: 8,
      rate: 0.3,
      freeze: 'avgpool',
      featuresOnce: true,
      augment: 'none',
    };
    const model = tinyModel();
    const before = await model.weights();
    const out = join(folder, 'run');
    const run = await train(model, tinyData(), { ...options, recipe, out });
    expect(run.epochs.at(-1)?.validation?.top1).toBe(1);
    const { weights, optimizer } = await readCheckpoint(fileOf(out, 'last'));
    expect([...weights.keys()].sort()).toEqual([...before.keys()].sort());
    expect(weights.get('layer1.0.bn1.running_mean')?.data).toEqual(before.get('layer1.0.bn1.running_mean')?.data);
    expect([...(optimizer.get('momentum')?.keys() ?? [])].sort()).toEqual(['fc.bias', 'fc.weight']);
    await using last = await run.last({ engine: 'reference' });
    expect(await evaluate(last, tinyData(), { part: 'validation' })).toMatchObject({
      top1: 1,
      loss: expect.closeTo(run.epochs.at(-1)?.validation?.loss ?? 0, 4),
    });
    await refusal(train(model, tinyData(), { ...options, recipe, out: join(folder, 'cut'), most: 40 }));
    await resume(join(folder, 'cut'), tinyData());
    expect(await bits(join(folder, 'cut'))).toEqual(await bits(out));
    // Features of maps are as large as the pictures that are tested.
    const larger = { ...recipe, epochs: 1, freeze: 'layer1', size: 5, testScale: 4 / 3 };
    const maps = await train(model, tinyData(), { ...options, recipe: larger, out: join(folder, 'maps') });
    expect(maps.epochs[0].validation?.pictures).toBe(6);
    const nothing = { ...recipe, freeze: '' };
    expect(
      await refusal(train(model, tinyData(), { ...options, recipe: nothing, out: join(folder, 'no') })),
    ).toMatchObject({
      code: 'ARGUMENT',
    });
  });

  test('other classes get a new classifier', async () => {
    const out = join(scratch(), 'run');
    const notes: string[] = [];
    const data = tinyData(24, ['ant', 'bee', 'cat', 'dog']);
    const run = await train(tinyModel(3), data, { ...options, out, onNote: (text) => notes.push(text) });
    expect(notes).toContainEqual(expect.stringMatching(/a new classifier for 4 classes/));
    await using last = await run.last();
    expect(last.graph.parameters.find(({ name }) => name === 'fc.weight')?.shape).toEqual([4, 4]);
  });

  test('a new classifier learns alone first, once, and nothing else moves', async () => {
    const folder = scratch();
    const still = { ...tinyRecipe, epochs: 1, rate: 0, average: 0, freezeNorms: true, testScale: 4 / 3 };
    const data = tinyData(24, ['ant', 'bee', 'cat']);
    const before = await tinyModel().weights();
    const notes: string[] = [];
    const went = { ...options, recipe: { ...still, headFirst: 500 }, onNote: (text: string) => notes.push(text) };
    const run = await train(tinyModel(5), data, { ...went, out: join(folder, 'run') });
    expect(notes).toContainEqual('the new classifier first learns alone, for 500 epochs');
    const without = await train(tinyModel(5), data, { ...went, recipe: still, out: join(folder, 'without') });
    expect(without.epochs[0].validation?.loss).toBeCloseTo(Math.log(3), 5);
    expect(run.epochs[0].validation?.loss).toBeLessThan(0.9);
    const learnt = (await readCheckpoint(fileOf(run.folder, 'last'))).weights;
    const moved = Array.from(before.keys()).filter(
      (name) => String(learnt.get(name)?.data) !== String(before.get(name)?.data),
    );
    expect(moved.sort()).toEqual(['fc.bias', 'fc.weight']);
    // Its pictures are tested at 8 × 8 and learnt from at 6 × 6, now and when another run begins with it.
    await using last = await run.last({ engine: 'reference' });
    expect(last.record.plan).toContainEqual({ step: 'centerCrop', height: 8, width: 8 });
    const again = await train(last, data, { ...went, out: join(folder, 'again') });
    expect(notes.filter((note) => /first learns alone/.test(note))).toHaveLength(1);
    expect(again.epochs[0].validation).toEqual(run.epochs[0].validation);
  });

  test('labels that hold together, and shares; classes counted by their size', async () => {
    const { train: examples, validation = [], ...data } = tinyData();
    const several = (all: typeof examples) =>
      all.map((one, i) => ({ ...one, target: [one.target as number, (i + 1) % 3] }));
    const notes: string[] = [];
    const labelled = { ...data, labels: 'several', train: several(examples), validation: several(validation) } as const;
    const run = await train(tinyModel(), labelled, {
      ...options,
      out: join(scratch(), 'run'),
      onNote: (text) => notes.push(text),
    });
    // Each of two classes is sure of itself; a softmax would share one certainty among them.
    await using learnt = await run.last({ engine: 'reference' });
    expect(learnt.record.labels).toBe('several');
    const logits = tensor([4, 4, -4], [1, 3]);
    const [found] = await decodePredictions(logits, { model: learnt });
    expect(found.map(({ probability }) => probability.toFixed(3))).toEqual(['0.982', '0.982', '0.018']);
    // A softmax would have one answer of each picture; validation is by the loss that is learnt by.
    const keras = { softmax: true, classes: 3, size: 8, width: 4, widthPerGroup: 4, depths: [1, 1] } as const;
    const record = { ...learnt.record, config: { ...family.resnet20, ...keras } };
    const sure = createModel(build('resnet20', keras), record, { engine: 'reference' });
    const plain = await train(sure, labelled, { ...options, out: join(scratch(), 'softmax') });
    await using softmaxless = await plain.last();
    expect(softmaxless.graph.outputs.map(({ name }) => name)).toEqual(['logits']);
    const head = await train(learnt, tinyData(), { ...options, out: join(scratch(), 'one') });
    await using one = await head.last();
    expect(one.record).not.toHaveProperty('labels');
    const weighed = { ...options, set: { classWeights: true }, out: join(scratch(), 'weighed') };
    expect(await refusal(train(tinyModel(), labelled, weighed))).toMatchObject({
      code: 'ARGUMENT',
      message: expect.stringMatching(/sampling=balanced/),
    });
    const counted = await train(tinyModel(), tinyData(), { ...weighed, out: join(scratch(), 'counted') });
    expect(counted.epochs).toHaveLength(3);
    expect(notes).toContainEqual(expect.stringMatching(/the loss is binaryCrossEntropy/));
    expect((await readConfig(run.folder)).recipe.loss).toBe('binaryCrossEntropy');
    const shares = (all: typeof examples) =>
      all.map((one) => ({ ...one, target: Float32Array.from([0, 1, 2], (c) => (c === one.target ? 0.8 : 0.1)) }));
    const soft = await train(
      tinyModel(),
      { ...data, labels: 'soft', train: shares(examples), validation: shares(validation) },
      { ...options, set: { sampling: 'balanced', epochs: 10, mixup: 0 }, out: join(scratch(), 'run') },
    );
    expect(soft.epochs.at(-1)?.validation?.top1).toBe(1);
  });

  test('norms that stay keep their statistics', async () => {
    const model = tinyModel();
    const before = await model.weights();
    const run = await train(model, tinyData(), { ...options, set: { freezeNorms: true }, out: join(scratch(), 'run') });
    const { weights } = await readCheckpoint(fileOf(run.folder, 'last'));
    for (const [name, { data }] of weights)
      expect([name, String(data) === String(before.get(name)?.data)]).toEqual([name, /bn1/.test(name)]);
  });

  test.skipIf(!onednn.ok)('blocks that are computed twice: the same bits', async () => {
    const folder = scratch();
    const learn = async (recompute: boolean) => {
      const out = join(folder, `${recompute}`);
      const losses: number[] = [];
      const onStep = ({ loss }: { loss: number }) => losses.push(loss);
      const given = { ...options, engine: 'onednn', threads: 1, set: { recompute }, out, onStep } as const;
      const { lesson } = await prepare(tinyModel(), tinyData(), given);
      const step = stepOf(lesson.student.graph, lesson.recipe, 4, '');
      expect(trainerOptions(lesson, step).recompute).toBe(recompute);
      await train(tinyModel(), tinyData(), given);
      return { losses, ...(await bits(out)) };
    };
    const [whole, twice] = [await learn(false), await learn(true)];
    expect(twice.losses).toHaveLength(18);
    expect(twice).toEqual(whole);
  });

  test('grey pictures', async () => {
    const out = join(scratch(), 'run');
    const run = await train(tinyModel(), tinyData(), { ...options, out, channels: 1 });
    await using last = await run.last();
    expect(last.graph.inputs[0].shape).toEqual([1, 1, 6, 6]);
  });
});

test.each(Object.keys(recipes))('the recipe %s runs', async (recipe) => {
  const out = join(scratch(), 'run');
  // What it would take hundreds of epochs to finish is begun here, on small pictures.
  const set = { size: 8, testSize: 8, batch: 8, accumulate: recipe.startsWith('rsb') ? 2 : 1 };
  const error = await refusal(train(tinyModel(), tinyData(), { engine: 'reference', recipe, set, out, most: 1 }));
  expect(error).toMatchObject({ code: 'ABORTED', message: expect.stringMatching(/stopped after update 1,/) });
  expect((await readConfig(out)).recipe).toEqual(await resolveRecipe(recipe, set));
});
