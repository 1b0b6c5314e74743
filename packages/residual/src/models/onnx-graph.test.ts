import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { difference } from '../engines/check.js';
import { lower } from '../engines/onnx/lower.js';
import { modelFiles } from '../engines/onnx/model.js';
import { randomLayer, randomNetwork } from '../engines/random.test.graphs.js';
import { reference } from '../engines/reference/run.js';
import { noiseWeights } from '../engines/sketch.js';
import type { Graph } from '../graph/graph.js';
import { type OpName, ops, type Pair } from '../graph/ops.js';
import type { Tensor } from '../tensor.js';
import { refusal } from '../testing.js';
import { readWeights } from '../weights/assign.js';
import { modelOf, type Written, type WrittenNode } from '../weights/onnx.test.helper.js';
import { openCheckpoint } from '../weights/open.js';
import { onnxGraph } from './onnx-graph.js';

async function read(bytes: Uint8Array, size?: Pair) {
  const checkpoint = await openCheckpoint(bytes);
  if (!checkpoint.network) throw new Error('no network');
  const { graph, ...naming } = onnxGraph(checkpoint.network, size);
  const weights = await readWeights(
    graph,
    checkpoint,
    { ...naming, layout: 'pytorch' },
    { replace: new Set(), file: 'made' },
  );
  return { graph, weights };
}

async function run(graph: Graph, weights: ReadonlyMap<string, Tensor>, image: Tensor): Promise<Tensor[]> {
  const program = await reference.compile(graph, weights, {});
  const found = await program.run({ [graph.inputs[0].name]: image });
  return graph.outputs.map(({ name }) => found[name]);
}

describe('what we write is read as what it was', () => {
  const agree = async ({ graph, image }: { graph: Graph; image: Tensor }, seed: number): Promise<void> => {
    const weights = noiseWeights(graph, seed);
    const [file] = modelFiles(lower(graph, weights), 'made.onnx');
    const back = await read(new Uint8Array(Buffer.concat([...file.pieces])), [image.shape[2], image.shape[3]]);
    const [expected, received] = [await run(graph, weights, image), await run(back.graph, back.weights, image)];
    expect(received).toHaveLength(expected.length);
    expected.forEach((one, i) => {
      expect(difference(received[i], one)).toBeLessThan(1e-6);
    });
  };
  test.each(Object.keys(ops) as OpName[])('%s', async (op) => {
    await fc.assert(fc.asyncProperty(randomLayer(op), fc.nat(), agree), { numRuns: 40 });
  });

  test('random networks', async () => {
    await fc.assert(fc.asyncProperty(randomNetwork, fc.nat(), agree), { numRuns: 100 });
  });
});

const weight = (name: string, ...dims: number[]): Written => ({
  name,
  dims,
  data: new Uint8Array(4 * dims.reduce((a, b) => a * b, 1)),
});
const integers = (name: string, ...values: number[]): Written => ({
  name,
  type: 7,
  dims: [values.length],
  data: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
});

/** A model of one operator on a picture of 8 × 8, or what is given. */
const one = (
  type: string,
  attributes: WrittenNode['attributes'],
  more: {
    with?: readonly Written[];
    opset?: number;
    input?: readonly (number | string)[];
    outputs?: readonly string[];
  } = {},
): Uint8Array =>
  modelOf({
    inputs: { x: more.input ?? ['N', 4, 8, 8] },
    outputs: more.outputs ?? ['y'],
    tensors: more.with ?? [],
    nodes: [
      {
        type,
        name: 'n',
        inputs: ['x', ...(more.with ?? []).map(({ name }) => name)],
        outputs: more.outputs ?? ['y'],
        ...(attributes ? { attributes } : {}),
      },
    ],
    opset: more.opset ?? 17,
  });

