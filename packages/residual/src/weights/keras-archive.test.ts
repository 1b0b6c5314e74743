import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { kerasGraph } from '../models/keras-config.js';
import { inspect } from '../tasks/inspect.js';
import { load } from '../tasks/load.js';
import { tensor, toFloat32 } from '../tensor.js';
import { bytesOf, mlperfResnet8, refusal, runPython, scratch, shared } from '../testing.js';
import { writeKeras } from './keras-archive.test.helper.js';
import { openCheckpoint } from './open.js';

/** The trained ResNet-8 of MLPerf Tiny as Keras 3 would save it, its layers under other names than their folders'. */
const zoo = `
folder, original = sys.argv[1:]
with h5py.File(original) as f:
    old = json.loads(f.attrs['model_config'])['config']['layers']
    def arrays(name): g = f['model_weights'][name]; return [g[w][()] for w in g.attrs['weight_names']]
    values = {layer['name']: arrays(layer['name']) for layer in old}
names = {layer['name']: f'{layer["name"][:2]}{i * 7 % 31}' for i, layer in enumerate(old)}
def layer_of(entry):
    config = {k: v for k, v in entry['config'].items() if k not in ('batch_input_shape', 'name')}
    if entry['class_name'] == 'InputLayer': config = {'batch_shape': [None, 32, 32, 3], 'dtype': 'float32', 'sparse': False}
    if entry['class_name'] == 'BatchNormalization': config = {**config, 'axis': -1, 'synchronized': False}
    inputs = [call[0] for call in entry['inbound_nodes'][0]] if entry['inbound_nodes'] else []
    return {'class': entry['class_name'], 'name': names[entry['name']], 'config': config, 'from': [names[n] for n in inputs], 'vars': values[entry['name']]}
layers = [layer_of(entry) for entry in old]
dense = layers[-1]
dropout = {'class': 'Dropout', 'name': 'drop', 'config': {'rate': 0.5, 'seed': None}, 'from': dense['from']}
flat = {'class': 'Functional', 'name': 'resnet8', 'layers': [*layers[:-1], dropout, {**dense, 'from': ['drop']}]}
save = lambda name, model, h5={}, **zip: archive(f'{folder}/{name}.keras', description(model), weights_h5(model, **h5), **zip)
save('plain', flat); save('unnamed', flat, {'noted': False})
save('deflated', flat, method=zipfile.ZIP_DEFLATED); save('packed', flat, {'chunks': True, 'compression': 'gzip', 'shuffle': True})
save('latest', flat, {'libver': 'latest'}); save('assets', flat, **{'assets/x.txt': 'hello'})
save('rootless', flat, {'root': False}); save('rootless-legacy', flat, {'root': False, 'container': '_layer_checkpoint_dependencies', 'noted': False})
save('legacy', flat, {'container': '_layer_checkpoint_dependencies', 'noted': False})
save('legacy-gaps', flat, {'container': '_layer_checkpoint_dependencies', 'noted': False, 'gaps': True})
trunk = {'class': 'Functional', 'name': 'trunk', 'layers': layers[:-1], 'from': ['photo']}
photo = {'class': 'InputLayer', 'name': 'photo', 'config': layers[0]['config'], 'from': []}
save('nested', {'class': 'Functional', 'name': 'net', 'layers': [photo, trunk, {**dense, 'from': ['trunk']}]})
save('nested-unnamed', {'class': 'Functional', 'name': 'net', 'layers': [photo, trunk, {**dense, 'from': ['trunk']}]}, {'noted': False})
save('nested-last', {'class': 'Functional', 'name': 'net', 'layers': [photo, {**flat, 'from': ['photo']}]})
head = {'class': 'Sequential', 'name': 'head', 'layers': [dropout, dense]}
save('sequential', {'class': 'Sequential', 'name': 'net', 'layers': [photo, trunk, head]}); save('sequential-bare', {'class': 'Sequential', 'name': 'net', 'layers': [trunk, head]})
legacy = {'container': '_layer_checkpoint_dependencies', 'noted': False}
save('nested-legacy', {'class': 'Sequential', 'name': 'net', 'layers': [photo, trunk, head]}, legacy)
for name, h5 in (('bare', {}), ('bare-unnamed', {'noted': False})):
    open(f'{folder}/{name}.weights.h5', 'wb').write(weights_h5(flat, **h5))
json.dump(description(flat), open(f'{folder}/config.json', 'w'))
# The older .h5 of a model within a model: the group of the inner model lists the weights of its layers.
roles = lambda layer: ['gamma:0', 'beta:0', 'moving_mean:0', 'moving_variance:0'] if len(layer['vars']) == 4 else ['kernel:0', 'bias:0'][:len(layer['vars'])]
nested = {'class': 'Sequential', 'name': 'net', 'layers': [photo, trunk, {**dense, 'from': []}]}
for whole in (True, False):
    with h5py.File(f'{folder}/nested-{"whole" if whole else "weights"}.h5', 'w') as f:
        root = f.create_group('model_weights') if whole else f
        if whole: f.attrs['model_config'] = json.dumps(description(nested))
        root.attrs['layer_names'] = np.array([b'photo', b'trunk', dense['name'].encode()])
        for name, inner in (('photo', []), ('trunk', layers[:-1]), (dense['name'], [dense])):
            group = root.create_group(name); listed = []
            for layer in inner:
                for role, array in zip(roles(layer), layer['vars']): group[f'{layer["name"]}/{role}'] = array; listed.append(f'{layer["name"]}/{role}'.encode())
            group.attrs['weight_names'] = np.array(listed) if listed else []

# Normalisations without gamma, without beta, without both; beside it the same with ones and zeros in their place.
def normed(scale, center, full):
    def norm(layer):
        gamma, beta, mean, variance = layer['vars']
        kept = [*([gamma] if scale else [np.ones_like(gamma)] if full else []), *([beta] if center else [np.zeros_like(beta)] if full else []), mean, variance]
        return {**layer, 'vars': kept, 'config': {**layer['config'], 'scale': full or scale, 'center': full or center}}
    return {**flat, 'layers': [norm(layer) if len(layer.get('vars', [])) == 4 else layer for layer in flat['layers']]}
for scale, center in ((False, True), (True, False), (False, False)):
    for full in (True, False): save(f'units-{int(scale)}{int(center)}{"-full" if full else ""}', normed(scale, center, full))
with h5py.File(f'{folder}/bfloat16.weights.h5', 'w') as f:
    f.create_group('vars'); g = f.create_group('layers/dense/vars')
    g['0'] = np.array([[0x3f80, 0x4000]], 'u2').view('V2'); g['0'].attrs['dtype'] = 'bfloat16'
# What must be refused.
def changed(name, change, **zip):
    model = description(flat); change(model['config']['layers']); archive(f'{folder}/{name}.keras', model, weights_h5(flat), **zip)
def put(i, **fields):
    def change(layers): layers[i].update(fields)
    return change
changed('lambda', put(3, class_name='Lambda', config={'name': 'code', 'function': {'class_name': '__lambda__', 'config': {'code': '4wEA', 'defaults': None}}}))
changed('lambda-inside', lambda layers: layers[3]['config'].update(activation={'class_name': '__lambda__', 'config': {'value': ['4wEA', None, None]}}))
changed('custom', put(3, module='my.layers', class_name='Swish', registered_name='my>Swish'))
changed('registered', put(3, registered_name='my>Activation'))
changed('quantised', lambda layers: layers[1]['config'].update(dtype={'module': 'keras', 'class_name': 'QuantizedDTypePolicy', 'config': {'mode': 'int8'}}))
changed('renamed', lambda layers: (layers[1]['config'].update(name='other'), put(1, name='other')(layers)))
changed('fewer', lambda layers: layers[1]['config'].update(use_bias=False))
whole = weights_h5(flat); config = description(flat)
archive(f'{folder}/cut.keras', config, whole[:len(whole) // 2]); archive(f'{folder}/no-weights.keras', config, None)
archive(f'{folder}/npz.keras', config, None, **{'model.weights.npz': b'x'}); archive(f'{folder}/no-config.keras', config, whole, **{'config.json': None})
archive(f'{folder}/bad-json.keras', config, whole, **{'config.json': '{"a": '}); archive(f'{folder}/no-hdf.keras', config, b'hello')
archive(f'{folder}/deep.keras', config, whole, **{'config.json': '[' * 1_000_000})
for i, name in enumerate(('../x', '/x', 'assets/../../x', 'c:x', '..\\\\x')): archive(f'{folder}/outside{i}.keras', config, whole, **{name: 'x'})
archive(f'{folder}/bomb.keras', config, bytes(700_000_000), method=zipfile.ZIP_DEFLATED)
archive(f'{folder}/config-bomb.keras', config, whole, method=zipfile.ZIP_DEFLATED, **{'config.json': ' ' * 50_000_000})
warnings.simplefilter('ignore')
with zipfile.ZipFile(f'{folder}/twice.keras', 'w') as z:
    for name, data in (('metadata.json', '{}'), ('config.json', json.dumps(config)), ('config.json', '{}'), ('model.weights.h5', whole)): z.writestr(name, data)
`;

