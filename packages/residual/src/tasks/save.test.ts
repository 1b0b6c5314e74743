import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { randomNetwork } from '../engines/random.test.graphs.js';
import { noiseWeights } from '../engines/sketch.js';
import { batchNorm, conv2d, dense, globalAvgPool, input, network, relu } from '../graph/build.js';
import { readGraph } from '../graph/stored.js';
import { preset } from '../image/presets.js';
import { build, type FamilyName, family } from '../models/resnet.js';
import { type Tensor, tensor } from '../tensor.js';
import { refusal, temporaryFolder } from '../testing.js';
import { openCheckpoint } from '../weights/open.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { load } from './load.js';
import { createModel } from './model.js';
import { save } from './save.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const fixture = (name: string) => fileURLToPath(new URL(`../../fixtures/${name}.format1.residual`, import.meta.url));
const bits = ({ data }: Tensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex');

const small = { classes: 3, size: 32, width: 8, widthPerGroup: 8, depths: [1, 1, 1, 1] };

describe('what is saved is loaded again, without options', () => {
  test('a network of one’s own, with its plan, classes and licence, computes the same', async () => {
    const x = input({ height: 9, width: 7 });
    const y = relu(batchNorm(conv2d(x, 5, { kernel: 3, padding: 'same', stride: 2 }), { epsilon: 1e-3 }));
    const graph = network('mine', { logits: dense(globalAvgPool(y), 2) }, { layer: y });
    const record = {
      architecture: 'mine',
      preprocess: 'custom',
      plan: [{ step: 'decode', as: 'pillow' } as const, { step: 'scale', factor: 0.5, offset: 1 } as const],
      classes: [{ label: 'cat' }, { label: 'Hünd', wnid: 'n02084071' }],
      licence: 'MIT',
      source: 'https://example.org',
    };
    await using model = createModel(graph, record, { seed: 3 });
    const path = join(folder.path, 'own.residual');
    await save(model, path);
    await using again = await load(path);
    expect(again.graph).toEqual(graph);
    expect(again.record).toEqual(record);
    expect(again.notes).toEqual([]);
    for (const [name, values] of await model.weights())
      expect(bits((await again.weights()).get(name) as Tensor), name).toBe(bits(values));
    const picture = tensor(
      Float32Array.from({ length: 2 * 3 * 9 * 7 }, (_, i) => Math.sin(i)),
      [2, 3, 9, 7],
    );
    const run = async (m: typeof model) => bits((await m.run(picture, ['logits'])).logits);
    expect(await run(again)).toBe(await run(model));
  });

  test.each([
    'resnet18',
    'keras-resnet50',
    'keras-resnet50v2',
    'keras2015-resnet50',
    'resnext50_32x4d',
  ] satisfies FamilyName[])('%s is stored by its settings and may still be built for another size', async (name) => {
    const grouped = name === 'resnext50_32x4d' ? { groups: 4, widthPerGroup: 4 } : {};
    const config = { ...family[name], ...small, ...grouped };
    const plan = preset('caffe', { height: 32, width: 32 });
    await using model = createModel(build(name, config), { architecture: name, config, preprocess: 'caffe', plan });
    const path = join(folder.path, `${name}.residual`);
    await save(model, path);
    const { metadata, close } = await openCheckpoint(path);
    await close();
    expect(JSON.parse(metadata.residual as string)).toMatchObject({ format: 1, config, dialect: 'residual' });
    expect(JSON.parse(metadata.residual as string).graph).toBeUndefined();
    await using again = await load(path);
    expect(again.graph).toEqual(model.graph);
    expect(again.record).toEqual(model.record);
    await using larger = await load(path, { size: 64, classes: 7, newHead: true });
    expect(larger.graph.inputs[0].shape).toEqual([1, 3, 64, 64]);
    expect(larger.record.plan[1]).toMatchObject({ step: 'resize', height: 64, width: 64 });
    expect(larger.record.classes).toBeUndefined();
  });

  test('any network of the ops there are', async () => {
    await fc.assert(
      fc.asyncProperty(randomNetwork, async ({ graph }) => {
        expect(readGraph(JSON.parse(JSON.stringify(graph)), 'x')).toEqual(graph);
      }),
      { numRuns: 200 },
    );
  });
});

test.each(['safetensors', 'onnx', 'RESIDUAL'])('the ending chooses the format: .%s', async (ending) => {
  const plan = preset('caffe', { height: 32, width: 32 });
  const record = {
    architecture: 'resnet18',
    preprocess: 'caffe',
    plan,
    classes: [...'abc'].map((label) => ({ label })),
  };
  await using model = createModel(build('resnet18', { ...family.resnet18, ...small }), record);
  const path = join(folder.path, `chosen.${ending}`);
  await save(model, path);
  await using again = await load(path);
  expect(again.record).toMatchObject({ preprocess: 'caffe', plan, classes: record.classes });
  const { format, close } = await openCheckpoint(path);
  await close();
  expect(format).toBe(ending === 'onnx' ? 'onnx' : 'safetensors');
});

test.each([
  ['x.pth', /^x\.pth: a \.pth file has no place for network, preprocessing and classes, .* with convert$/],
  ['x.h5', /^x\.h5: a \.h5 file has no place/],
  ['x.keras', /^x\.keras: its ending says no format that is written; expected one of \.residual/],
  ['x', /^x: its ending says no format/],
])('%s is refused before anything is written', async (name, message) => {
  const plan = preset('caffe', { height: 32, width: 32 });
  await using model = createModel(build('resnet18', { ...family.resnet18, ...small }), {
    architecture: 'r',
    preprocess: 'caffe',
    plan,
  });
  expect(await refusal(save(model, name))).toMatchObject({ code: 'ARGUMENT', message: expect.stringMatching(message) });
});

describe('files of format 1', () => {
  test('a member of the family', async () => {
    await using model = await load(fixture('family'));
    expect(model.record).toMatchObject({
      architecture: 'resnet20',
      preprocess: 'cifar',
      classes: [{ label: 'tench', wnid: 'n01440764' }, { label: 'goldfish' }, { label: 'Haï' }],
      licence: 'CC0-1.0',
      source: 'random weights, seed 7',
    });
    expect(model.record.plan[1]).toEqual({ step: 'resize', height: 8, width: 12, filter: 'bilinear' });
    const sum = [...(await model.weights()).values()].flatMap(({ data }) => [...data]).reduce((a, b) => a + b, 0);
    expect(sum).toBeCloseTo(45.112614308542106, 5);
  });

  test('a network of one’s own', async () => {
    await using model = await load(fixture('own'));
    expect(model.graph.nodes.map(({ op }) => op)).toEqual([
      'conv2d',
      'batchNorm',
      'relu',
      'conv2d',
      'add',
      'relu',
      'globalAvgPool',
      'dense',
      'softmax',
    ]);
    expect(model.record).toMatchObject({ architecture: 'mine', preprocess: 'custom' });
    expect(model.record.plan).toHaveLength(3);
    expect(model.record.classes).toBeUndefined();
    const sum = [...(await model.weights()).values()].flatMap(({ data }) => [...data]).reduce((a, b) => a + b, 0);
    expect(sum).toBeCloseTo(7.738101897353772, 5);
  });
});

/** The fixture with its record changed. */
async function changed(name: string, change: (record: Record<string, unknown>) => unknown): Promise<Uint8Array> {
  const checkpoint = await openCheckpoint(fixture(name));
  const record = JSON.parse(checkpoint.metadata.residual as string);
  const result = change(record) ?? record;
  const tensors = await Promise.all(
    [...checkpoint.tensors.keys()].map(async (t) => [t, await checkpoint.read(t)] as const),
  );
  await checkpoint.close();
  const text = typeof result === 'string' ? result : JSON.stringify(result);
  return Buffer.concat([...safetensorsBytes(tensors, { residual: text })]);
}

describe('a record is believed in nothing', () => {
  /** Replaces one part of the record: `graph.nodes.0.op`. */
  const set = (path: string, value: unknown) => (record: Record<string, unknown>) => {
    const keys = path.split('.');
    let at = record;
    for (const key of keys.slice(0, -1)) at = at[key] as typeof at;
    at[keys[keys.length - 1]] = value;
  };
  const upsideDown = ({ graph }: Record<string, unknown>) => {
    (graph as { nodes: unknown[] }).nodes.reverse();
  };
  const scaled = (name: string, scale: number, dtype = 'u8') => ({
    activations: { [name]: { scale, dtype } },
    float: [],
  });
  test.each<[string, string, (record: Record<string, unknown>) => unknown, RegExp]>([
    ['a later format', 'family', (r) => ({ ...r, format: 3 }), /is of format 3, and this version .* npm install/],
    ['no format', 'family', (r) => ({ ...r, format: '1' }), /has the format "1", which is none/],
    ['no object', 'family', () => '[]', /is no JSON object/],
    ['no JSON', 'family', () => '{', /its record is no JSON/],
    ['a setting of tomorrow', 'family', (r) => ({ ...r, config: { magic: 1 } }), /setting "magic", which is not known/],
    ['a huge stage', 'family', (r) => ({ ...r, config: { depths: [1e9] } }), /\[1000000000\] for depths/],
    ['settings at odds', 'family', set('config.groups', 4), /config that contradicts itself: groups 4/],
    ['a huge picture', 'family', (r) => ({ ...r, plan: [{ step: 'centerCrop', height: 1e6, width: 1 }] }), /for plan/],
    ['a step that is none', 'family', (r) => ({ ...r, plan: [{ step: 'run', code: 'x' }] }), /for plan/],
    [
      'division by nothing',
      'family',
      (r) => ({ ...r, plan: [{ step: 'normalize', mean: [0], deviation: [0] }] }),
      /plan/,
    ],
    ['a class without a label', 'family', (r) => ({ ...r, classes: [{}] }), /for classes/],
    ['other classes than outputs', 'family', (r) => ({ ...r, classes: [{ label: 'a' }] }), /3 classes but 1 label was/],
    ['no architecture', 'family', (r) => ({ ...r, architecture: undefined }), /missing for architecture/],
    ['an op of tomorrow', 'own', set('graph.nodes.0.op', 'attention'), /whose op is "attention"/],
    ['a value from nowhere', 'own', set('graph.nodes.1.inputs.0', 99), /takes a value that nothing/],
    ['a circle', 'own', upsideDown, /takes a value that nothing before it makes/],
    ['a value made twice', 'own', set('graph.nodes.2.outputs.0', 0), /defines value 0 twice/],
    ['kernels that differ', 'own', set('graph.nodes.0.attributes.kernel', [5, 5]), /other parameters/],
    ['groups of none', 'own', set('graph.nodes.0.attributes.groups', 0), /whose groups is 0/],
    ['a shape that lies', 'own', set('graph.parameters.2.shape', [5]), /other parameters/],
    ['a giant', 'own', set('graph.inputs.0.shape', [1, 60000, 60000, 60000]), /too large/],
    ['an unknown attribute', 'own', set('graph.nodes.2.attributes.leak', 1), /unknown "leak"/],
    ['two layers of a name', 'own', set('graph.nodes.2.name', 're_lu_1'), /two layers called/],
    ['a feature from nowhere', 'own', set('graph.features.x', 1000), /whose x is 1000/],
    ['scales that are none', 'own', set('quantisation', 5), /a quantisation that is none/],
    [
      'scales and no graph',
      'family',
      set('quantisation', { activations: {}, float: [] }),
      /no graph that they could be of/,
    ],
    ['a scale of 0', 'own', set('quantisation', scaled('re_lu_1', 0)), /as the scale of "re_lu_1"/],
    ['a scale of 4 bits', 'own', set('quantisation', scaled('re_lu_1', 1, 'u4')), /as the scale of "re_lu_1"/],
    [
      'a scale of a stranger',
      'own',
      set('quantisation', scaled('relu9', 1)),
      /scale for "relu9", which its network has not/,
    ],
    ['no layers', 'own', set('graph.nodes', []), /no list of 1 to 20000 layers/],
  ])('%s', async (_, name, change, message) => {
    const error = await refusal(load(await changed(name, change)));
    expect(['WEIGHTS_FORMAT', 'CLASSES']).toContain(error.code);
    expect(error.message).toMatch(message);
  });

  test('any part replaced by anything is loaded or refused, never a crash', async () => {
    const checkpoint = await openCheckpoint(fixture('own'));
    const record = checkpoint.metadata.residual as string;
    await checkpoint.close();
    const paths: (string | number)[][] = [];
    const walk = (value: unknown, path: (string | number)[]) => {
      paths.push(path);
      if (typeof value === 'object' && value !== null)
        for (const [key, child] of Object.entries(value)) walk(child, [...path, key]);
    };
    walk(JSON.parse(record).graph, []);
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), fc.jsonValue(), async (path, value) => {
        const json = { graph: JSON.parse(record).graph };
        const keys = ['graph', ...path];
        let at = json as Record<string | number, unknown>;
        for (const key of keys.slice(0, -1)) at = at[key] as typeof at;
        at[keys[keys.length - 1]] = value;
        try {
          readGraph(json.graph, 'x');
        } catch (error) {
          expect((error as { code?: string }).code).toMatch(/WEIGHTS_FORMAT|GRAPH/);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('nothing is left half-written', () => {
  const model = (weights?: ReadonlyMap<string, Tensor>) => {
    const graph = build('resnet20', { depths: [1, 1, 1] });
    const plan = preset('cifar', { height: 32, width: 32 });
    return createModel(graph, { architecture: 'x', preprocess: 'cifar', plan }, weights ? { weights } : {});
  };
  const place = temporaryFolder();
  afterAll(place.remove);
  const at = (name: string) => join(place.path, name);

  test('weights that are no numbers', async () => {
    const { graph } = model();
    const weights = new Map(noiseWeights(graph, 1));
    (weights.get('conv1.weight') as Tensor).data[3] = Number.NaN;
    await expect(save(model(weights), at('nan.residual'))).rejects.toMatchObject({ code: 'NUMERICS' });
    expect(readdirSync(place.path)).toEqual([]);
  });

  test('a folder that is not there, a folder, a device', async () => {
    const [apart, link] = [at('apart.residual'), at('apart.residual/device.residual')];
    mkdirSync(apart);
    symlinkSync('/dev/null', link);
    for (const target of [at('no/such/x.residual'), apart, link])
      await expect(save(model(), target), target).rejects.toMatchObject({ code: 'FILE' });
    expect(readdirSync(apart)).toEqual(['device.residual']);
    rmSync(apart, { recursive: true });
    expect(readdirSync(place.path)).toEqual([]);
  });

  test('cancelled on the way: the older file stays', async () => {
    writeFileSync(at('old.residual'), 'old');
    const abort = new AbortController();
    const watched = { signal: abort.signal, onProgress: (done: number) => done > 1000 && abort.abort() };
    await expect(save(model(), at('old.residual'), watched)).rejects.toMatchObject({ code: 'ABORTED' });
    expect(readFileSync(at('old.residual'), 'utf8')).toBe('old');
    expect(readdirSync(place.path)).toEqual(['old.residual']);
  });
});
