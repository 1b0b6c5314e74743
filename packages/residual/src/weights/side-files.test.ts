import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { noise, noiseTensor, noiseWeights } from '../engines/sketch.js';
import { ResidualError } from '../errors.js';
import { family, type ResNetConfig, resnet } from '../models/resnet.js';
import { load } from '../tasks/load.js';
import { createModel } from '../tasks/model.js';
import type { Tensor } from '../tensor.js';
import { temporaryFolder } from '../testing.js';
import { dialects } from './dialects.js';
import { safetensorsBytes } from './safetensors.js';
import { readSideFiles, understandSideFiles } from './side-files.js';

/** As microsoft/resnet-50 has it, shortened. */
const microsoft = {
  architectures: ['ResNetForImageClassification'],
  depths: [3, 4, 6, 3],
  downsample_in_first_stage: false,
  embedding_size: 64,
  hidden_act: 'relu',
  hidden_sizes: [256, 512, 1024, 2048],
  id2label: { 0: 'tench, Tinca tinca', 1: 'goldfish, Carassius auratus' },
  layer_type: 'bottleneck',
  model_type: 'resnet',
  num_channels: 3,
};
const processor = {
  crop_pct: 0.875,
  do_normalize: true,
  do_resize: true,
  feature_extractor_type: 'ConvNextFeatureExtractor',
  image_mean: [0.485, 0.456, 0.406],
  image_std: [0.229, 0.224, 0.225],
  resample: 3,
  size: 224,
};
const timm = {
  architecture: 'resnetaa50d',
  num_classes: 1000,
  num_features: 2048,
  pretrained_cfg: {
    tag: 'sw_in12k_ft_in1k',
    num_classes: 1000,
    input_size: [3, 224, 224],
    test_input_size: [3, 288, 288],
    pool_size: [7, 7],
    crop_pct: 0.95,
    crop_mode: 'center',
    interpolation: 'bicubic',
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    first_conv: 'conv1.0',
    classifier: 'fc',
  },
};
const square = { height: 224, width: 224 };
const imagenet = [
  { step: 'scale', factor: 1 / 255, offset: 0 },
  { step: 'normalize', mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] },
];

test('Microsoft’s ResNet-50', () => {
  const found = understandSideFiles(microsoft, processor);
  expect({ ...family.resnet50, ...found?.network }).toEqual(family.resnet50);
  expect(found?.size).toEqual([224, 224]);
  expect(found?.classes).toEqual([{ label: 'tench, Tinca tinca' }, { label: 'goldfish, Carassius auratus' }]);
  expect(found?.plan?.(square)).toEqual([
    { step: 'decode', as: 'default' },
    { step: 'resizeShortSide', size: 256, filter: 'bicubic' },
    { step: 'centerCrop', height: 224, width: 224 },
    ...imagenet,
  ]);
});

test('Hugging Face’s other settings', () => {
  const basic = { ...microsoft, layer_type: 'basic', depths: [2, 2, 2, 2], hidden_sizes: [64, 128, 256, 512] };
  expect({ ...family.resnet18, ...understandSideFiles(basic, undefined)?.network }).toEqual(family.resnet18);
  expect(understandSideFiles({ ...microsoft, downsample_in_bottleneck: true }, undefined)?.network.strideOn).toBe(
    '1x1',
  );
  const large = { ...processor, size: { shortest_edge: 384 }, resample: 2, do_normalize: false };
  const found = understandSideFiles(microsoft, large);
  expect(found?.plan?.({ height: 384, width: 384, decode: 'pillow' })).toEqual([
    { step: 'decode', as: 'pillow' },
    { step: 'resize', height: 384, width: 384, filter: 'bilinear' },
    imagenet[0],
  ]);
});

