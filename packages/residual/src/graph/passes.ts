import { sharedFloats, type Tensor, type Weights } from '../tensor.js';
import { findValue, freeFrom, type Graph, type Node, type Parameter } from './graph.js';

/**
 * The part of a graph that the wanted values need, with those as its outputs: named outputs, features or layers, the
 * graph's own outputs when left out. Nodes and parameters that nothing wanted depends on are dropped, and so is
 * dropout, which is the identity at inference. Values keep their numbers; inputs stay.
 * @throws UNKNOWN_NAME with the nearest name.
 */
export function prune(graph: Graph, wanted?: readonly string[]): Graph {
  const same = new Map<number, number>();
  const origin = (value: number): number => same.get(value) ?? value;
  const nodes: Node[] = [];
  for (const node of graph.nodes) {
    if (node.op === 'dropout') same.set(node.outputs[0], origin(node.inputs[0]));
    else nodes.push({ ...node, inputs: node.inputs.map(origin) });
  }
  const named = wanted?.map((name) => ({ name, value: findValue(graph, name) })) ?? graph.outputs;
  const outputs = named.map(({ name, value }) => ({ name, value: origin(value) }));
  const { kept, live } = needed(
    nodes,
    outputs.map(({ value }) => value),
  );
  return {
    ...graph,
    nodes: kept,
    outputs,
    parameters: graph.parameters.filter((parameter) => live.has(parameter.value)),
    features: Object.fromEntries(
      Object.entries(graph.features)
        .map(([name, value]) => [name, origin(value)] as const)
        .filter(([, value]) => live.has(value)),
    ),
  };
}

/** The nodes that these values depend on, in their order; `live` are those values and all that the nodes read. */
export function needed<N extends Pick<Node, 'inputs' | 'outputs'>>(
  nodes: readonly N[],
  values: readonly number[],
): { kept: N[]; live: ReadonlySet<number> } {
  const live = new Set(values);
  const kept: N[] = [];
  for (const node of nodes.toReversed()) {
    if (!node.outputs.some((value) => live.has(value))) continue;
    kept.push(node);
    for (const value of node.inputs) live.add(value);
  }
  return { kept: kept.reverse(), live };
}

/** A graph with its BatchNorms folded, and what is left to do to the weights. */
export interface Folding {
  readonly graph: Graph;
  /** Biases are folded; the other weights are as they were. */
  readonly weights: Weights;
  /** By a weight's name: what the numbers of each output channel are still to be multiplied with. */
  readonly factors: ReadonlyMap<string, Float64Array>;
}

/**
 * Joins every BatchNorm with the convolution or dense layer before it, where nothing else reads that layer's result
 * and no output of the graph names it: weight′ = weight · s, bias′ = (bias − mean) · s + beta, with
 * s = gamma / sqrt(variance + epsilon), computed in float64 and rounded once. The joined layer keeps its own name. A
 * BatchNorm behind anything else stays.
 */
export function foldBatchNorm(graph: Graph, weights: Weights): { graph: Graph; weights: Weights } {
  const folding = planFolding(graph, weights);
  return {
    graph: folding.graph,
    weights: new Map(
      Array.from(folding.weights, ([name, tensor]) => {
        const factor = folding.factors.get(name);
        return [name, factor ? scaled(tensor, factor) : tensor];
      }),
    ),
  };
}

/** `foldBatchNorm` for an engine that multiplies as it packs: the large weights are not copied. */
export function planFolding(graph: Graph, weights: Weights): Folding {
  const readers = countReaders(graph);
  const named = new Map(graph.parameters.map((parameter) => [parameter.value, parameter]));
  const nodes = new Map<number, Node>();
  const folded = new Map(weights);
  const factors = new Map<string, Float64Array>();
  let next = freeFrom(graph);

  for (const node of graph.nodes) {
    const layer = node.op === 'batchNorm' ? nodes.get(node.inputs[0]) : undefined;
    const canFold =
      (layer?.op === 'conv2d' || layer?.op === 'dense') &&
      readers.get(layer.outputs[0]) === 1 &&
      layer.inputs.slice(1).every((value) => readers.get(value) === 1);
    if (node.op !== 'batchNorm' || !canFold) {
      nodes.set(node.outputs[0], node);
      continue;
    }
    const [x, weight, bias] = layer.inputs;
    const tensorOf = (value: number): Tensor => folded.get((named.get(value) as Parameter).name) as Tensor;
    const [gamma, beta, mean, variance] = node.inputs.slice(1).map((value) => tensorOf(value).data);
    const before = bias === undefined ? undefined : tensorOf(bias).data;
    const [scale, shift] = [new Float64Array(gamma.length), new Float32Array(gamma.length)];
    for (let c = 0; c < gamma.length; c++) {
      scale[c] = gamma[c] / Math.sqrt(variance[c] + node.attributes.epsilon);
      shift[c] = ((before?.[c] ?? 0) - mean[c]) * scale[c] + beta[c];
    }

    const weightParameter = named.get(weight) as Parameter;
    const biasParameter: Parameter = (bias !== undefined && named.get(bias)) || {
      value: next++,
      name: `${layer.name}.bias`,
      shape: [shift.length],
      role: 'bias',
      initial: 'zeros',
    };
    named.set(biasParameter.value, biasParameter);
    readers.set(biasParameter.value, 1);
    const earlier = factors.get(weightParameter.name);
    factors.set(weightParameter.name, earlier ? scale.map((s, c) => s * earlier[c]) : scale);
    folded.set(biasParameter.name, { dtype: 'float32', shape: biasParameter.shape, data: shift });
    nodes.delete(layer.outputs[0]);
    nodes.set(node.outputs[0], { ...layer, inputs: [x, weight, biasParameter.value], outputs: node.outputs });
  }

  const list = [...nodes.values()];
  const used = new Set(list.flatMap((node) => node.inputs));
  const parameters = [...named.values()].filter((parameter) => used.has(parameter.value));
  return {
    graph: { ...graph, nodes: list, parameters },
    weights: new Map(parameters.map(({ name }) => [name, folded.get(name) as Tensor])),
    factors,
  };
}

/** The graph that folding leaves, for what does not depend on the weights. */
export function foldedGraph(graph: Graph): Graph {
  const ones = new Map(
    graph.parameters.map(({ name, shape }): [string, Tensor] => [
      name,
      { dtype: 'float32', shape, data: new Float32Array(shape.length === 1 ? shape[0] : 0).fill(1) },
    ]),
  );
  return planFolding(graph, ones).graph;
}

/** A weight with row `c` (all that makes output channel `c`) times `scale[c]`. */
export function scaled({ shape, data: from }: Tensor, scale: Float64Array | Float32Array): Tensor {
  const data = sharedFloats(from.length);
  const row = from.length / scale.length;
  for (let c = 0; c < scale.length; c++) {
    const factor = scale[c];
    for (let i = c * row; i < (c + 1) * row; i++) data[i] = from[i] * factor;
  }
  return { dtype: 'float32', shape, data };
}

/** How many node inputs and graph outputs read each value. */
function countReaders(graph: Graph): Map<number, number> {
  const readers = new Map<number, number>();
  const values = [...graph.nodes.flatMap((node) => node.inputs), ...graph.outputs.map((output) => output.value)];
  for (const value of values) readers.set(value, (readers.get(value) ?? 0) + 1);
  return readers;
}
