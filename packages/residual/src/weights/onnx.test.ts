import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { onnxGraph } from '../models/onnx-graph.js';
import { bytesOf, describeAll, type Expected, pythonJson, refusal, runPython, scratch, shared } from '../testing.js';
import type { Checkpoint } from './checkpoint.js';
import { modelOf, type Written, type WrittenNode } from './onnx.test.helper.js';
import { openCheckpoint } from './open.js';
import { bytesSource } from './source.js';

const folder = scratch();
const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);

describe.skipIf(!shared)('tensors', () => {
  test('of every type, raw and typed, in initializers and constants, are those that Python wrote', async () => {
    const expected = pythonJson<Expected>(
      `
import onnx
from onnx import TensorProto as T, helper, numpy_helper
rng = np.random.default_rng(1); found = {}; tensors = []; nodes = []
for code, dtype in ((T.FLOAT, 'float32'), (T.DOUBLE, 'float64'), (T.FLOAT16, 'float16'), (T.INT64, 'int64'), (T.INT32, 'int32'),
                    (T.INT16, 'int16'), (T.INT8, 'int8'), (T.UINT8, 'uint8'), (T.BOOL, 'bool')):
    value = (rng.standard_normal((3, 5)) * 100).astype(dtype)
    for kind in ('raw', 'typed', 'constant'):
        name = f'{dtype}_{kind}'
        t = numpy_helper.from_array(value, name) if kind == 'raw' else helper.make_tensor(name, code, value.shape, value.flatten().tolist())
        if kind == 'constant': nodes.append(helper.make_node('Constant', [], [name], value=t))
        else: tensors.append(t)
        found[name] = described(value)
bits = np.array([0x3f80, 0xc049, 0], 'uint16')
t = T(); t.name = 'bf'; t.data_type = T.BFLOAT16; t.dims.append(3); t.raw_data = bits.tobytes(); tensors.append(t); found['bf'] = described(bits, 'bfloat16')
tensors.append(numpy_helper.from_array(np.array([2, 3]), 'shape')); found['shape'] = described(np.array([2, 3]))
tensors.append(numpy_helper.from_array(np.zeros((0, 3), 'f4'), 'none')); found['none'] = described(np.zeros((0, 3), 'f4'))
nodes.append(helper.make_node('ConstantOfShape', ['shape'], ['made'], value=helper.make_tensor('', T.FLOAT16, [1], [1.5])))
found['made'] = described(np.full((2, 3), 1.5, 'f2'))
big = [-2**63, 2**53, -1]; tensors.append(helper.make_tensor('big', T.INT64, [3], big)); found['big'] = described(np.array(big))
onnx.save(helper.make_model(helper.make_graph(nodes, 'g', [], [], tensors)), sys.argv[1] + '/types.onnx')
print(json.dumps(found))
`,
      folder,
    );
    const checkpoint = await openCheckpoint(join(folder, 'types.onnx'));
    expect(await describeAll(checkpoint)).toEqual(expected);
    expect(checkpoint.network?.tensors.get('shape')).toEqual({ dtype: 'int64', shape: [2], values: [2, 3] });
    expect(checkpoint.network?.tensors.get('bf')?.values).toEqual([1, Math.fround(-3.140625), 0]);
    await checkpoint.close();
  });
});

test('opening passes over the weights: of 40 MB less than one is read', async () => {
  const tensors = Array.from(
    { length: 10 },
    (_, i): Written => ({ name: `w${i}`, dims: [1000, 1000], data: new Uint8Array(4e6) }),
  );
  const source = bytesSource(modelOf({ tensors }));
  let read = 0;
  const counted = {
    ...source,
    async readInto(target: Uint8Array, offset: number) {
      read += target.length;
      await source.readInto(target, offset);
    },
  };
  const checkpoint = await openCheckpoint(counted);
  expect(checkpoint.tensors.size).toBe(10);
  expect(read).toBeLessThan(1e6);
  expect((await checkpoint.read('w9')).data).toHaveLength(1e6);
});

