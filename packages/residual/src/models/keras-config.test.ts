import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ResidualError } from '../errors.js';
import { mlperfResnet8 } from '../testing.js';
import { openCheckpoint } from '../weights/open.js';
import { kerasGraph } from './keras-config.js';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
type Config = Record<string, Json>;

const checkpoint = await openCheckpoint(mlperfResnet8);
const real = checkpoint.metadata.model_config as Json;
await checkpoint.close?.();

type Entry = { name: string; class_name: string; config: Config; inbound_nodes: Json };

const layer = (class_name: string, name: string, config: Config, ...from: string[]): Entry => ({
  class_name,
  name,
  config: { name, ...config },
  inbound_nodes: from.length ? [from.map((f) => [f, 0, 0, {}])] : [],
});
const picture = layer('InputLayer', 'in', { batch_input_shape: [null, 8, 8, 3] });
const pool = layer('GlobalAveragePooling2D', 'pool', {}, 'in');
const functional = (layers: Json[], output_layers?: Json): Json => ({
  class_name: 'Functional',
  config: {
    name: 'net',
    layers,
    output_layers: output_layers ?? [[(layers.at(-1) as { name: string }).name, 0, 0]],
  },
});

/** The same network as Keras 3 writes it. */
const keras3 = (model: Json): Json => {
  const { class_name, config } = model as { class_name: string; config: { layers: Entry[]; output_layers: Json[] } };
  const tensor = ([name]: Json[]): Json => ({
    class_name: '__keras_tensor__',
    config: { shape: [null], dtype: 'float32', keras_history: [name, 0, 0] },
  });
  const layers = config.layers.map((entry): Json => {
    const [call] = entry.inbound_nodes as Json[][][];
    if (!call) {
      const { batch_input_shape, ...rest } = entry.config;
      return { ...entry, config: { ...rest, batch_shape: batch_input_shape } };
    }
    const tensors = call.map(tensor);
    const args: Json = tensors.length > 1 ? [tensors] : tensors;
    return { ...entry, inbound_nodes: [{ args, kwargs: { mask: null } }] };
  });
  return { class_name, config: { ...config, layers, output_layers: config.output_layers[0] } };
};

const refusal = (config: unknown): ResidualError => {
  try {
    kerasGraph(config);
  } catch (error) {
    if (error instanceof ResidualError) return error;
    throw error;
  }
  throw new Error('was accepted');
};

describe('logits are what the softmax takes', () => {
  const dense = (activation: string) => layer('Dense', 'fc', { units: 4, activation }, 'pool');
  test.each<[string, Entry[]]>([
    ['of a Dense with it', [dense('softmax')]],
    ['of an Activation', [dense('linear'), layer('Activation', 'prob', { activation: 'softmax' }, 'fc')]],
    ['of a Softmax', [dense('linear'), layer('Softmax', 'prob', { axis: -1 }, 'fc')]],
  ])('%s', (_what, head) => {
    const graph = kerasGraph(functional([picture, pool, ...head]));
    const fc = graph.nodes.find((node) => node.op === 'dense')!;
    expect(graph.outputs.map((output) => output.name)).toEqual(['probabilities']);
    expect(graph.nodes.at(-1)).toMatchObject({ op: 'softmax', outputs: [graph.outputs[0].value] });
    expect(graph.features).toEqual({ logits: fc.outputs[0] });
  });

  test('a network without softmax has them as its output', () => {
    const graph = kerasGraph(functional([picture, pool, dense('linear')]));
    expect(graph.outputs.map((output) => output.name)).toEqual(['logits']);
    expect(graph.features).toEqual({});
  });
});

describe('what is no score of a class is no logit', () => {
  const conv = layer('Conv2D', 'c', { filters: 5, kernel_size: 1 }, 'in');
  const end = (...layers: Entry[]) => kerasGraph(functional([picture, ...layers])).outputs[0].name;
  test.each<[string, string, Entry[]]>([
    [
      'pooled features',
      'features',
      [conv, layer('ReLU', 'r', {}, 'c'), { ...pool, inbound_nodes: [[['r', 0, 0, {}]]] }],
    ],
    ['flattened features', 'features', [layer('ReLU', 'r', {}, 'in'), layer('Flatten', 'f', {}, 'r')]],
    ['a hidden layer', 'features', [pool, layer('Dense', 'd', { units: 4, activation: 'relu' }, 'pool')]],
    ['classes each by itself', 'features', [pool, layer('Dense', 'd', { units: 4, activation: 'sigmoid' }, 'pool')]],
    ['a picture', 'features', [conv]],
    ['a classifier of convolutions', 'logits', [conv, { ...pool, inbound_nodes: [[['c', 0, 0, {}]]] }]],
    [
      'a classifier with dropout behind it',
      'logits',
      [pool, layer('Dense', 'd', { units: 4 }, 'pool'), layer('Dropout', 'o', { rate: 0.5 }, 'd')],
    ],
  ])('%s: %s', (_what, name, layers) => {
    expect(end(...layers)).toBe(name);
  });
});

