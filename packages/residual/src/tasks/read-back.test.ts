import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { noise, noiseTensor, noiseWeights } from '../engines/sketch.js';
import { preset } from '../image/presets.js';
import { build, family, type ResNetOptions, resnet } from '../models/resnet.js';
import { describeAll, temporaryFolder } from '../testing.js';
import { type DialectName, dialects } from '../weights/names.js';
import { openCheckpoint } from '../weights/open.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { torchBytes } from '../weights/write-torch.js';
import { convert } from './convert.js';
import { load } from './load.js';
import { createModel } from './model.js';
import { save } from './save.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (...names: string[]) => join(folder.path, ...names);
const tiny: ResNetOptions = { classes: 5, size: 64, width: 4, widthPerGroup: 4, depths: [1, 1, 1, 1] };

async function outputOf(path: string): Promise<number[]> {
  await using model = await load(path, { engine: 'reference' });
  const [{ name, value }] = model.graph.outputs;
  const last = model.graph.nodes.find(({ outputs }) => outputs[0] === value);
  // Before a softmax, where there is one: it would hide differences.
  const wanted = last?.op === 'softmax' ? (model.graph.nodes.at(-2)?.name as string) : name;
  return [...(await model.run(noiseTensor([1, 3, 64, 64], noise(3), 2), [wanted]))[wanted].data];
}

/** However it is spelled, a copy gives the answers of its source, or none, or there is no copy. */
async function cannotMislead(
  source: string,
  name: string,
): Promise<{ refused: string[]; unread: string[]; notes: string }> {
  const expected = await outputOf(source);
  const refused: string[] = [];
  const unread: string[] = [];
  let notes = '';
  for (const ending of ['pth', 'safetensors', 'residual', 'onnx', 'h5']) {
    const target = at(`${name}.${ending}`);
    try {
      const done = await convert(source, target, { force: true });
      if (ending === 'safetensors') notes = done.notes.join('\n');
    } catch (error) {
      expect(error).toMatchObject({ code: 'WEIGHTS_MISMATCH' });
      expect(existsSync(target), target).toBe(false);
      refused.push(ending);
      continue;
    }
    const received = await outputOf(target).catch((error: unknown) => {
      expect(error).toMatchObject({ code: 'WEIGHTS_MISMATCH' });
    });
    if (!received) {
      unread.push(ending);
      continue;
    }
    expect(Math.max(...received.map((y, i) => Math.abs(y - expected[i]))), target).toBeLessThan(1e-6);
  }
  return { refused, unread, notes };
}