test('properties, producer and opset are metadata', async () => {
  const { metadata, network } = await openCheckpoint(modelOf({ opset: 13 }));
  expect(metadata).toEqual({ producer: '', ir_version: 8, opset: 13 });
  expect(network).toMatchObject({ name: 'made', opset: 13, nodes: [], outputs: [] });
});

describe('external data', () => {
  const home = join(folder, 'model');
  mkdirSync(join(home, 'deep'), { recursive: true });
  writeFileSync(join(folder, 'outside.bin'), floats(9, 9, 9));
  writeFileSync(join(home, 'inside.bin'), floats(1, 2, 3));
  writeFileSync(join(home, 'deep/inside.bin'), floats(4, 5, 6));
  symlinkSync(join(folder, 'outside.bin'), join(home, 'link.bin'));
  symlinkSync(join(folder), join(home, 'up'));
  symlinkSync(join(home, 'inside.bin'), join(home, 'honest.bin'));
  const read = async (external: Record<string, string>) => {
    writeFileSync(join(home, 'm.onnx'), modelOf({ tensors: [{ name: 'w', dims: [2], external }] }));
    const checkpoint = await openCheckpoint(join(home, 'm.onnx'));
    try {
      return (await checkpoint.read('w')).data;
    } finally {
      await checkpoint.close();
    }
  };

  test.each([
    [{ location: 'inside.bin' }, [1, 2]],
    [{ location: './inside.bin', offset: '4', length: '8' }, [2, 3]],
    [{ location: 'deep/inside.bin', offset: '0' }, [4, 5]],
    [{ location: 'honest.bin' }, [1, 2]],
  ])('%j is read', async (external, values) => {
    expect(await read(external)).toEqual(Float32Array.from(values));
  });

  test.each([
    [{ location: '../outside.bin' }, /not inside its folder/],
    [{ location: 'deep/../../outside.bin' }, /not inside its folder/],
    [{ location: 'deep\\..\\..\\outside.bin' }, /not inside its folder/],
    [{ location: join(folder, 'outside.bin') }, /not inside its folder/],
    [{ location: 'C:\\outside.bin' }, /not inside its folder/],
    [{ location: '' }, /not inside its folder/],
    [{}, /not inside its folder/],
    [{ location: 'inside.bin\0' }, /not inside its folder/],
    [{ location: 'link.bin' }, /a link out of its folder/],
    [{ location: 'up/outside.bin' }, /a link out of its folder/],
    [{ location: 'inside.bin', offset: '8' }, /needs 8 bytes at 8 but the file has 12/],
    [{ location: 'inside.bin', offset: '999999999999999' }, /needs 8 bytes at 999999999999999/],
    [{ location: 'inside.bin', offset: '-4' }, /are no numbers/],
    [{ location: 'inside.bin', offset: '1e3' }, /are no numbers/],
    [{ location: 'inside.bin', length: '12' }, /needs 8 bytes but has 12/],
    [{ location: 'nothing.bin' }, /there is no such file/],
    [{ location: 'deep' }, /it is a folder/],
  ])('%j is refused', async (external, message) => {
    const error = await refusal(read(external as Record<string, string>));
    expect(error.message).toMatch(message);
  });

  test('bytes have no folder', async () => {
    const bytes = modelOf({ tensors: [{ name: 'w', dims: [200], external: { location: 'inside.bin' } }] });
    const checkpoint = await openCheckpoint(bytes);
    expect((await refusal(checkpoint.read('w'))).message).toContain('give the path of the file');
  });
});

