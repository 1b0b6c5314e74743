import { chooseEngine, type EngineName } from '../engines/index.js';
import { type Graph, inferShapes, type Parameter } from '../graph/graph.js';
import { prune } from '../graph/passes.js';
import { sharedFloats, type Tensor, tensor } from '../tensor.js';

/** A network under experiment: its layers may have been changed, its weights are made when they are asked for. */
export interface Net {
  readonly graph: Graph;
  readonly weight: (parameter: Parameter) => Tensor;
  /** BatchNorm takes mean and variance of the batch at hand, as in training. */
  readonly batchStatistics?: boolean;
  readonly engine: EngineName | 'auto';
}

/** Values by their number in the graph. */
export type Known = ReadonlyMap<number, Tensor>;

/**
 * Computes the wanted values of a network from those already known: only what lies between is run.
 * @throws GRAPH, ENGINE, ABORTED.
 */
export async function evaluate(
  net: Net,
  known: Known,
  wanted: readonly number[],
  options: { signal?: AbortSignal | undefined } = {},
): Promise<Map<number, Tensor>> {
  if (!net.batchStatistics) return execute(net, known, wanted, options);
  const so = new Map(known);
  for (const node of between(net.graph, known, wanted).nodes) {
    if (node.op !== 'batchNorm') continue;
    const [from, gamma, beta] = node.inputs;
    const x = so.get(from) ?? ((await execute(net, so, [from], options)).get(from) as Tensor);
    const named = new Map(net.graph.parameters.map((parameter) => [parameter.value, parameter]));
    const read = (value: number) => net.weight(named.get(value) as Parameter).data;
    so.set(node.outputs[0], normalised(x, read(gamma), read(beta), node.attributes.epsilon));
  }
  return execute(net, so, wanted, options);
}

async function execute(
  net: Net,
  known: Known,
  wanted: readonly number[],
  options: { signal?: AbortSignal | undefined },
): Promise<Map<number, Tensor>> {
  const found = new Map<number, Tensor>();
  for (const value of wanted) if (known.has(value)) found.set(value, known.get(value) as Tensor);
  const open = [...new Set(wanted)].filter((value) => !found.has(value));
  if (!open.length) return found;
  const part = between(net.graph, known, open);
  // What pruning takes for one value is one output: engines name each output once.
  const values = [...new Set(part.outputs.map(({ value }) => value))];
  const outputs = values.map((value) => ({ name: `v${value}`, value }));
  const weights = new Map(part.parameters.map((parameter) => [parameter.name, net.weight(parameter)]));
  const passed = new Map<number, Tensor>(part.inputs.map(({ value }) => [value, known.get(value) as Tensor]));
  const results: Record<string, Tensor> = {};
  const computed = outputs.filter(({ value }) => !passed.has(value));
  if (computed.length) {
    // It runs once: to choose kernels by the clock would take longer.
    const how = { weights, deterministic: true };
    const executable = await chooseEngine(net.engine).compile({ ...part, outputs: computed }, how);
    try {
      const feeds = Object.fromEntries(part.inputs.map(({ name, value }) => [name, known.get(value) as Tensor]));
      Object.assign(results, await executable.run(feeds, options));
    } finally {
      await executable.dispose();
    }
  }
  for (const { name, value } of part.outputs)
    found.set(Number(name.slice(1)), passed.get(value) ?? results[`v${value}`]);
  return found;
}

/** The part of a graph that leads from known values to wanted ones; outputs are called `v` and their first number. */
function between(graph: Graph, known: Known, wanted: readonly number[]): Graph {
  const makers = new Map(graph.nodes.flatMap((node) => node.outputs.map((value) => [value, node] as const)));
  const needed = new Set<number>();
  const inputs = new Set<number>();
  const open = [...wanted];
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (known.has(value)) inputs.add(value);
    else if (!needed.has(value)) {
      needed.add(value);
      open.push(...(makers.get(value)?.inputs ?? []));
    }
  }
  return prune({
    ...graph,
    inputs: [...inputs].map((value) => ({ value, name: `v${value}`, shape: (known.get(value) as Tensor).shape })),
    nodes: graph.nodes.filter((node) => node.outputs.some((value) => needed.has(value))),
    parameters: graph.parameters.filter(({ value }) => needed.has(value)),
    outputs: wanted.map((value) => ({ name: `v${value}`, value })),
    features: {},
  });
}

/** Whether a changed graph still fits together for an input of this shape. */
export function fits(graph: Graph, input: Tensor): boolean {
  try {
    inferShapes(graph, { [graph.inputs[0].name]: input.shape });
    return true;
  } catch {
    return false;
  }
}

/** BatchNorm over the batch at hand: biased variance, as in training (Ioffe and Szegedy 2015, algorithm 1). */
function normalised({ shape, data }: Tensor, gamma: Float32Array, beta: Float32Array, epsilon: number): Tensor {
  const [batch, channels] = shape;
  const plane = data.length / (batch * channels);
  const out = sharedFloats(data.length);
  for (let c = 0; c < channels; c++) {
    let [sum, squares] = [0, 0];
    const each = (visit: (i: number) => void) => {
      for (let n = 0; n < batch; n++) for (let i = (n * channels + c) * plane, end = i + plane; i < end; i++) visit(i);
    };
    each((i) => {
      sum += data[i];
    });
    const mean = sum / (batch * plane);
    each((i) => {
      squares += (data[i] - mean) ** 2;
    });
    const scale = gamma[c] / Math.sqrt(squares / (batch * plane) + epsilon);
    each((i) => {
      out[i] = (data[i] - mean) * scale + beta[c];
    });
  }
  return tensor(out, shape);
}