describe('what cannot be expressed is refused with its node and reason', () => {
  test.each<[string, Uint8Array, RegExp]>([
    [
      'several operators',
      modelOf({
        inputs: { x: [1, 3, 8, 8] },
        outputs: ['c'],
        nodes: [
          { type: 'LSTM', inputs: ['x'], outputs: ['a'] },
          { type: 'com.example.Fancy', inputs: ['a'], outputs: ['b'] },
          { type: 'Relu', inputs: ['b'], outputs: ['c'] },
          { type: 'NonZero', inputs: ['c'], outputs: ['unread'] },
        ],
      }),
      /not supported: LSTM, com\.example\.Fancy; supported are Conv, /,
    ],
    [
      'a later opset',
      one('Relu', {}, { opset: 22 }),
      /is of opset 22; 1 to 21 are supported: export it again as opset 17/,
    ],
    [
      'weights that are computed',
      modelOf({
        inputs: { x: [1, 4, 8, 8] },
        outputs: ['y'],
        nodes: [{ type: 'Conv', inputs: ['x', 'x'], outputs: ['y'] }],
      }),
      /computes its input 1/,
    ],
    [
      'a volume',
      one('Conv', {}, { input: [1, 4, 8, 8, 8], with: [weight('w', 4, 4, 3, 3, 3)] }),
      /5 axes; only pictures/,
    ],
    [
      'a kernel_shape of another weight',
      one('Conv', { kernel_shape: [5, 5] }, { with: [weight('w', 4, 4, 3, 3)] }),
      /kernel_shape of 5×5 and another weight/,
    ],
    ['odd groups', one('Conv', { group: 3 }, { with: [weight('w', 4, 4, 3, 3)] }), /splits 4 filters into 3 groups/],
    [
      'negative padding',
      one('Conv', { pads: [-1, 0, 0, 0] }, { with: [weight('w', 4, 4, 3, 3)] }),
      /has \[-1,0,0,0\] for pads/,
    ],
    [
      'a bias too short',
      one('Conv', {}, { with: [weight('w', 4, 4, 3, 3), weight('b', 3)] }),
      /takes a bias of \[4\] but "b" is \[3\]/,
    ],
    [
      'SAME_LOWER of an open size',
      one(
        'Conv',
        { auto_pad: 'SAME_LOWER', strides: [2, 2] },
        { input: ['N', 4, 'h', 'w'], with: [weight('w', 4, 4, 3, 3)] },
      ),
      /leaves the size of its pictures open/,
    ],
    ['dilated pooling', one('MaxPool', { kernel_shape: [3, 3], dilations: [2, 2] }), /has dilations/],
    [
      'pooling that says where',
      one('MaxPool', { kernel_shape: [3, 3] }, { outputs: ['y', 'where'] }),
      /the places of its maxima/,
    ],
    [
      'ceil_mode outside',
      one('MaxPool', { kernel_shape: [2, 2], strides: [4, 4], ceil_mode: 1 }),
      /windows that may lie outside/,
    ],
    [
      'ceil_mode that counts',
      one('AveragePool', {
        kernel_shape: [3, 3],
        strides: [2, 2],
        pads: [1, 1, 1, 1],
        ceil_mode: 1,
        count_include_pad: 1,
      }),
      /counts its padding/,
    ],
    [
      'local normalisation',
      one(
        'BatchNormalization',
        { spatial: 0 },
        { opset: 7, with: ['g', 'b', 'm', 'v'].map((name) => weight(name, 4)) },
      ),
      /spatial = 0/,
    ],
    [
      'normalisation of another width',
      one('BatchNormalization', {}, { with: ['g', 'b', 'm', 'v'].map((name) => weight(name, 5)) }),
      /takes a gamma of \[4\] but "g" is \[5\]/,
    ],
    [
      'a product from the left',
      one('Gemm', { transA: 1 }, { input: [4, 4], with: [weight('w', 4, 2)] }),
      /transposes its input/,
    ],
    [
      'a picture that is normalised inside',
      modelOf({
        inputs: { x: ['N', 3, 8, 8] },
        outputs: ['d'],
        tensors: [weight('m', 3, 1, 1), weight('s', 3, 1, 1), integers('f', 255), integers('i', 0)],
        nodes: [
          { type: 'Cast', inputs: ['x'], outputs: ['a'], attributes: { to: 1 } },
          { type: 'Div', name: '/Div', inputs: ['a', 'f'], outputs: ['b'] },
          { type: 'Unsqueeze', inputs: ['m', 'i'], outputs: ['mean'] },
          { type: 'Sub', name: '/Sub', inputs: ['b', 'mean'], outputs: ['c'] },
          { type: 'Mul', inputs: ['s', 'c'], outputs: ['d'] },
        ],
      }),
      /^ONNX nodes "\/Div" \(Div\), "\/Sub" \(Sub\), "d" \(Mul\) normalise the picture inside the network, .* export the network without them/,
    ],
    [
      'a sum with a constant',
      modelOf({
        inputs: { x: ['N', 4, 8, 8] },
        outputs: ['y'],
        tensors: [weight('c', 4, 1, 1)],
        nodes: [
          { type: 'Relu', inputs: ['x'], outputs: ['r'] },
          { type: 'Add', name: 'n', inputs: ['r', 'c'], outputs: ['y'] },
        ],
      }),
      /adds a constant, which is supported only right behind/,
    ],
    [
      'a clipped ReLU',
      one(
        'Clip',
        {},
        {
          with: [
            { name: 'a', dims: [], data: new Uint8Array(4) },
            { name: 'b', dims: [], data: new Uint8Array(Float32Array.of(6).buffer) },
          ],
        },
      ),
      /cuts at 0 and 6/,
    ],
    ['a softmax over the channels', one('Softmax', { axis: 1 }), /a softmax over axis 1 of 4/],
    ['a mean over channels', one('ReduceMean', { axes: [1] }), /a mean over other axes/],
    ['flattening the batch', one('Flatten', { axis: 0 }), /flattens from axis 0 on/],
    [
      'a reshape of the batch',
      one('Reshape', {}, { with: [integers('s', 8, -1)] }),
      /makes \[8, -1\] of \[batch, 4, 8, 8\]/,
    ],
    ['an odd transposition', one('Transpose', { perm: [0, 1, 3, 2] }), /the order \[0,1,3,2\]/],
    [
      'a mirrored rim',
      one('Pad', { mode: 'reflect', pads: [0, 0, 1, 1, 0, 0, 1, 1] }, { opset: 9 }),
      /output "y", which is no result of a layer/,
    ],
    ['a cut rim', one('Pad', { pads: [0, 0, -1, 0, 0, 0, 0, 0] }, { opset: 9 }), /only zeros around a picture/],
    [
      'cubic resizing',
      one(
        'Resize',
        { mode: 'cubic' },
        {
          with: [weight('roi', 0), { name: 's', dims: [4], data: new Uint8Array(Float32Array.of(1, 1, 2, 2).buffer) }],
        },
      ),
      /has the mode "cubic"/,
    ],
    [
      'resized channels',
      one(
        'Upsample',
        {},
        { opset: 9, with: [{ name: 's', dims: [4], data: new Uint8Array(Float32Array.of(1, 2, 2, 2).buffer) }] },
      ),
      /only height and width may change/,
    ],
    [
      'a Dropout that trains',
      one(
        'Dropout',
        {},
        {
          with: [
            { name: 'r', dims: [], data: new Uint8Array(Float32Array.of(0.5).buffer) },
            { name: 't', type: 9, dims: [], data: Uint8Array.of(1) },
          ],
        },
      ),
      /is in training mode/,
    ],
    ['whole numbers', one('Cast', { to: 7 }), /makes elements of type 7/],
  ])('%s', async (_, model, message) => {
    expect(await refusal(read(model))).toMatchObject({ code: 'GRAPH', message: expect.stringMatching(message) });
  });
});