test('Keras 2 and Keras 3 describe one network', () => {
  const graph = kerasGraph(real);
  expect(graph.nodes.filter((node) => node.op === 'add')).toHaveLength(3);
  expect(kerasGraph(keras3(real))).toEqual(graph);
});

test('a sequential model is a chain', () => {
  const first = layer('Conv2D', 'c', { filters: 2, kernel_size: 3, batch_input_shape: [null, 8, 8, 3] });
  const config = { name: 's', layers: [first, layer('Flatten', 'f', {}), layer('Dense', 'd', { units: 2 })] };
  const graph = kerasGraph({ class_name: 'Sequential', config });
  expect(graph.nodes.map((node) => node.name)).toEqual(['c', 'f', 'd']);
});

test.each<[Json, number[]]>([
  [1, [1, 1, 1, 1]],
  [
    [1, 2],
    [1, 2, 1, 2],
  ],
  [
    [
      [1, 2],
      [3, 4],
    ],
    [1, 3, 2, 4],
  ],
])('ZeroPadding2D %j', (padding, spatial) => {
  const graph = kerasGraph(functional([picture, layer('ZeroPadding2D', 'z', { padding }, 'in')]));
  expect(graph.nodes[0].attributes).toMatchObject({ spatial });
});

describe('layers of the newer ResNets', () => {
  const built = (...layers: Json[]) => kerasGraph(functional([picture, ...layers])).nodes;
  test('squeeze and excitation', () => {
    const [, , , product] = built(
      layer('GlobalAveragePooling2D', 'mean', { keepdims: true }, 'in'),
      layer('Conv2D', 'c', { filters: 3, kernel_size: [1, 1], activation: 'sigmoid' }, 'mean'),
      layer('Multiply', 'product', {}, 'in', 'c'),
    );
    expect(product).toMatchObject({ op: 'mul', name: 'product' });
  });
  test('its means by Reshape', () => {
    const reshape = layer('Reshape', 'column', { target_shape: [1, 1, 3] }, 'pool');
    expect(built(pool, reshape)[1]).toMatchObject({ op: 'reshape', attributes: { shape: [3, 1, 1] } });
  });
  test('its factors by Dense layers of one pixel', () => {
    const nodes = built(
      pool,
      layer('Reshape', 'column', { target_shape: [1, 1, 3] }, 'pool'),
      layer('Dense', 'down', { units: 2, activation: 'relu' }, 'column'),
      layer('Dense', 'up', { units: 3, activation: 'sigmoid' }, 'down'),
      layer('Multiply', 'product', {}, 'in', 'up'),
    );
    expect(nodes.map(({ op }) => op).join(' ')).toBe(
      'globalAvgPool reshape flatten dense reshape relu flatten dense reshape sigmoid mul',
    );
  });
  test.each([
    [-1, 1],
    [3, 1],
    [1, 2],
    [2, 3],
    [-2, 3],
  ])('Concatenate along axis %i of [N, H, W, C] is along %i of [N, C, H, W]', (axis, ours) => {
    expect(built(layer('Concatenate', 'cat', { axis }, 'in', 'in'))[0].attributes).toEqual({ axis: ours });
  });
  test('Concatenate of vectors', () => {
    expect(built(pool, layer('Concatenate', 'cat', { axis: 1 }, 'pool', 'pool'))[1].attributes).toEqual({ axis: 1 });
  });
  test.each([
    ['nearest', 'asymmetric'],
    ['bilinear', 'half_pixel'],
  ])('UpSampling2D %s', (interpolation, coordinates) => {
    const [node] = built(layer('UpSampling2D', 'up', { size: [2, 3], interpolation }, 'in'));
    expect(node.attributes).toMatchObject({ to: { scales: [2, 3] }, mode: interpolation, coordinates });
  });
});

