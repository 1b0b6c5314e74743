import type { OpAttributes, OpName, ParameterRole } from '../graph/ops.js';
import type { Shape } from '../tensor.js';
import {
  type Activation,
  type Constant,
  type Draft,
  emit,
  type Known,
  parameter,
  refusal,
  short,
} from './onnx-draft.js';
import type { OnnxNode } from './onnx-network.js';

/** Larger sides, strides and counts are damage: no network comes near, and nothing may ask for memory without bound. */
const largest = 65_536;

/** One operator about to be expressed: its inputs and attributes, checked as they are asked for. */
export interface Call {
  readonly node: OnnxNode;
  readonly draft: Draft;
  readonly opset: number;
  /** How many inputs are given. */
  readonly count: number;
  refuse(why: string): never;
  /** Undefined when it is left out. */
  input(index: number): Known | undefined;
  activation(index: number): Activation;
  /** With four axes, channels first. */
  picture(index: number): Activation;
  constant(index: number): Constant;
  /** A constant's numbers, none of which may be the batch. */
  numbers(index: number): readonly number[] | undefined;
  /** An attribute: a whole number, a real one, text, a list of whole numbers from `least` on. */
  integer(name: string, usual: number): number;
  real(name: string, usual: number): number;
  text(name: string, usual: string): string;
  list(name: string): readonly number[] | undefined;
  sizes(name: string, length: number, usual: number, least?: number): readonly number[];
  /** Adds a layer, of which there may be several; its result is seen in the order that `like` has. */
  layer<K extends OpName>(op: K, inputs: readonly number[], attributes: OpAttributes[K], like?: Activation): Activation;
  /** The parameter that a constant is; see the draft. */
  parameter(
    constant: Constant,
    role: ParameterRole,
    shape: Shape,
    how?: { permutation?: readonly number[]; factor?: number },
  ): number;
}

export function callOf(draft: Draft, node: OnnxNode): Call {
  const { attributes, inputs } = node;
  const refuse = (why: string): never => {
    throw refusal(node, why);
  };
  const input = (index: number): Known | undefined => {
    const name = inputs[index] ?? '';
    if (name === '') return undefined;
    return draft.known.get(name) ?? refuse(`takes "${short(name)}", which nothing before it makes`);
  };
  const number = (name: string, usual: number): number => {
    const value = attributes.get(name) ?? usual;
    return typeof value === 'number' && !Number.isNaN(value)
      ? value
      : refuse(`has ${show(value)} for ${name}; a number is due`);
  };
  const list = (name: string): readonly number[] | undefined => {
    const value = attributes.get(name);
    if (value === undefined || (Array.isArray(value) && value.every(Number.isInteger)))
      return value as number[] | undefined;
    return refuse(`has ${show(value)} for ${name}; a list of whole numbers is due`);
  };
  const activation = (index: number): Activation => {
    const found = input(index) ?? refuse(`has no input ${index}`);
    return found.kind === 'activation'
      ? found
      : refuse(`has a constant where the network's values are due (input ${index})`);
  };
  const constant = (index: number): Constant => {
    const found = input(index) ?? refuse(`has no input ${index}`);
    return found.kind === 'constant'
      ? found
      : refuse(
          `computes its input ${index} ("${short(inputs[index])}"); only stored weights and settings are supported`,
        );
  };
  return {
    node,
    draft,
    opset: draft.network.opset,
    count: inputs.length,
    refuse,
    input,
    activation,
    constant,
    picture(index) {
      const x = activation(index);
      if (x.shape.length !== 4)
        refuse(`takes an input of ${x.shape.length} axes; only pictures (4 axes) are supported`);
      if (x.channelsLast) refuse('takes channels where the model has a width: a Transpose is missing before it');
      return x;
    },
    numbers(index) {
      if (input(index) === undefined) return undefined;
      const { values } = constant(index);
      if (values === undefined || values.includes('batch'))
        return refuse(`takes numbers (input ${index}) that are not known before the network runs`);
      return values as readonly number[];
    },
    integer(name, usual) {
      const value = number(name, usual);
      return Number.isInteger(value) ? value : refuse(`has ${value} for ${name}; a whole number is due`);
    },
    real: number,
    text(name, usual) {
      const value = attributes.get(name) ?? usual;
      return typeof value === 'string' ? value : refuse(`has ${show(value)} for ${name}; text is due`);
    },
    list,
    layer(op, inputs, attributes, like) {
      const { value, shape } = emit(draft, node, op, inputs, attributes);
      return {
        kind: 'activation',
        alone: true,
        value,
        shape,
        channelsLast: like?.channelsLast === true && shape.length === 4,
      };
    },
    parameter: (constant, role, shape, how) => parameter(draft, node, constant, { role, shape, ...how }),
    sizes(name, length, usual, least = 1) {
      const value = list(name) ?? Array<number>(length).fill(usual);
      if (value.length === length && value.every((n) => n >= least && n <= largest)) return value;
      return refuse(`has ${show(value)} for ${name}; ${length} numbers from ${least} to ${largest} are due`);
    },
  };
}

function show(value: unknown): string {
  return short(JSON.stringify(value) ?? 'nothing');
}
