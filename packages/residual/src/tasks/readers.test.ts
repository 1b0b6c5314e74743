import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { noiseWeights } from '../engines/sketch.js';
import { preset } from '../image/presets.js';
import { build, family } from '../models/resnet.js';
import { temporaryFolder } from '../testing.js';
import type { DialectName } from '../weights/names.js';
import { convert } from './convert.js';
import { load } from './load.js';
import { createModel } from './model.js';
import { save } from './save.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (...names: string[]) => join(folder.path, ...names);

/** A small ResNet of basic blocks, which every dialect of PyTorch has names for, with a record. */
async function saved(preprocess = 'torchvision'): Promise<string> {
  const small = { classes: 5, size: 32, width: 4, widthPerGroup: 4, depths: [1, 1, 1, 1] };
  const config = { ...family.resnet18, ...small };
  const graph = build('resnet18', config);
  const plan = preset(preprocess, { height: 32, width: 32 });
  const record = { architecture: 'resnet18', config, preprocess, plan };
  await save(createModel(graph, record, { weights: noiseWeights(graph, 8) }), at(`${preprocess}.residual`));
  return at(`${preprocess}.residual`);
}

test('readers who prepare pictures otherwise: a note, a header that says so, or a refusal', async () => {
  const source = await saved();
  await convert(source, at('plain18.pth'));
  const to = (name: string, dialect: DialectName) => convert(at('plain18.pth'), at(name), { dialect });
  // Basic blocks: nothing but the pictures is otherwise.
  await expect(to('d2.pth', 'detectron2')).rejects.toMatchObject({
    code: 'WEIGHTS_MISMATCH',
    message: expect.stringContaining('by preset "msra", and this model wants "torchvision": other values'),
  });
  expect(existsSync(at('d2.pth'))).toBe(false);
  const d2 = await to('d2.safetensors', 'detectron2');
  expect(d2.notes.at(-1)).toMatch(/by preset "msra", .*; its header has the plan/);
  await using original = await load(at('plain18.pth'));
  await using read = await load(at('d2.safetensors'));
  expect(read.record).toEqual(original.record);
  // Another filter makes little difference.
  const hf = await to('hf.pth', 'huggingface');
  expect(hf.notes.at(-1)).toMatch(
    /"torchvision-bicubic", and this model wants "torchvision"; a \.pth file cannot say so/,
  );
  expect((await to('mm.pth', 'mmpretrain')).notes.join()).not.toContain('prepares pictures');
  // A record that cannot go along is told where the tensors stay as they are, too; their user prepares pictures by hand.
  await convert(at('plain18.pth'), at('raw18.residual'), { preprocess: 'raw255' });
  expect((await convert(at('raw18.residual'), at('raw18.pth'))).notes.join()).toContain('this model wants "raw255"');
  expect((await convert(at('raw18.residual'), at('raw18.safetensors'))).notes).toEqual([]);
  await convert(at('plain18.pth'), at('v2.residual'), { preprocess: 'torchvision-v2' });
  expect((await convert(at('v2.residual'), at('v2.pth'))).notes.join()).toContain('this model wants "torchvision-v2"');
});

describe('what a config.json beside the source says', () => {
  const inside = at('hub');
  const tiny = { layer_type: 'basic', depths: [1, 1, 1, 1], hidden_sizes: [4, 8, 16, 32], embedding_size: 4 };
  const files = (config: object, processor: object) => {
    writeFileSync(join(inside, 'config.json'), JSON.stringify({ model_type: 'resnet', ...config }));
    writeFileSync(join(inside, 'preprocessor_config.json'), JSON.stringify(processor));
  };

  test('of pictures: a note, or the record', async () => {
    mkdirSync(inside);
    await convert(await saved(), join(inside, 'all.pth'), { dialect: 'huggingface' });
    await convert(join(inside, 'all.pth'), join(inside, 'model.safetensors'));
    const means = { image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] };
    files(tiny, { size: 32, crop_pct: 0.875, resample: 2, ...means });
    const done = await convert(join(inside, 'model.safetensors'), at('beside.pth'));
    expect(done.notes.join()).toContain('this model wants a plan of its own; a .pth file cannot say so');
    const kept = await convert(join(inside, 'model.safetensors'), at('beside.safetensors'));
    expect(kept.notes.join()).toContain('its header has the plan');
    await using read = await load(at('beside.safetensors'));
    await using original = await load(inside);
    expect(read.record).toEqual(original.record);
  });

  test('of a network that the tensors do not fit: refused, as loading does', async () => {
    files({ ...tiny, depths: [2, 1, 1, 1] }, {});
    await expect(convert(join(inside, 'model.safetensors'), at('unfit.pth'))).rejects.toMatchObject({
      code: 'WEIGHTS_MISMATCH',
    });
    expect(existsSync(at('unfit.pth'))).toBe(false);
  });
});

test('Detectron2’s names are told to be MSRA’s, basic blocks too', async () => {
  const source = await saved('msra');
  await convert(source, at('msra.pth'), { dialect: 'detectron2' });
  await using model = await load(at('msra.pth'));
  expect(model.notes.join()).toContain("taken for MSRA's weights (BGR pictures)");
});
