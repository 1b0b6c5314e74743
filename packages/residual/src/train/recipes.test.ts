import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { refusal, scratch } from '../testing.js';
import { type RecipeName, recipes, resolveRecipe } from './recipes.js';
import { checkSettings, parseSettings, presets, settings } from './settings.js';

test('every recipe holds values that its settings allow', async () => {
  for (const name of Object.keys(recipes) as RecipeName[]) {
    const recipe = await resolveRecipe(name);
    expect(Object.keys(recipe).sort()).toEqual(Object.keys(settings).sort());
    expect(checkSettings(recipe, name)).toBe(recipe);
  }
  expect(checkSettings(presets, 'presets')).toBe(presets);
});

test('the numbers of the published recipes', async () => {
  expect(await resolveRecipe('he2015-cifar')).toMatchObject({
    batch: 128,
    rate: 0.1,
    weightDecay: 1e-4,
    momentum: 0.9,
  });
  const { batch, accumulate, ...v2 } = await resolveRecipe('torchvision-v2');
  expect(batch * accumulate).toBe(1024);
  expect(v2).toMatchObject({ epochs: 600, rate: 0.5, size: 176, mixup: 0.2, cutmix: 1, smoothing: 0.1, warmup: 5 });
  expect(v2.average).toBeCloseTo(0.99891, 5);
  const a1 = await resolveRecipe('rsb-a1');
  expect(a1.batch * a1.accumulate).toBe(2048);
  expect(a1).toMatchObject({ optimizer: 'lamb', rate: 5e-3, loss: 'binaryCrossEntropy', dropPath: 0.05 });
});

test('a value is overridden by its name', async () => {
  const set = parseSettings(['epochs=30', 'augment = pad-crop 4, flip', 'nesterov=yes', 'precision=bf16']);
  expect(set).toEqual({ epochs: 30, augment: 'pad-crop 4, flip', nesterov: true, precision: 'bf16' });
  expect(await resolveRecipe('quick', set)).toMatchObject({ ...set, batch: 64 });
});

test.each([
  ['epoch=3', 'UNKNOWN_NAME', /did you mean "epochs"/],
  ['epochs', 'ARGUMENT', /expected name=value/],
  ['epochs=2.5', 'ARGUMENT', /a whole number from 1 to 100000 for epochs but received 2.5/],
  ['epochs=', 'ARGUMENT', /received nothing/],
  ['rate=fast', 'ARGUMENT', /a number from 0 to 1000 for rate but received fast/],
  ['rate=NaN', 'ARGUMENT', /for rate/],
  ['optimizer=rmsprop', 'ARGUMENT', /sgd, adam, adamw or lamb for optimizer/],
  ['nesterov=maybe', 'ARGUMENT', /true or false/],
])('--set %s is refused', (text, code, message) => {
  expect(() => parseSettings([text])).toThrow(
    expect.objectContaining({ code, message: expect.stringMatching(message) }),
  );
});

test('a file of one’s own', async () => {
  const folder = scratch();
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const own = file('own.json', '{"recipe": "finetune", "about": "ours", "epochs": 3}');
  expect(await resolveRecipe(own, { rate: 0.5 })).toEqual({
    ...(await resolveRecipe('finetune')),
    epochs: 3,
    rate: 0.5,
  });
  expect(await refusal(resolveRecipe('fintune'))).toMatchObject({
    code: 'UNKNOWN_NAME',
    message: expect.stringMatching(/did you mean "finetune"/),
  });
  expect(await refusal(resolveRecipe(join(folder, 'absent.json')))).toMatchObject({ code: 'FILE' });
  expect(await refusal(resolveRecipe(file('list.json', '[]')))).toMatchObject({
    code: 'FILE',
    message: expect.stringMatching(/no JSON object/),
  });
  expect(await refusal(resolveRecipe(file('cut.json', '{"epochs"')))).toMatchObject({ code: 'FILE' });
  expect(await refusal(resolveRecipe(file('odd.json', '{"rates": 1}')))).toMatchObject({ code: 'UNKNOWN_NAME' });
  expect(await refusal(resolveRecipe(file('loop.json', '{"recipe": "x.json"}')))).toMatchObject({
    code: 'UNKNOWN_NAME',
  });
});
