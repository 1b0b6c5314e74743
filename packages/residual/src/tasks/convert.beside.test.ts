import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { noiseWeights } from '../engines/sketch.js';
import { build } from '../models/resnet.js';
import { temporaryFolder } from '../testing.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { convert } from './convert.js';
import { load } from './load.js';

// A file of a name that Hugging Face gives is read with the config.json that stands beside it, whoever put it there.

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (...names: string[]) => join(folder.path, ...names);

const net = build('resnet50', { classes: 3, width: 4, widthPerGroup: 4, depths: [1, 1, 1, 1] });
writeFileSync(at('source.safetensors'), Buffer.concat([...safetensorsBytes(noiseWeights(net, 4))]));

const config = {
  model_type: 'resnet',
  layer_type: 'bottleneck',
  depths: [1, 1, 1, 1],
  hidden_sizes: [16, 32, 64, 128],
  embedding_size: 4,
};
const processor = {
  image_processor_type: 'ConvNextImageProcessor',
  image_mean: [0.485, 0.456, 0.406],
  image_std: [0.229, 0.224, 0.225],
  resample: 2,
  size: { shortest_edge: 224 },
};

/** A folder where these stand already. */
function holding(name: string, ...documents: readonly [object, object?]): (file: string) => string {
  mkdirSync(at(name));
  for (const [i, document] of documents.entries())
    writeFileSync(at(name, ['config.json', 'preprocessor_config.json'][i]), JSON.stringify(document));
  return (file) => at(name, file);
}
const written = (to: string, options = {}) => convert(at('source.safetensors'), to, options);

test('another network: refused, or the header has the right one', async () => {
  const to = holding('he', { ...config, downsample_in_bottleneck: true });
  for (const options of [{}, { dialect: 'huggingface' } as const])
    await expect(written(to('pytorch_model.bin'), options)).rejects.toMatchObject({
      code: 'WEIGHTS_MISMATCH',
      message: expect.stringContaining(
        'with config.json of Hugging Face in the folder it goes to it would be read with strideOn 1x1, and it has 3x3',
      ),
    });
  expect(existsSync(to('pytorch_model.bin'))).toBe(false);
  expect((await written(to('model.safetensors'))).notes.join()).toContain('it would be read with strideOn 1x1');
  await using read = await load(to('model.safetensors'));
  expect(read.record.config).toMatchObject({ strideOn: '3x3' });
  // Nobody looks there for a file of another name.
  expect((await written(to('mine.pth'))).notes).toEqual([]);
});

test('another preprocessing: refused where values differ, else told', async () => {
  const to = holding('half', config, { ...processor, image_mean: [0.5, 0.5, 0.5] });
  await expect(written(to('pytorch_model.bin'))).rejects.toThrow(
    'config.json and preprocessor_config.json in the folder it goes to has another preprocessing, and this model wants "torchvision": other values',
  );
  expect((await written(to('model.safetensors'))).notes.join()).toContain('its header has the plan');
  await using read = await load(to('model.safetensors'));
  expect(read.record.preprocess).toBe('torchvision');

  const near = holding('bicubic', config, { ...processor, resample: 3 });
  expect((await written(near('pytorch_model.bin'))).notes.join()).toContain('tell whoever uses it');
  const same = holding('same', config, processor);
  expect((await written(same('pytorch_model.bin'))).notes).toEqual([]);
  expect((await convert(same('pytorch_model.bin'), same('model.safetensors'))).notes).toEqual([]);
});

test('other labels are told', async () => {
  const to = holding('labels', { ...config, id2label: { 0: 'a', 1: 'b', 2: 'c' } });
  const note = expect.stringContaining('has labels of its own, which readers take for those of this file');
  expect((await written(to('pytorch_model.bin'))).notes).toEqual([note]);
  // Those of the source itself.
  expect((await convert(to('pytorch_model.bin'), to('model.safetensors'))).notes).toEqual([]);
  expect((await written(to('pytorch_model.bin'), { dialect: 'huggingface', force: true })).notes).toContainEqual(note);
});

test('what readers refuse is told', async () => {
  const to = holding('other', { ...config, hidden_act: 'gelu' });
  expect((await written(to('pytorch_model.bin'))).notes.join()).toMatch(
    /it could not be read back \(.*config\.json describes a ResNet that cannot be built here: hidden_act gelu\)/,
  );
});