describe('hostile models', () => {
  const image = { x: [1, 3, 8, 8] };
  const relu = (from: string, to: string): WrittenNode => ({ type: 'Relu', inputs: [from], outputs: [to] });
  const weight = { name: 'w', dims: [3, 3, 1, 1], data: new Uint8Array(36) };
  const described = async (model: Uint8Array) =>
    onnxGraph((await openCheckpoint(model)).network as NonNullable<Checkpoint['network']>);

  test.each<[string, Uint8Array, RegExp]>([
    ['no graph', Uint8Array.of(8, 8, 0x42, 2, 16, 17), /holds no graph/],
    ['no opset', modelOf({}).slice(0, -4), /names no opset/],
    ['two tensors of one name', modelOf({ tensors: [weight, weight] }), /two tensors called "w"/],
    ['a tensor without a name', modelOf({ tensors: [{ ...weight, name: '' }] }), /has no name/],
    ['a negative size', modelOf({ tensors: [{ ...weight, dims: [-3, 3] }] }), /shape \[-3, 3\], which is none/],
    ['a huge tensor', modelOf({ tensors: [{ ...weight, dims: [2 ** 40, 2 ** 40] }] }), /which is none/],
    ['too many axes', modelOf({ tensors: [{ ...weight, dims: Array<number>(40).fill(1) }] }), /which is none/],
    ['too few numbers', modelOf({ tensors: [{ ...weight, dims: [10] }] }), /needs 40 bytes but has 36/],
    ['text', modelOf({ tensors: [{ ...weight, type: 8 }] }), /element type string/],
    ['an unknown type', modelOf({ tensors: [{ ...weight, type: 99 }] }), /element type 99/],
    ['a long name', modelOf({ tensors: [{ ...weight, name: 'x'.repeat(5000) }] }), /5000 bytes; at most 1024/],
    [
      'a billion ones',
      modelOf({
        tensors: [{ name: 's', dims: [1], type: 7, data: new Uint8Array(BigInt64Array.of(10n ** 9n).buffer) }],
        nodes: [{ type: 'ConstantOfShape', inputs: ['s'], outputs: ['w'] }],
      }),
      /claim 4000000008 bytes/,
    ],
    [
      'a made tensor of no shape',
      modelOf({
        tensors: [{ name: 's', dims: [1], type: 7, data: new Uint8Array(BigInt64Array.of(-1n).buffer) }],
        nodes: [{ type: 'ConstantOfShape', inputs: ['s'], outputs: ['w'] }],
      }),
      /of the shape \[-1\], which is none/,
    ],
    ['a million nodes', modelOf({ nodes: Array<WrittenNode>(1e6).fill(relu('x', '')) }), /more than 20000 operators/],
    ['20,001 nodes', modelOf({ nodes: Array<WrittenNode>(20_001).fill(relu('x', '')) }), /more than 20000 operators/],
    [
      'a million fields',
      modelOf({ nodes: [{ type: 'Relu', inputs: Array<string>(1_100_000).fill('x'), outputs: ['y'] }] }),
      /more than 1000000 fields/,
    ],
  ])('%s: WEIGHTS_FORMAT', async (_, model, message) => {
    expect(await refusal(openCheckpoint(model))).toMatchObject({
      code: 'WEIGHTS_FORMAT',
      message: expect.stringMatching(message),
    });
  });

  const deep = (levels: number): Uint8Array => {
    let graph: Uint8Array = Uint8Array.of(0x12, 1, 0x67);
    const field = (tag: number, bytes: Uint8Array) => {
      const size = bytes.length;
      return new Uint8Array([tag, (size & 127) | 128, ((size >> 7) & 127) | 128, size >> 14, ...bytes]);
    };
    for (let i = 0; i < levels; i++)
      graph = field(
        0x0a,
        new Uint8Array([
          0x12,
          1,
          0x79,
          0x22,
          2,
          0x49,
          0x66,
          ...field(0x2a, new Uint8Array([0x0a, 1, 0x67, ...field(0x32, graph)])),
        ]),
      );
    return new Uint8Array([8, 8, ...field(0x3a, new Uint8Array([...graph, 0x62, 3, 0x0a, 1, 0x79])), 0x42, 2, 16, 17]);
  };

  test.each<[string, Uint8Array, RegExp]>([
    ['graphs in graphs', deep(500), /operators that are not supported: If;/],
    [
      'a circle',
      modelOf({ inputs: image, outputs: ['b'], nodes: [relu('b', 'a'), relu('a', 'b')] }),
      /takes "b", which nothing before it makes/,
    ],
    [
      'a node that takes itself',
      modelOf({ inputs: image, outputs: ['a'], nodes: [relu('a', 'a')] }),
      /takes "a", which nothing before it makes/,
    ],
    [
      'a missing input',
      modelOf({ inputs: image, outputs: ['a'], nodes: [relu('y', 'a')] }),
      /takes "y", which nothing/,
    ],
    ['a missing output', modelOf({ inputs: image, outputs: ['a'] }), /output "a", which nothing makes/],
    ['no output', modelOf({ inputs: image, nodes: [relu('x', 'a')] }), /has no outputs/],
    [
      'a value made twice',
      modelOf({ inputs: image, outputs: ['a'], nodes: [relu('x', 'a'), relu('x', 'a')] }),
      /makes "a" twice/,
    ],
    [
      'a weight for an output',
      modelOf({ tensors: [weight], outputs: ['w'] }),
      /output "w", which is no result of a layer/,
    ],
    [
      'a weight of another shape',
      modelOf({
        inputs: image,
        outputs: ['y'],
        tensors: [{ ...weight, dims: [9, 1, 1, 1] }],
        nodes: [{ type: 'Conv', inputs: ['x', 'w'], outputs: ['y'] }],
      }),
      /takes 1 channels but received \[N, 3, 8, 8\]/,
    ],
    [
      'a huge picture',
      modelOf({ inputs: { x: [1, 3, 2 ** 30, 2] }, outputs: ['a'], nodes: [relu('x', 'a')] }),
      /sizes from 1 to 65536 are due/,
    ],
    [
      'a picture too large for memory',
      modelOf({ inputs: { x: [1, 60_000, 60_000, 60_000] }, outputs: ['a'], nodes: [relu('x', 'a')] }),
      /too many for memory/,
    ],
    [
      'a result too large for memory',
      modelOf({
        inputs: image,
        outputs: ['y'],
        nodes: [
          { type: 'Pad', inputs: ['x'], outputs: ['y'], attributes: { pads: [0, 0, 60_000, 60_000, 0, 0, 0, 0] } },
        ],
        opset: 9,
      }),
      /at most 2147483647 are supported/,
    ],
    [
      'a window without end',
      modelOf({
        inputs: image,
        outputs: ['y'],
        nodes: [
          { type: 'MaxPool', inputs: ['x'], outputs: ['y'], attributes: { kernel_shape: [2, 2], strides: [0, 1] } },
        ],
      }),
      /has \[0,1\] for strides/,
    ],
  ])('%s: GRAPH', async (_, model, message) => {
    expect(await refusal(described(model))).toMatchObject({ code: 'GRAPH', message: expect.stringMatching(message) });
  });

  test('a sum that would make 20,000 layers and more is refused', async () => {
    const nodes = [{ type: 'Sum', inputs: Array<string>(20_002).fill('x'), outputs: ['y'] }];
    expect(await refusal(described(modelOf({ inputs: image, outputs: ['y'], nodes })))).toMatchObject({
      code: 'GRAPH',
      message: 'ONNX node "y" (Sum) is one more than the 20000 layers that a network may have',
    });
  });

  test('20,000 nodes of one name are a network', async () => {
    const nodes = Array.from({ length: 20_000 }, (_, i) => ({ ...relu(i ? `v${i}` : 'x', `v${i + 1}`), name: 'n' }));
    const { graph } = await described(modelOf({ inputs: image, outputs: ['v20000'], nodes }));
    expect(new Set(graph.nodes.map(({ name }) => name)).size).toBe(20_000);
  });
});

