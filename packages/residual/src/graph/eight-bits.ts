import { ResidualError } from '../errors.js';
import { type EightBits, type Shape, sharedBytes, sharedFloats, type Tensor, type Weights } from '../tensor.js';
import type { Graph, Node } from './graph.js';
import type { OpName } from './ops.js';
import type { ActivationScale, Quantisation } from './quantisation.js';

interface Traits {
  /** Whether it can work on numbers of 8 bits: `passed` where that only helps if its own result is wanted in 8 bits. */
  readonly reads: 'eightBits' | 'passed' | 'float';
  /** Whether its result is below 0 nowhere, anywhere, or where its inputs are. */
  readonly sign: 'positive' | 'any' | 'inputs';
}

const computes = { reads: 'eightBits', sign: 'any' } as const;
/** Picks values or means of them: the result lies on the input's own grid. */
const passes = { reads: 'passed', sign: 'inputs' } as const;

const traits: Readonly<Record<OpName, Traits>> = {
  conv2d: computes,
  dense: computes,
  add: { reads: 'eightBits', sign: 'inputs' },
  // Its values are far smaller than the largest of a picture: they get a grid of their own.
  globalAvgPool: { reads: 'eightBits', sign: 'inputs' },
  maxPool: passes,
  avgPool: passes,
  blurPool: passes,
  resize: passes,
  pad: passes,
  flatten: passes,
  reshape: passes,
  dropout: passes,
  // What goes into a ReLU is rectified before it is rounded.
  relu: { reads: 'float', sign: 'positive' },
  sigmoid: { reads: 'float', sign: 'positive' },
  softmax: { reads: 'float', sign: 'positive' },
  batchNorm: { reads: 'float', sign: 'any' },
  mul: { reads: 'float', sign: 'inputs' },
  concat: { reads: 'float', sign: 'inputs' },
};

/** A value that is kept in 8 bits. */
export interface StoredValue {
  readonly value: number;
  /** The input's name, or that of the layer whose result it is. */
  readonly name: string;
  readonly dtype: ActivationScale['dtype'];
  /** The value whose scale it has, where a layer only picks from that one; else itself. */
  readonly like: number;
}

/**
 * The values that a network of 8 bits keeps in 8 bits: those that a convolution, a dense layer, an add or a global mean
 * reads, and those from which layers between only pick.
 * @param float convolutions and dense layers that compute in float
 * @throws GRAPH when two of them have one name.
 */
export function storedValues(graph: Graph, float: readonly string[]): StoredValue[] {
  const wanted = new Set<number>();
  for (const node of graph.nodes.toReversed()) {
    const { reads } = traits[node.op];
    const takes =
      reads === 'eightBits' ? !float.includes(node.name) : reads === 'passed' && wanted.has(node.outputs[0]);
    if (takes) for (const value of activationsOf(node)) wanted.add(value);
  }
  const positive = new Set<number>();
  const found = new Map<number, StoredValue>();
  const keep = (value: number, name: string, like = value) => {
    if (wanted.has(value)) found.set(value, { value, name, dtype: positive.has(value) ? 'u8' : 's8', like });
  };
  for (const { value, name } of graph.inputs) keep(value, name);
  for (const node of graph.nodes) {
    const [result] = node.outputs;
    const from = activationsOf(node);
    const { sign, reads } = traits[node.op];
    if (sign === 'positive' || (sign === 'inputs' && from.every((value) => positive.has(value)))) positive.add(result);
    keep(result, node.name, reads === 'passed' ? found.get(from[0])?.like : undefined);
  }
  const names = new Set<string>();
  for (const { name } of found.values()) {
    if (names.has(name))
      throw new ResidualError('GRAPH', `${graph.name}: two layers or inputs are called "${name}"; rename one`, {
        name,
      });
    names.add(name);
  }
  return [...found.values()];
}

/** The scales of a network's values, by the value. */
export function scalesByValue(graph: Graph, { activations }: Quantisation): Map<number, ActivationScale> {
  const scales = new Map<number, ActivationScale>();
  const put = (value: number, name: string) => {
    if (Object.hasOwn(activations, name)) scales.set(value, activations[name]);
  };
  for (const { value, name } of graph.inputs) put(value, name);
  for (const { name, outputs } of graph.nodes) put(outputs[0], name);
  return scales;
}

