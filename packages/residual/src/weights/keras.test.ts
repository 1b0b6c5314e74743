import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import {
  bytesOf,
  describeAll,
  type Expected,
  mlperfResnet8,
  pythonJson,
  refusal,
  scratch,
  shared,
} from '../testing.js';
import { openKeras } from './keras.js';
import { openCheckpoint } from './open.js';
import { bytesSource } from './source.js';

/** Files by h5py: the layouts, types and filters of Keras' files, and some that try a reader. */
const zoo = `
import h5py
folder = sys.argv[1]
rng = np.random.default_rng(1)
expected = {}
def keras(name, write=None, libver=None, whole=False, layers=None, **attributes):
    with h5py.File(f'{folder}/{name}.h5', 'w', libver=libver) as f:
        root = f.create_group('model_weights') if whole else f
        for key, value in attributes.items(): f.attrs[key] = value
        layers = layers or {'conv1': {'conv1/kernel:0': rng.standard_normal((3, 3, 2, 4)).astype('f4'), 'conv1/bias:0': np.arange(4, dtype='f4')},
                            'pool': {}, 'bn': {'bn/gamma:0': np.ones(4, 'f4'), 'bn/beta:0': np.zeros(4, 'f4')}}
        root.attrs['layer_names'] = np.array([n.encode() for n in layers])
        found = expected[name] = {}
        for layer, weights in layers.items():
            group = root.create_group(layer)
            group.attrs['weight_names'] = np.array([n.encode() for n in weights]) if weights else []
            for weight, array in weights.items():
                (write or (lambda g, n, a: g.create_dataset(n, data=a)))(group, weight, array)
                found[f'{layer}/{weight}'] = described(array)
        if whole:
            f.create_group('optimizer_weights').create_dataset('momentum', data=np.ones(3))
big = {'fc': {'fc/kernel:0': rng.standard_normal((300, 70)).astype('f4')}}
keras('plain', keras_version='2.4.0', backend=b'tensorflow')
keras('whole', whole=True, keras_version=b'2.4.0', backend='tensorflow', model_config=json.dumps({'class_name': 'Functional', 'config': {'long': 'x' * 100_000}}))
keras('keras1', layers={'conv1': {'conv1_W_1:0': rng.standard_normal((7, 7, 3, 4)).astype('f4'), 'conv1_b_1:0': np.ones(4, 'f4')},
    'bn_conv1': {f'bn_conv1_{k}_1:0': np.full(4, i, 'f4') for i, k in enumerate(('gamma', 'beta', 'running_mean', 'running_std'))}})
keras('latest', libver='latest')
keras('v108', libver=('v108', 'v108'))
keras('gzip', lambda g, n, a: g.create_dataset(n, data=a, chunks=(64, 32), compression='gzip'), layers=big)
keras('shuffle', lambda g, n, a: g.create_dataset(n, data=a, chunks=(299, 3), compression='gzip', shuffle=True, fletcher32=True), layers=big)
keras('chunked', lambda g, n, a: g.create_dataset(n, data=a, chunks=(7, 7)), layers=big)
keras('types', layers={'all': {f'all/{t}': np.arange(-2, 5).astype(t) for t in ('float64', 'float32', 'float16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool')}})
keras('shapes', layers={'all': {'scalar': np.float32(7), 'empty': np.zeros((0, 3), 'f4'), 'deep/er/path:0': np.ones((1, 2, 3, 4, 5), 'f4')}})
keras('many', layers={f'layer_{i}': {f'layer_{i}/kernel:0': np.full(3, i, 'f4')} for i in range(600)})
def lzf(g, n, a): g.create_dataset(n, data=a, chunks=(64, 32), compression='lzf')
keras('lzf', lzf, layers=big)
keras('new-chunks', lambda g, n, a: g.create_dataset(n, data=a, chunks=(10, 10), maxshape=(None, 70)), libver='latest', layers=big)
# How the newer format finds the chunks of a dataset depends on what of it may grow.
for name, libver, more in (('earliest', 'earliest', dict(chunks=(7, 7), compression='gzip', compression_opts=9)), ('one-chunk', 'latest', dict(chunks=(300, 70), compression='gzip')),
                           ('fixed-array', 'latest', dict(chunks=(7, 7), compression='gzip', shuffle=True, fletcher32=True)),
                           ('extensible-array', 'latest', dict(chunks=(7, 7), compression='gzip', maxshape=(None, 70))),
                           ('b-tree', 'latest', dict(chunks=(7, 7), compression='gzip', maxshape=(None, None))),
                           ('szip', None, dict(chunks=(64, 32), compression='szip'))):
    keras(name, lambda g, n, a: g.create_dataset(n, data=a, **more), libver=libver, layers=big)
keras('scalars', keras_version=np.array(b'2.15.0'), backend=np.array('tensorflow', dtype=h5py.string_dtype()))
keras('scalars-fixed', libver='latest', keras_version=np.bytes_('2.15.0'), backend=np.array('tensorflow', dtype=h5py.string_dtype('utf-8', 20)))
keras('swapped', lambda g, n, a: g.create_dataset(n, data=a.astype('>f4')), layers=big)
def unwritten(g, n, a): g.create_dataset(n, shape=(300, 70), dtype='f4')
keras('unwritten', unwritten, layers={'fc': {'fc/kernel:0': np.zeros((300, 70), 'f4')}})
def bomb(g, n, a): g.create_dataset(n, shape=(2**40,), dtype='f4', chunks=(2**20,))
keras('bomb', bomb, layers={'fc': {'fc/kernel:0': np.zeros(1, 'f4')}})
for count, attributes in ((50, 3), (3000, 20)):
    keras(f'many-latest-{count}', libver='latest', layers={f'layer_{i}': {f'layer_{i}/kernel:0': np.full(3, i, 'f4')} for i in range(count)},
          keras_version='2.4.0', **{f'more_{i}': 'x' * i for i in range(attributes)})
keras('many-v108', libver=('v108', 'v108'), layers={f'layer_{i}': {f'w{k}': np.full(3, i, 'f4') for k in range(i % 12)} for i in range(90)})
with h5py.File(f'{folder}/variable.h5', 'w') as f:
    f.attrs['layer_names'] = [f'layer_{i}' for i in range(2000)]
    for i in range(2000): f.create_group(f'layer_{i}').attrs['weight_names'] = [f'w{k}' for k in range(2)] if i == 7 else []
    f['layer_7/w0'] = np.float32(1); f['layer_7/w1'] = np.float32(2)
with h5py.File(f'{folder}/deep.h5', 'w') as f: f.create_dataset('/'.join(['group'] * 400), data=np.ones(1))
with h5py.File(f'{folder}/parts.h5', 'w') as f:
    f.attrs['layer_names0'] = np.array([b'a']); f.attrs['layer_names1'] = np.array([b'b'])
    for n in 'ab':
        g = f.create_group(n); g.attrs['weight_names'] = np.array([b'w']); g['w'] = np.ones(2, 'f4')
with h5py.File(f'{folder}/weight-parts.h5', 'w') as f:
    f.attrs['layer_names'] = np.array([b'a']); g = f.create_group('a')
    for i in range(12): g.attrs[f'weight_names{i}'] = np.array([f'w{i}'.encode()]); g[f'w{i}'] = np.ones(2, 'f4')
with h5py.File(f'{folder}/missing.h5', 'w') as f:
    f.attrs['layer_names'] = np.array([b'conv1']); f.create_group('conv1').attrs['weight_names'] = np.array([b'conv1/kernel:0'])
raw = np.ones(70, 'f4'); raw.tofile(f'{folder}/raw.bin')
keras('external', lambda g, n, a: g.create_dataset(n, shape=(70,), dtype='f4', external=[(f'{folder}/raw.bin', 0, 280)]), layers={'fc': {'k': raw}})
with h5py.File(f'{folder}/source.h5', 'w') as f: f['d'] = raw
def virtual(g, n, a):
    layout = h5py.VirtualLayout(shape=(70,), dtype='f4'); layout[:] = h5py.VirtualSource(f'{folder}/source.h5', 'd', shape=(70,)); g.create_virtual_dataset(n, layout)
keras('virtual', virtual, layers={'fc': {'k': raw}})
def linked(g, n, a): g[n] = h5py.ExternalLink(f'{folder}/source.h5', '/d')
keras('linked', linked, layers={'fc': {'k': raw}})
keras('complex', layers={'fc': {'fc/kernel:0': np.ones(3, 'c8')}})
with h5py.File(f'{folder}/twice.h5', 'w') as f:
    f.attrs['layer_names'] = [b'a']; g = f.create_group('a'); g.attrs['weight_names'] = [b'w', b'w']; g['w'] = np.ones(2, 'f4')
with h5py.File(f'{folder}/no-layer.h5', 'w') as f: f.attrs['layer_names'] = [b'conv1']
with h5py.File(f'{folder}/no-line.h5', 'w') as f: f.attrs['layer_names'] = [b'conv\\r\\n1' + b'x' * 5000]
with h5py.File(f'{folder}/cyclic.h5', 'w') as f:
    g = f.create_group('a/b'); g['w'] = np.arange(3, dtype='f4')
    g['up'] = f['a']; g['root'] = f['/']; g['again'] = g['w']
    g['soft'] = h5py.SoftLink('/a/b'); g['out'] = h5py.ExternalLink('other.h5', '/'); g['text'] = 'hello'
with h5py.File(f'{folder}/cyclic-latest.h5', 'w', libver='latest') as f:
    g = f.create_group('a/b'); g['w'] = np.arange(3, dtype='f4'); g['up'] = f['a']; g['soft'] = h5py.SoftLink('/a/b')
for name, config in (('deep-config', '[' * 1_000_000), ('long-config', '[' + '0,' * 3_000_000 + '0]')):
    with h5py.File(f'{folder}/{name}.h5', 'w') as f:
        f.attrs['layer_names'] = np.array([b'a']); f.create_group('a').attrs['weight_names'] = []
        f.attrs['model_config'] = config
with h5py.File(f'{folder}/crowd.h5', 'w') as f:
    for i in range(20_001): f.create_group(f'group_{i}')
print(json.dumps(expected))
`;

