import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { randomLayer, randomNetwork } from '../engines/random.test.graphs.js';
import type { Activation } from '../engines/reference/kernels.js';
import { evaluate } from '../engines/reference/run.js';
import { noise, noiseWeights, sketch } from '../engines/sketch.js';
import { stepOf, trainable, trainingCases } from '../engines/training.test.cases.js';
import { type Tensor, tensor, type Weights } from '../tensor.js';
import { differentiate } from './gradient.js';
import { freeFrom, type Graph, inferShapes, type StepGraph, type StepNode } from './graph.js';
import { type OpName, ops } from './ops.js';
import { gradientName } from './training-step.js';

/** A graph whose outputs are a loss and, by the name of an input or a parameter, its gradient. */
interface Subject {
  readonly graph: StepGraph;
  readonly values: ReadonlyMap<string, Tensor>;
  readonly gradients: ReadonlyMap<string, string>;
}

/**
 * The gradients that central differences contradict: (loss(p + h · v) − loss(p − h · v)) / 2h is the gradient's product
 * with v, for a random direction v of each parameter by itself. All in float64. Where ReLU or a max pool has a corner
 * within h, the difference says nothing, so a smaller h may still agree: a wrong gradient agrees with none.
 */
function contradicted({ graph, values, gradients }: Subject): string[] {
  const wide = new Map(
    Array.from(values, ([name, { shape, data }]): [string, Activation] => [
      name,
      { shape, data: new Float64Array(data) },
    ]),
  );
  const run = (on: StepGraph, at: ReadonlyMap<string, Activation>) =>
    evaluate(on, Object.fromEntries(graph.inputs.map(({ name }) => [name, at.get(name) as Activation])), at);
  const lossAlone = upToLoss(graph);
  const found = run(graph, wide);
  const next = noise(5);
  return [...gradients].flatMap(([name, output]) => {
    const { shape, data } = wide.get(name) as Activation;
    expect(found[output].shape).toEqual(shape);
    const gradient = Float64Array.from(found[output].data);
    // No part of it near zero: the loss's own rounding would be all that such a move shows.
    const direction = Float64Array.from(data, () => {
      const x = next();
      return x + Math.sign(x);
    });
    const lossAt = (h: number) => {
      const moved = { shape, data: data.map((x, i) => x + h * direction[i]) };
      return run(lossAlone, new Map(wide).set(name, moved)).loss.data[0];
    };
    const expected = gradient.reduce((sum, x, i) => sum + x * direction[i], 0);
    const allowed = (1e-5 * Math.hypot(...gradient) + 1e-8) * Math.hypot(...direction);
    const slopes: number[] = [];
    for (const h of [1e-4, 1e-5, 1e-6, 1e-7]) {
      const slope = (lossAt(h) - lossAt(-h)) / (2 * h);
      if (Math.abs(slope - expected) <= allowed) return [];
      slopes.push(slope);
    }
    return [`${name}: ${expected}, but by differences ${slopes.join(', ')}`];
  });
}

/** The forward half: what is behind the loss computes gradients. */
const upToLoss = (graph: StepGraph): StepGraph => ({
  ...graph,
  nodes: graph.nodes.slice(0, 1 + graph.nodes.findIndex(({ name }) => name === 'loss')),
  outputs: graph.outputs.filter(({ name }) => name === 'loss'),
});