describe('a layer is refused by name', () => {
  const conv = (config: Config) => [
    picture,
    layer('Conv2D', 'bad', { filters: 4, kernel_size: [3, 3], ...config }, 'in'),
  ];
  const one = (class_name: string, config: Config, ...from: string[]) => [
    picture,
    pool,
    layer(class_name, 'bad', config, ...from),
  ];
  const bn = (config: Config) => one('BatchNormalization', config, 'in');
  const node = (inbound_nodes: Json) => [picture, { ...layer('ReLU', 'bad', {}), inbound_nodes }];
  test.each<[string, Json[], string]>([
    [
      'a Dense of many pixels',
      one('Dense', { units: 2 }, 'in'),
      'each of 8×8 pixels; supported is a Dense of a vector',
    ],
    ['a join along the batch', one('Concatenate', { axis: 0 }, 'in', 'in'), 'joins axis 0 of 4'],
    ['a join of nothing', one('Concatenate', {}), 'takes 1 or more input(s) but has 0'],
    ['a reshaped picture', one('Reshape', { target_shape: [1, 1, 3] }, 'in'), 'reshapes to [1,1,3]'],
    ['a product of three', one('Multiply', {}, 'in', 'in', 'in'), 'multiplies 3 branches'],
    ['a bicubic', one('UpSampling2D', { interpolation: 'bicubic' }, 'in'), 'has the interpolation "bicubic"'],
    ['a picture without end', one('UpSampling2D', { size: 65536 }, 'in'), 'numbers of one picture'],
    ['called twice', node([[['in', 0, 0, {}]], [['in', 0, 0, {}]]]), 'is called 2 times'],
    ['a second call', node([[['in', 1, 0, {}]]]), 'call 1'],
    ['a second output', node([[['in', 0, 1, {}]]]), 'output 1'],
    ['a nameless input', node([[[7, 0, 0]]]), 'expected [layer, 0, 0]'],
    ['an input that is none', node([[null]]), 'takes null'],
    ['a tensor among the keywords', node([[['in', 0, 0, { y: ['in', 0, 0] }]]]), 'y ='],
    ['inputs of no form', node([7]), 'inbound node 7'],
    ['inputs that are no list', node('in'), 'expected a list'],
    ['no input', one('ReLU', {}), 'takes 1 input(s) but has 0'],
    ['two inputs', one('ReLU', {}, 'in', 'in'), 'but has 2'],
    ['a sum of one', one('Add', {}, 'in'), 'adds 1 branches'],
    ['an unknown input', one('ReLU', {}, 'out'), 'takes "out"'],
    ['a name given twice', [picture, { ...pool, name: 'bad' }, layer('ReLU', 'bad', {}, 'in')], 'twice'],
    ['an unknown class', one('LSTM', {}, 'in'), 'is a "LSTM"'],
    ['a class of Object', one('toString', {}, 'in'), 'is a "toString"'],
    ['no filters', conv({ filters: null }), 'null for filters'],
    ['very many filters', conv({ filters: 1e12 }), '1000000000000 for filters'],
    ['no kernel', conv({ kernel_size: null }), 'kernel_size'],
    ['three kernel sides', conv({ kernel_size: [3, 3, 3] }), 'one number or two'],
    ['a causal padding', conv({ padding: 'causal' }), '"causal"'],
    ['a strange activation', conv({ activation: { toString: 1 } }), 'activation {"toString":1}'],
    ['a softmax of a picture', conv({ activation: 'softmax' }), 'softmax of a picture'],
    ['channels first', conv({ data_format: 'channels_first' }), 'channels_first'],
    ['a bias of text', conv({ use_bias: 'no' }), 'use_bias'],
    ['no units', one('Dense', {}, 'pool'), 'nothing for units'],
    ['an epsilon of text', bn({ epsilon: 'x' }), 'epsilon "x"'],
    ['another axis', bn({ axis: [1] }), 'axis 1'],
    ['a softmax over the batch', one('Softmax', { axis: 0 }, 'pool'), 'axis 0'],
    ['a padding of text', one('ZeroPadding2D', { padding: 'x' }, 'in'), 'padding'],
    ['a rate of 1.5', one('Dropout', { rate: 1.5 }, 'pool'), 'rate 1.5'],
    ['half a pixel', [layer('InputLayer', 'bad', { batch_input_shape: [null, 8.5, 8, 3] })], '8.5 for an input size'],
    ['a rescaling', one('Rescaling', { scale: 1 / 255 }, 'in'), 'normalises the picture inside the network'],
    ['no picture', [layer('InputLayer', 'bad', { batch_input_shape: 5 })], 'no picture size'],
    [
      'weights beyond memory',
      [
        layer('InputLayer', 'in', { batch_input_shape: [null, 8, 8, 65536] }),
        layer('Conv2D', 'bad', { filters: 65536, kernel_size: 1 }, 'in'),
      ],
      'weights; at most',
    ],
  ])('%s', (_what, layers, message) => {
    expect(refusal(functional(layers))).toMatchObject({
      code: 'GRAPH',
      message: expect.stringContaining(message),
      details: { layer: 'bad' },
    });
  });

  test('an output by a second call', () => {
    expect(refusal(functional([picture, pool], [['pool', 1, 0]]))).toMatchObject({ code: 'GRAPH' });
  });
});