const readBack = `
import h5py
found = {}
with h5py.File(sys.argv[1], 'r') as f:
    root = f['model_weights'] if 'model_weights' in f else f
    for layer in root.attrs['layer_names']:
        layer = layer if isinstance(layer, str) else layer.decode()
        for weight in root[layer].attrs['weight_names']:
            weight = weight if isinstance(weight, str) else weight.decode()
            found[f'{layer}/{weight}'] = described(root[layer][weight][()])
print(json.dumps(found))
`;

describe.skipIf(!shared)('Keras files', () => {
  const folder = scratch();
  const expected = shared ? pythonJson<Record<string, Expected>>(zoo, folder) : {};
  const path = (name: string) => join(folder, `${name}.h5`);

  test.each([
    'plain',
    'keras1',
    'whole',
    'v108',
    'gzip',
    'shuffle',
    'chunked',
    'types',
    'shapes',
    'many',
    'latest',
    'many-latest-50',
    'many-latest-3000',
    'many-v108',
    'swapped',
    'new-chunks',
    'earliest',
    'one-chunk',
    'fixed-array',
    'extensible-array',
    'b-tree',
    'szip',
    'scalars',
    'scalars-fixed',
  ])('%s reads as h5py reads it, in the order of the attributes', async (name) => {
    const checkpoint = await openCheckpoint(path(name));
    const found = await describeAll(checkpoint);
    expect(found).toEqual(expected[name]);
    expect(Object.keys(found)).toEqual(Object.keys(expected[name]));
    await checkpoint.close();
  });

  test('bytes and Blob read as the path does', async () => {
    const bytes = bytesOf(path('gzip'));
    for (const input of [bytes, new Blob([bytes as Uint8Array<ArrayBuffer>])])
      expect(await describeAll(await openCheckpoint(input))).toEqual(expected.gzip);
  });

  test('a whole model gives its architecture and leaves the optimiser out', async () => {
    const checkpoint = await openCheckpoint(path('whole'));
    expect(checkpoint).toMatchObject({
      format: 'keras-h5',
      reason: 'HDF5 with /model_weights',
      metadata: {
        keras_version: '2.4.0',
        backend: 'tensorflow',
        layer_names: ['conv1', 'pool', 'bn'],
        model_config: { class_name: 'Functional', config: { long: 'x'.repeat(100_000) } },
      },
    });
    await checkpoint.close();
  });

  test('names that were cut into several attributes are joined', async () => {
    const checkpoint = await openCheckpoint(path('parts'));
    expect([...checkpoint.tensors.keys()]).toEqual(['a/w', 'b/w']);
    await checkpoint.close();
  });

  test('the names of a layer’s weights too', async () => {
    const checkpoint = await openCheckpoint(path('weight-parts'));
    expect([...checkpoint.tensors.keys()]).toEqual(Array.from({ length: 12 }, (_, i) => `a/w${i}`));
    await checkpoint.close();
  });

  test.each(['scalars', 'scalars-fixed'])('%s: texts of one length or of any, alone', async (name) => {
    const checkpoint = await openCheckpoint(path(name));
    expect(checkpoint.metadata).toMatchObject({ keras_version: '2.15.0', backend: 'tensorflow' });
    await checkpoint.close();
  });

  test('names may be texts of variable length', async () => {
    const checkpoint = await openCheckpoint(path('variable'));
    expect([...checkpoint.tensors.keys()]).toEqual(['layer_7/w0', 'layer_7/w1']);
    expect(checkpoint.metadata.layer_names).toHaveLength(2000);
    await checkpoint.close();
  });

  test.each(['cyclic', 'cyclic-latest'])(
    '%s: without layer_names the datasets are listed once, links in a circle end',
    async (name) => {
      const checkpoint = await openCheckpoint(path(name));
      expect(checkpoint.reason).toContain('without layer_names');
      expect([...checkpoint.tensors.keys()].length).toBe(1);
      const [only] = checkpoint.tensors.keys();
      expect(Array.from((await checkpoint.read(only)).data as Float32Array)).toEqual([0, 1, 2]);
      await checkpoint.close();
    },
  );

  test.each([
    ['missing', /layer conv1 lists the weight conv1\/kernel:0, which is not there/],
    ['complex', /weight fc\/fc\/kernel:0 is no dataset of numbers that are read here/],
    ['linked', /weight fc\/k is no dataset .* in this very file/],
    ['twice', /it lists the weight a\/w twice/],
    ['no-line', /its layer_names list conv {2}1x{570,590}…;/],
    ['no-layer', /its layer_names list conv1, which is not there/],
    ['bomb', /its tensors claim 4398046511104 bytes/],
    ['deep', /a path of more than 1000 characters/],
    ['crowd', /it has more than 20000 groups and datasets/],
    ['deep-config', /its model_config nests more than 100 deep/],
    ['long-config', /its model_config has more than 2000000 parts/],
  ])('%s is refused', async (name, message) => {
    expect(await refusal(openCheckpoint(path(name)))).toMatchObject({
      code: 'WEIGHTS_FORMAT',
      message: expect.stringMatching(message),
    });
  });

  test('values that were never written are refused when they are read', async () => {
    const checkpoint = await openCheckpoint(path('unwritten'));
    expect((await refusal(checkpoint.read('fc/fc/kernel:0'))).message).toMatch(
      /the values of \/fc\/fc\/kernel:0 from \[0, 0\] on were never written into the file; it is damaged or cut off/,
    );
    await checkpoint.close();
  });

  test('a filter that is not read is named when the values are asked for', async () => {
    const checkpoint = await openCheckpoint(path('lzf'));
    expect((await refusal(checkpoint.read('fc/fc/kernel:0'))).message).toContain('the HDF5 filter lzf');
    await checkpoint.close();
  });

  test.each(['external', 'virtual'])('%s: values in another file are not read, which is said', async (name) => {
    const checkpoint = await openCheckpoint(path(name));
    expect((await refusal(checkpoint.read('fc/k'))).message).toMatch(
      /the values of \/fc\/k are stored in another file, and data outside the file is not read; write it again as one file$/,
    );
    await checkpoint.close();
  });

  test('a real file: every value, in the order of Keras', async () => {
    const real = pythonJson<Expected>(readBack, mlperfResnet8);
    const checkpoint = await openCheckpoint(mlperfResnet8);
    const found = await describeAll(checkpoint);
    expect(found).toEqual(real);
    expect(Object.keys(found)).toEqual(Object.keys(real));
    await checkpoint.close();
  });

  test('damage that sends the library in circles ends with the patience; so does the thread', async () => {
    const bytes = bytesOf(path('whole')).slice();
    const file = new DataView(bytes.buffer);
    // The collection of long texts: objects of 16 bytes and their text; number 0 is the space left, here too short.
    let at = Buffer.from(bytes).indexOf('GCOL') + 16;
    while (file.getUint16(at, true) !== 0) at += 16 + 8 * Math.ceil(Number(file.getBigUint64(at + 8, true)) / 8);
    file.setBigUint64(at + 8, 26n, true);
    expect(await refusal(openKeras(bytesSource(bytes), 2000))).toMatchObject({
      code: 'WEIGHTS_FORMAT',
      message: expect.stringContaining('took more than 2 s'),
    });
  });

  test('nothing is read from a closed file', async () => {
    const checkpoint = await openCheckpoint(path('plain'));
    await checkpoint.close();
    expect(await refusal(checkpoint.read('bn/bn/beta:0'))).toMatchObject({ code: 'DISPOSED' });
  });

  test('the whole model of MLPerf Tiny', async () => {
    const checkpoint = await openCheckpoint(mlperfResnet8);
    expect(checkpoint.tensors.size).toBe(48);
    expect(checkpoint.tensors.get('conv2d/conv2d/kernel:0')).toEqual({ dtype: 'float32', shape: [3, 3, 3, 16] });
    expect(checkpoint.metadata).toMatchObject({ keras_version: '2.4.0', model_config: { class_name: 'Functional' } });
    await checkpoint.close();
  });

  test('a download that broke off says how much is missing', async () => {
    const truncated = join(shared!, 'weights/odd/keras2015-resnet50-notop.truncated.h5');
    expect((await refusal(openCheckpoint(truncated))).message).toContain(
      'it should have 94653016 bytes but has 1048576',
    );
    // With the size mended the missing groups themselves are noticed.
    const bytes = new Uint8Array(readFileSync(truncated));
    new DataView(bytes.buffer).setBigUint64(40, BigInt(bytes.length), true);
    expect(await refusal(openCheckpoint(bytes))).toMatchObject({ code: 'WEIGHTS_FORMAT' });
  });
});

test('where h5wasm is not installed the error says what to install', () => {
  // A copy of the package in a folder from which no node_modules can be found.
  const away = scratch();
  const here = fileURLToPath(new URL('../..', import.meta.url));
  for (const part of ['package.json', 'dist']) cpSync(join(here, part), join(away, part), { recursive: true });
  const program = `
    import { openCheckpoint } from ${JSON.stringify(pathToFileURL(join(away, 'dist/weights/open.js')).href)};
    const bytes = Uint8Array.from('\\x89HDF\\r\\n\\x1a\\n and more', (c) => c.charCodeAt(0));
    await openCheckpoint(bytes).catch((error) => console.log(error.code + ': ' + error.message));`;
  expect(execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })).toBe(
    'MISSING_PACKAGE: Keras .h5 files need the package h5wasm, which is not installed; run: npm install h5wasm\n',
  );
});