/** Differentiates a network as it stands, BatchNorms frozen, by its input and by its weights and biases. */
function frozen(network: Graph, image: Tensor, weights: Weights): Subject {
  const [{ value: picture, name: input }] = network.inputs;
  const [{ value: logits }] = network.outputs;
  const shapes = inferShapes(network, { [input]: image.shape });
  const [targets, loss] = [freeFrom(network), freeFrom(network) + 1];
  const node: StepNode = {
    op: 'binaryCrossEntropy',
    name: 'loss',
    inputs: [logits, targets],
    outputs: [loss],
    attributes: {},
  };
  const forward: StepGraph = {
    ...network,
    inputs: [...network.inputs, { value: targets, name: 'targets', shape: shapes[logits] }],
    nodes: [...network.nodes, node],
  };
  const by = new Map(
    network.parameters.flatMap(({ role, value, name }) =>
      role === 'weight' || role === 'bias' ? [[value, name] as const] : [],
    ),
  ).set(picture, input);
  const { graph, gradients } = differentiate(forward, loss, new Set(by.keys()), { [input]: image.shape });
  const named = Array.from(by, ([value, name]) => ({
    name: gradientName(name),
    value: gradients.get(value) as number,
  }));
  const next = noise(9);
  const count = shapes[logits].reduce((product, size) => product * size, 1);
  return {
    graph: { ...graph, outputs: [{ name: 'loss', value: loss }, ...named] },
    values: new Map<string, Tensor>(weights)
      .set(input, image)
      .set('targets', tensor(Float32Array.from({ length: count }, next), shapes[logits])),
    gradients: new Map(Array.from(by.values(), (name) => [name, gradientName(name)])),
  };
}

const ofStep = ({ step, weights, inputs }: (typeof trainingCases)[number]): Subject => ({
  graph: step.graph,
  values: new Map([...weights, ...Object.entries(inputs)]),
  gradients: new Map(step.trained.map(({ name }) => [name, gradientName(name)])),
});

describe('central differences agree', () => {
  const differentiable = (Object.keys(ops) as OpName[]).filter((op) => op !== 'dropout');
  test.each(differentiable)('%s', (op) => {
    const numRuns = ['conv2d', 'maxPool', 'avgPool', 'resize'].includes(op) ? 100 : 40;
    fc.assert(
      fc.property(randomLayer(op), fc.nat(), ({ graph, image }, seed) => {
        const network = trainable(graph);
        expect(contradicted(frozen(network, image, noiseWeights(network, seed)))).toEqual([]);
      }),
      { numRuns },
    );
  });

  test('random networks, BatchNorms by the batch, dropout, both losses', () => {
    fc.assert(
      fc.property(randomNetwork, fc.nat({ max: 1e6 }), ({ graph, image }, seed) => {
        const loss = seed % 2 ? 'crossEntropy' : 'binaryCrossEntropy';
        expect(contradicted(ofStep(stepOf(trainable(graph), image, { seed, loss })))).toEqual([]);
      }),
      { numRuns: 60 },
    );
  });

  test.each(trainingCases.filter(({ name }) => name !== 'ties').map((one) => [one.name, one] as const))(
    '%s',
    (_, one) => {
      expect(contradicted(ofStep(one))).toEqual([]);
    },
  );
});

describe('what has no gradient is refused by name', () => {
  const image = tensor(new Float32Array(12), [1, 3, 2, 2]);
  const subject = (op: 'dropout' | 'batchNorm') => {
    const net = sketch('net', image.shape);
    const end =
      op === 'dropout'
        ? net.add('dropout', [net.image], { rate: 0.5 }, [], 'drop')
        : net.add('batchNorm', [net.image], { epsilon: 1 }, Array(4).fill([3]), 'norm');
    return trainable(net.finish({ end }));
  };
  test('dropout, for which a step has a mask', () => {
    const network = subject('dropout');
    expect(() => frozen(network, image, noiseWeights(network))).toThrow(
      'layer "drop" has no gradient: a training step multiplies by a mask in its place',
    );
  });
  test('gamma of a BatchNorm that is frozen', () => {
    const { parameters, ...rest } = subject('batchNorm');
    const asWeights = parameters.map((one) => (one.role === 'gamma' ? ({ ...one, role: 'weight' } as const) : one));
    const network = { ...rest, parameters: asWeights };
    expect(() => frozen(network, image, noiseWeights(network))).toThrow('norm.gamma has no gradient');
  });
});
