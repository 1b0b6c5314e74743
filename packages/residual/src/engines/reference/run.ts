import { inEightBits, roundedWeights, scalesByValue } from '../../graph/eight-bits.js';
import { type Graph, inferShapes } from '../../graph/graph.js';
import type { OpAttributes } from '../../graph/ops.js';
import type { ActivationScale } from '../../graph/quantisation.js';
import type { Tensor, Weights } from '../../tensor.js';
import type { Backend, Program } from '../backend.js';
import { type Activation, kernels } from './kernels.js';

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

function prepare(graph: Graph, weights: Weights, scales: ReadonlyMap<number, ActivationScale> = new Map()): Program {
  const lastRead = new Map<number, number>();
  graph.nodes.forEach((node, step) => {
    for (const value of node.inputs) lastRead.set(value, step);
  });
  for (const { value } of graph.outputs) lastRead.set(value, Number.POSITIVE_INFINITY);
  const parameters = graph.parameters.map(({ value, name }): [number, Activation] => {
    const { shape, data } = weights.get(name) as Tensor;
    return [value, { shape, data }];
  });

  return {
    async run(inputs) {
      const values = new Map<number, Activation>(parameters);
      const shapes = inferShapes(
        graph,
        Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape])),
      );
      for (const { value, name } of graph.inputs) values.set(value, onGrid(inputs[name], scales.get(value)));
      graph.nodes.forEach((node, step) => {
        const given = node.inputs.map((value) => values.get(value) as Activation);
        const shape = shapes[node.outputs[0]];
        // The row and the attributes belong to the same op, which TypeScript cannot see through the union.
        const kernel = kernels[node.op] as (typeof kernels)['conv2d'];
        const data = kernel(given, node.attributes as OpAttributes['conv2d'], shape);
        values.set(node.outputs[0], onGrid({ shape, data }, scales.get(node.outputs[0])));
        for (const value of [...node.inputs, ...node.outputs])
          if ((lastRead.get(value) ?? step) <= step) values.delete(value);
      });
      return Object.fromEntries(
        graph.outputs.map(({ name, value }) => [name, rounded(values.get(value) as Activation)]),
      );
    },
    async dispose() {},
  };
}

/** What 8 bits keep of a value. */
const onGrid = (value: Activation, scale: ActivationScale | undefined): Activation =>
  scale ? { ...value, data: Float64Array.from(value.data, (x) => inEightBits(x, scale)) } : value;

/** A new float32 tensor: what leaves shares no memory with what came in. */
const rounded = ({ shape, data }: Activation): Tensor => ({ dtype: 'float32', shape, data: new Float32Array(data) });
