import { ResidualError } from '../errors.js';
import { mostNodes, type Node, nodeShapes, type Parameter } from '../graph/graph.js';
import type { OpAttributes, OpName, ParameterRole } from '../graph/ops.js';
import { formatShape, type Shape, sizeOf } from '../tensor.js';
import type { Arrangement, OnnxConstant, OnnxNetwork, OnnxNode } from './onnx-network.js';

/** A number of a shape; the batch's size is known only when the network runs. */
export type Size = number | 'batch';

/** What a name in the model stands for: a layer's result. */
export interface Activation {
  readonly kind: 'activation';
  /** Nothing else reads it, by this or another name. */
  readonly alone: boolean;
  readonly value: number;
  /** Always `[1, C, H, W]` for a picture, whatever the model's own order. */
  readonly shape: Shape;
  /** The model sees its axes as `[N, H, W, C]`. */
  readonly channelsLast: boolean;
  /** Its picture has a mirrored rim of that width, which is not computed: only a blur may read it. */
  readonly mirrored?: number;
}

/** A tensor of the file, or numbers made of the shapes of others. */
export interface Constant {
  readonly kind: 'constant';
  readonly shape: Shape;
  readonly values?: readonly Size[];
  /** The values are whole numbers, whose division is whole too. */
  readonly whole?: boolean;
  readonly blur?: number;
  /** The file's tensor, and the order in which its axes are seen. */
  readonly from?: { readonly tensor: string; readonly permutation?: readonly number[] };
}

export type Known = Activation | Constant;

/** The network under construction, and how the file's tensors become its parameters. */
export interface Draft {
  readonly network: OnnxNetwork;
  readonly nodes: Node[];
  readonly parameters: Parameter[];
  readonly shapes: Shape[];
  /** Parameter → the file's tensor. */
  readonly tensors: Map<string, string>;
  readonly arrange: Map<string, Arrangement>;
  /** Parameters by tensor, role and form. */
  readonly shared: Map<string, number>;
  /** What the names in the model stand for. */
  readonly known: Map<string, Known>;
  /** How many operators and outputs read each name. */
  readonly readers: ReadonlyMap<string, number>;
  /** Where each value's layer stands in `nodes`. */
  readonly makers: Map<number, number>;
  /** The batch that the file fixes. */
  batch: number | undefined;
  /** The model takes its pictures channels last. */
  channelsLast: boolean;
  /** The file fixes height and width. */
  fixedSize: boolean;
  /** A layer's name, made unique. */
  readonly layerName: (wish: string) => string;
  readonly parameterName: (wish: string) => string;
}

export function draftOf(network: OnnxNetwork, readers: ReadonlyMap<string, number>): Draft {
  return {
    network,
    nodes: [],
    parameters: [],
    shapes: [],
    tensors: new Map(),
    arrange: new Map(),
    known: new Map([...network.tensors].map(([name, constant]) => [name, ofFile(name, constant)])),
    readers,
    makers: new Map(),
    batch: undefined,
    channelsLast: false,
    fixedSize: true,
    shared: new Map(),
    layerName: uniqueNames(network.inputs.map(({ name }) => name)),
    parameterName: uniqueNames([]),
  };
}

/** Gives each name once; a name that is taken gets a number. */
function uniqueNames(taken: readonly string[]): (wish: string) => string {
  const used = new Map(taken.map((name) => [name, 1]));
  return (wish) => {
    let count = used.get(wish) ?? 0;
    let name = wish;
    while (count > 0 && used.has(name)) name = `${wish}_${++count}`;
    used.set(wish, Math.max(count, 1));
    used.set(name, used.get(name) ?? 1);
    return name;
  };
}

const ofFile = (tensor: string, { dtype, shape, values, blur }: OnnxConstant): Constant => ({
  kind: 'constant',
  shape,
  ...(values ? { values, whole: !dtype.includes('float') } : {}),
  ...(blur === undefined ? {} : { blur }),
  from: { tensor },
});

/** Whether a constant has its tensor's own axes, in whatever order: it was not reshaped. */
export function hasOwnAxes({ network }: Draft, { shape, from }: Constant): boolean {
  const own = from && network.tensors.get(from.tensor)?.shape;
  return own !== undefined && (from?.permutation?.map((axis) => own[axis]) ?? own).join() === shape.join();
}

