import { ResidualError } from '../errors.js';
import { formatShape, type Shape, sameShape, sizeOf } from '../tensor.js';
import { asRecord, between, type Check, flag, largest, list, oneOf, show, text, whole } from './checks.js';
import { type Graph, type Input, mostNodes, type Node, nodeShapes, type Parameter } from './graph.js';
import { type OpAttributes, type OpName, ops, type ParameterRole } from './ops.js';

// A graph is plain data and is stored as it stands. What comes back out of a file is checked here down to the last
// number: the engines rely on it.

/** Elements of one value: what a typed array holds everywhere. */
const largestValue = 2 ** 31 - 1;

const pair = list<readonly [number, number]>(2, whole(1));
const sides = list<readonly [number, number, number, number]>(4, whole(0));
const padding = (value: unknown): value is 'same' | readonly [number, number, number, number] =>
  value === 'same' || sides(value);

/** Enlarging by more is damage. */
const scales = list<readonly [number, number]>(2, between(1 / largest, 64));

const isResizeTarget: Check<OpAttributes['resize']['to']> = (value): value is OpAttributes['resize']['to'] => {
  const { scales: factors, sizes, ...more } = asRecord(value) ?? { more: true };
  if (Object.keys(more).length) return false;
  return factors === undefined ? pair(sizes) : sizes === undefined && scales(factors);
};

/** What each attribute of each op must be. */
const attributeChecks: {
  readonly [K in OpName]: { readonly [A in keyof OpAttributes[K]]: Check<OpAttributes[K][A]> };
} = {
  conv2d: { kernel: pair, stride: pair, padding, dilation: pair, groups: whole(1) },
  batchNorm: { epsilon: between(0, 1) },
  relu: {},
  sigmoid: {},
  maxPool: { kernel: pair, stride: pair, padding },
  avgPool: { kernel: pair, stride: pair, padding, countPadding: flag },
  globalAvgPool: { keepDims: flag },
  blurPool: { kernel: whole(1, 7), stride: whole(1) },
  resize: {
    to: isResizeTarget,
    mode: oneOf('nearest', 'bilinear'),
    coordinates: oneOf('half_pixel', 'pytorch_half_pixel', 'align_corners', 'asymmetric'),
    nearest: oneOf('floor', 'ceil', 'round_prefer_floor', 'round_prefer_ceil'),
  },
  pad: { channels: list<readonly [number, number]>(2, whole(0)), spatial: sides },
  add: {},
  mul: {},
  concat: { axis: whole(1, 3) },
  flatten: { channelsLast: flag },
  reshape: { shape: list<Shape>([1, 7], whole(1)) },
  dense: {},
  dropout: { rate: between(0, 1) },
  softmax: {},
};

const role = oneOf<ParameterRole>('weight', 'bias', 'gamma', 'beta', 'mean', 'variance');
const initial = oneOf<Parameter['initial']>('he', 'glorot', 'zeros', 'ones');

/**
 * A graph from its JSON: every name, number and reference is checked, every shape is computed anew.
 * @param where what messages call the file.
 * @throws WEIGHTS_FORMAT for what is no graph; GRAPH when its layers do not fit together.
 */
