import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  add,
  avgPool,
  batchNorm,
  concat,
  conv2d,
  dense,
  flatten,
  input,
  maxPool,
  mul,
  network,
  relu,
  resize,
  sigmoid,
  softmax,
  zeroPad,
} from '../graph/build.js';
import { freeFrom, type Graph, inferShapes, type Node, type Parameter } from '../graph/graph.js';
import { type OpName, ops } from '../graph/ops.js';
import { gradientName, type StepOptions, type TrainingStep, trainingStep } from '../graph/training-step.js';
import { build, type FamilyName, type ResNetOptions } from '../models/resnet.js';
import { type Shape, sizeOf, type Tensor, tensor, type Weights } from '../tensor.js';
import { checkGraph } from './check.js';
import { randomLayer } from './random.test.graphs.js';
import { referenceTraining } from './reference/train.js';
import { noise, noiseTensor, noiseWeights } from './sketch.js';
import type { ProgramOptions, TrainingBackend, TrainingProgram } from './training.js';

/** A training step with all it takes: what an engine makes of it is compared with `reference`. */
export interface TrainingCase {
  readonly name: string;
  readonly step: TrainingStep;
  readonly weights: Weights;
  readonly inputs: Readonly<Record<string, Tensor>>;
}

const all = () => true;

/** A network's training step on noise. Targets are soft; the cross-entropy's first row does not add up to 1. */
export function stepOf(
  graph: Graph,
  image: Tensor,
  options: Partial<StepOptions> & { name?: string; seed?: number; weights?: Weights } = {},
): TrainingCase {
  const { name = graph.name, seed = 1, loss = 'crossEntropy', trains = all, dropPath } = options;
  const step = trainingStep(graph, { shape: image.shape, loss, trains, ...(dropPath !== undefined && { dropPath }) });
  const next = noise(seed + 1000);
  const uniform = () => (1 + next()) / 2;
  const shapes = inferShapes(step.graph);
  const { value } = step.graph.inputs.find((one) => one.name === 'targets') as { value: number };
  const [batch, classes] = shapes[value];
  const targets = Float32Array.from({ length: batch * classes }, uniform);
  if (loss === 'crossEntropy')
    for (let n = 0; n < batch; n++) {
      const row = targets.subarray(n * classes, (n + 1) * classes);
      const sum = row.reduce((a, b) => a + b, 0) * (n === 0 ? 2 : 1);
      for (let k = 0; k < classes; k++) row[k] /= sum;
    }
  const masks = step.masks.map(({ name: mask, rate, kind, shape }): [string, Tensor] => {
    const draw = () => (uniform() < rate ? 0 : 1 / (1 - rate));
    const each = kind === 'depth' ? shape[0] : sizeOf(shape);
    const drawn = Array.from({ length: each }, draw);
    const repeated = sizeOf(shape) / each;
    return [
      mask,
      tensor(
        Float32Array.from({ length: sizeOf(shape) }, (_, i) => drawn[Math.floor(i / repeated)]),
        shape,
      ),
    ];
  });
  return {
    name,
    step,
    weights: options.weights ?? noiseWeights(graph, seed),
    inputs: {
      [graph.inputs[0].name]: image,
      targets: tensor(targets, [batch, classes]),
      ...Object.fromEntries(masks),
    },
  };
}

/**
 * Makes any network one that can be trained and whose first gradient is seen: a 1×1 convolution before it, its last
 * output flattened behind it.
 */
export function trainable(graph: Graph): Graph {
  const [image] = graph.inputs;
  const channels = image.shape[1];
  const free = freeFrom(graph);
  const [weight, bias, first, logits] = [free, free + 1, free + 2, free + 3];
  const moved = (value: number) => (value === image.value ? first : value);
  const nodes: Node[] = [
    {
      op: 'conv2d',
      name: 'first',
      inputs: [image.value, weight, bias],
      outputs: [first],
      attributes: { kernel: [1, 1], stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 },
    },
    ...graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map(moved) })),
  ];
  const last = moved((graph.outputs.at(-1) as Graph['outputs'][number]).value);
  nodes.push({ op: 'flatten', name: 'last', inputs: [last], outputs: [logits], attributes: { channelsLast: false } });
  const parameters: Parameter[] = [
    { value: weight, name: 'first.weight', shape: [channels, channels, 1, 1], role: 'weight', initial: 'he' },
    { value: bias, name: 'first.bias', shape: [channels], role: 'bias', initial: 'zeros' },
  ];
  return {
    ...graph,
    parameters: [...parameters, ...graph.parameters],
    nodes,
    outputs: [{ name: 'logits', value: logits }],
    features: {},
  };
}

