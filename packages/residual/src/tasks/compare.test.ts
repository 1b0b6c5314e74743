import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decode } from '#decode';
import type { Graph, Node } from '../graph/graph.js';
import { foldBatchNorm } from '../graph/passes.js';
import { applyPlan } from '../image/apply.js';
import { preset } from '../image/presets.js';
import { cifar10Classes } from '../models/classes.js';
import { build } from '../models/resnet.js';
import { type Tensor, tensor, type WeightSource } from '../tensor.js';
import { mlperfResnet8, temporaryFolder } from '../testing.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { compare } from './compare.js';
import { isRecording } from './compare-recorded.js';
import { load } from './load.js';
import { createModel, type Model } from './model.js';

const samples = fileURLToPath(new URL('../../../cli/samples', import.meta.url));
const [cat, ship] = [join(samples, 'cat.jpg'), join(samples, 'ship.jpg')];
const size = { height: 32, width: 32 };

let model: Model;
beforeAll(async () => {
  model = await load(mlperfResnet8, { preprocess: 'raw255', labels: cifar10Classes });
});
afterAll(() => model?.dispose());

/** The model, changed. */
const changed = (graph: Graph, weights: WeightSource = model.weights) => createModel(graph, model.record, { weights });
const nodes = (change: (node: Node) => Node): Graph => ({ ...model.graph, nodes: model.graph.nodes.map(change) });
const ids = ({ causes }: { causes: readonly { id: string }[] }) => causes.map(({ id }) => id);

test('a model agrees with itself, on another engine too', async () => {
  const found = await compare({ model }, { model, engine: 'reference' }, cat);
  expect(found).toMatchObject({ causes: [], answers: { a: { label: 'cat' }, b: { label: 'cat' } } });
  expect(found.parts).toBeUndefined();
  expect(found.stations.slice(0, 3).map(({ name, shapes }) => [name, shapes.a])).toEqual([
    ['decoded', [300, 451, 3]],
    ['resized', [32, 32, 3]],
    ['input', [1, 3, 32, 32]],
  ]);
  expect(found.stations.length).toBeGreaterThan(5);
});

test('two plans: every difference is named, the networks are seen to agree on one input', async () => {
  const found = await compare({ model }, { model, plan: preset('caffe', size) }, ship);
  expect(found.stations[found.parts as number].name).toBe('resized');
  expect(ids(found)).toEqual(['resize-filter', 'channel-order', 'mean']);
  expect(found.causes[1].what).toBe('RGB against BGR');
  expect(found.sameInput?.every(({ parts }) => !parts)).toBe(true);
  expect(JSON.parse(JSON.stringify(found))).toEqual(found);
});

test('the words follow the sides', async () => {
  const [a, b] = [preset('tf', size), preset('raw255', size)];
  const there = await compare({ model, plan: a }, { model, plan: b }, ship);
  const back = await compare({ model, plan: b }, { model, plan: a }, ship);
  expect(there.causes.map(({ what }) => what)).toContain('nearest against bilinear');
  expect(back.causes.map(({ what }) => what)).toContain('bilinear against nearest');
});

test('one layer with other weights is named, also when the picture is prepared otherwise', async () => {
  const layer = model.graph.nodes.filter(({ op }) => op === 'conv2d')[4].name;
  const weights = new Map(await model.weights());
  const kernel = weights.get(`${layer}.weight`) as Tensor;
  weights.set(`${layer}.weight`, { ...kernel, data: kernel.data.map((x, i) => x + 0.05 * Math.sin(i)) });
  await using other = changed(model.graph, weights);
  const found = await compare({ model }, { model: other }, cat);
  expect(found.causes.map(({ what }) => what)).toEqual([`the weights of one layer differ: ${layer}`]);
  const both = await compare({ model }, { model: other, plan: preset('tf', size) }, cat);
  expect(ids(both)).toEqual(['resize-filter', 'normalisation', 'weights']);
});

