import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { noiseWeights } from '../engines/sketch.js';
import { ResidualError } from '../errors.js';
import { family, resnet } from '../models/resnet.js';
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
      { numRuns: 500 },
    );
  });
});

test('Detectron2’s model zoo: a backbone in a detector’s pickle', async () => {
  const config = { ...family.resnet18, depths: [1, 1, 1, 1], width: 8, widthPerGroup: 8, classes: 0, size: 32 };
  const graph = resnet(config);
  const weights = noiseWeights(graph, 2);
  const file = join(folder, 'backbone.safetensors');
  const named = graph.parameters.map((p): [string, Tensor] => [
    dialects.detectron2.spell(p.name, config) as string,
    weights.get(p.name) as Tensor,
  ]);
  writeFileSync(file, Buffer.concat([...safetensorsBytes(new Map(named))]));
  pythonJson(
    `
import pickle
raw = open(sys.argv[1], 'rb').read()
length = int.from_bytes(raw[:8], 'little')
header = json.loads(raw[8:8 + length])
model = {'proposal_generator.rpn_head.conv.weight': np.zeros((2, 2, 3, 3), 'f4')}
for name, entry in header.items():
    if name != '__metadata__':
        begin, end = entry['data_offsets']
        model[name] = np.frombuffer(raw[8 + length + begin:8 + length + end], '<f4').reshape(entry['shape'])
pickle.dump({'model': model, '__author__': 'Detectron2 Model Zoo'}, open(sys.argv[2], 'wb'))
print('null')
`,
    file,
    join(folder, 'model_final.pkl'),
  );
  await using model = await load(join(folder, 'model_final.pkl'), { engine: 'reference' });
  for (const [name, { data }] of weights) expect(model.weights.get(name)?.data).toEqual(data);
  expect(model.notes.join('\n')).toContain('took "model.backbone.bottom_up." off the names');
  expect(model.notes.join('\n')).toContain('1 tensors have no place');
});