test.each<[string, object, readonly [number, number], object[]]>([
  [
    'ViT’s: both sides',
    { image_processor_type: 'ViTImageProcessor', size: { height: 384, width: 320 }, resample: 2 },
    [384, 320],
    [{ step: 'resize', height: 384, width: 320, filter: 'bilinear' }],
  ],
  [
    'ViT’s of old: one number',
    { feature_extractor_type: 'ViTFeatureExtractor', size: 224, resample: 2 },
    [224, 224],
    [{ step: 'resize', height: 224, width: 224, filter: 'bilinear' }],
  ],
  [
    'DeiT’s: both sides, then the middle',
    {
      image_processor_type: 'DeiTImageProcessor',
      size: { height: 256, width: 256 },
      crop_size: { height: 224, width: 224 },
    },
    [224, 224],
    [
      { step: 'resize', height: 256, width: 256, filter: 'bicubic' },
      { step: 'centerCrop', height: 224, width: 224 },
    ],
  ],
  [
    'CLIP’s: the short side, then the middle',
    {
      image_processor_type: 'CLIPImageProcessorFast',
      size: { shortest_edge: 232 },
      crop_size: { height: 224, width: 224 },
    },
    [224, 224],
    [
      { step: 'resizeShortSide', size: 232, filter: 'bicubic' },
      { step: 'centerCrop', height: 224, width: 224 },
    ],
  ],
])('processors beside ResNets: %s', (_title, settings, size, steps) => {
  const { size: _size, crop_pct: _share, ...rest } = processor as Record<string, unknown>;
  const found = understandSideFiles(microsoft, { ...rest, ...settings });
  expect(found?.size).toEqual(size);
  const [height, width] = size;
  expect(found?.plan?.({ height, width })).toEqual([{ step: 'decode', as: 'default' }, ...steps, ...imagenet]);
});

test('timm: what names do not tell', () => {
  const found = understandSideFiles(timm, undefined);
  expect(found?.network).toEqual(family.resnetaa50d);
  expect(found?.size).toEqual([224, 224]);
  expect(found?.plan?.(square)).toEqual([
    { step: 'decode', as: 'default' },
    { step: 'resizeShortSide', size: 235, filter: 'bicubic' },
    { step: 'centerCrop', height: 224, width: 224 },
    ...imagenet,
  ]);
  const squash = { ...timm, pretrained_cfg: { ...timm.pretrained_cfg, crop_mode: 'squash', crop_pct: 1 } };
  expect(understandSideFiles(squash, undefined)?.plan?.(square)[1]).toEqual({
    step: 'resize',
    ...square,
    filter: 'bicubic',
  });
  const labels = { label_names: ['n01440764', 'flower'], label_descriptions: { n01440764: 'tench' } };
  expect(understandSideFiles({ ...timm, ...labels }, undefined)?.classes).toEqual([
    { label: 'tench', wnid: 'n01440764' },
    { label: 'flower' },
  ]);
});

test('what belongs to other networks is nobody’s business here', () => {
  expect(understandSideFiles({ model_type: 'vit' }, {})).toBeUndefined();
  expect(understandSideFiles({ ...timm, architecture: 'vit_base_patch16_224' }, undefined)).toBeUndefined();
});

test.each<[string, unknown, unknown, string]>([
  ['a list', [], undefined, 'config.json holds no JSON object'],
  ['depths of text', { ...microsoft, depths: 'three' }, undefined, 'has "three" for depths; expected numbers'],
  ['stages that do not double', { ...microsoft, hidden_sizes: [256, 500] }, undefined, 'hidden_sizes [256,500]'],
  ['another activation', { ...microsoft, hidden_act: 'gelu' }, undefined, 'cannot be built here: hidden_act gelu'],
  ['a first stage that strides', { ...microsoft, downsample_in_first_stage: true }, undefined, 'downsample_in_first'],
  ['a filter that Pillow lacks', microsoft, { ...processor, resample: 9 }, 'resample 9'],
  ['no share', microsoft, { ...processor, crop_pct: 0 }, 'crop_pct 0'],
  ['two means', microsoft, { ...processor, image_mean: [0, 1] }, 'image_mean [0,1]'],
  ['a processor nobody knows', microsoft, { ...processor, image_processor_type: 'MyProcessor' }, 'MyProcessor'],
  [
    'pictures of different shapes',
    microsoft,
    { ...processor, image_processor_type: 'BitImageProcessor', do_center_crop: false },
    'keep different shapes',
  ],
  ['another activation of timm', { ...timm, model_args: { act_layer: 'silu' } }, undefined, 'act_layer "silu"'],
  ['a stride of timm', { ...timm, model_args: { output_stride: 16, num_classes: 5 } }, undefined, 'output_stride 16'],
  ['another pooling', { ...timm, global_pool: 'max' }, undefined, 'global_pool max'],
  ['another pooling, told', { ...timm, model_args: { global_pool: 'avgmax' } }, undefined, 'global_pool avgmax'],
  ['a GroupNorm', { ...timm, architecture: 'resnet50_gn' }, undefined, 'resnet50_gn: GroupNorm'],
  [
    'no means',
    { ...timm, pretrained_cfg: { input_size: [3, 224, 224], mean: [0, 0, 0], std: [0, 1, 1] } },
    undefined,
    'std [0,1,1]',
  ],
  [
    'a border',
    { ...timm, pretrained_cfg: { ...timm.pretrained_cfg, crop_mode: 'border' } },
    undefined,
    'crop_mode border',
  ],
])('%s is refused', (_what, config, preprocessor, message) => {
  expect(() => understandSideFiles(config, preprocessor)).toThrow(message);
});

