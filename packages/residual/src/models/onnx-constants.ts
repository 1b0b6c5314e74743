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
    const { from, shape, values, whole } = constant;
    const order = permutationOf(call, shape.length);
    const turned = order.map((axis) => shape[axis]);
    const steps = stepsOf(shape);
    const lists = () => order.map((axis) => range(shape[axis]).map((i) => i * steps[axis]));
    const moved = values && isSmall(shape) ? pick(values, lists()) : undefined;
    const own = hasOwnAxes(call.draft, constant);
    if (!from || !own) {
      if (!moved) return call.refuse('transposes a tensor that was reshaped, which is not supported');
      return numbers(turned, moved, whole);
    }
    const permutation = order.map((axis) => from.permutation?.[axis] ?? axis);
    const rest = moved ? numbers(turned, moved, whole) : { kind: 'constant' as const, shape: turned };
    return { ...rest, from: { tensor: from.tensor, permutation } };
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
    const { starts, ends, axes, steps } = sliceOf(call, shape.length);
    const kept = shape.map((size) => range(size));
    axes.forEach((axis, i) => {
      kept[axis] = part(call, shape[axis], starts[i], ends[i], steps[i]);
    });
    const each = stepsOf(shape);
    const offsets = kept.map((list, axis) => list.map((i) => i * each[axis]));
    return numbers(
      kept.map((list) => list.length),
      pick(values, offsets),
      whole,
    );
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

/** None of the sizes is large, even where another is 0. */
const isSmall = (shape: Shape): boolean => sizeOf(shape) <= mostNumbers && shape.every((n) => n <= mostNumbers);

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** How far apart neighbours along each axis lie. */
const stepsOf = (shape: Shape): number[] => shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));

/** The values at all sums of one offset from each list, the last running fastest. */
const pick = (values: readonly Size[], lists: readonly (readonly number[])[]): Size[] =>
  lists
    .reduce<number[]>((offsets, list) => offsets.flatMap((offset) => list.map((more) => offset + more)), [0])
    .map((offset) => values[offset]);

/** What a Slice takes along some axes: attributes up to opset 9, inputs from 10 on. */
export function sliceOf(call: Call, rank: number) {
  const setting = (name: string, index: number) => (call.count > 1 ? call.numbers(index) : call.list(name));
  const [starts, ends] = [setting('starts', 1) ?? [], setting('ends', 2) ?? []];
  const axes = (setting('axes', 3) ?? starts.map((_, i) => i)).map((axis) => axisOf(call, axis, rank));
  const steps = setting('steps', 4) ?? axes.map(() => 1);
  if ([starts, ends, steps].some((list) => list.length !== axes.length)) call.refuse('has lists of unequal lengths');
  return { starts, ends, axes, steps };
}

/** The indices that a Slice takes of `size`; ends are cut to what there is. */
function part(call: Call, size: number, start: number, end: number, step: number): number[] {
  if (!Number.isInteger(step) || step === 0) call.refuse(`takes every ${step}th number`);
  const [least, most] = step > 0 ? [0, size] : [-1, size - 1];
  const cut = (n: number) => Math.min(Math.max(n < 0 ? n + size : n, least), most);
  const [from, to] = [Math.max(cut(start), 0), cut(end)];
  return range(Math.max(0, Math.ceil((to - from) / step))).map((i) => from + i * step);
}

function shapeOf(call: Call): Constant {
  const x = call.input(0) ?? call.refuse('has no input');
  const sizes = x.kind === 'activation' ? seenShape(call.activation(0)) : x.shape;
  const [start, end] = [call.integer('start', 0), call.integer('end', sizes.length)];
  const part = sizes.slice(start, end);
  return numbers([part.length], part);
}

function known(call: Call, index: number): { shape: Shape; values: readonly Size[]; whole: boolean } {
  const { shape, values, whole = false } = call.constant(index);
  if (values && isSmall(shape)) return { shape, values, whole };
  const name = short(call.node.inputs[index]);
  return call.refuse(`computes with the tensor "${name}", which is not supported; let the exporter fold constants`);
}

function reshaped(call: Call, constant: Constant, shape: Shape): Constant {
  if (shape.length > 32) call.refuse('makes more than 32 axes');
  const { blur: _, ...rest } = constant;
  return { ...rest, shape };
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
