import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { noiseWeights } from '../engines/sketch.js';
import { ResidualError } from '../errors.js';
import { family, resnet } from '../models/resnet.js';
import { convert } from '../tasks/convert.js';
import { load } from '../tasks/load.js';
import type { Tensor } from '../tensor.js';
import { bytesOf, describeAll, type Expected, pythonJson, refusal, scratch } from '../testing.js';
import { dialects } from './dialects.js';
import { openCheckpoint } from './open.js';
import { safetensorsBytes } from './safetensors.js';

const folder = scratch();

/** Arrays of every kind, in Python's protocols; and what NumPy says of them. */
const expected = pythonJson<Expected>(
  `
import pickle
r = np.random.RandomState(1)
arrays = {'c': r.rand(2, 3, 4).astype('f4'), 'fortran': np.asfortranarray(r.rand(3, 5)), 'half': r.rand(7).astype('f2'),
          'long': np.arange(6).reshape(2, 3), 'int': np.arange(3, dtype='i4'), 'byte': np.arange(3, dtype='u1'),
          'flag': np.array([True, False]), 'empty': np.zeros((0, 3), 'f4'), 'scalar': np.array(2.5, 'f4'),
          'view': r.rand(4, 6).astype('f4')[::2, 1::2]}
document = {'model': arrays, '__author__': 'somebody', 'matching_heuristics': True}
for protocol in (2, 4, 5):
    pickle.dump(document, open(os.path.join(sys.argv[1], 'p%d.pkl' % protocol), 'wb'), protocol)
pickle.dump({'a': np.arange(3, dtype='>f4')}, open(os.path.join(sys.argv[1], 'big.pkl'), 'wb'), 4)
pickle.dump({'a': [1, 2]}, open(os.path.join(sys.argv[1], 'none.pkl'), 'wb'), 4)
pickle.dump({'a': np.array([os.getcwd, 1], dtype=object)}, open(os.path.join(sys.argv[1], 'object.pkl'), 'wb'), 4)
print(json.dumps({'model.' + name: described(array) for name, array in arrays.items()}))
`,
  folder,
);

describe('a pickle of NumPy arrays', () => {
  test.each([2, 4, 5])('protocol %i', async (protocol) => {
    const checkpoint = await openCheckpoint(join(folder, `p${protocol}.pkl`));
    expect(checkpoint).toMatchObject({ format: 'numpy-pickle', metadata: { __author__: 'somebody' } });
    expect(await describeAll(checkpoint)).toEqual(expected);
    await checkpoint.close();
  });

  test.each([
    ['big', 'WEIGHTS_FORMAT', 'its arrays are big-endian'],
    ['none', 'WEIGHTS_FORMAT', 'a bare Python pickle without arrays'],
    ['object', 'WEIGHTS_UNSAFE', 'getcwd'],
  ])('%s is refused', async (name, code, message) => {
    const error = await refusal(openCheckpoint(join(folder, `${name}.pkl`)));
    expect(error).toMatchObject({ code, message: expect.stringContaining(message) });
  });

  test('no damaged one crashes or gives other shapes than it says', async () => {
    const whole = bytesOf(join(folder, 'p4.pkl'));
    const damage = fc.record({ at: fc.nat(whole.length - 1), to: fc.nat(255), cut: fc.nat(whole.length * 4) });
    await fc.assert(
      fc.asyncProperty(damage, async ({ at, to, cut }) => {
        const bytes = whole.slice(0, Math.max(1, Math.min(cut, whole.length)));
        if (at < bytes.length) bytes[at] = to;
        try {
          await describeAll(await openCheckpoint(bytes));
        } catch (error) {
          if (!(error instanceof ResidualError)) throw error;
        }
      }),
      { numRuns: 1000 },
    );
  });
});

/** A pickle of these tensors as Detectron2 has them, below `model`. */
function detectron2File(name: string, tensors: ReadonlyMap<string, Tensor>, author: string): string {
  const [source, target] = [join(folder, `${name}.safetensors`), join(folder, `${name}.pkl`)];
  writeFileSync(source, Buffer.concat([...safetensorsBytes(tensors)]));
  pythonJson(
    `
import pickle
raw = open(sys.argv[1], 'rb').read()
length = int.from_bytes(raw[:8], 'little')
header = json.loads(raw[8:8 + length])
model = {}
for name, entry in header.items():
    if name != '__metadata__':
        begin, end = entry['data_offsets']
        model[name] = np.frombuffer(raw[8 + length + begin:8 + length + end], '<f4').reshape(entry['shape'])
pickle.dump({'model': model, '__author__': sys.argv[3], 'matching_heuristics': True}, open(sys.argv[2], 'wb'))
print('null')
`,
    source,
    target,
    author,
  );
  return target;
}

const small = { depths: [1, 1, 1, 1], width: 8, widthPerGroup: 8, size: 32 };

test('Detectron2’s model zoo: a backbone in a detector’s pickle', async () => {
  const config = { ...family.resnet18, ...small, classes: 0 };
  const weights = noiseWeights(resnet(config), 2);
  const named = new Map(
    [...weights].map(([name, tensor]) => [dialects.detectron2.spell(name, config) as string, tensor]),
  );
  const head: Tensor = { dtype: 'float32', shape: [2], data: new Float32Array(2) };
  named.set('proposal_generator.rpn_head.conv.weight', head);
  const file = detectron2File('zoo', named, 'Detectron2 Model Zoo');
  await using model = await load(file, { engine: 'reference' });
  for (const [name, { data }] of weights) expect((await model.weights()).get(name)?.data).toEqual(data);
  expect(model.notes.join('\n')).toContain('took "model.backbone.bottom_up." off the names');
  expect(model.notes.join('\n')).toContain('1 tensors have no place');
  expect(model.record.preprocess).toBe('msra');
});

test.each(['resnet18', 'resnet50'] as const)(
  'torchvision’s %s as its convert-torchvision-to-d2.py spells it stays torchvision’s',
  async (name) => {
    const config = { ...family[name], ...small, classes: 6 };
    const weights = noiseWeights(resnet(config), 3);
    const spelled = (parameter: string) =>
      parameter.startsWith('fc.')
        ? `stem.${parameter}`
        : (dialects.detectron2.spell(parameter, config) as string).replace('backbone.bottom_up.', '');
    const named = new Map([...weights].map(([parameter, tensor]) => [spelled(parameter), tensor]));
    const file = detectron2File(name, named, 'torchvision');
    await using model = await load(file, { engine: 'reference' });
    expect(model.record).toMatchObject({ preprocess: 'torchvision', config: { strideOn: '3x3', classes: 6 } });
    expect(model.report).toMatchObject({ loaded: weights.size, unexpected: [] });
    expect(model.notes.join()).not.toContain('MSRA');
    // Another author's, or nobody's, are MSRA's.
    await using other = await load(detectron2File(`${name}-other`, named, 'Caffe2'), { engine: 'reference' });
    expect(other.record.preprocess).toBe('msra');
    expect(other.record.config?.strideOn).toBe(name === 'resnet50' ? '1x1' : '3x3');
    expect(other.notes.join()).toContain('MSRA');
    // The names alone would lose it.
    await expect(convert(file, join(folder, 'alone.pth'))).rejects.toMatchObject({ code: 'WEIGHTS_MISMATCH' });
    for (const kept of ['safetensors', 'residual'].map((ending) => join(folder, `${name}.kept.${ending}`))) {
      await convert(file, kept);
      await using again = await load(kept);
      expect(again.record).toEqual(model.record);
    }
  },
);
