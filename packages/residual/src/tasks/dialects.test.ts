import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { noise, noiseTensor, noiseWeights } from '../engines/sketch.js';
import type { Graph } from '../graph/graph.js';
import { family, type ResNetConfig, resnet } from '../models/resnet.js';
import { sizeOf, type Tensor, type Weights } from '../tensor.js';
import { python, shared, temporaryFolder } from '../testing.js';
import { type Dialect, type DialectName, dialects } from '../weights/dialects.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { inspect } from './inspect.js';
import { load } from './load.js';
import { createModel } from './model.js';

/** Small enough to be quick; with every kind of layer. */
const small = { depths: [2, 1, 1, 1], width: 8, widthPerGroup: 8, classes: 6, size: 32 } as const;
const basic: ResNetConfig = { ...family.resnet18, ...small };
const bottleneck: ResNetConfig = { ...family.resnet50, ...small };
const he: ResNetConfig = { ...bottleneck, strideOn: '1x1' };

/** Each dialect with the network that its files are customarily of. */
const cases: [DialectName, string, ResNetConfig][] = [
  ['torchvision', 'basic', basic],
  ['huggingface', 'basic', basic],
  ['mmpretrain', 'basic', basic],
  ['detectron2', 'basic', basic],
  ['moco', 'basic', { ...basic, classes: 0 }],
  ['dino', 'basic', { ...basic, classes: 0 }],
  ['torchvision', 'bottleneck', bottleneck],
  ['huggingface', 'bottleneck', bottleneck],
  ['mmpretrain', 'bottleneck', bottleneck],
  ['detectron2', 'he', he],
  ['caffe', 'ceil', { ...he, stemPool: 'ceil' }],
  ['timm', 'd', { ...bottleneck, stem: 'deep', stemWidth: 8, projection: 'averaged', attention: 'se' }],
  ['timm', 'eca', { ...basic, attention: 'eca' }],
  ['keras', 'keras', { ...family['keras-resnet50'], ...small }],
  ['keras', 'v2', { ...family['keras-resnet50v2'], ...small }],
  ['keras2015', 'keras2015', { ...family['keras2015-resnet50'], ...small, size: 224 }],
];

/** Networks of one kind get the same numbers, whatever they are called. */
const weightsOf = (graph: Graph): Weights => noiseWeights(graph, 11);

/** A parameter as Keras lays it out: `[kh, kw, in, out]`, `[in, out]`. */
function lastFirst({ shape, data }: Tensor): Tensor {
  const [out, channels = 1, ...window] = shape;
  if (shape.length < 2) return { dtype: 'float32', shape, data };
  const area = sizeOf(window);
  const turned = new Float32Array(data.length);
  for (let o = 0; o < out; o++)
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < area; i++) turned[(i * channels + c) * out + o] = data[(o * channels + c) * area + i];
  return { dtype: 'float32', shape: [...window, channels, out], data: turned };
}

/** Writes each safetensors file of a folder again as .pth, or where its names are Keras' as .h5. */
const convert = `
import sys, os, json
import numpy as np, torch, h5py
for name in sorted(os.listdir(sys.argv[1])):
    path = os.path.join(sys.argv[1], name)
    raw = open(path, 'rb').read()
    length = int.from_bytes(raw[:8], 'little')
    header = json.loads(raw[8:8 + length])
    header.pop('__metadata__', None)
    tensors = {}
    for key, entry in header.items():
        begin, end = entry['data_offsets']
        tensors[key] = np.frombuffer(raw[8 + length + begin:8 + length + end], '<f4').reshape(entry['shape']).copy()
    if not name.startswith('keras'):
        torch.save({'epoch': 3, 'state_dict': {key: torch.from_numpy(value) for key, value in tensors.items()}},
                   path.replace('.safetensors', '.pth'))
        continue
    layers = {}
    for key, value in tensors.items():
        layer, rest = key.split('/', 1)
        layers.setdefault(layer, {})[rest] = value
    with h5py.File(path.replace('.safetensors', '.h5'), 'w') as file:
        file.attrs['layer_names'] = [layer.encode() for layer in layers]
        for layer, weights in layers.items():
            group = file.create_group(layer)
            names = list(weights)
            group.attrs['weight_names'] = [n.encode() for n in names]
            for n, value in zip(names, weights.values()):
                group.create_dataset(n, data=value)
`;

describe.skipIf(!shared)('one set of tensors in every dialect gives the same logits, bit for bit', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);
  const input = (size: number) => noiseTensor([1, 3, size, size], noise(2));
  const where = join(folder.path, 'files');

  test('files are written', () => {
    mkdirSync(where);
    for (const [dialect, kind, config] of cases) {
      const graph = resnet(config);
      const weights = weightsOf(graph);
      const { layout, spell }: Dialect = dialects[dialect];
      const file = new Map(
        graph.parameters.map(({ name }): [string, Tensor] => {
          const values = weights.get(name) as Tensor;
          // A convolution along the channels has one axis in PyTorch.
          const flat = name.endsWith('.se.conv.weight') ? { ...values, shape: values.shape.slice(0, 3) } : values;
          return [spell(name, config) as string, layout === 'keras' ? lastFirst(values) : flat];
        }),
      );
      writeFileSync(join(where, `${dialect}-${kind}.safetensors`), Buffer.concat([...safetensorsBytes(file)]));
    }
    execFileSync(python, ['-c', convert, where]);
  });

  const results = new Map<string, Float32Array>();

  test.each(cases)('%s, %s', async (dialect, kind, config) => {
    const graph = resnet(config);
    const output = graph.outputs[0].name;
    const x = input(config.size as number);
    await using own = createModel(
      graph,
      { architecture: 'own', preprocess: 'raw255', plan: [] },
      { weights: weightsOf(graph), engine: 'reference' },
    );
    const expected = (await own.run(x, [output]))[output];
    for (const container of dialect.startsWith('keras') ? ['safetensors', 'h5'] : ['safetensors', 'pth']) {
      const file = join(where, `${dialect}-${kind}.${container}`);
      expect((await inspect(file)).dialect).toBe(dialect);
      await using model = await load(file, { size: config.size, engine: 'reference' });
      const received = (await model.run(x, [output]))[output];
      expect(received.shape).toEqual(expected.shape);
      expect(Buffer.from(received.data.buffer).equals(Buffer.from(expected.data.buffer))).toBe(true);
    }
    // The same network in another dialect gave the same.
    if (config.classes) expect(results.get(kind) ?? expected.data).toEqual(expected.data);
    if (config.classes) results.set(kind, expected.data as Float32Array);
  });
});