test('some layers with other weights are counted, all of them are other weights altogether', async () => {
  const { parameters } = model.graph;
  const other = async (names: readonly string[]) => {
    const layers = new Set(names.map((name) => name.slice(0, name.lastIndexOf('.'))));
    const weights = new Map(
      [...(await model.weights())].map(([name, t]) => {
        const moved = layers.has(name.slice(0, name.lastIndexOf('.')));
        return [name, moved ? { ...t, data: t.data.map((v, i) => v * (1.2 + 0.1 * Math.sin(i)) + 0.01) } : t];
      }),
    );
    await using b = changed(model.graph, weights);
    return (await compare({ model }, { model: b }, cat)).causes.map(({ what }) => what);
  };
  const names = parameters.map(({ name }) => name);
  expect(await other(names.filter((name) => name.endsWith('.weight')).slice(0, 2))).toEqual([
    expect.stringMatching(/^the weights of 2 of \d+ layers differ, first /),
  ]);
  expect(await other(names)).toEqual(['other weights altogether']);
});

test('rounded weights are found on whichever side they are', async () => {
  const bits = new DataView(new ArrayBuffer(4));
  const toBfloat16 = (value: number): number => {
    bits.setFloat32(0, value);
    const whole = bits.getUint32(0);
    bits.setUint32(0, (whole + 0x7fff + ((whole >>> 16) & 1)) & 0xffff0000);
    return bits.getFloat32(0);
  };
  const weights = new Map(
    [...(await model.weights())].map(([name, t]) => [name, { ...t, data: t.data.map(toBfloat16) }]),
  );
  await using other = changed(model.graph, weights);
  const found = await compare({ model: other }, { model }, cat);
  expect(found.causes.map(({ what }) => what)).toEqual(['weights rounded to bfloat16 against in float32']);
});

describe('networks that differ in one thing', () => {
  test('epsilon', async () => {
    await using other = changed(
      nodes((node) => (node.op === 'batchNorm' ? { ...node, attributes: { epsilon: 1e-5 } } : node)),
    );
    const found = await compare({ model }, { model: other }, cat);
    expect(found.causes.map(({ what }) => what)).toEqual(["BatchNorm's epsilon 1e-3 against 1e-5"]);
  });

  test('one layer that is set otherwise', async () => {
    const conv = model.graph.nodes.filter(({ op }) => op === 'conv2d')[1];
    await using other = changed(
      nodes((node) =>
        node.op === 'conv2d' && node === conv
          ? { ...node, attributes: { ...node.attributes, dilation: [2, 2], padding: [2, 2, 2, 2] } }
          : node,
      ),
    );
    const found = await compare({ model }, { model: other }, cat);
    expect(ids(found)).toContain('layer-setting');
    expect(found.causes[0].what).toContain(conv.name);
  });

  test('another op is not guessed', async () => {
    const relu = model.graph.nodes.filter(({ op }) => op === 'relu')[2];
    await using other = changed(nodes((node) => (node === relu ? ({ ...node, op: 'sigmoid' } as Node) : node)));
    const found = await compare({ model }, { model: other }, cat);
    expect(found.causes).toEqual([]);
    expect(found.stations[found.parts as number].name).toBe(relu.name);
  });

  test('BatchNorm folded on one side: the whole agrees, and another stride is still found', async () => {
    const config = { classes: 10, size: 64, width: 8, widthPerGroup: 8, depths: [1, 1, 1, 1] };
    const graph = build('resnet50', config);
    await using a = createModel(graph, model.record, { seed: 4 });
    const plan = preset('torchvision', { height: 64, width: 64 });
    const compared = async (network: Graph) => {
      const folded = foldBatchNorm(network, await a.weights());
      await using b = createModel(folded.graph, model.record, { weights: folded.weights });
      return compare({ model: a, plan }, { model: b, plan }, cat);
    };
    expect((await compared(graph)).parts).toBeUndefined();
    const other = await compared(build('resnet50', { ...config, strideOn: '1x1' }));
    expect(other.causes.map(({ what }) => what)).toEqual(['stride on the 3×3 against on the first 1×1']);
  });

  test("Keras' and torchvision's names of one network", async () => {
    const config = { classes: 10, size: 32, width: 8, widthPerGroup: 8, depths: [1, 1, 1, 1] };
    const torch = build('resnet50', { ...config, convBias: true });
    const keras = build('keras-resnet50', { ...config, strideOn: '3x3', epsilon: 1e-5 });
    await using a = createModel(torch, model.record, { seed: 3 });
    const own = await a.weights();
    const weights = new Map(keras.parameters.map(({ name }, i) => [name, own.get(torch.parameters[i].name) as Tensor]));
    await using b = createModel(keras, model.record, { weights });
    const found = await compare({ model: a }, { model: b }, cat);
    expect(found.stations.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['stem', 'layer1', 'layer4', 'avgpool', 'logits']),
    );
    expect(found.parts).toBeUndefined();
  });
});

