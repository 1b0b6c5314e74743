import { ResidualError } from '../../errors.js';
import type { StepGraph, StepNode } from '../../graph/graph.js';
import type { Shape, Tensor } from '../../tensor.js';
import type { Initializer, OnnxNode } from './model.js';

type Attributes = OnnxNode['attributes'];

/** One op to be written: where it reads, where it writes, and what may be added. */
export interface Site {
  readonly layer: string;
  /** Whether a pooling layer reads the result. */
  readonly feedsPool: boolean;
  /** Names of the inputs: activations, then parameters. */
  readonly inputs: readonly string[];
  /** Names of the results. */
  readonly outputs: readonly string[];
  /** Shapes of the inputs, at the size the network was built for. */
  readonly shapes: readonly Shape[];
  /** Writes the last node, the one whose results are the op's: all of them, or those numbered in `outputs`. */
  last(type: string, inputs: readonly string[], attributes?: Attributes, outputs?: readonly number[]): void;
  /** Writes a node before it and gives the name of its result, or of the one numbered `output`. */
  before(type: string, inputs: readonly string[], attributes?: Attributes, output?: number): string;
  /** Adds a constant and gives its name. */
  constant(role: string, data: Initializer['data'], shape: Shape): string;
}

/** A graph being written as ONNX. */
export interface Writing {
  readonly nodes: OnnxNode[];
  readonly initializers: ReadonlyMap<string, Initializer>;
  site(node: StepNode): Site;
  /** The name of a value. */
  nameOf(value: number): string;
  /** A name that nothing has yet. */
  fresh(wish: string): string;
  /** Adds a node that is no op of the graph. */
  write(
    type: string,
    name: string,
    results: readonly string[],
    inputs: readonly string[],
    attributes?: Attributes,
  ): void;
  constant(wish: string, data: Initializer['data'], shape: Shape): string;
  /** Gives the outputs their names; the last thing to be written. */
  nameOutputs(): void;
}

/**
 * Begins to write a graph: inputs, parameters, layers and outputs keep their names.
 * @param shapes of all values. @param stored the values of a parameter that is kept in the model.
 */
export function writing(
  graph: StepGraph,
  shapes: readonly Shape[],
  stored: (parameter: string) => Tensor | undefined,
): Writing {
  const nodes: OnnxNode[] = [];
  const initializers = new Map<string, Initializer>();
  const { names, fresh } = nameValues(graph);
  const nameOf = (value: number): string => names.get(value) as string;
  const parameters = new Map(graph.parameters.map((parameter) => [nameOf(parameter.value), parameter]));
  const pooled = new Set(
    graph.nodes
      .filter(({ op }) => op === 'maxPool' || op === 'avgPool' || op === 'maxPoolGradient')
      .flatMap(({ inputs }) => inputs),
  );

  const write: Writing['write'] = (type, name, results, inputs, attributes = {}) => {
    nodes.push({ name, type, inputs, outputs: results, attributes });
    for (const input of inputs) {
      const parameter = parameters.get(input);
      const tensor = parameter && !initializers.has(input) ? stored(parameter.name) : undefined;
      if (parameter === undefined || tensor === undefined) continue;
      const { eightBits } = tensor;
      initializers.set(input, {
        name: input,
        shape: parameter.shape,
        // Not asked for where they are not needed: to make them takes time.
        get data() {
          return tensor.data;
        },
        eightBits,
      });
    }
  };
  const constant: Writing['constant'] = (wish, data, shape) => {
    const name = fresh(wish);
    initializers.set(name, { name, shape, data });
    return name;
  };
  return {
    nodes,
    initializers,
    nameOf,
    fresh,
    write,
    constant,
    site: (node) => ({
      layer: node.name,
      feedsPool: pooled.has(node.outputs[0]),
      inputs: node.inputs.map(nameOf),
      outputs: node.outputs.map(nameOf),
      shapes: node.inputs.map((value) => shapes[value]),
      last(type, inputs, attributes, outputs = node.outputs.map((_, i) => i)) {
        const name = outputs[0] === 0 ? node.name : fresh(node.name);
        write(
          type,
          name,
          outputs.map((i) => nameOf(node.outputs[i])),
          inputs,
          attributes,
        );
      },
      before(type, inputs, attributes, output = 0) {
        const results = Array.from({ length: output + 1 }, () => fresh(`${node.name}.${type.toLowerCase()}`));
        write(type, results[0], results, inputs, attributes);
        return results[output];
      },
      constant: (role, data, shape) => constant(`${node.name}.${role}`, data, shape),
    }),
    nameOutputs() {
      for (const { name, value } of graph.outputs)
        if (nameOf(value) !== name) write('Identity', fresh(name), [name], [nameOf(value)]);
    },
  };
}

/** A name for every value, no two the same: inputs and outputs have theirs, then parameters, then layers' results. */
function nameValues(graph: StepGraph): { names: Map<number, string>; fresh(wish: string): string } {
  const taken = new Set<string>();
  const names = new Map<number, string>();
  /** The last number given to each wish: a thousand layers of one name must not each count from 2. */
  const counts = new Map<string, number>();
  const fresh = (wish: string): string => {
    let name = wish;
    let count = counts.get(wish) ?? 1;
    while (taken.has(name)) name = `${wish}_${++count}`;
    counts.set(wish, count);
    taken.add(name);
    return name;
  };
  for (const { value, name } of graph.inputs) names.set(value, name);
  for (const { name } of [...graph.inputs, ...graph.outputs]) {
    if (taken.has(name))
      throw new ResidualError('GRAPH', `${graph.name}: two of its inputs and outputs are called "${name}"; rename one`);
    taken.add(name);
  }
  for (const { value, name } of graph.outputs) if (!names.has(value)) names.set(value, name);
  for (const { value, name } of graph.parameters) if (!names.has(value)) names.set(value, fresh(name));
  for (const node of graph.nodes)
    for (const value of node.outputs) if (!names.has(value)) names.set(value, fresh(node.name));
  return { names, fresh };
}