/** One random layer's step, made to be trained: every setting of an op and of its gradients. */
export const randomStep = (op: OpName): fc.Arbitrary<TrainingCase> =>
  fc
    .record({ layer: randomLayer(op), seed: fc.integer({ min: 0, max: 1e6 }) })
    .map(({ layer, seed }) => {
      const graph = trainable(layer.graph);
      const loss = seed % 2 ? 'crossEntropy' : 'binaryCrossEntropy';
      return stepOf(graph, layer.image, { name: op, seed, loss, weights: nearIdentity(graph, seed) });
    })
    // Of few numbers the variance may be 0, or all but: what is left of them is rounding.
    .filter(({ step }) => step.measured.every(({ count }) => count >= 8));

/** Weights of which the first convolution hardly mixes: were all its results about alike, a BatchNorm would blow up rounding. */
function nearIdentity(graph: Graph, seed: number): Weights {
  const weights = noiseWeights(graph, seed);
  const { shape, data } = weights.get('first.weight') as Tensor;
  const near = data.map((x, i) => x / 4 + Number(i % (shape[1] + 1) === 0));
  return new Map([...weights, ['first.weight', tensor(near, shape)]]);
}

const small = { width: 8, widthPerGroup: 8, depths: [1, 1], classes: 5 };

/** A small member of the family; `shape` is that of the pictures. */
function member(name: string, of: FamilyName, shape: Shape, options: ResNetOptions, how: Partial<StepOptions> = {}) {
  const graph = build(of, { ...small, size: [shape[2], shape[3]], ...options });
  return stepOf(graph, noiseTensor(shape, noise(7)), { name, ...how });
}

/** What no ResNet has: odd zeros, layers that change sizes, joins along height and width, gates of all shapes. */
function odds(): Graph {
  const image = input({ channels: 3, height: 11, width: 13 });
  let x = conv2d(image, 6, { kernel: [3, 2], stride: 2, padding: 'same' }); // 6 × 7
  x = relu(batchNorm(x, { epsilon: 1e-3 }));
  const wide = conv2d(x, 6, { kernel: [1, 3], padding: [0, 3, 1, 0], dilation: [1, 2], groups: 3, bias: false }); // 7 × 6
  const large = resize(wide, { size: [6, 7], mode: 'bilinear', coordinates: 'align_corners' });
  x = add(mul(x, sigmoid(large)), resize(resize(x, { scale: 2 }), { scale: 0.5, mode: 'bilinear' }));
  const pooled = maxPool(x, { kernel: 3, stride: 2, padding: 'same' }); // 3 × 4
  const mean = avgPool(x, { kernel: [4, 3], stride: 2, padding: [1, 0, 0, 2], countPadding: true }); // 2 × 4
  const rows = concat([pooled, mean, zeroPad(mean, [0, 0, 1, 0])], { axis: 2 }); // 8 × 4
  const columns = concat([rows, avgPool(rows, { kernel: [1, 2], padding: [0, 1, 0, 1] })], { axis: 3 }); // 8 × 7
  x = batchNorm(conv2d(zeroPad(columns, 0, { channels: [1, 2] }), 4, { kernel: 3, stride: [2, 3] })); // 3 × 2
  return network('odds', { logits: dense(softmax(dense(flatten(x, { channelsLast: true }), 9)), 4, { bias: false }) });
}

/**
 * Equal numbers in one window of a max pool, of which only one may get the gradient. All weights are 1 and each pixel is
 * 1 in one channel, so that the weight's gradient tells which pixel it was.
 */
function ties(): TrainingCase {
  const image = input({ channels: 9, height: 3, width: 3 });
  const graph = network('ties', {
    logits: flatten(maxPool(conv2d(image, 1, { bias: false }), { kernel: 2, stride: 1, padding: [1, 0, 0, 1] })),
  });
  const pixels = tensor(
    Float32Array.from({ length: 81 }, (_, i) => Number(i % 10 === 0)),
    [1, 9, 3, 3],
  );
  const [{ name, shape }] = graph.parameters;
  return stepOf(graph, pixels, { weights: new Map([[name, tensor(new Float32Array(9).fill(1), shape)]]) });
}

const withoutNorms = ({ role }: Parameter) => role === 'weight' || role === 'bias';

