import { type Shape, sizeOf } from '../tensor.js';
import type { Call } from './onnx-call.js';
import { type Activation, type Constant, hasOwnAxes, type Known, type Size, short } from './onnx-draft.js';

// Exporters compute shapes in the graph: `x.view(x.size(0), -1)` becomes Shape, Gather, Unsqueeze, Concat and Reshape.
// All of that is known before the network runs, but for the batch.

/** Numbers of one constant that is computed here. */
const mostNumbers = 1024;

/** The shape of a value as the model sees it. */
export function seenShape({ shape, channelsLast }: Activation): readonly Size[] {
  const sizes: Size[] = channelsLast ? [shape[0], shape[2], shape[3], shape[1]] : [...shape];
  if (sizes.length > 0) sizes[0] = 'batch';
  return sizes;
}

/** An axis of `rank` axes, counted from the end when negative. */
export function axisOf(call: Call, axis: number, rank: number): number {
  const found = axis < 0 ? axis + rank : axis;
  return found >= 0 && found < rank ? found : call.refuse(`has the axis ${axis} of ${rank} axes`);
}

/**
 * What an operator makes of constants alone; undefined when it takes the network's values (and is no Shape), or is none
 * of those that are computed here.
 */
export function fold(call: Call): Known | undefined {
  const { type, inputs } = call.node;
  if (type === 'Shape') return shapeOf(call);
  const rule = isFolded(type) ? folds[type] : undefined;
  if (rule === undefined || inputs.some((_, i) => call.input(i)?.kind === 'activation')) return undefined;
  return rule(call);
}

/** Whether there is a rule for this operator. */
export const isFolded = (type: string): boolean => type === 'Shape' || Object.hasOwn(folds, type);

const folds: Record<string, (call: Call) => Constant> = {
  Constant(call) {
    const { attributes } = call.node;
    const value = attributes.get('value_int') ?? attributes.get('value_float');
    const whole = !attributes.has('value_float') && !attributes.has('value_floats');
    if (typeof value === 'number') return numbers([], [value], whole);
    const list = attributes.get('value_ints') ?? attributes.get('value_floats');
    if (Array.isArray(list)) return numbers([list.length], list as readonly number[], whole);
    return call.refuse('holds no tensor and no numbers');
  },
  ConstantOfShape(call) {
    const sizes = call.numbers(0) ?? [];
    if (!sizes.every((n) => n >= 0) || sizeOf(sizes) > mostNumbers)
      call.refuse('makes a tensor of a computed shape that is large');
    return numbers(sizes, Array<number>(sizeOf(sizes)).fill(0));
  },
  Identity: (call) => call.constant(0),
  Cast(call) {
    const constant = call.constant(0);
    const whole = wholeTypes.includes(call.integer('to', 0));
    if (!constant.values) return constant;
    const values = whole ? constant.values.map((n) => (n === 'batch' ? n : Math.trunc(n))) : constant.values;
    return { ...constant, values, whole };
  },
  Transpose(call) {
    const constant = call.constant(0);
    const { from, shape } = constant;
    const order = permutationOf(call, shape.length);
    if (!from) return call.refuse('transposes numbers that are computed');
    if (!hasOwnAxes(call.draft, constant)) call.refuse('transposes a tensor that was reshaped, which is not supported');
    const before = from.permutation ?? shape.map((_, axis) => axis);
    return {
      kind: 'constant',
      shape: order.map((axis) => shape[axis]),
      from: { tensor: from.tensor, permutation: order.map((axis) => before[axis]) },
    };
  },
  Reshape(call) {
    const target = [...(call.numbers(1) ?? call.list('shape') ?? call.refuse('has no shape'))];
    const constant = call.constant(0);
    const total = sizeOf(constant.shape);
    for (const [i, size] of target.entries())
      if (size === 0 && !call.integer('allowzero', 0)) target[i] = constant.shape[i] ?? 0;
    const open = target.indexOf(-1);
    if (open >= 0) target[open] = total / sizeOf(target.filter((_, i) => i !== open));
    if (sizeOf(target) !== total || !target.every((n) => Number.isInteger(n) && n >= 0))
      call.refuse(`makes [${target.join(', ')}] of ${total} numbers`);
    return reshaped(call, constant, target);
  },
  Flatten(call) {
    const constant = call.constant(0);
    const axis = call.integer('axis', 1);
    const split = axis < 0 ? axis + constant.shape.length : axis;
    return reshaped(call, constant, [sizeOf(constant.shape.slice(0, split)), sizeOf(constant.shape.slice(split))]);
  },
  Squeeze(call) {
    const constant = call.constant(0);
    const { shape } = constant;
    const axes =
      axesOf(call)?.map((axis) => axisOf(call, axis, shape.length)) ??
      shape.flatMap((n, axis) => (n === 1 ? [axis] : []));
    return reshaped(
      call,
      constant,
      shape.filter((_, axis) => !axes.includes(axis)),
    );
  },
  Unsqueeze(call) {
    const constant = call.constant(0);
    const given = axesOf(call) ?? call.refuse('has no axes');
    if (given.length > 8) call.refuse('adds more than 8 axes');
    const rank = constant.shape.length + given.length;
    const axes = new Set(given.map((axis) => axisOf(call, axis, rank)));
    const rest = [...constant.shape];
    return reshaped(
      call,
      constant,
      Array.from({ length: rank }, (_, axis) => (axes.has(axis) ? 1 : (rest.shift() ?? 1))),
    );
  },
  Concat(call) {
    const parts = call.node.inputs.map((_, i) => known(call, i));
    if (parts.some(({ shape }) => shape.length !== 1)) call.refuse('joins computed numbers of more than one axis');
    const all = parts.flatMap(({ values }) => values);
    if (all.length > mostNumbers) call.refuse(`joins more than ${mostNumbers} computed numbers`);
    return numbers(
      [all.length],
      all,
      parts.every(({ whole }) => whole),
    );
  },
  Gather(call) {
    const { shape, values, whole } = known(call, 0);
    if (shape.length !== 1 || call.integer('axis', 0) !== 0) call.refuse('gathers from numbers of more than one axis');
    const indices = call.numbers(1) ?? call.refuse('has no indices');
    const picked = indices.map((i) => values[axisOf(call, i, values.length)]);
    return numbers(call.constant(1).shape, picked, whole);
  },
  Slice(call) {
    const { shape, values, whole } = known(call, 0);
    const setting = (name: string, index: number) => (call.count > 1 ? call.numbers(index) : call.list(name));
    const [starts, ends] = [setting('starts', 1), setting('ends', 2)];
    const [axes, steps] = [setting('axes', 3) ?? [0], setting('steps', 4) ?? [1]];
    if (
      shape.length !== 1 ||
      starts?.length !== 1 ||
      ends?.length !== 1 ||
      axes.some((axis) => axis > 0) ||
      steps[0] !== 1
    )
      return call.refuse('takes a part of numbers in a way that is not supported');
    const part = values.slice(starts[0], ends[0]);
    return numbers([part.length], part, whole);
  },
  Add: (call) => arithmetic(call, (a, b) => a + b, { left: 0, right: 0 }),
  Sub: (call) => arithmetic(call, (a, b) => a - b, { right: 0 }),
  Mul: (call) => arithmetic(call, (a, b) => a * b, { left: 1, right: 1 }),
  Div: (call) => arithmetic(call, (a, b) => (known(call, 0).whole ? Math.trunc(a / b) : a / b), { right: 1 }),
  Floor: (call) => mapped(call, Math.floor),
  Ceil: (call) => mapped(call, Math.ceil),
};