/** A small network with everything in it: typed and raw data, constants, shapes in the graph, two opsets, properties before the graph. */
const small = `
import onnx
from onnx import TensorProto as T, helper, numpy_helper
rng = np.random.default_rng(1)
def tensor(name, *shape, typed=False):
    value = rng.standard_normal(shape).astype('f4')
    return helper.make_tensor(name, T.FLOAT, shape, value.flatten()) if typed else numpy_helper.from_array(value, name)
n = helper.make_node
nodes = [
  n('Constant', [], ['axes'], value=numpy_helper.from_array(np.array([-1]))), n('ConstantOfShape', ['four'], ['var'], value=helper.make_tensor('', T.FLOAT, [1], [1.])),
  n('Conv', ['x', 'conv.weight', 'conv.bias'], ['a'], name='conv', kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
  n('BatchNormalization', ['a', 'conv.bias', 'mean', 'mean', 'var'], ['b'], name='bn', epsilon=1e-3), n('Relu', ['b'], ['c']),
  n('MaxPool', ['c'], ['d'], kernel_shape=[2, 2], strides=[2, 2], auto_pad='SAME_UPPER'), n('Add', ['d', 'd'], ['e']),
  n('GlobalAveragePool', ['e'], ['f']), n('Shape', ['f'], ['s']), n('Gather', ['s', 'zero'], ['t']), n('Unsqueeze', ['t'], ['u'], axes=[0]),
  n('Concat', ['u', 'axes'], ['v'], axis=0), n('Reshape', ['f', 'v'], ['g']), n('MatMul', ['g', 'fc'], ['h']), n('Add', ['h', 'fb'], ['i']), n('Softmax', ['i'], ['y'], axis=1)]
tensors = [tensor('conv.weight', 4, 3, 3, 3), tensor('conv.bias', 4, typed=True), tensor('mean', 4), tensor('fc', 4, 5, typed=True), tensor('fb', 5),
  numpy_helper.from_array(np.array([4]), 'four'), helper.make_tensor('zero', T.INT64, [], [0])]
info = helper.make_tensor_value_info
graph = helper.make_graph(nodes, 'small', [info('x', T.FLOAT, ['N', 3, 16, 16])], [info('y', T.FLOAT, ['N', 5])], tensors)
model = helper.make_model(graph, producer_name='hand', opset_imports=[helper.make_opsetid('', 11)]); onnx.checker.check_model(model)
onnx.save(model, sys.argv[1] + '/small.onnx')
`;