export function readGraph(json: unknown, where: string): Graph {
  const refuse = (what: string): never => {
    throw new ResidualError('WEIGHTS_FORMAT', `${where}: its network ${what}; it is damaged or of a later version`, {
      file: where,
    });
  };
  const part = (value: unknown, what: string, keys: readonly string[]): Record<string, unknown> => {
    const found = asRecord(value) ?? refuse(`has ${what} that is no object`);
    const odd = Object.keys(found).find((key) => !keys.includes(key));
    return odd === undefined ? found : refuse(`has ${what} with an unknown "${odd.slice(0, 60)}"`);
  };
  const get = <T>(found: Record<string, unknown>, key: string, check: Check<T>, what: string): T => {
    const value = Object.hasOwn(found, key) ? found[key] : undefined;
    return check(value) ? value : refuse(`has ${what} whose ${key} is ${show(value)}`);
  };
  const many = (value: unknown, what: string, least: number): readonly unknown[] =>
    Array.isArray(value) && value.length >= least && value.length <= mostNodes
      ? value
      : refuse(`has no list of ${least} to ${mostNodes} ${what}`);

  const graph = part(json, 'a description', ['name', 'inputs', 'parameters', 'nodes', 'outputs', 'features']);
  const name = get(graph, 'name', text, 'a description');
  const shapes: Shape[] = [];
  const define = (value: number, shape: Shape, what: string) => {
    if (shapes[value]) refuse(`defines value ${value} twice, at ${what}`);
    if (!shape.every((n) => n >= 1) || !(sizeOf(shape) <= largestValue))
      refuse(`makes ${formatShape(shape)} at ${what}, which is too large`);
    shapes[value] = shape;
  };
  const number = whole(0, 20 * mostNodes);
  const shapeOf: Check<Shape> = (value): value is Shape =>
    Array.isArray(value) && value.length >= 1 && value.length <= 4 && value.every((n) => whole(1, 2 ** 24)(n));

  const inputs = many(graph.inputs, 'inputs', 1).map((entry, i): Input => {
    const what = `input ${i}`;
    const found = part(entry, what, ['value', 'name', 'shape']);
    const shape = get(found, 'shape', shapeOf, what);
    if (shape[0] !== 1) refuse(`has ${what} for ${shape[0]} pictures; it is described for one`);
    const value = get(found, 'value', number, what);
    define(value, shape, what);
    return { value, name: get(found, 'name', text, what), shape };
  });
  const parameters = many(graph.parameters, 'parameters', 0).map((entry, i): Parameter => {
    const what = `parameter ${i}`;
    const found = part(entry, what, ['value', 'name', 'shape', 'role', 'initial']);
    const shape = get(found, 'shape', shapeOf, what);
    const value = get(found, 'value', number, what);
    define(value, shape, what);
    const [roleOf, start] = [get(found, 'role', role, what), get(found, 'initial', initial, what)];
    return { value, name: get(found, 'name', text, what), shape, role: roleOf, initial: start };
  });
  unique(parameters, 'parameters', refuse);
  const byValue = new Map(parameters.map((parameter) => [parameter.value, parameter]));

  const nodes = many(graph.nodes, 'layers', 1).map((entry, i): Node => {
    const found = part(entry, `layer ${i}`, ['op', 'name', 'inputs', 'outputs', 'attributes', 'block']);
    const layer = get(found, 'name', text, `layer ${i}`);
    const what = `layer "${layer}"`;
    const op = get(found, 'op', oneOf(...(Object.keys(ops) as OpName[])), what);
    const [from, to] = [many(found.inputs, `inputs of ${what}`, 1), many(found.outputs, `outputs of ${what}`, 1)];
    if (!from.every((value) => number(value) && shapes[value]))
      refuse(`has ${what}, which takes a value that nothing before it makes`);
    if (to.length !== 1 || !number(to[0])) refuse(`has ${what} with outputs that are not one value`);
    const attributes = part(found.attributes, `attributes of ${what}`, Object.keys(attributeChecks[op]));
    for (const [key, check] of Object.entries(attributeChecks[op])) get(attributes, key, check, what);
    const node = {
      op,
      name: layer,
      inputs: from,
      outputs: to,
      attributes,
      ...(found.block === undefined ? {} : { block: get(found, 'block', text, what) }),
    } as Node;
    checkParameters(node, byValue, shapes, () => refuse(`has ${what} with other parameters than a ${op} takes`));
    define(node.outputs[0], nodeShapes(node, shapes)[0], what);
    return node;
  });
  unique(nodes, 'layers', refuse);

  const known: Check<number> = (value): value is number => number(value) && shapes[value] !== undefined;
  const outputs = many(graph.outputs, 'outputs', 1).map((entry, i) => {
    const found = part(entry, `output ${i}`, ['name', 'value']);
    return { name: get(found, 'name', text, `output ${i}`), value: get(found, 'value', known, `output ${i}`) };
  });
  unique(outputs, 'outputs', refuse);
  const features = asRecord(graph.features) ?? refuse('has no features');
  for (const feature of Object.keys(features)) get(features, feature, known, 'a feature');
  return { name, inputs, parameters, nodes, outputs, features: features as Record<string, number> };
}

/** Activations first, then the op's parameters in their order, each of the shape that the op needs. */
function checkParameters(
  { op, inputs, attributes }: Node,
  parameters: ReadonlyMap<number, Parameter>,
  shapes: readonly Shape[],
  refuse: () => never,
): void {
  const row = ops[op];
  const first = inputs.findIndex((value) => parameters.has(value));
  const activations = first < 0 ? inputs.length : first;
  const given = inputs.slice(activations).map((value) => parameters.get(value) ?? refuse());
  const wanted = row.parameters.filter((name) => name !== 'bias' || given.length === row.parameters.length);
  if (row.activations !== 'any' && activations !== row.activations) refuse();
  if (given.length !== wanted.length || given.some((parameter, i) => parameter.role !== wanted[i])) refuse();
  if (!given.length) return;
  const [lead, ...rest] = given.map(({ shape }) => shape);
  if (!rest.every((shape) => sameShape(shape, [lead[0]]))) refuse();
  if (op === 'batchNorm' && lead.length !== 1) refuse();
  if (op === 'dense' && (lead.length !== 2 || shapes[inputs[0]].length !== 2)) refuse();
  if (op === 'conv2d') {
    const { kernel, groups } = attributes as OpAttributes['conv2d'];
    if (lead.length !== 4 || !sameShape(lead.slice(2), kernel) || lead[0] % groups !== 0) refuse();
  }
}

function unique(entries: readonly { readonly name: string }[], what: string, refuse: (what: string) => never): void {
  const names = new Set<string>();
  for (const { name } of entries) {
    if (names.has(name)) refuse(`has two ${what} called "${name.slice(0, 60)}"`);
    names.add(name);
  }
}