/** Small steps with every op and every way to train. */
export const trainingCases: readonly TrainingCase[] = [
  stepOf(checkGraph(), noiseTensor([3, 3, 13, 11], noise(3)), { name: 'an op of every kind' }),
  stepOf(odds(), noiseTensor([3, 3, 11, 13], noise(4)), { name: 'odd windows and joins' }),
  ties(),
  member('basic blocks with shortcuts of zeros, branches dropped', 'resnet20', [5, 3, 12, 10], {}, { dropPath: 0.6 }),
  member('one picture', 'resnet18', [1, 3, 41, 37], {}),
  member('bottlenecks in groups, dropout', 'resnext50_32x4d', [3, 3, 40, 40], {
    groups: 2,
    widthPerGroup: 4,
    dropout: 0.4,
  }),
  member(
    'squeeze and excitation, deep stem, blurs; several classes',
    'seresnet50',
    [3, 3, 43, 40],
    { stem: 'deep', stemWidth: 4, antiAlias: 'blur', projection: 'averaged' },
    { loss: 'binaryCrossEntropy' },
  ),
  member('channel attention, means before strides', 'ecaresnet26t', [3, 3, 48, 40], {
    block: 'basic',
    stemWidth: 4,
    antiAlias: 'mean',
  }),
  member('pre-activation, softmax at the end', 'keras-resnet50v2', [3, 3, 40, 36], { depths: [2, 2] }),
  member('Keras 2015: biases, strides first, channels last', 'keras2015-resnet50', [3, 3, 44, 44], {}),
  member('dilated, a pool of uneven zeros', 'resnet50', [2, 3, 40, 38], {
    depths: [1, 1, 1],
    outputStride: 8,
    stemPool: 'ceil',
  }),
  member('the first stage frozen', 'resnet18', [3, 3, 40, 40], {}, { trains: ({ name }) => /layer2|fc/.test(name) }),
  member('BatchNorm frozen everywhere', 'resnet50', [3, 3, 40, 40], {}, { trains: withoutNorms }),
  member('the classifier alone', 'resnet18', [3, 3, 40, 40], {}, { trains: ({ name }) => name.startsWith('fc') }),
];

/** The parameters in two groups, each backwards: nothing may depend on the order. */
export const groupsOf = ({ step: { trained } }: TrainingCase): string[][] => [
  trained
    .filter(({ shape }) => shape.length > 1)
    .map(({ name }) => name)
    .reverse(),
  trained
    .filter(({ shape }) => shape.length === 1)
    .map(({ name }) => name)
    .reverse(),
];

/** All that comes out of a step: its outputs and the gradient of every trained parameter, each by the output's name. */
export async function results(program: TrainingProgram, { step, inputs }: TrainingCase) {
  const outputs = new Map(Object.entries(await program.run(inputs)));
  for (const { name } of step.trained) outputs.set(gradientName(name), program.read(program.gradients, name));
  return outputs;
}

const meanSquare = ({ data }: Tensor) => data.reduce((sum, x) => sum + x * x, 0) / data.length;

/**
 * What a program computes otherwise than another one, as lines: the difference as a share of what is expected (both as
 * root mean squares), where it is above `bound`. A gradient that ought to be about 0 is measured by the others.
 */
export function disagreements(
  received: ReadonlyMap<string, Tensor>,
  expected: ReadonlyMap<string, Tensor>,
  bound: number,
): string[] {
  const isGradient = (name: string) => name.endsWith(gradientName(''));
  const gradients = [...expected].flatMap(([name, one]) => (isGradient(name) ? [Math.sqrt(meanSquare(one))] : []));
  const least = Math.max(1e-2 * Math.max(...gradients), 1e-2);
  const names = new Set([...expected.keys(), ...received.keys()]);
  return [...names].flatMap((name) => {
    const [a, b] = [received.get(name), expected.get(name)];
    if (!a || !b) return [`${name}: ${a ? 'not expected' : 'missing'}`];
    if (a.shape.join() !== b.shape.join()) return [`${name}: [${a.shape}] in place of [${b.shape}]`];
    const apart = tensor(
      a.data.map((x, i) => x - b.data[i]),
      a.shape,
    );
    const scale = Math.max(Math.sqrt(meanSquare(b)), isGradient(name) ? least : 1e-30);
    const share = Math.sqrt(meanSquare(apart)) / scale;
    // A NaN is a failure too.
    return share <= bound ? [] : [`${name}: ${share.toExponential(1)} apart`];
  });
}