const picture = tensor(
  Float32Array.from({ length: 3 * 32 * 32 }, (_, i) => (i * 7919) % 256),
  [1, 3, 32, 32],
);

describe.skipIf(!shared)('Keras 3', () => {
  const folder = scratch();
  if (shared) runPython(writeKeras + zoo, folder, mlperfResnet8);
  const path = (name: string) => join(folder, name);
  const options = { engine: 'reference', preprocess: 'raw255' } as const;

  const probabilities = async (file: string, more = {}) => {
    await using model = await load(file, { ...options, ...more });
    return (await model.run(picture, ['probabilities'])).probabilities.data;
  };
  const expected = shared ? probabilities(mlperfResnet8) : Promise.resolve(new Float32Array());

  test.each([
    'plain',
    'unnamed',
    'deflated',
    'packed',
    'latest',
    'assets',
    'rootless',
    'rootless-legacy',
    'legacy',
    'legacy-gaps',
    'nested',
    'nested-unnamed',
    'nested-last',
    'nested-legacy',
    'sequential',
    'sequential-bare',
  ])('%s.keras gives the probabilities of the .h5 it was made from, to the last bit', async (name) => {
    expect(await probabilities(path(`${name}.keras`))).toEqual(await expected);
  });

  test.each(['01', '10', '00'])('normalisations without gamma (0·) or beta (·0): %s', async (kind) => {
    const found = await probabilities(path(`units-${kind}.keras`));
    expect(found).toEqual(await probabilities(path(`units-${kind}-full.keras`)));
    expect(found).not.toEqual(await expected);
  });

  test('models within a model in the older .h5', async () => {
    expect(await probabilities(path('nested-whole.h5'))).toEqual(await expected);
    const graph = kerasGraph(JSON.parse(readFileSync(path('config.json'), 'utf8')));
    expect(await probabilities(path('nested-weights.h5'), { architecture: graph })).toEqual(await expected);
  });

  test('bytes and a Blob read as the file does', async () => {
    const bytes = bytesOf(path('plain.keras'));
    for (const input of [bytes, new Blob([bytes as Uint8Array<ArrayBuffer>])]) {
      const checkpoint = await openCheckpoint(input);
      expect(checkpoint.tensors.size).toBe(48);
      await checkpoint.read('de17/kernel');
      await checkpoint.close();
    }
  });

  test('the names are those of the layers, in their order; nothing of the optimiser or of random seeds', async () => {
    const checkpoint = await openCheckpoint(path('plain.keras'));
    expect(checkpoint).toMatchObject({
      format: 'keras-archive',
      reason: 'a zip with config.json and model.weights.h5',
      metadata: { keras_version: '3.15.0', model_config: { class_name: 'Functional' } },
    });
    expect([...checkpoint.tensors.keys()].slice(0, 7)).toEqual([
      'co7/kernel',
      'co7/bias',
      'ba14/gamma',
      'ba14/beta',
      'ba14/moving_mean',
      'ba14/moving_variance',
      'co28/kernel',
    ]);
    expect([...checkpoint.tensors.keys()].at(-1)).toBe('de17/bias');
    expect(checkpoint.tensors.size).toBe(48);
    await checkpoint.close();
  });

  test('a bare .weights.h5 is named by what it notes, else by its folders', async () => {
    const noted = await openCheckpoint(path('bare.weights.h5'));
    expect(noted).toMatchObject({ format: 'keras-h5', reason: 'HDF5 with vars: weights of Keras 3' });
    expect([...noted.tensors.keys()]).toContain('ba14/moving_variance');
    await noted.close();
    const bare = await openCheckpoint(path('bare-unnamed.weights.h5'));
    expect([...bare.tensors.keys()].slice(0, 5)).toEqual([
      'batch_normalization/gamma',
      'batch_normalization/beta',
      'batch_normalization/moving_mean',
      'batch_normalization/moving_variance',
      'batch_normalization_1/gamma',
    ]);
    expect([...bare.tensors.keys()]).toContain('conv2d_8/bias');
    await bare.close();
    // With the network at hand such a file is enough.
    const graph = kerasGraph(JSON.parse(readFileSync(path('config.json'), 'utf8')));
    expect(await probabilities(path('bare.weights.h5'), { architecture: graph })).toEqual(await expected);
  });

  test('bfloat16, which HDF5 has no type for', async () => {
    const checkpoint = await openCheckpoint(path('bfloat16.weights.h5'));
    const kernel = await checkpoint.read('dense/kernel');
    expect(kernel).toMatchObject({ dtype: 'bfloat16', shape: [1, 2] });
    expect([...toFloat32(kernel).data]).toEqual([1, 2]);
    await checkpoint.close();
  });

  test('inspect says what is in an archive, and what cannot be built', async () => {
    expect(await inspect(path('nested.keras'))).toMatchObject({
      format: 'keras-archive',
      dialect: 'keras model',
      architecture: 'net',
    });
    expect((await inspect(path('lambda.keras'))).trouble).toContain('is a Lambda');
  });

  test.each([
    ['lambda', 'WEIGHTS_UNSAFE', /Keras layer "ac21" is a Lambda: program code, which was not executed/],
    ['lambda-inside', 'WEIGHTS_UNSAFE', /Keras layer "ac21" has a lambda among its settings/],
    ['custom', 'GRAPH', /Keras layer "ac21" is of the custom class my\.layers\.Swish, registered as my>Swish/],
    ['registered', 'GRAPH', /is of the custom class Activation, registered as my>Activation/],
    ['quantised', 'GRAPH', /Keras layer "co7" has quantised weights/],
    ['renamed', 'WEIGHTS_FORMAT', /holds the variables of layer co7, not of other/],
    ['fewer', 'WEIGHTS_FORMAT', /layer co7 should have 1 variables \(kernel\) in \/layers\/conv2d\/vars, which has 2/],
    ['cut', 'WEIGHTS_FORMAT', /the HDF5 file cannot be read \(it should have \d+ bytes but has/],
    ['no-weights', 'WEIGHTS_FORMAT', /a Keras archive without model\.weights\.h5/],
    ['npz', 'WEIGHTS_FORMAT', /its weights are a NumPy archive/],
    ['no-config', 'WEIGHTS_FORMAT', /a Keras archive without config\.json/],
    ['bad-json', 'WEIGHTS_FORMAT', /its config\.json is no JSON/],
    ['no-hdf', 'WEIGHTS_FORMAT', /the HDF5 file cannot be read/],
    ['deep', 'WEIGHTS_FORMAT', /its config\.json nests more than 100 deep/],
    ['outside0', 'WEIGHTS_FORMAT', /its member \.\.\/x points outside the archive/],
    ['outside1', 'WEIGHTS_FORMAT', /its member \/x points outside/],
    ['outside2', 'WEIGHTS_FORMAT', /points outside/],
    ['outside3', 'WEIGHTS_FORMAT', /its member c:x points outside/],
    ['outside4', 'WEIGHTS_FORMAT', /points outside/],
    ['bomb', 'WEIGHTS_FORMAT', /member model\.weights\.h5 claims 700000000 bytes, above the limit/],
    ['config-bomb', 'WEIGHTS_FORMAT', /member config\.json claims 50000000 bytes, above the limit/],
    ['twice', 'WEIGHTS_FORMAT', /its zip has two members config\.json/],
  ])('%s is refused', async (name, code, message) => {
    expect(await refusal(load(path(`${name}.keras`), options))).toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test('a zip that lies about the size of what it inflates to', async () => {
    const bytes = Buffer.from(bytesOf(path('deflated.keras')));
    // The last entry of the directory is the weights'; its field of the inflated size is at 24.
    const entry = bytes.lastIndexOf('PK\x01\x02', undefined, 'latin1');
    bytes.writeUInt32LE(1000, entry + 24);
    writeFileSync(path('lying.keras'), bytes);
    expect((await refusal(openCheckpoint(path('lying.keras')))).message).toMatch(/zip container is broken/);
  });
});
