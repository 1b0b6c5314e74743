import { unknownName } from '../errors.js';
import type { Shape } from '../tensor.js';
import { type OpAttributes, type OpName, ops, type ParameterRole } from './ops.js';
import { type TrainingOpAttributes, type TrainingOpName, trainingOps } from './training-ops.js';

interface Applied<K extends string, Attributes> {
  readonly op: K;
  readonly name: string;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  readonly attributes: Attributes;
  /** The residual block this belongs to, such as `layer3.2`. */
  readonly block?: string;
}

/** One op applied. Values are numbers; `inputs` are the activations, then the parameters in the op table's order. */
export type Node = { [K in OpName]: Applied<K, OpAttributes[K]> }[OpName];

/** An op of a training step: one of a network, or one that only training has. */
export type StepNode = Node | { [K in TrainingOpName]: Applied<K, TrainingOpAttributes[K]> }[TrainingOpName];

export interface Input {
  readonly value: number;
  readonly name: string;
  /** The size the network was built for, `[1, C, H, W]`; batch, height and width may be others at run time. */
  readonly shape: Shape;
}

export interface Parameter {
  readonly value: number;
  /** Layer and role, as PyTorch spells it: `layer1.0.conv1.weight`, `bn1.running_var`. */
  readonly name: string;
  readonly shape: Shape;
  readonly role: ParameterRole;
  /** How an untrained network sets it; `he` is He et al. 2015b, normal with variance 2 / fan-in. */
  readonly initial: 'he' | 'glorot' | 'zeros' | 'ones';
}

/** A network: ops in topological order over numbered values. Plain data, safe to send to another thread. */
export interface Graph {
  readonly name: string;
  readonly inputs: readonly Input[];
  readonly parameters: readonly Parameter[];
  readonly nodes: readonly Node[];
  /** Named results; `logits` or `probabilities` for a classifier. */
  readonly outputs: readonly { readonly name: string; readonly value: number }[];
  /** Named points inside, coarse to fine: `stem`, `layer1` … `layer4`, `avgpool`. */
  readonly features: Readonly<Record<string, number>>;
}

/** A network, or what computes its gradients: every network is one, too. */
export interface StepGraph extends Omit<Graph, 'nodes'> {
  readonly nodes: readonly StepNode[];
}

/** Layers of a network out of a file, and its parameters: far more than any has, and what every step does in seconds. */
export const mostNodes = 20_000;

/** Running statistics are measured, not learnt. */
export const isTrainable = (p: Parameter): boolean => p.role !== 'mean' && p.role !== 'variance';

/**
 * The shape of every value, by number, for inputs of the given shapes (the built size when left out).
 * @throws GRAPH with the layer's name when a layer does not fit.
 */
export function inferShapes(graph: StepGraph, inputShapes: Readonly<Record<string, Shape>> = {}): Shape[] {
  const shapes: Shape[] = [];
  for (const input of graph.inputs) shapes[input.value] = inputShapes[input.name] ?? input.shape;
  for (const parameter of graph.parameters) shapes[parameter.value] = parameter.shape;
  for (const node of graph.nodes) {
    const found = nodeShapes(node, shapes);
    node.outputs.forEach((value, i) => {
      shapes[value] = found[i];
    });
  }
  return shapes;
}

/** The first value number behind all that a graph uses. */
export function freeFrom({ inputs, parameters, nodes }: StepGraph): number {
  const used = [...inputs, ...parameters].map(({ value }) => value).concat(nodes.flatMap(({ outputs }) => outputs));
  return 1 + used.reduce((most, value) => Math.max(most, value), -1);
}

/** The whole op table. */
export const rows = { ...ops, ...trainingOps };

/** The values whose numbers an op reads: not those of which only the shape matters. */
export function readByNode({ op, inputs }: Pick<StepNode, 'op' | 'inputs'>): number[] {
  const row = rows[op] as { readonly mirrored?: readonly number[] };
  return inputs.filter((_, i) => !row.mirrored?.includes(i));
}

/** Output shapes of one node, given the shapes of all values before it. */
export function nodeShapes(node: StepNode, shapes: readonly Shape[]): Shape[] {
  // The row and the attributes belong to the same op, which TypeScript cannot see through the union.
  const row = rows[node.op] as (typeof ops)['relu'];
  return row.shapes(
    node.inputs.map((value) => shapes[value]),
    node.attributes as OpAttributes['relu'],
    node.name,
  );
}

/**
 * The value called `name`: an output, a feature, or a layer's result.
 * @throws UNKNOWN_NAME with the nearest name.
 */
export function findValue(graph: Graph, name: string): number {
  const found =
    graph.outputs.find((output) => output.name === name)?.value ??
    (Object.hasOwn(graph.features, name) ? graph.features[name] : undefined) ??
    graph.nodes.find((node) => node.name === name)?.outputs[0];
  if (found === undefined)
    throw unknownName(`layer of ${graph.name}`, name, [
      ...graph.outputs.map((output) => output.name),
      ...Object.keys(graph.features),
      ...graph.nodes.map((node) => node.name),
    ]);
  return found;
}
