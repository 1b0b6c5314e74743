import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { noiseWeights } from '../engines/sketch.js';
import { preset } from '../image/presets.js';
import { build, family, type ResNetOptions } from '../models/resnet.js';
import type { Tensor } from '../tensor.js';
import { temporaryFolder } from '../testing.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { convert } from './convert.js';
import { createModel } from './model.js';
import { save } from './save.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (...names: string[]) => join(folder.path, ...names);
const small: ResNetOptions = { classes: 5, size: 32, width: 4, widthPerGroup: 4, depths: [1, 1, 1, 1] };

describe('refused, with nothing written', () => {
  const inside = at('refused');
  mkdirSync(inside);
  const source = at('source.safetensors');
  const target = (name: string) => join(inside, name);
  writeFileSync(source, Buffer.concat([...safetensorsBytes(noiseWeights(build('resnet50', small), 1))]));
  const refused = (to: string, options = {}, from = source) => expect(convert(from, to, options)).rejects;
  afterAll(() => expect(readdirSync(inside)).toEqual([]));

  test('an ending that says nothing, or a format that is none', async () => {
    await refused(target('x.tar')).toMatchObject({
      code: 'ARGUMENT',
      message: expect.stringContaining('.residual .safetensors .pth'),
    });
    await refused(target('x.keras')).toThrow('Keras 3 reads weights from .h5 too');
    await refused(target('x'), { to: 'tflite' }).toMatchObject({ code: 'UNKNOWN_NAME' });
    await refused(target('x.pth'), { dialect: 'kears' }).toThrow('did you mean "keras"?');
    await refused(target('x.pth'), { fold: true }).toMatchObject({ code: 'ARGUMENT' });
    await refused(target('x.onnx'), { dialect: 'keras' }).toMatchObject({ code: 'ARGUMENT' });
  });

  test('a topology that the spelling does not have', async () => {
    await refused(target('x.h5')).toMatchObject({
      code: 'WEIGHTS_MISMATCH',
      message: expect.stringMatching(/a Keras file|keras/),
    });
    await refused(target('x.pth'), { dialect: 'keras' }).toThrow(
      'cannot be written as "keras": it has no name for conv1.weight; its layers are those of torchvision (bottleneck blocks, stride on the 3x3, stem pool padded)',
    );
    // torchvision's names, He's stride: whoever has the names alone would stride elsewhere.
    const config = { ...family.resnet50, ...small, strideOn: '1x1' } as const;
    const graph = build('resnet50', config);
    const record = {
      architecture: 'resnet50',
      config,
      preprocess: 'caffe',
      plan: preset('caffe', { height: 32, width: 32 }),
    };
    await save(createModel(graph, record), at('he.residual'));
    await refused(target('x.pth'), {}, at('he.residual')).toThrow('it would be read with strideOn 3x3, and it has 1x1');
  });

  test('a graph of its own, whatever it is called, in a spelling or a Keras file', async () => {
    const config = { ...family['keras-resnet50'], ...small };
    const graph = build('keras-resnet50', config);
    const plan = preset('caffe', { height: 32, width: 32 });
    const record = { architecture: 'keras-resnet50', config, preprocess: 'caffe', plan };
    await save(createModel(graph, record, { weights: noiseWeights(graph, 1) }), at('keras.residual'));
    await convert(at('keras.residual'), at('keras.onnx'), { fold: true });
    const reason = 'its network is a graph of its own and no member of the family';
    await refused(target('x.h5'), {}, at('keras.onnx')).toThrow(`a Keras file: ${reason}`);
    await refused(target('x.pth'), { dialect: 'keras' }, at('keras.onnx')).toThrow(`"keras": ${reason}`);
    await refused(target('x.h5'), { dialect: 'residual' }, at('keras.residual')).toThrow('leave dialect out');
  });

  test('a file without tensors', async () => {
    writeFileSync(at('empty.safetensors'), Buffer.concat([...safetensorsBytes(new Map())]));
    for (const name of ['x.pth', 'x.safetensors', 'x.residual'])
      await refused(target(name), {}, at('empty.safetensors')).toMatchObject({
        code: 'WEIGHTS_FORMAT',
        message: 'empty.safetensors: it holds no tensors; nothing was written',
      });
  });

  test('weights that are no numbers', async () => {
    const weights = new Map(noiseWeights(build('resnet18', small), 1));
    (weights.get('bn1.bias') as Tensor).data[1] = Number.POSITIVE_INFINITY;
    writeFileSync(at('nan.safetensors'), Buffer.concat([...safetensorsBytes(weights)]));
    for (const name of ['x.pth', 'x.residual', 'x.onnx', 'x.safetensors'])
      await refused(target(name), {}, at('nan.safetensors')).toMatchObject({ code: 'NUMERICS' });
  });

  test('targets: the source itself, by a link too; a file that is there; no folder; a device', async () => {
    const before = readFileSync(source);
    symlinkSync(source, at('link.safetensors'));
    for (const same of [source, at('link.safetensors')])
      await refused(same, { force: true }).toMatchObject({
        code: 'FILE',
        message: expect.stringContaining('very file'),
      });
    await refused(source, { force: true }, folder.path).toThrow('may be one of them');
    writeFileSync(at('there.pth'), 'there');
    await refused(at('there.pth')).toThrow('it is there already; name another, or have it replaced (force, --force)');
    expect(readFileSync(at('there.pth'), 'utf8')).toBe('there');
    await convert(source, at('there.pth'), { force: true });
    await refused(target('no/x.pth')).toThrow('there is no such folder');
    await refused(join(source, 'x.pth')).toThrow('part of its path is no folder');
    await refused('/dev/null', { to: 'pytorch', force: true }).toThrow('it is no ordinary file and is not replaced');
    await refused('', { to: 'pytorch' }).toThrow('the path is empty');
    expect(readFileSync(source)).toEqual(before);
  });

  test('work that is cancelled', async () => {
    const abort = new AbortController();
    abort.abort();
    for (const name of ['x.pth', 'x.residual', 'x.onnx'])
      await refused(target(name), { signal: abort.signal }).toMatchObject({ code: 'ABORTED' });
    const later = new AbortController();
    await refused(target('x.onnx'), { signal: later.signal, onProgress: () => later.abort() }).toMatchObject({
      code: 'ABORTED',
    });
  });
});