test.each<[string, Json]>([
  ['nothing', null],
  ['text', 'x'],
  ['no layers', functional([], [['x', 0, 0]])],
  ['a layer that is null', functional([picture, null], [['in', 0, 0]])],
  ['a name that is a number', functional([{ ...picture, name: 7 }])],
  ['a name of a million letters', functional([{ ...picture, name: 'x'.repeat(1e6) }])],
  ['a config that is null', functional([{ ...picture, config: null }])],
  ['an output that is null', functional([picture], [null])],
  ['an output that is not there', functional([picture], [['x', 0, 0]])],
  ['outputs that are a number', functional([picture], 7)],
  ['an empty sequence', { class_name: 'Sequential', config: { layers: [] } }],
])('%s is no description', (_what, config) => {
  expect(refusal(config).code).toBe('WEIGHTS_FORMAT');
});

describe('whatever is changed, a graph or a plain refusal', () => {
  const paths = (value: Json, at: string[] = []): string[][] =>
    typeof value !== 'object' || value === null
      ? [at]
      : [at, ...Object.entries(value).flatMap(([key, inner]) => paths(inner, [...at, key]))];
  const change = (value: Json, [key, ...rest]: string[], to: Json | undefined): Json | undefined => {
    if (key === undefined) return to;
    if (typeof value !== 'object' || value === null) return value;
    const copy = (Array.isArray(value) ? [...value] : { ...value }) as Config;
    const inner = change(copy[key] ?? null, rest, to);
    if (inner !== undefined) copy[key] = inner;
    else if (Array.isArray(copy)) copy.splice(Number(key), 1);
    else delete copy[key];
    return copy;
  };
  const anything = fc.oneof(
    fc.constantFrom<Json | undefined>(undefined, null, 0, -1, 1, 2, 0.5, 1e12, 'same', 'softmax', 'conv2d', [], {}),
    fc.jsonValue() as fc.Arbitrary<Json>,
  );

  const sequential: Json = {
    class_name: 'Sequential',
    config: {
      name: 'chain',
      layers: [
        layer('Conv2D', 'conv', {
          filters: 4,
          kernel_size: [3, 3],
          padding: 'same',
          activation: 'relu',
          batch_input_shape: [null, 16, 16, 3],
        }),
        layer('BatchNormalization', 'bn', { axis: [3], epsilon: 0.001 }),
        layer('ReLU', 'relu', { max_value: null }),
        layer('ZeroPadding2D', 'zeros', {
          padding: [
            [1, 1],
            [1, 1],
          ],
        }),
        layer('MaxPooling2D', 'max', { pool_size: [2, 2], strides: [2, 2], padding: 'valid' }),
        layer('GlobalAveragePooling2D', 'mean', { keepdims: false }),
        layer('Dropout', 'drop', { rate: 0.5 }),
        layer('Dense', 'dense', { units: 10, activation: 'linear' }),
        layer('Softmax', 'softmax', { axis: -1 }),
      ],
    },
  };
  test.each([
    ['Keras 2', real],
    ['Keras 3', keras3(real)],
    ['sequential', sequential],
  ])('%s', (_what, model) => {
    expect(kerasGraph(model).outputs[0].name).toBe('probabilities');
    const all = paths(model);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom(...all), anything), { minLength: 1, maxLength: 3 }), (changes) => {
        const config = changes.reduce<Json>((from, [path, to]) => change(from, path, to) ?? null, model);
        try {
          expect(kerasGraph(config).outputs).toHaveLength(1);
        } catch (error) {
          if (!(error instanceof ResidualError)) throw error;
          expect(['GRAPH', 'WEIGHTS_FORMAT']).toContain(error.code);
        }
      }),
      { numRuns: 1500 },
    );
  });
});