test('what an output does not need is not looked at', async () => {
  const { graph } = await read(
    modelOf({
      inputs: { x: [1, 3, 8, 8], unread: ['N'] },
      outputs: ['y'],
      nodes: [
        { type: 'Mystery', inputs: ['x'], outputs: ['m'] },
        { type: 'Relu', inputs: ['x'], outputs: ['y'] },
      ],
    }),
  );
  expect(graph.nodes.map(({ op }) => op)).toEqual(['relu']);
  expect(graph.inputs.map(({ name }) => name)).toEqual(['x']);
});

test('a mean that is flattened is a vector at once, unless something else reads it', async () => {
  const nodes: WrittenNode[] = [
    { type: 'GlobalAveragePool', inputs: ['x'], outputs: ['p'] },
    { type: 'Flatten', inputs: ['p'], outputs: ['y'] },
  ];
  const inputs = { x: ['N', 3, 8, 8] };
  const { graph } = await read(modelOf({ inputs, nodes, outputs: ['y'] }));
  expect(graph.nodes.map(({ op, attributes }) => [op, attributes])).toEqual([['globalAvgPool', { keepDims: false }]]);
  const { graph: both } = await read(modelOf({ inputs, nodes, outputs: ['y', 'p'] }));
  expect(both.nodes.map(({ op }) => op)).toEqual(['globalAvgPool', 'flatten']);
});
