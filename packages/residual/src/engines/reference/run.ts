import { inEightBits, roundedWeights, scalesByValue } from '../../graph/eight-bits.js';
import { inferShapes, type StepGraph } from '../../graph/graph.js';
import type { ActivationScale } from '../../graph/quantisation.js';
import type { Tensor, Weights } from '../../tensor.js';
import type { Backend, Program } from '../backend.js';
import type { Activation } from './kernels.js';
import { compute } from './training-kernels.js';

/**
 * Plain loops in float64, the judge of all other engines: clear, the same on every machine, and slow. In `int8` it
 * rounds weights, and every value that is kept in 8 bits, to what 8 bits can say; the sums between are those of whole numbers.
 */
export const reference: Backend = {
  runtime: async () => ({ runtime: 'plain loops in float64' }),
  compile: async (graph, weights, { quantisation }) =>
    quantisation
      ? prepare(graph, roundedWeights(graph, weights, quantisation), scalesByValue(graph, quantisation))
      : prepare(graph, weights),
};

const prepare = (graph: StepGraph, weights: Weights, scales?: ReadonlyMap<number, ActivationScale>): Program => ({
  async run(inputs) {
    const results = evaluate(graph, inputs, weights, scales);
    return Object.fromEntries(Object.entries(results).map(([name, value]) => [name, rounded(value)]));
  },
  async dispose() {},
});

/**
 * Computes a graph's outputs, in float64 from beginning to end. A result may be an input's own memory.
 * @param scales of the values that are kept in 8 bits, by number.
 */
export function evaluate(
  graph: StepGraph,
  inputs: Readonly<Record<string, Activation>>,
  parameters: ReadonlyMap<string, Activation>,
  scales: ReadonlyMap<number, ActivationScale> = new Map(),
): Record<string, Activation> {
  const lastRead = new Map<number, number>();
  graph.nodes.forEach((node, step) => {
    for (const value of node.inputs) lastRead.set(value, step);
  });
  for (const { value } of graph.outputs) lastRead.set(value, Number.POSITIVE_INFINITY);

  const values = new Map<number, Activation>();
  for (const { value, name } of graph.parameters) values.set(value, parameters.get(name) as Activation);
  for (const { value, name } of graph.inputs) values.set(value, onGrid(inputs[name], scales.get(value)));
  const shapes = inferShapes(
    graph,
    Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape])),
  );
  graph.nodes.forEach((node, step) => {
    const results = compute(
      node,
      node.inputs.map((value) => values.get(value) as Activation),
      node.outputs.map((value) => shapes[value]),
    );
    node.outputs.forEach((value, i) => {
      values.set(value, onGrid({ shape: shapes[value], data: results[i] }, scales.get(value)));
    });
    for (const value of [...node.inputs, ...node.outputs])
      if ((lastRead.get(value) ?? step) <= step) values.delete(value);
  });
  return Object.fromEntries(graph.outputs.map(({ name, value }) => [name, values.get(value) as Activation]));
}

/** What 8 bits keep of a value. */
const onGrid = (value: Activation, scale: ActivationScale | undefined): Activation =>
  scale ? { ...value, data: Float64Array.from(value.data, (x) => inEightBits(x, scale)) } : value;

/** A new float32 tensor: what leaves shares no memory with what came in. */
export const rounded = ({ shape, data }: Activation): Tensor => ({
  dtype: 'float32',
  shape,
  data: new Float32Array(data),
});