test('no document does harm', () => {
  const words = Object.keys({ ...microsoft, ...processor, ...timm.pretrained_cfg, ...timm });
  const anything = fc.dictionary(fc.constantFrom(...words), fc.jsonValue());
  fc.assert(
    fc.property(anything, anything, fc.constantFrom(microsoft, timm, {}), (a, b, base) => {
      try {
        understandSideFiles({ ...base, ...a }, { ...processor, ...b })?.plan?.(square);
      } catch (error) {
        if (!(error instanceof ResidualError)) throw error;
        expect(['WEIGHTS_FORMAT', 'GRAPH', 'CLASSES']).toContain(error.code);
      }
    }),
    { numRuns: 1000 },
  );
});

describe('beside a weight file', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);

  const config: ResNetConfig = {
    ...family.resnet50,
    depths: [1, 1, 1, 1],
    width: 8,
    widthPerGroup: 8,
    classes: 2,
    size: 64,
    strideOn: '1x1',
  };
  const graph = resnet(config);
  const weights = noiseWeights(graph, 4);
  const file = new Map(
    graph.parameters.map((p): [string, Tensor] => [
      dialects.huggingface.spell(p.name, config) as string,
      weights.get(p.name) as Tensor,
    ]),
  );
  const document = {
    ...microsoft,
    depths: [1, 1, 1, 1],
    embedding_size: 8,
    hidden_sizes: [32, 64, 128, 256],
    downsample_in_bottleneck: true,
  };
  const write = (name: string, documents: Record<string, unknown>): string => {
    const path = join(folder.path, name);
    mkdirSync(path);
    writeFileSync(join(path, 'model.safetensors'), Buffer.concat([...safetensorsBytes(file)]));
    for (const [document, content] of Object.entries(documents))
      writeFileSync(join(path, document), typeof content === 'string' ? content : JSON.stringify(content));
    return join(path, 'model.safetensors');
  };

  test('they decide on network, plan and classes', async () => {
    const path = write('whole', { 'config.json': document, 'preprocessor_config.json': { ...processor, size: 64 } });
    await using model = await load(path, { engine: 'reference' });
    expect(model.graph.inputs[0].shape).toEqual([1, 3, 64, 64]);
    expect(model.record.classes?.[1].label).toBe('goldfish, Carassius auratus');
    expect(model.record.plan[1]).toEqual({ step: 'resizeShortSide', size: 73, filter: 'bicubic' });
    expect(model.notes).toContain('model.safetensors: read config.json and preprocessor_config.json beside it');
    const x = noiseTensor([1, 3, 64, 64], noise(1));
    await using own = createModel(graph, model.record, { weights, engine: 'reference' });
    expect((await model.run(x, ['logits'])).logits.data).toEqual((await own.run(x, ['logits'])).logits.data);
  });

  test('a folder is asked too', async () => {
    const path = write('folder.v1', { 'config.json': document, 'preprocessor_config.json': processor });
    await using model = await load(path.replace('model.safetensors', ''), { engine: 'reference' });
    expect(model.record.plan[1]).toEqual({ step: 'resizeShortSide', size: 256, filter: 'bicubic' });
  });

  test('the user’s word goes before theirs', async () => {
    const path = write('told', { 'config.json': document, 'preprocessor_config.json': processor });
    const labels = [{ label: 'a' }, { label: 'b' }];
    await using model = await load(path, { size: 32, preprocess: 'raw255', labels, engine: 'reference' });
    expect(model.record).toMatchObject({ preprocess: 'raw255', classes: labels });
    expect(model.graph.inputs[0].shape).toEqual([1, 3, 32, 32]);
  });

  test('a network that does not fit them is refused', async () => {
    const path = write('other', { 'config.json': { ...document, depths: [2, 1, 1, 1] } });
    await expect(load(path)).rejects.toThrow('missing (layer1.1.conv1.weight');
  });

  test('a broken one is named', async () => {
    const path = write('broken', { 'config.json': '{"model_type": "resnet",' });
    await expect(load(path)).rejects.toThrow(/broken[/\\]config\.json: it is no JSON/);
  });

  test('only beside names that belong to them', async () => {
    const path = write('mine', { 'config.json': '{' });
    expect(await readSideFiles(path.replace('model.safetensors', 'mine.pth'))).toBeUndefined();
    expect(await readSideFiles('https://example.org/model.safetensors')).toBeUndefined();
    expect(await readSideFiles(join(folder.path, 'nowhere', 'model.safetensors'))).toBeUndefined();
  });
});