/** The convolutions and dense layers that compute in 8 bits. */
export function layersOfEightBits(graph: Graph, quantisation: Quantisation): Node[] {
  const scales = scalesByValue(graph, quantisation);
  return graph.nodes.filter(
    ({ op, name, inputs }) =>
      (op === 'conv2d' || op === 'dense') && scales.has(inputs[0]) && !quantisation.float.includes(name),
  );
}

/** The names of the weights that are kept in 8 bits: those that no layer in float reads as well. */
export function weightsOfEightBits(graph: Graph, quantisation: Quantisation): Set<string> {
  const names = new Map(graph.parameters.map(({ value, name }) => [value, name]));
  const layers = new Set(layersOfEightBits(graph, quantisation));
  const elsewhere = new Set(graph.nodes.filter((node) => !layers.has(node)).flatMap(({ inputs }) => inputs));
  const weights = [...layers].map(({ inputs }) => inputs[1]).filter((value) => !elsewhere.has(value));
  return new Set(weights.map((value) => names.get(value) as string));
}

const activationsOf = ({ op, inputs }: Node): readonly number[] =>
  op === 'conv2d' || op === 'dense' || op === 'batchNorm' ? inputs.slice(0, 1) : inputs;

/** The scale of each output channel of a weight: its largest magnitude over 127; 0 for a channel of zeros. */
export function channelScales({ shape, data }: Tensor): Float32Array {
  const scales = new Float32Array(shape[0]);
  const row = data.length / shape[0];
  for (let c = 0; c < scales.length; c++) {
    let most = 0;
    for (let i = c * row; i < (c + 1) * row; i++) {
      const magnitude = Math.abs(data[i]);
      if (magnitude > most) most = magnitude;
    }
    scales[c] = most / 127;
  }
  return scales;
}

/** A weight's whole numbers from −127 to 127, for these scales of its output channels. */
export function toEightBits({ data }: Tensor, scales: Float32Array): Int8Array {
  const whole = new Int8Array(sharedBytes(data.length).buffer);
  const row = data.length / scales.length;
  for (let c = 0; c < scales.length; c++) {
    const factor = scales[c] === 0 ? 0 : 1 / scales[c];
    for (let i = c * row; i < (c + 1) * row; i++) whole[i] = roundEven(data[i] * factor);
  }
  return whole;
}

/** A weight in 8 bits. Its real numbers are made when somebody asks for them: engines of 8 bits do not. */
export function eightBitTensor(shape: Shape, eightBits: EightBits): Tensor {
  let real: Float32Array | undefined;
  return {
    dtype: 'float32',
    shape,
    eightBits,
    get data() {
      real ??= realNumbers(eightBits);
      return real;
    },
  };
}

function realNumbers({ whole, scales }: EightBits): Float32Array {
  const real = sharedFloats(whole.length);
  const row = whole.length / scales.length;
  for (let c = 0; c < scales.length; c++) {
    const scale = scales[c];
    for (let i = c * row; i < (c + 1) * row; i++) real[i] = whole[i] * scale;
  }
  return real;
}

/** A weight as 8 bits keep it. */
export function toEightBitTensor(weight: Tensor): Tensor {
  if (weight.eightBits) return weight;
  const scales = channelScales(weight);
  return eightBitTensor(weight.shape, { whole: toEightBits(weight, scales), scales });
}

const half = 1.5 * 2 ** 52; // Up to 2^51 a number beside it has no room for fractions.

/** To the nearest whole number, a half to the even one: what adding a number without room for fractions leaves. */
export const roundEven = (x: number): number => x + half - half;

/** `x` as 8 bits keep it. */
export function inEightBits(x: number, { scale, dtype }: ActivationScale): number {
  const [least, most] = dtype === 'u8' ? [0, 255] : [-128, 127];
  return Math.min(most, Math.max(least, roundEven(x / scale))) * scale;
}

/** Weights as 8 bits keep them, where the network does. */
export function roundedWeights(graph: Graph, weights: Weights, quantisation: Quantisation): Weights {
  const rounded = new Map(weights);
  for (const name of weightsOfEightBits(graph, quantisation))
    rounded.set(name, toEightBitTensor(weights.get(name) as Tensor));
  return rounded;
}

/** Scales that were not measured on pictures, for what does not depend on values, for a network whose BatchNorms are folded. */
export const anyScales = (graph: Graph): Quantisation => ({
  activations: Object.fromEntries(storedValues(graph, []).map(({ name, dtype }) => [name, { scale: 0.02, dtype }])),
  float: [],
});