/**
 * Runs a step on a backend and on `reference`.
 * @returns where they differ by more than `bound`: nothing, if all is well.
 * @example expect(await differing(backend, one, 1e-4)).toEqual([]);
 */
export async function differing(
  backend: TrainingBackend,
  one: TrainingCase,
  bound: number,
  options: Omit<ProgramOptions, 'groups'> = {},
): Promise<string[]> {
  const groups = groupsOf(one);
  const judge = await referenceTraining.train(one.step, one.weights, { groups });
  const program = await backend.train(one.step, one.weights, { ...options, groups });
  try {
    return disagreements(await results(program, one), await results(judge, one), bound);
  } finally {
    await program.dispose();
  }
}

/** The tests that every engine's training passes; `bound` is how far its numbers may be from those of `reference`. */
export function testTraining(
  backend: TrainingBackend,
  { bound, ...options }: { bound: number } & Omit<ProgramOptions, 'groups'>,
): void {
  test.each(trainingCases.map((one) => [one.name, one] as const))('%s', async (_, one) => {
    expect(await differing(backend, one, bound, options)).toEqual([]);
  });

  describe('a random layer', () => {
    test.each(
      (Object.keys(ops) as OpName[]).map(
        (op) => [op, ['conv2d', 'maxPool', 'avgPool'].includes(op) ? 60 : 15] as const,
      ),
    )('%s', async (op, numRuns) => {
      // A BatchNorm undoes any scale before it: what is left of those gradients is a difference of large numbers.
      const own = op === 'batchNorm' ? 10 * bound : bound;
      await fc.assert(
        fc.asyncProperty(randomStep(op), async (one) => {
          expect(await differing(backend, one, own, options)).toEqual([]);
        }),
        { numRuns },
      );
    });
  });

  test('flat arrays: groups are ranges, the rest is 0, sums are sums', async () => {
    const [one] = trainingCases;
    const groups = groupsOf(one);
    const program = await backend.train(one.step, one.weights, { ...options, groups });
    const { slices, ranges, parameters, gradients, array, combine, read, write } = program;
    expect(slices.map(({ name }) => name)).toEqual(groups.flat());
    let end = 0;
    groups.forEach((names, i) => {
      expect(ranges[i][0]).toBe(end);
      for (const { offset, length } of slices.filter(({ name }) => names.includes(name))) {
        expect(offset).toBeGreaterThanOrEqual(end);
        end = offset + length;
      }
      expect(ranges[i][1]).toBeGreaterThanOrEqual(end);
      end = ranges[i][1];
    });
    expect(end).toBe(parameters.length);
    for (const { name } of one.step.trained)
      expect(read(parameters, name)).toEqual(expect.objectContaining(plain(one.weights.get(name) as Tensor)));

    const before = await results(program, one);
    expect(disagreements(await results(program, one), before, 0)).toEqual([]);
    const norm = (numbers: Float32Array) => numbers.reduce((sum, x) => sum + Math.abs(x), 0);
    const inside = one.step.trained.reduce((sum, { name }) => sum + norm(read(gradients, name).data), 0);
    expect(norm(gradients) / inside).toBeCloseTo(1, 5);

    const momentum = array();
    expect(momentum.length).toBe(parameters.length);
    expect(norm(momentum)).toBe(0);
    combine(momentum, [
      [0.5, gradients],
      [2, parameters],
    ]);
    combine(
      momentum,
      [
        [-1, momentum],
        [1, gradients],
      ],
      ranges[1],
    );
    momentum.forEach((x, i) => {
      const sum = 0.5 * gradients[i] + 2 * parameters[i];
      const expected = i < ranges[1][0] ? sum : gradients[i] - sum;
      if (Math.abs(x - expected) > 1e-5 * (1 + Math.abs(sum))) throw new Error(`${i}: ${x} in place of ${expected}`);
    });

    // What is written is what is read, and what the next step computes with.
    for (const { name } of one.step.trained) write(parameters, name, read(momentum, name).data);
    const weights = new Map(one.weights);
    for (const { name } of one.step.trained) {
      expect(read(parameters, name)).toEqual(read(momentum, name));
      weights.set(name, read(momentum, name));
    }
    const judge = await referenceTraining.train(one.step, weights, { groups });
    expect(disagreements(await results(program, one), await results(judge, one), bound)).toEqual([]);
    await program.dispose();
  });
}

const plain = ({ shape, data }: Tensor) => ({ shape, data: new Float32Array(data) });
