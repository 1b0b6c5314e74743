import { describe, expect, test } from 'vitest';
import { referenceTraining } from '../engines/reference/train.js';
import { noise, noiseTensor } from '../engines/sketch.js';
import { groupsOf, results, stepOf } from '../engines/training.test.cases.js';
import { build } from '../models/resnet.js';
import { type Tensor, tensor } from '../tensor.js';
import { dense, dropout, flatten, globalAvgPool, input, network, relu, softmax } from './build.js';
import type { Parameter } from './graph.js';
import { gradientName, trainingStep } from './training-step.js';

const shape = [4, 3, 32, 32];
const all = () => true;
const small = { width: 8, widthPerGroup: 8, depths: [1, 2], classes: 5, size: 32 } as const;
const named =
  (...patterns: RegExp[]) =>
  (parameter: Parameter) =>
    patterns.some((one) => one.test(parameter.name));

describe('a training step', () => {
  const graph = build('resnet18', { ...small, dropout: 0.25 });
  const step = trainingStep(graph, { shape, loss: 'crossEntropy', trains: all, dropPath: 0.4 });

  test('gives loss, logits, the statistics of the batch and every gradient', () => {
    const statistics = graph.parameters.filter(({ role }) => role === 'mean' || role === 'variance');
    const trained = graph.parameters.filter((one) => !statistics.includes(one));
    expect(step.trained).toEqual(trained);
    expect(step.graph.outputs.map(({ name }) => name).toSorted()).toEqual(
      [
        'loss',
        'logits',
        ...statistics.map(({ name }) => name),
        ...trained.map(({ name }) => gradientName(name)),
      ].toSorted(),
    );
    expect(step.graph.parameters).toEqual(trained);
  });

  test('counts what is behind the statistics', () => {
    expect(step.measured[0]).toEqual({ mean: 'bn1.running_mean', variance: 'bn1.running_var', count: 4 * 16 * 16 });
    expect(step.measured.length * 2).toBe(graph.parameters.filter(({ name }) => name.includes('running')).length);
  });

  test('takes the masks it names, dropped branches ever more often', () => {
    expect(step.masks).toEqual([
      { name: 'layer2.0.add.kept', kind: 'depth', rate: 0.2, shape: [4, 16, 1, 1] },
      { name: 'layer2.1.add.kept', kind: 'depth', rate: 0.4, shape: [4, 16, 1, 1] },
      { name: 'dropout.mask', kind: 'dropout', rate: 0.25, shape: [4, 16] },
    ]);
    expect(step.graph.inputs.map(({ name, shape: size }) => [name, size])).toEqual([
      ['input', shape],
      ...step.masks.map((mask) => [mask.name, mask.shape]),
      ['targets', [4, 5]],
    ]);
  });

  test('every layer has a name of its own', () => {
    const names = step.graph.nodes.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });

  test('the gradient of the pictures is not computed', () => {
    expect(step.graph.nodes.filter(({ name }) => name.startsWith('conv1 by')).map(({ op }) => op)).toEqual([
      'conv2dWeightGradient',
    ]);
  });
});

test('a mask of zeros takes a branch, or all features, out of the step', async () => {
  const graph = build('resnet18', { ...small, dropout: 0.25 });
  const one = stepOf(graph, noiseTensor(shape, noise(1)), { dropPath: 0.4 });
  const program = await referenceTraining.train(one.step, one.weights, { groups: groupsOf(one) });
  const without = async (mask: string) => {
    const { data, shape: size } = one.inputs[mask];
    const inputs = { ...one.inputs, [mask]: tensor(new Float32Array(data.length), size) };
    const found = await results(program, { ...one, inputs });
    const moves = (name: string) => found.get(gradientName(name))?.data.some((x) => x !== 0);
    return { logits: found.get('logits') as Tensor, moves };
  };
  const dropped = await without('layer2.1.add.kept');
  expect(['layer2.1.conv1.weight', 'layer2.1.bn2.weight'].map(dropped.moves)).toEqual([false, false]);
  expect(['layer2.0.conv1.weight', 'conv1.weight', 'fc.weight'].map(dropped.moves)).toEqual([true, true, true]);
  const { logits, moves } = await without('dropout.mask');
  const bias = (one.weights.get('fc.bias') as Tensor).data;
  expect(logits.data).toEqual(Float32Array.from(logits.data, (_, i) => bias[i % 5]));
  expect(['fc.weight', 'conv1.weight', 'fc.bias'].map(moves)).toEqual([false, false, true]);
});

describe('what is frozen', () => {
  const graph = build('resnet18', small);
  const options = { shape, loss: 'crossEntropy' } as const;

  test('a frozen beginning costs nothing on the way back, and keeps its statistics', () => {
    const { graph: step, measured } = trainingStep(graph, { ...options, trains: named(/layer2/, /fc/) });
    const back = step.nodes.slice(step.nodes.findIndex(({ name }) => name === 'loss') + 1);
    expect(back.filter(({ name }) => /^(conv1|bn1|maxpool|layer1)/.test(name))).toEqual([]);
    expect(measured.every(({ mean }) => mean.startsWith('layer2'))).toBe(true);
    expect(step.nodes.filter(({ op }) => op === 'batchNorm').map(({ name }) => name)).toEqual([
      'bn1',
      'layer1.0.bn1',
      'layer1.0.bn2',
    ]);
  });

  test('a BatchNorm of which neither gamma nor beta learns lets gradients through', () => {
    const { graph: step, measured } = trainingStep(graph, { ...options, trains: named(/conv/) });
    expect(measured).toEqual([]);
    const ops = new Set(step.nodes.map(({ op }) => op));
    expect(ops.has('frozenBatchNormGradient')).toBe(true);
    expect(ops.has('batchNormTraining')).toBe(false);
  });

  test('a BatchNorm of which one learns measures the batch', () => {
    const { trained, measured } = trainingStep(graph, { ...options, trains: named(/layer2.1.bn2.bias/) });
    expect(trained.map(({ name }) => name)).toEqual(['layer2.1.bn2.bias']);
    expect(measured.map(({ mean }) => mean)).toEqual(['layer2.1.bn2.running_mean']);
  });
});

describe('the end of a network', () => {
  const options = { shape: [2, 3, 8, 8], loss: 'crossEntropy', trains: all } as const;
  const x = () => globalAvgPool(relu(input({ height: 8, width: 8 })));

  test('a softmax is left away', () => {
    const logits = dense(x(), 4);
    const { graph } = trainingStep(network('net', { probabilities: softmax(logits) }), options);
    expect(graph.nodes.some(({ op }) => op === 'softmax')).toBe(false);
    expect(graph.outputs.find(({ name }) => name === 'logits')?.value).toBe(logits.id);
  });

  test('other results cost nothing and draw nothing', () => {
    const from = x();
    const net = network('net', { logits: dense(from, 4), other: dropout(from, 0.5) });
    expect(trainingStep(net, options).masks).toEqual([]);
  });

  test('no logits, nothing to train, a parameter that does not matter: each is refused', () => {
    expect(() => trainingStep(network('net', { features: dense(x(), 4) }), options)).toThrow(
      'net has no logits to train',
    );
    expect(() => trainingStep(network('net', { logits: flatten(x()) }), options)).toThrow('net has nothing to train');
    const from = x();
    const aside = network('net', { logits: dense(from, 4), other: dense(from, 2, { name: 'aside' }) });
    expect(() => trainingStep(aside, options)).toThrow('aside.weight has no gradient: the loss does not depend on it');
  });
});
