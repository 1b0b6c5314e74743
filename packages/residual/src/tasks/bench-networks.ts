import { noise, noiseTensor, noiseWeights, sketch } from '../engines/sketch.js';
import { type Graph, type Input, inferShapes, type Node } from '../graph/graph.js';
import { type Shape, sameShape, sharedFloats, sizeOf, type Tensor, type Weights } from '../tensor.js';

/** A network to be timed: its values mean nothing, but none of them is tiny, infinite or no number. */
export interface Timed {
  readonly graph: Graph;
  readonly weights: Weights;
}

/**
 * The convolutions of a network and nothing else: each reads the result of the one before it, past what only changes
 * values (BatchNorm, ReLU, sum); where the layers between change the shape, it reads an input of its own. Results that
 * no convolution reads are the outputs.
 *
 * @param image Shape of the network's first input; the built one when left out.
 */
export function convolutionsAlone(network: Graph, image?: Shape): Graph {
  const [built] = network.inputs;
  const first = { ...built, shape: image ?? built.shape };
  const shapes = inferShapes(network, { [first.name]: first.shape });
  const inputs: Input[] = [];
  const nodes: Node[] = [];
  /** For each value the convolution, or the input, whose result stands for it; none where the shape has changed. */
  const carriers = new Map<number, number>([[first.value, first.value]]);
  const order = new Map<number, number>();
  for (const node of network.nodes) {
    const [out] = node.outputs;
    if (node.op !== 'conv2d') {
      const carried = node.inputs
        .filter((value) => carriers.has(value) && sameShape(shapes[value], shapes[out]))
        .map((value) => carriers.get(value) as number);
      // Of a sum's two sides the later one, so that the chain is long and its loose ends are few.
      const latest = carried.sort((a, b) => (order.get(a) ?? -1) - (order.get(b) ?? -1)).at(-1);
      if (latest !== undefined) carriers.set(out, latest);
      continue;
    }
    const [x, ...parameters] = node.inputs;
    const from = carriers.get(x) ?? x;
    if (from === x && !carriers.has(x)) inputs.push({ value: x, name: `into ${node.name}`, shape: shapes[x] });
    else if (from === first.value && !inputs.some(({ value }) => value === from)) inputs.push(first);
    carriers.set(x, from);
    nodes.push({ ...node, inputs: [from, ...parameters] });
    carriers.set(out, out);
    order.set(out, nodes.length);
  }
  const read = new Set(nodes.flatMap((node) => node.inputs));
  return {
    name: `${network.name}, convolutions alone`,
    inputs,
    parameters: network.parameters.filter(({ value }) => read.has(value)),
    nodes,
    outputs: nodes.filter((node) => !read.has(node.outputs[0])).map(({ name, outputs: [value] }) => ({ name, value })),
    features: {},
  };
}

/** Random weights with variance 1 / fan-in, and no biases: values keep their size down any number of convolutions. */
export function steadyWeights({ parameters }: Graph): Weights {
  const next = noise(7);
  return new Map(
    parameters.map(({ name, shape, role }): [string, Tensor] => [
      name,
      role === 'weight'
        ? noiseTensor(shape, next, Math.sqrt(3 / sizeOf(shape.slice(1))))
        : { dtype: 'float32', shape, data: sharedFloats(sizeOf(shape)) },
    ]),
  );
}

/**
 * Networks that show what a processor can do at best: 1×1 convolutions, which are products of matrices, with much
 * arithmetic for each number read, and almost nothing before and behind them. No engine has a short cut for these, as
 * Winograd's is for 3×3: a network's share of this peak can exceed 1 by such a short cut alone.
 */
export const peakNetworks = (): Timed[] =>
  peakSizes.map(({ channels, pictures, layers }) => {
    const net = sketch(`peak at ${channels} channels`, [pictures, few, side, side]);
    const plain = { kernel: [1, 1], stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 } as const;
    let x = net.add('conv2d', [net.image], plain, [[channels, few, 1, 1]], 'into');
    for (let i = 0; i < layers; i++) x = net.add('conv2d', [x], plain, [[channels, channels, 1, 1]], `conv${i}`);
    const graph = net.finish({ mean: net.add('globalAvgPool', [x], { keepDims: false }, [], 'mean') });
    return { graph, weights: noiseWeights(graph) };
  });

const side = 32;
const few = 16;
/** About six thousand million multiply-adds each: tens of milliseconds in f32, two in 8 bits. */
const peakSizes = [
  { channels: 256, pictures: 8, layers: 12 },
  { channels: 1024, pictures: 2, layers: 3 },
] as const;

/** A picture, or a batch of them, of random numbers about as large as preprocessed ones. */
export const noisePictures = (shape: Shape): Tensor => noiseTensor(shape, noise(3), 2);