/** Elements of one layer's result for one picture: what a typed array holds. */
const mostElements = 2 ** 31 - 1;

/** Adds a layer. */
export function emit<K extends OpName>(
  draft: Draft,
  node: OnnxNode,
  op: K,
  inputs: readonly number[],
  attributes: OpAttributes[K],
  name = labelOf(node),
): { value: number; shape: Shape } {
  if (draft.nodes.length >= mostNodes)
    throw refusal(node, `is one more than the ${mostNodes} layers that a network may have`);
  const value = draft.shapes.length;
  const made = { op, name: draft.layerName(name), inputs, outputs: [value], attributes } as unknown as Node;
  const [shape] = nodeShapes(made, draft.shapes);
  if (sizeOf(shape) > mostElements)
    throw refusal(node, `makes ${sizeOf(shape)} numbers; at most ${mostElements} are supported`);
  draft.shapes.push(shape);
  draft.makers.set(value, draft.nodes.push(made) - 1);
  return { value, shape };
}

const initials = { bias: 'zeros', gamma: 'ones', beta: 'zeros', mean: 'zeros', variance: 'ones' } as const;

/**
 * The parameter that a tensor of the file becomes: seen in the order `permutation` (of the tensor as `constant` shows
 * it), times `factor`, in the shape given; one number is repeated. A tensor that two layers use alike is one parameter.
 */
export function parameter(
  draft: Draft,
  node: OnnxNode,
  constant: Constant,
  how: { role: ParameterRole; shape: Shape; permutation?: readonly number[]; factor?: number },
): number {
  const { from } = constant;
  if (from === undefined) throw refusal(node, `has a ${how.role} that is computed, not stored`);
  const { role, shape, factor = 1 } = how;
  if (how.permutation && !hasOwnAxes(draft, constant))
    throw refusal(node, `takes a ${role} that was reshaped and must be transposed, which is not supported`);
  const permutation = how.permutation
    ? how.permutation.map((axis) => from.permutation?.[axis] ?? axis)
    : from.permutation;
  const own = draft.network.tensors.get(from.tensor) as OnnxConstant;
  if (sizeOf(own.shape) !== sizeOf(shape) && !(role === 'bias' && sizeOf(own.shape) === 1))
    throw refusal(
      node,
      `takes a ${role} of ${formatShape(shape)} but "${short(from.tensor)}" is ${formatShape(own.shape)}`,
    );
  const moved = permutation?.some((axis, i) => axis !== i) === true;
  const arranged = moved || factor !== 1 || own.shape.join() !== shape.join();
  const arrangement: Arrangement = { shape, ...(moved ? { permutation } : {}), ...(factor === 1 ? {} : { factor }) };
  const key = JSON.stringify([from.tensor, role, arranged && arrangement]);
  const known = draft.shared.get(key);
  if (known !== undefined) return known;
  const taken = draft.tensors.has(from.tensor);
  const name = draft.parameterName(taken ? `${from.tensor}.${role}` : from.tensor);
  const value = draft.shapes.push(shape) - 1;
  const initial = role === 'weight' ? (shape.length === 4 ? 'he' : 'glorot') : initials[role];
  draft.parameters.push({ value, name, shape, role, initial });
  draft.shared.set(key, value);
  draft.tensors.set(name, from.tensor);
  if (arranged) draft.arrange.set(name, arrangement);
  return value;
}

/** A layer's name: its weight's, where that is called as PyTorch calls them (`layer1.0.conv1.weight`), else the operator's own. */
function labelOf({ name, type, inputs, outputs }: OnnxNode): string {
  const weight = /^(Conv|Gemm|BatchNormalization)$/.test(type) ? /^(.+)\.weight$/.exec(inputs[1] ?? '') : null;
  return weight?.[1] ?? (name || outputs[0] || type);
}

/** The error of an operator that cannot be expressed. */
export function refusal(node: OnnxNode, why: string): ResidualError {
  const name = short(node.name || node.outputs[0] || '');
  return new ResidualError('GRAPH', `ONNX node "${name}" (${short(node.type)}) ${why}`, {
    layer: name,
    operator: short(node.type),
  });
}

/** A piece of the file for a message. */
export const short = (text: string): string =>
  (text.length > 80 ? `${text.slice(0, 80)}…` : text).replace(/[\p{Cc}\u2028\u2029]/gu, ' ');
