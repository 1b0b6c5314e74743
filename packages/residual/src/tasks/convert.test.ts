import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { noise, noiseTensor, noiseWeights } from '../engines/sketch.js';
import { preset } from '../image/presets.js';
import { build, type FamilyName, family, type ResNetOptions } from '../models/resnet.js';
import type { AnyTensor, Tensor } from '../tensor.js';
import { describeAll, type Expected, mlperfResnet8, oracle, pythonJson, shared, temporaryFolder } from '../testing.js';
import type { DialectName } from '../weights/names.js';
import { openCheckpoint } from '../weights/open.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { torchBytes } from '../weights/write-torch.js';
import { convert } from './convert.js';
import { customaryPreset } from './custom.js';
import { load } from './load.js';
import { createModel, type Model } from './model.js';
import { save } from './save.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (...names: string[]) => join(folder.path, ...names);

async function contents(path: string): Promise<Expected> {
  const checkpoint = await openCheckpoint(path);
  try {
    return await describeAll(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

async function logitsOf(path: string): Promise<number[]> {
  await using model = await load(path, { engine: 'reference' });
  const side = model.record.architecture === 'keras2015-resnet50' ? 64 : 32;
  return answer(model, noiseTensor([2, 3, side, side], noise(3), 2));
}

/** What it gives for this input, whatever its plan would make of pictures. */
async function answer(model: Model, x: Tensor): Promise<number[]> {
  const [{ name }] = model.graph.outputs;
  return [...(await model.run(x, [name]))[name].data];
}

const small: ResNetOptions = { classes: 5, size: 32, width: 4, widthPerGroup: 4, depths: [1, 1, 1, 1] };

/** A training checkpoint's tensors as torchvision names them: halves, counters and all. */
function torchvisionTensors(name: FamilyName, options: ResNetOptions): Map<string, AnyTensor> {
  const tensors = new Map<string, AnyTensor>();
  for (const [parameter, tensor] of noiseWeights(build(name, options), 2)) {
    const bits = new Uint32Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.length);
    if (parameter === 'layer1.0.conv2.weight')
      tensors.set(parameter, { dtype: 'bfloat16', shape: tensor.shape, data: Uint16Array.from(bits, (b) => b >>> 16) });
    else if (parameter === 'layer2.0.conv1.weight')
      tensors.set(parameter, {
        dtype: 'float16',
        shape: tensor.shape,
        data: Uint16Array.from(bits, (b) => (b >>> 18) & 0x3bff),
      });
    else tensors.set(parameter, tensor);
    if (parameter.endsWith('running_var'))
      tensors.set(parameter.replace('running_var', 'num_batches_tracked'), {
        dtype: 'int64',
        shape: [],
        data: BigInt64Array.of(2n ** 40n + 1n),
      });
  }
  return tensors;
}

describe('a set of tensors goes through each container and comes back', () => {
  test('torchvision’s names: every element type, bit by bit, and the same logits', async () => {
    const tensors = torchvisionTensors('resnet50', small);
    writeFileSync(at('0.pth'), Buffer.concat([...torchBytes(tensors)]));
    const expected = await contents(at('0.pth'));
    expect(new Set(Object.values(expected).map(({ dtype }) => dtype)).size).toBe(4);
    const logits = await logitsOf(at('0.pth'));
    const route = ['0.pth', '1.safetensors', '2.residual', '3.pth', '4.residual', '5.safetensors', '6.pt'];
    for (const [i, next] of route.slice(1).entries()) {
      const done = await convert(at(route[i]), at(next));
      expect(done).toMatchObject({ dialect: 'torchvision', dropped: [], tensors: tensors.size });
      expect(await contents(at(next)), next).toEqual(expected);
      expect(await logitsOf(at(next)), next).toEqual(logits);
    }
    await using recorded = await load(at('4.residual'));
    expect(recorded.record).toMatchObject({ preprocess: 'torchvision', config: { depths: [1, 1, 1, 1] } });
    expect(recorded.notes).toEqual([]);
  });

  test('Keras’ names and layout, all the way round: equal bits, the same probabilities', async () => {
    const name = 'keras-resnet50v2';
    const options = { ...small, size: 224, depths: [2, 1, 3, 1] };
    const config = { ...family[name], ...options };
    const record = {
      architecture: name,
      config,
      preprocess: 'tf',
      plan: preset('tf', { height: 224, width: 224 }),
    };
    const graph = build(name, options);
    await save(createModel(graph, record, { weights: noiseWeights(graph, 6) }), at(`${name}.residual`));
    const probabilities = async (path: string) => {
      await using model = await load(path);
      return answer(model, noiseTensor([1, 3, 224, 224], noise(3), 100));
    };
    const before = await probabilities(at(`${name}.residual`));
    const route = ['.residual', '.h5', '.safetensors', '.pth', '.1.residual', '.1.h5'];
    await convert(at(`${name}.residual`), at(`${name}.h5`));
    const expected = await contents(at(`${name}.h5`));
    expect(Object.keys(expected)).toHaveLength(graph.parameters.length);
    for (const [i, next] of route.entries()) {
      if (i > 1) expect((await convert(at(name + route[i - 1]), at(name + next))).dialect).toBe('keras');
      if (i > 1) expect(await contents(at(name + next)), next).toEqual(expected);
      if (/residual|1\.h5/.test(next)) expect(await probabilities(at(name + next)), next).toEqual(before);
    }
    // The order of the layers was made anew from the network on the way, and is the same.
    expect(Object.keys(await contents(at(`${name}.1.h5`)))).toEqual(Object.keys(expected));
  });

  test('tensors of a network that nobody knows, between containers that hold any', async () => {
    const tensors: [string, AnyTensor][] = [
      ['blob.w', { dtype: 'uint8', shape: [3], data: Uint8Array.of(1, 2, 3) }],
      ['blob.b', { dtype: 'bool', shape: [1], data: Uint8Array.of(1) }],
    ];
    writeFileSync(at('any.safetensors'), Buffer.concat([...safetensorsBytes(tensors, { author: 'me' })]));
    await convert(at('any.safetensors'), at('any.pth'));
    await convert(at('any.pth'), at('any2.safetensors'));
    expect(await contents(at('any2.safetensors'))).toEqual(await contents(at('any.safetensors')));
    await expect(convert(at('any.pth'), at('any.residual'))).rejects.toMatchObject({ code: 'WEIGHTS_MISMATCH' });
    await expect(convert(at('any.pth'), at('any.h5'))).rejects.toMatchObject({ code: 'WEIGHTS_MISMATCH' });
    await convert(at('any.safetensors'), at('any3.safetensors'));
    const again = await openCheckpoint(at('any3.safetensors'));
    expect(again.metadata).toEqual({ author: 'me' });
    await again.close();
  });

  test('a training checkpoint: the prefix is taken off, the optimiser left out, both are told', async () => {
    const tensors = new Map<string, AnyTensor>();
    for (const [name, tensor] of torchvisionTensors('resnet18', small)) tensors.set(`module.${name}`, tensor);
    tensors.set('optimizer.state', { dtype: 'float32', shape: [1], data: Float32Array.of(Number.NaN) });
    writeFileSync(at('training.pth'), Buffer.concat([...torchBytes(tensors)]));
    const done = await convert(at('training.pth'), at('plain.pth'));
    expect(done.dropped).toEqual(['optimizer.state']);
    expect(done.notes.join('\n')).toMatch(/took "module\." off .*\n.*left out 1 tensors .*optimizer\.state/);
    expect(Object.keys(await contents(at('plain.pth')))).toEqual([...torchvisionTensors('resnet18', small).keys()]);
  });
});

/** Keras' own rules of loading by layers, with the file of the oracle in the place of the model. */
const loadAsKeras = `
import h5py
def attributes(group, name):
    if name in group.attrs:
        return [n.decode('utf8') if hasattr(n, 'decode') else n for n in group.attrs[name]]
    parts, i = [], 0
    while f'{name}{i}' in group.attrs:
        parts += [n.decode('utf8') if hasattr(n, 'decode') else n for n in group.attrs[f'{name}{i}']]
        i += 1
    return parts
def layers(path):
    f = h5py.File(path, 'r')
    root = f['model_weights'] if 'model_weights' in f else f
    found = []
    for name in attributes(root, 'layer_names'):
        names = attributes(root[name], 'weight_names')
        if names: found.append((name, names, [np.asarray(root[name][n]) for n in names]))
    return f, found
model_file, model = layers(sys.argv[1])
for path in sys.argv[2:]:
    f, saved = layers(path)
    assert len(saved) == len(model), (len(saved), len(model))
    for (layer, names, expected), (name, saved_names, values) in zip(model, saved):
        assert (name, saved_names) == (layer, names), (name, saved_names, layer, names)
        for a, b in zip(expected, values):
            assert a.shape == b.shape and a.dtype == b.dtype and (a == b).all(), name
    kind = f.attrs['layer_names'].dtype.kind if 'layer_names' in f.attrs else 'none'
    assert kind == 'S', kind
    bare = [n for n in attributes(f, 'layer_names') if not attributes(f[n], 'weight_names')]
    assert all('weight_names' in f[n].attrs and f[n].attrs['weight_names'].shape == (0,) for n in bare) and len(bare) > 40
    versions = {k: f.attrs.get(k) for k in ('keras_version', 'backend')}
    theirs = {k: model_file.attrs.get(k) for k in ('keras_version', 'backend')}
    text = lambda d: {k: v.decode() if hasattr(v, 'decode') else v for k, v in d.items()}
    assert text(versions) == text(theirs), (versions, theirs)
print(json.dumps(len(model)))
`;

describe('a network saved here is spelled as others spell it', () => {
  const saved = async (name: FamilyName, options: ResNetOptions, dialect: DialectName = 'torchvision') => {
    const config = { ...family[name], ...options };
    const graph = build(name, config);
    const preprocess = customaryPreset(config, { dialect });
    const record = { architecture: name, config, preprocess, plan: preset(preprocess, { height: 32, width: 32 }) };
    await save(createModel(graph, record, { weights: noiseWeights(graph, 8) }), at(`${name}.residual`));
    return at(`${name}.residual`);
  };

  /** A network that each dialect has names for. The self-supervised ones have no classifier; He strides early. */
  const spoken = {
    torchvision: ['resnet50', {}, 'conv1.weight'],
    timm: ['ecaresnet50d', { stemWidth: 4 }, 'conv1.0.weight'],
    huggingface: ['resnet50', {}, 'resnet.embedder.embedder.convolution.weight'],
    mmpretrain: ['resnet50', {}, 'backbone.conv1.weight'],
    moco: ['resnet50', { classes: 0 }, 'module.encoder_q.conv1.weight'],
    dino: ['resnet50', { classes: 0 }, 'teacher.backbone.conv1.weight'],
    detectron2: ['resnet50', { strideOn: '1x1' }, 'backbone.bottom_up.stem.conv1.weight'],
    caffe: ['resnet50', { strideOn: '1x1', stemPool: 'ceil', convBias: 'stem' }, 'res2a_branch2a.weight'],
    keras: ['keras-resnet50', {}, 'conv1_conv/conv1_conv/kernel:0'],
    keras2015: ['keras2015-resnet50', { size: 64 }, 'res2a_branch2a/res2a_branch2a_W_1:0'],
  } as const satisfies Record<DialectName, readonly [FamilyName, ResNetOptions, string]>;

  test.each(Object.entries(spoken))(
    '%s, in every container, and back: equal bits, equal logits',
    async (dialect, [name, options, sign]) => {
      const source = await saved(name, { ...small, ...options }, dialect as DialectName);
      const [bits, logits] = [await contents(source), await logitsOf(source)];
      const keras = dialect.startsWith('keras');
      for (const ending of ['pth', 'safetensors', 'residual', ...(keras ? ['h5'] : [])]) {
        const [file, back] = [at(`${dialect}.${ending}`), at(`${dialect}.${ending}.back.residual`)];
        const done = await convert(source, file, { dialect: dialect as DialectName, force: true });
        expect(done, ending).toMatchObject({ dialect, dropped: [] });
        expect(done.notes.join(), ending).not.toContain('prepares pictures');
        expect(Object.keys(await contents(file)), ending).toContain(sign);
        // A name says nothing of the size that Keras' flattened network of 2015 is for.
        if (dialect !== 'keras2015' || ending === 'residual') expect(await logitsOf(file), ending).toEqual(logits);
        await convert(file, back, { dialect: 'residual', force: true });
        expect(await contents(back), ending).toEqual(bits);
      }
    },
  );

  test('a sign that stood before the names goes with them', async () => {
    const done = await convert(at('moco.pth'), at('moco.plain.safetensors'));
    expect(done).toMatchObject({
      dialect: 'torchvision',
      notes: ['took "module.encoder_q." off the names of the tensors'],
    });
  });

  test('without being told, as its own code base: timm’s, where its names say more than torchvision’s', async () => {
    const source = await saved('ecaresnet50d', { ...small, stemWidth: 4 });
    expect(await convert(source, at('native.pth'))).toMatchObject({ dialect: 'timm' });
    expect((await contents(at('native.pth')))['layer1.0.se.conv.weight'].shape).toHaveLength(3);
    await expect(convert(source, at('x.pth'), { dialect: 'huggingface' })).rejects.toThrow(
      'it has no name for conv1.0.weight',
    );
    expect(await convert(await saved('resnet50', small), at('native.pth'), { force: true })).toMatchObject({
      dialect: 'torchvision',
    });
  });

  test('the record goes along into .safetensors', async () => {
    const source = await saved('resnet18', small);
    expect(await convert(source, at('kept.safetensors'))).toMatchObject({ dialect: 'torchvision' });
    await using kept = await load(at('kept.safetensors'));
    await using original = await load(source);
    expect(kept.record).toEqual(original.record);
  });
});

describe.skipIf(!shared)('files by others', () => {
  // The order of the other models' layers is tested beside `kerasLayers`.
  test('Keras’ rules of loading take ResNet50, layer for layer and value for value', async () => {
    oracle('keras_oracle.py', 'resnet50', at('oracle'), '--size', '64', '--classes', '6');
    const [original, saved, written] = ['resnet50.h5', 'a.residual', 'written.h5'].map((name) => at('oracle', name));
    {
      await using model = await load(original, { size: 64 });
      await save(model, saved);
    }
    await convert(saved, written);
    expect(pythonJson<number>(loadAsKeras, original, written)).toBe(107);
  }, 120_000);

  test('a whole Keras model keeps its description', async () => {
    const source = mlperfResnet8;
    await convert(source, at('whole.h5'));
    expect(await contents(at('whole.h5'))).toEqual(await contents(source));
    const [a, b] = [await openCheckpoint(source), await openCheckpoint(at('whole.h5'))];
    expect(b.metadata).toEqual(a.metadata);
    expect(b.reason).toBe('HDF5 with /model_weights');
    await Promise.all([a.close(), b.close()]);
    await convert(source, at('whole.residual'));
    const logits = await logitsOfWhole(source);
    expect(await logitsOfWhole(at('whole.h5'))).toEqual(logits);
    expect(await logitsOfWhole(at('whole.residual'))).toEqual(logits);
    await convert(source, at('whole.safetensors'));
    expect(await logitsOfWhole(at('whole.safetensors'))).toEqual(logits);
  });

  test('PyTorch loads what is converted for it', async () => {
    await convert(join(shared as string, 'weights/resnet20-12fca82f.th'), at('resnet20.pth'));
    const found = pythonJson<Expected>(
      `import torch
print(json.dumps({n: of_torch(t) for n, t in torch.load(sys.argv[1], weights_only=True).items()}))`,
      at('resnet20.pth'),
    );
    expect(found).toEqual(await contents(at('resnet20.pth')));
    expect(Object.keys(found)).toContain('linear.weight');
  });
});

async function logitsOfWhole(path: string): Promise<number[]> {
  await using model = await load(path);
  return answer(model, noiseTensor([1, 3, 32, 32], noise(3), 127, 127));
}

test('a bundled model by its name', async () => {
  const done = await convert('resnet16-cifar10', at('bundled.residual'));
  expect(done.dialect).toBe('residual');
  await using model = await load(at('bundled.residual'));
  await using original = await load('resnet16-cifar10');
  expect(model.graph).toEqual(original.graph);
  expect({ ...model.record, about: original.record.about }).toEqual(original.record);
  await convert('resnet16-cifar10', at('bundled.onnx'));
  expect(existsSync(at('bundled.onnx'))).toBe(true);
});

test('in bf16: weights of convolutions and dense layers alone, in half the bytes, and nearly the same logits', async () => {
  for (const ending of ['residual', 'safetensors', 'pth']) {
    const [long, short] = [at(`long.${ending}`), at(`short.${ending}`)];
    await convert(mlperfResnet8, long);
    await convert(mlperfResnet8, short, { bf16: true });
    const [before, after] = [await contents(long), await contents(short)];
    expect(Object.keys(after).sort()).toEqual(Object.keys(before).sort());
    for (const [name, { dtype, shape }] of Object.entries(after))
      expect([name, dtype]).toEqual([name, shape.length > 1 ? 'bfloat16' : 'float32']);
  }
  expect(statSync(at('short.residual')).size).toBeLessThan(0.55 * statSync(at('long.residual')).size);
  const [whole, half] = [await logitsOf(at('long.residual')), await logitsOf(at('short.residual'))];
  half.forEach((x, i) => void expect(Math.abs(x - whole[i])).toBeLessThan(0.02));
  expect(half).not.toEqual(whole);
  for (const name of ['half.onnx', 'half.h5'])
    await expect(convert('resnet16-cifar10', at(name), { bf16: true })).rejects.toMatchObject({ code: 'ARGUMENT' });
});

test('an ONNX model becomes the same network with its record, and one again', async () => {
  const graph = build('resnet18', small);
  const labels = ['a', 'b', 'c', 'd', 'e'].map((label) => ({ label }));
  writeFileSync(at('before.safetensors'), Buffer.concat([...safetensorsBytes(noiseWeights(graph, 4))]));
  await convert(at('before.safetensors'), at('through.onnx'), { labels, preprocess: 'torchvision-v2' });
  // Folded, the file holds less than the source: what is told is what is in it.
  const folded = await convert(at('before.safetensors'), at('folded.onnx'), { fold: true });
  const held = Object.values(await contents(at('folded.onnx')));
  expect(folded.tensors).toBe(held.length);
  expect(folded.tensors).toBeLessThan(graph.parameters.length);
  const told = await convert(at('through.onnx'), at('through.residual'));
  expect(told).toMatchObject({ dialect: 'residual', dropped: [] });
  await using model = await load(at('through.residual'));
  expect(model.record).toMatchObject({ classes: labels, preprocess: 'torchvision-v2' });
  const logits = await logitsOf(at('before.safetensors'));
  expect(await logitsOf(at('through.onnx'))).toEqual(logits);
  expect(await logitsOf(at('through.residual'))).toEqual(logits);
  await convert(at('through.residual'), at('again.onnx'));
  expect(await logitsOf(at('again.onnx'))).toEqual(logits);
  // Its weights have kept torchvision's names.
  const alone = await convert(at('through.onnx'), at('alone.pth'));
  expect(alone.notes.join()).toContain('no place for the network of the ONNX model');
  expect(await contents(at('alone.pth'))).toEqual(await contents(at('before.safetensors')));
});

test('an ending that contradicts the format asked for is told', async () => {
  const write = async (name: string, to: 'safetensors' | 'residual' | 'onnx') =>
    (await convert('resnet16-cifar10', at(name), { to })).notes.join();
  expect(await write('other.h5', 'safetensors')).toContain(
    'other.h5: written as safetensors, as was asked; its ending means keras',
  );
  expect(await write('other.pth', 'onnx')).toContain('its ending means pytorch');
  expect(await write('other.safetensors', 'residual')).not.toContain('ending');
  expect(await write('other', 'safetensors')).not.toContain('ending');
});

test('labels and preprocessing go into the record', async () => {
  writeFileSync(
    at('plain.safetensors'),
    Buffer.concat([...safetensorsBytes(noiseWeights(build('resnet18', small), 1))]),
  );
  const labels = ['a', 'b', 'c', 'd', 'e'].map((label) => ({ label }));
  await convert(at('plain.safetensors'), at('told.residual'), { labels, preprocess: 'torchvision-v2' });
  await using model = await load(at('told.residual'));
  expect(model.record).toMatchObject({ classes: labels, preprocess: 'torchvision-v2' });
  await expect(convert(at('plain.safetensors'), at('told.pth'), { labels })).rejects.toThrow(
    'pytorch has no place for them',
  );
  // The record of a file stays with its tensors in the other container that can hold it.
  await convert(at('told.residual'), at('told.safetensors'));
  await using kept = await load(at('told.safetensors'));
  expect(kept.record).toEqual(model.record);
  const lost = await convert(at('told.residual'), at('told.pth'));
  expect(lost.notes.join()).toContain('no place for preprocessing, classes and licence');
});