describe('recordings', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);
  const written = (name: string, tensors: Record<string, Tensor>): string => {
    const file = join(folder.path, `${name}.safetensors`);
    writeFileSync(file, Buffer.concat([...safetensorsBytes(new Map(Object.entries(tensors)))]));
    return file;
  };
  const x = tensor(
    Float32Array.from({ length: 3072 }, (_, i) => 128 + 100 * Math.sin(i)),
    [1, 3, 32, 32],
  );

  test('two recordings: stations of one name', async () => {
    const [a, b] = [
      written('a', { input: x, pooled: x }),
      written('b', { input: x, avgpool: { ...x, data: x.data.map((v) => v + 1) } }),
    ];
    const found = await compare({ recorded: a }, { recorded: b });
    expect(found).toMatchObject({
      parts: 1,
      causes: [],
      stations: [{ name: 'input' }, { name: 'avgpool', maxAbs: expect.closeTo(1, 4) }],
    });
    expect(await isRecording(a)).toBe(true);
  });

  test('probabilities are those of the logits, of a recording and of a network', async () => {
    const logits = tensor(Float32Array.of(1, 2, 3, 4), [1, 4]);
    const powers = logits.data.map(Math.exp);
    const sum = powers.reduce((all, one) => all + one, 0);
    const probabilities = tensor(
      powers.map((one) => one / sum),
      [1, 4],
    );
    const sigmoids = tensor(
      logits.data.map((one) => 1 / (1 + Math.exp(-one))),
      [1, 4],
    );
    const a = written('with-logits', { logits });
    const agree = await compare({ recorded: a }, { recorded: written('with-softmax', { softmax: probabilities }) });
    expect(agree.stations.map(({ name, parts }) => [name, parts])).toEqual([['probabilities', false]]);
    expect(agree.leftOut).toEqual({ a: ['logits'], b: [] });
    const apart = await compare({ recorded: a }, { recorded: written('with-sigmoid', { probabilities: sigmoids }) });
    expect(apart.parts).toBe(0);
  });

  test('recorded tensors that nothing is held against are told, copies of others are not', async () => {
    const b = written('more', { input: x, stem: x, maxpool: x, 'head.extra': tensor(new Float32Array(3), [3]) });
    const found = await compare({ recorded: written('few', { input: x, stem: x }) }, { recorded: b });
    expect(found.leftOut).toEqual({ a: [], b: ['head.extra'] });
    expect(found.parts).toBeUndefined();
  });

  test.each([
    ['RGB against BGR', preset('raw255', size).concat({ step: 'reverseChannels' })],
    [
      'bilinear against nearest',
      preset('raw255', size).map((step) => (step.step === 'resize' ? { ...step, filter: 'nearest' as const } : step)),
    ],
  ])('without an input the likely ones are tried: %s', async (expected, plan) => {
    const { pixels } = await decode(cat, 'default');
    const { input } = applyPlan(pixels, plan);
    const { logits } = await model.run(tensor(input, [1, 3, 32, 32]), ['logits']);
    const found = await compare({ model }, { recorded: written('logits', { logits }) }, cat);
    expect(found.causes.map(({ what }) => what)).toEqual([expected]);
    expect(found.stations.map(({ name }) => name)).toEqual(['logits']);
  });

  test('values that are no numbers part, and stay JSON', async () => {
    const broken = { ...x, data: x.data.map((v, i) => (i === 7 ? Number.NaN : v)) };
    const [a, b] = [written('c', { input: x, stem: x }), written('d', { input: x, stem: broken })];
    const [, stem] = (await compare({ recorded: a }, { recorded: b })).stations;
    expect(stem).toMatchObject({ maxAbs: null, relative: null, parts: true, worst: { at: [0, 0, 0, 7], b: null } });
  });

  test.each([
    ['nothing to compute on', () => compare({ model }, { model })],
    ['no station in common', () => compare({ model }, { recorded: written('e', { nonsense: x }) }, cat)],
    ['tolerance', () => compare({ model }, { model }, cat, { tolerance: Number.NaN })],
  ])('%s', async (message, call) => {
    await expect(call()).rejects.toMatchObject({ code: 'ARGUMENT', message: expect.stringContaining(message) });
  });
});