/** int32 and int64 in TensorProto.DataType. */
const wholeTypes = [6, 7];

const numbers = (shape: Shape, values: readonly Size[], whole = true): Constant => ({
  kind: 'constant',
  shape,
  values,
  whole,
});

function shapeOf(call: Call): Constant {
  const x = call.input(0) ?? call.refuse('has no input');
  const sizes = x.kind === 'activation' ? seenShape(x) : x.shape;
  const [start, end] = [call.integer('start', 0), call.integer('end', sizes.length)];
  const part = sizes.slice(start, end);
  return numbers([part.length], part);
}

function known(call: Call, index: number): { shape: Shape; values: readonly Size[]; whole: boolean } {
  const { shape, values, whole = false } = call.constant(index);
  if (values !== undefined && values.length <= mostNumbers) return { shape, values, whole };
  const name = short(call.node.inputs[index]);
  return call.refuse(`computes with the tensor "${name}", which is not supported; let the exporter fold constants`);
}

function reshaped(call: Call, constant: Constant, shape: Shape): Constant {
  if (shape.length > 32) call.refuse('makes more than 32 axes');
  return { ...constant, shape };
}

/** Element by element, one number with all; the batch only where the number beside it (0 or 1) leaves it what it is. */
function arithmetic(
  call: Call,
  compute: (a: number, b: number) => number,
  neutral: { left?: number; right: number },
): Constant {
  const [a, b] = [known(call, 0), known(call, 1)];
  const longer = a.values.length >= b.values.length ? a : b;
  const pick = ({ values }: { values: readonly Size[] }, i: number): Size => values[values.length === 1 ? 0 : i];
  if (a.values.length !== b.values.length && a.values.length !== 1 && b.values.length !== 1)
    call.refuse('computes with numbers of different shapes');
  const values = longer.values.map((_, i): Size => {
    const [x, y] = [pick(a, i), pick(b, i)];
    if (x !== 'batch' && y !== 'batch') return compute(x, y);
    if (y === neutral.right) return x;
    return x === neutral.left ? y : call.refuse('computes with the size of the batch');
  });
  return numbers(longer.shape, values, a.whole && b.whole);
}

function mapped(call: Call, compute: (a: number) => number): Constant {
  const { shape, values, whole } = known(call, 0);
  return numbers(
    shape,
    values.map((n) => (n === 'batch' ? n : compute(n))),
    whole,
  );
}

/** Axes: an attribute, from opset 13 (ReduceMean: 18) on an input. */
export const axesOf = (call: Call): readonly number[] | undefined => call.list('axes') ?? call.numbers(1);

/** `perm`, which reverses the axes when it is left out. */
export function permutationOf(call: Call, rank: number): readonly number[] {
  const order = call.list('perm') ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
  if (order.length === rank && new Set(order).size === rank && order.every((axis) => axis >= 0 && axis < rank))
    return order;
  return call.refuse(`has the order [${order.slice(0, 8).join(', ')}] of ${rank} axes`);
}
