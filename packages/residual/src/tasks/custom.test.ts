import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { noise, noiseTensor, noiseWeights } from '../engines/sketch.js';
import { build, type FamilyName, family, type ResNetOptions, resnet } from '../models/resnet.js';
import { type Tensor, tensor } from '../tensor.js';
import { temporaryFolder } from '../testing.js';
import { type DialectName, dialects } from '../weights/names.js';
import { torchBytes } from '../weights/write-torch.js';
import { convert } from './convert.js';
import { load } from './load.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (name: string) => join(folder.path, name);
const tiny: ResNetOptions = { classes: 5, size: 64, width: 4, widthPerGroup: 4, depths: [1, 1, 1, 1] };
let files = 0;

/** A .pth of a member's tensors and nothing else. */
function file(name: FamilyName, options: ResNetOptions = {}, more: readonly [string, Tensor][] = []): string {
  return spelledAs('torchvision', name, options, more);
}

function spelledAs(
  dialect: DialectName,
  name: FamilyName,
  options: ResNetOptions,
  more: readonly [string, Tensor][] = [],
): string {
  const config = { ...family[name], ...options };
  const tensors = [...noiseWeights(resnet(config), 3)].map(
    ([parameter, values]) => [dialects[dialect].spell(parameter, config) as string, values] as const,
  );
  const path = at(`${files++}.pth`);
  writeFileSync(path, Buffer.concat([...torchBytes(new Map([...tensors, ...more]))]));
  return path;
}

async function notesOf(path: string): Promise<string> {
  await using model = await load(path);
  return model.notes.join('\n');
}

describe('a choice that names and shapes leave open is told', () => {
  test('ResNeXt in Detectron2’s names: stride on the 3×3, and values as FAIR has them', async () => {
    const grouped = { ...tiny, width: 8, widthPerGroup: 4, groups: 4 };
    const path = spelledAs('detectron2', 'resnext50_32x4d', grouped);
    await using model = await load(path, { size: 64, engine: 'reference' });
    expect(model.record).toMatchObject({ preprocess: 'fair', config: { strideOn: '3x3', groups: 4 } });
    expect(model.record.plan.slice(-2)).toEqual([
      { step: 'reverseChannels' },
      { step: 'normalize', mean: [103.53, 116.28, 123.675], deviation: [57.375, 57.12, 58.395] },
    ]);
    expect(model.notes.join()).toContain("taken for FAIR's ResNeXt (stride on the 3×3");
    await using plain = await load(file('resnext50_32x4d', grouped), { size: 64, engine: 'reference' });
    const x = noiseTensor([1, 3, 64, 64], noise(1));
    expect((await model.run(x)).logits.data).toEqual((await plain.run(x)).logits.data);
    await using msra = await load(spelledAs('detectron2', 'resnet50', { ...tiny, strideOn: '1x1' }), { size: 64 });
    expect(msra.record).toMatchObject({ preprocess: 'msra', config: { strideOn: '1x1' } });
  });

  test('what stands against aliasing, behind plain stems too', async () => {
    expect(await notesOf(file('resnet18', { classes: 5 }))).toContain(
      'resnetblur18 of timm has the same tensors; if it is that one, pass it as architecture',
    );
    expect(await notesOf(file('resnet18', tiny))).not.toContain('same tensors');
  });

  test('a 3×3 stem that nobody publishes', async () => {
    const taken = 'is taken for one of stride 1 without a pool behind it';
    expect(await notesOf(file('resnet18', { ...tiny, stem: 'cifar' }))).toContain(taken);
    expect(await notesOf(file('resnet20'))).not.toContain(taken);
  });

  test('shortcuts without weights: refused for large pictures, told for small ones', async () => {
    const published = file('resnet20');
    expect(await notesOf(published)).not.toContain('no shortcut');
    expect(await notesOf(file('resnet20', { width: 8, widthPerGroup: 8 }))).toContain('no shortcut has weights: taken');
    const lost = file('resnet18', { ...tiny, shortcut: 'none' });
    await expect(load(lost)).rejects.toMatchObject({
      code: 'WEIGHTS_MISMATCH',
      message: expect.stringContaining('no shortcut has weights (layer2.0.downsample.0.weight, …)'),
    });
    const plain = file('plain18', { classes: 5 });
    await expect(load(plain)).rejects.toThrow('if it has no shortcuts, pass architecture plain18');
    await using model = await load(plain, { architecture: 'plain18', classes: 5 });
    expect(model.record.architecture).toBe('plain18');
    await using own = await load(lost, { architecture: build('resnet18', { ...tiny, shortcut: 'pad' }) });
    expect(own.graph.name).toBe('resnet18');
  });
});

describe('refused, for the answers would be another network’s', () => {
  test('an activation that has weights', async () => {
    const activations = ['prelu.weight', 'relu.weight', 'act1.weight', 'PReLU.weight', 'relu_1.weight', 'lrelu.weight'];
    for (const name of [...activations, 'nonlin.weight', 'act_fn.weight', 'avgpool.p', 'global_pool.p', 'fc.0.p'])
      await expect(load(file('resnet18', tiny, [[name, tensor(Float32Array.of(0.25), [1])]]))).rejects.toMatchObject({
        code: 'WEIGHTS_MISMATCH',
        message: expect.stringContaining(
          `1 tensors of its trunk have no place in resnet of 1, 1, 1, 1 basic blocks (${name})`,
        ),
      });
  });

  test('factors that are to be added to a weight', async () => {
    for (const name of ['fc.lora_A.default.weight', 'dense/lora_kernel_a'])
      await expect(load(file('resnet18', tiny, [[name, tensor([1, 2], [2, 1])]]))).rejects.toMatchObject({
        code: 'WEIGHTS_MISMATCH',
        message: expect.stringContaining(`"${name}" is a LoRA factor`),
      });
  });

  test('one of several shards', async () => {
    const config = { ...family.resnet18, ...tiny };
    const bytes = Buffer.concat([...torchBytes(noiseWeights(resnet(config), 3))]);
    const shard = at('pytorch_model-00001-of-00002.bin');
    writeFileSync(shard, bytes);
    const reason = 'by its name it is file 1 of 2 that hold the weights together; give pytorch_model.bin.index.json';
    await expect(load(shard)).rejects.toMatchObject({
      code: 'WEIGHTS_MISMATCH',
      message: expect.stringContaining(reason),
    });
    await expect(load(new File([bytes], 'pytorch_model-00001-of-00002.bin'))).rejects.toThrow(reason);
    await expect(convert(shard, at('x.pth'))).rejects.toThrow(reason);
    const whole = at('model-00001-of-00001.safetensors');
    writeFileSync(whole, bytes);
    expect(await notesOf(whole)).toContain('prepared');
  });
});