async function contents(path: string) {
  const checkpoint = await openCheckpoint(path);
  try {
    return await describeAll(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

/** A file of a dialect's names without a record. */
function bare(path: string, options: ResNetOptions, dialect: DialectName): string {
  const config = { ...family.resnet50, ...tiny, ...options };
  const tensors = [...noiseWeights(resnet(config), 5)].map(
    ([name, tensor]) => [dialects[dialect].spell(name, config) as string, tensor] as const,
  );
  const write = path.endsWith('.safetensors') ? safetensorsBytes : torchBytes;
  writeFileSync(path, Buffer.concat([...write(new Map(tensors))]));
  return path;
}

describe('what names do not tell does not get lost', () => {
  test('Hugging Face’s downsample_in_bottleneck, beside the file', async () => {
    mkdirSync(at('hf'));
    bare(at('hf', 'model.safetensors'), { strideOn: '1x1' }, 'huggingface');
    const sizes = { depths: tiny.depths, hidden_sizes: [16, 32, 64, 128], embedding_size: 4 };
    const config = { model_type: 'resnet', ...sizes, downsample_in_bottleneck: true };
    writeFileSync(at('hf', 'config.json'), JSON.stringify(config));
    const { refused, notes } = await cannotMislead(at('hf'), 'hf-copy');
    expect(refused).toEqual(['pth', 'h5']);
    expect(notes).toMatch(/read another network: it would be read with strideOn 3x3, and it has 1x1; its header has/);
    await expect(convert(at('hf'), at('x.pth'))).rejects.toThrow('cannot be written as a .pth file');
  });

  test('timm’s pools against aliasing, beside the file; and the record made of it', async () => {
    mkdirSync(at('timm'));
    // The smallest that timm publishes with a plain stem.
    const graph = build('resnetblur18');
    writeFileSync(at('timm', 'pytorch_model.bin'), Buffer.concat([...torchBytes(noiseWeights(graph, 2))]));
    const trained = { input_size: [3, 64, 64], mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    writeFileSync(at('timm', 'config.json'), JSON.stringify({ architecture: 'resnetblur18', pretrained_cfg: trained }));
    expect(await cannotMislead(at('timm'), 'timm-copy')).toMatchObject({ refused: ['pth', 'h5'] });
    await expect(convert(at('timm-copy.residual'), at('x.pth'))).rejects.toThrow(
      'read with antiAlias none, and it has',
    );
  }, 60_000);

  test('MSRA’s stride, by way of ONNX', async () => {
    bare(at('d2.pth'), { strideOn: '1x1' }, 'detectron2');
    await convert(at('d2.pth'), at('d2.onnx'));
    expect(await cannotMislead(at('d2.onnx'), 'd2-copy')).toMatchObject({ refused: ['pth', 'h5'] });
    await expect(convert(at('d2.onnx'), at('x.pth'))).rejects.toThrow(
      'layer2.0.conv1 would have stride 1,1, and it has 2,2',
    );
    // Basic blocks stride alike; their pictures are BGR all the same.
    bare(at('basic.pth'), { block: 'basic' }, 'detectron2');
    await convert(at('basic.pth'), at('basic.onnx'));
    await expect(convert(at('basic.onnx'), at('x.pth'))).rejects.toThrow(
      'other values, so that answers would be wrong',
    );
    await convert(at('basic.onnx'), at('basic.safetensors'));
    await using model = await load(at('basic.safetensors'));
    expect(model.record.preprocess).toBe('msra');
    expect(existsSync(at('x.pth'))).toBe(false);
  });
});

describe('Keras’ networks', () => {
  const keras = async (epsilon: number, name: string) => {
    const config = { ...family['keras-resnet50'], ...tiny, epsilon };
    const graph = build('keras-resnet50', config);
    const plan = preset('caffe', { height: 64, width: 64 });
    const record = { architecture: 'keras-resnet50', config, preprocess: 'caffe', plan };
    await save(createModel(graph, record, { weights: noiseWeights(graph, 1) }), at(name));
    return at(name);
  };

  test('a network of Keras’ through ONNX gets Keras’ names again', async () => {
    const source = await keras(1.001e-5, 'k.residual');
    await convert(source, at('k.h5'));
    await convert(source, at('k.onnx'));
    expect(await cannotMislead(at('k.onnx'), 'k-copy')).toMatchObject({ refused: [], unread: [] });
    expect(await contents(at('k-copy.h5'))).toEqual(await contents(at('k.h5')));
    expect(Object.keys(await contents(at('k-copy.h5')))).toEqual(Object.keys(await contents(at('k.h5'))));
  });

  test('a record with the layers of a member of the family, and not its settings, is known for it', async () => {
    await using model = await load(await keras(1.001e-5, 'settings.residual'));
    const { config: _, ...record } = model.record;
    await save({ graph: model.graph, record, weights: await model.weights() }, at('layers.residual'));
    await convert(at('settings.residual'), at('settings.h5'));
    await convert(at('layers.residual'), at('layers.h5'), { dialect: 'keras' });
    expect(await contents(at('layers.h5'))).toEqual(await contents(at('settings.h5')));
    expect(await cannotMislead(at('layers.residual'), 'layers-copy')).toMatchObject({ refused: [] });
  });

  test('one with another epsilon has no file of names alone', async () => {
    const source = await keras(1e-3, 'k3.residual');
    expect(await cannotMislead(source, 'k3-copy')).toMatchObject({ refused: ['pth', 'h5'] });
    // Out of ONNX its tensors have names that are nobody's: they are written, and a note says what is missing.
    expect(await cannotMislead(at('k3-copy.onnx'), 'k3-again')).toMatchObject({ refused: ['h5'], unread: ['pth'] });
    const { notes } = await convert(at('k3-copy.onnx'), at('k3-again.pth'), { force: true });
    expect(notes.join()).toContain('to load a .pth file with them, pass the network as architecture');
  });
});