describe.skipIf(!shared)('damaged ONNX models', () => {
  if (shared) runPython(small, folder);
  const original = shared ? bytesOf(join(folder, 'small.onnx')) : new Uint8Array(1);

  /** What a caller may meet: a network whose weights can be read, or one clear error. */
  const outcome = async (bytes: Uint8Array): Promise<'read' | 'refused'> => {
    try {
      const checkpoint = await openCheckpoint(bytes);
      await describeAll(checkpoint);
      if (checkpoint.network) onnxGraph(checkpoint.network);
      return 'read';
    } catch (error) {
      await refusal(Promise.reject(error));
      return 'refused';
    }
  };

  test('the whole file reads', async () => {
    expect(await outcome(original)).toBe('read');
  });

  test('cut off at any byte', async () => {
    for (let length = 0; length < original.length; length += 3)
      expect(await outcome(original.slice(0, length))).toBe('refused');
  });

  test('any bits flipped, any bytes replaced', async () => {
    const change = fc.record({
      at: fc.nat(original.length - 1),
      bits: fc.oneof(fc.constantFrom(1, 2, 4, 8, 16, 32, 64, 128), fc.integer({ min: 1, max: 255 })),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
        const broken = original.slice();
        for (const { at, bits } of changes) broken[at] ^= bits;
        await outcome(broken);
      }),
      { numRuns: 700 },
    );
  });

  test('numbers replaced by the extremes', async () => {
    const extremes = fc.constantFrom<readonly number[]>(
      [255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
      [255, 255, 255, 255, 255, 255, 255, 255, 127],
      [255, 255, 255, 255, 15],
      [128, 128, 128, 128, 128, 128, 128, 128, 128, 128],
      [0, 0, 0, 0],
      [255, 127],
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(original.length - 11), extremes, async (at, value) => {
        const broken = original.slice();
        broken.set(value, at);
        await outcome(broken);
      }),
      { numRuns: 300 },
    );
  });
});
