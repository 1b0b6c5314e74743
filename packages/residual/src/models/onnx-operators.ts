import { type Shape, sizeOf } from '../tensor.js';
import type { Call } from './onnx-call.js';
import { axesOf, axisOf, permutationOf, seenShape } from './onnx-constants.js';
import type { Activation, Constant, Size } from './onnx-draft.js';
import { resize, upsample } from './onnx-resize.js';
import { averagePool, convolution, maxPool } from './onnx-windows.js';

/** How each operator is expressed in our ops; it throws GRAPH where it cannot be. Settings are listed in docs/onnx.md. */
export const operators: Readonly<Record<string, (call: Call) => Activation>> = {
  Conv: convolution,
  MaxPool: maxPool,
  AveragePool: averagePool,
  BatchNormalization: batchNorm,
  Gemm: gemm,
  MatMul: matMul,
  Add: add,
  Sum: sum,
  Mul: (call) => {
    const [a, b] = [call.activation(0), call.activation(1)];
    return call.layer('mul', [a.value, b.value], {}, sameOrder(call, [a, b]));
  },
  Concat: concat,
  Relu: elementwise('relu'),
  Sigmoid: elementwise('sigmoid'),
  Clip: clip,
  Softmax: softmax,
  GlobalAveragePool: (call) => call.layer('globalAvgPool', [call.picture(0).value], { keepDims: true }),
  ReduceMean: reduceMean,
  Flatten: flatten,
  Reshape: reshape,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Transpose: transpose,
  Pad: pad,
  Resize: resize,
  Upsample: upsample,
  Identity: (call) => call.activation(0),
  Dropout: dropout,
  Cast(call) {
    const to = call.integer('to', 0);
    return floatTypes.includes(to)
      ? call.activation(0)
      : call.refuse(`makes elements of type ${to}; only real numbers are supported`);
  },
};

/** float, float16, double, bfloat16 in TensorProto.DataType. */
const floatTypes = [1, 10, 11, 16];

function elementwise(op: 'relu' | 'sigmoid'): (call: Call) => Activation {
  return (call) => {
    const x = call.activation(0);
    return call.layer(op, [x.value], {}, x);
  };
}

/** The inputs, which must lie in one order: a picture with channels first and one with channels last do not add. */
function sameOrder(call: Call, inputs: readonly Activation[]): Activation {
  const [first] = inputs;
  if (inputs.some((x) => x.shape.length !== first.shape.length))
    call.refuse('joins values of different numbers of axes');
  if (inputs.some((x) => x.channelsLast !== first.channelsLast))
    call.refuse('joins a picture with channels first and one with channels last: a Transpose is missing before it');
  return first;
}

function batchNorm(call: Call): Activation {
  const x = call.activation(0);
  if (x.channelsLast) call.picture(0);
  const { node, opset } = call;
  const training =
    opset >= 14
      ? call.integer('training_mode', 0) !== 0
      : node.outputs.filter((name) => name !== '').length > 1 || (opset < 7 && call.integer('is_test', 0) === 0);
  if (training)
    call.refuse('is in training mode, where it normalises by the batch at hand; export the network in eval mode');
  if (call.integer('spatial', 1) !== 1)
    call.refuse('normalises every place by itself (spatial = 0), which is not supported');
  const epsilon = call.real('epsilon', 1e-5);
  if (!(epsilon >= 0 && epsilon < 1)) call.refuse(`has the epsilon ${epsilon}; a number from 0 to below 1 is due`);
  if (x.shape.length < 2) call.refuse(`takes an input of ${x.shape.length} axes; at least 2 are due`);
  const roles = ['gamma', 'beta', 'mean', 'variance'] as const;
  const parameters = roles.map((role, i) => call.parameter(call.constant(i + 1), role, [x.shape[1]]));
  return call.layer('batchNorm', [x.value, ...parameters], { epsilon });
}

/** alpha · A · B + beta · C: the factors go into the parameters. */
function gemm(call: Call): Activation {
  const x = vector(call, 0);
  if (call.integer('transA', 0)) call.refuse('transposes its input, which is not supported');
  const weight = matrix(call, 1);
  const transposed = call.integer('transB', 0) === 0;
  const units = weight.shape[transposed ? 1 : 0];
  const inputs = [x.value, denseWeight(call, weight, transposed, call.real('alpha', 1))];
  if (call.input(2)) {
    const bias = call.constant(2);
    if (![1, units].includes(sizeOf(bias.shape)) || sizeOf(bias.shape.slice(0, -1)) !== 1)
      call.refuse(
        `adds a constant of the shape [${bias.shape.join(', ')}]; only ${units} numbers or one are supported`,
      );
    inputs.push(call.parameter(bias, 'bias', [units], { factor: call.real('beta', 1) }));
  }
  return call.layer('dense', inputs, {});
}

function matMul(call: Call): Activation {
  return call.layer('dense', [vector(call, 0).value, denseWeight(call, matrix(call, 1), true, 1)], {});
}

function vector(call: Call, index: number): Activation {
  const x = call.activation(index);
  return x.shape.length === 2
    ? x
    : call.refuse(`multiplies an input of ${x.shape.length} axes by a matrix; only [N, features] is supported`);
}

function matrix(call: Call, index: number): Constant {
  const weight = call.constant(index);
  return weight.shape.length === 2
    ? weight
    : call.refuse(`has a weight of ${weight.shape.length} axes; a matrix is due`);
}

function denseWeight(call: Call, weight: Constant, transposed: boolean, factor: number): number {
  const [rows, columns] = weight.shape;
  return transposed
    ? call.parameter(weight, 'weight', [columns, rows], { permutation: [1, 0], factor })
    : call.parameter(weight, 'weight', [rows, columns], { factor });
}

/** The sum of two values; or the bias of the layer before it, which exporters write apart. */
function add(call: Call): Activation {
  const [a, b] = [call.input(0), call.input(1)];
  if (a?.kind === 'activation' && b?.kind === 'constant') return addBias(call, a, b);
  if (b?.kind === 'activation' && a?.kind === 'constant') return addBias(call, b, a);
  return sum(call);
}

function sum(call: Call): Activation {
  const terms = call.node.inputs.map((_, i) => call.activation(i));
  const [first, ...others] = terms;
  sameOrder(call, terms);
  return others.reduce((so, x) => call.layer('add', [so.value, x.value], {}, so), first);
}

function addBias(call: Call, x: Activation, constant: Constant): Activation {
  const { nodes, makers } = call.draft;
  const index = makers.get(x.value) ?? -1;
  const layer = nodes[index];
  if ((layer?.op !== 'conv2d' && layer?.op !== 'dense') || layer.inputs.length > 2 || !x.alone)
    return call.refuse(
      'adds a constant, which is supported only right behind a convolution or matrix product without bias',
    );
  const channels = x.shape[1];
  const { shape } = constant;
  const seen = [...Array<number>(Math.max(x.shape.length - shape.length, 0)).fill(1), ...shape];
  const axis = x.channelsLast ? x.shape.length - 1 : 1;
  const fits = seen.length === x.shape.length && seen.every((n, i) => n === 1 || (i === axis && n === channels));
  if (!fits)
    call.refuse(`adds a constant of the shape [${shape.join(', ')}]; only a number for each channel is supported`);
  nodes[index] = { ...layer, inputs: [...layer.inputs, call.parameter(constant, 'bias', [channels])] };
  return x;
}

function concat(call: Call): Activation {
  const parts = call.node.inputs.map((_, i) => call.activation(i));
  const first = sameOrder(call, parts);
  const axis = axisOf(call, call.integer('axis', 1), first.shape.length);
  if (axis === 0) call.refuse('joins along the batch, which is not supported');
  const own = first.channelsLast ? [0, 2, 3, 1][axis] : axis;
  return call.layer(
    'concat',
    parts.map(({ value }) => value),
    { axis: own },
    first,
  );
}

/** A ReLU, where it cuts at 0 from below and nowhere from above; the identity, where it cuts nowhere. */
function clip(call: Call): Activation {
  const bound = (name: string, index: number, usual: number) => call.numbers(index)?.[0] ?? call.real(name, usual);
  const [least, most] = [bound('min', 1, Number.NEGATIVE_INFINITY), bound('max', 2, Number.POSITIVE_INFINITY)];
  const x = call.activation(0);
  const open = most > 3.4e38; // float32's largest number, or ∞
  if (open && least === 0) return call.layer('relu', [x.value], {}, x);
  if (open && least < -3.4e38) return x;
  return call.refuse(`cuts at ${least} and ${most}; only 0 and no upper bound (a ReLU) are supported`);
}

/** Below opset 13 a softmax takes all axes from `axis` on (1 when left out) as one; from 13 on the one axis (−1). */
function softmax(call: Call): Activation {
  const x = call.activation(0);
  const rank = x.shape.length;
  const axis = axisOf(call, call.integer('axis', call.opset < 13 ? 1 : -1), rank);
  if (axis !== rank - 1 || x.channelsLast)
    call.refuse(`is a softmax over axis ${axis} of ${rank}; only one over the last axis is supported`);
  return call.layer('softmax', [x.value], {});
}

const spatialAxes = (x: Activation): string => (x.channelsLast ? '1,2' : '2,3');

/** A mean over height and width. */
function reduceMean(call: Call): Activation {
  const x = call.activation(0);
  const axes = axesOf(call)
    ?.map((axis) => axisOf(call, axis, x.shape.length))
    .sort();
  if (x.shape.length !== 4 || axes?.join() !== spatialAxes(x))
    call.refuse('is a mean over other axes than height and width');
  return call.layer('globalAvgPool', [x.value], { keepDims: call.integer('keepdims', 1) !== 0 }, x);
}

function flattened(call: Call, x: Activation): Activation {
  const { nodes, makers, shapes } = call.draft;
  const index = makers.get(x.value) ?? -1;
  const layer = nodes[index];
  // A mean that nothing else reads is a vector from the start, as in the network that was exported.
  if (layer?.op === 'globalAvgPool' && x.alone) {
    nodes[index] = { ...layer, attributes: { keepDims: false } };
    shapes[x.value] = x.shape.slice(0, 2);
    return { ...x, shape: shapes[x.value], channelsLast: false };
  }
  return call.layer('flatten', [x.value], { channelsLast: x.channelsLast && sizeOf(x.shape.slice(2)) > 1 });
}

function flatten(call: Call): Activation {
  const x = call.activation(0);
  const axis = call.integer('axis', 1);
  const split = axis < 0 ? axis + x.shape.length : axis;
  if (split !== 1) call.refuse(`flattens from axis ${axis} on; only 1, which keeps the batch, is supported`);
  return flattened(call, x);
}

function reshape(call: Call): Activation {
  const x = call.activation(0);
  const target = call.input(1) ? call.constant(1).values : call.list('shape');
  if (target === undefined) return call.refuse('takes a shape that is not known before the network runs');
  const seen = seenShape(x);
  const [, ...inner] = seen as readonly number[];
  const [first, ...rest] = target.map((n, i): Size => (n === 0 && !call.integer('allowzero', 0) ? (seen[i] ?? 0) : n));
  const whole = sizeOf(inner);
  const own = sizeOf(rest.filter((n): n is number => n !== 'batch' && n !== -1));
  const isBatch =
    first === 'batch' ||
    (first !== undefined && first === call.draft.batch) ||
    (first === -1 && own === whole && !rest.includes(-1));
  const sizes: Shape = rest.map((n) => (n === -1 ? whole / own : n === 'batch' ? 0 : n));
  if (isBatch && sizes.every((n) => Number.isInteger(n)) && sizeOf(sizes) === whole) return seenAs(call, x, sizes);
  return call.refuse(
    `makes [${target.slice(0, 8).join(', ')}] of [${seen.join(', ')}]; only shapes that keep the batch are supported`,
  );
}

/** The same elements in the same order, as the model sees it, in another shape behind the batch. */
function seenAs(call: Call, x: Activation, sizes: Shape): Activation {
  if (sizes.join() === seenShape(x).slice(1).join()) return x;
  if (sizes.length === 1) return flattened(call, x);
  if (sizeOf(x.shape.slice(2)) > 1 && x.channelsLast)
    call.refuse(
      'gives a picture with channels last another shape, which is not supported but for [batch, all the rest]',
    );
  // One number a channel: what a model with channels last calls [1, 1, C] is [C, 1, 1] here.
  const [height, width, channels] = sizes;
  if (call.draft.channelsLast && sizes.length === 3 && height === 1 && width === 1)
    return { ...call.layer('reshape', [x.value], { shape: [channels, 1, 1] }), channelsLast: true };
  return call.layer('reshape', [x.value], { shape: sizes });
}

function squeeze(call: Call): Activation {
  const x = call.activation(0);
  const seen = seenShape(x);
  const given = axesOf(call)?.map((axis) => axisOf(call, axis, seen.length));
  const axes = given ?? [...seen.entries()].flatMap(([axis, n]) => (n === 1 ? [axis] : []));
  if (axes.some((axis) => seen[axis] !== 1))
    call.refuse(`takes the axes ${axes.join(', ')} off [${seen.join(', ')}]; only the batch or sizes of 1 stand there`);
  return seenAs(call, x, seen.slice(1).filter((_, i) => !axes.includes(i + 1)) as readonly number[]);
}

function unsqueeze(call: Call): Activation {
  const x = call.activation(0);
  const given = axesOf(call) ?? call.refuse('has no axes');
  if (given.length > 4) call.refuse('adds more than 4 axes');
  const rank = x.shape.length + given.length;
  const axes = new Set(given.map((axis) => axisOf(call, axis, rank)));
  if (axes.has(0)) call.refuse('adds an axis before the batch');
  const rest = seenShape(x).slice(1) as number[];
  return seenAs(
    call,
    x,
    Array.from({ length: rank - 1 }, (_, i) => (axes.has(i + 1) ? 1 : (rest.shift() ?? 1))),
  );
}

/** Pictures lie channels first here; to see them the other way round is remembered, not computed. */
function transpose(call: Call): Activation {
  const x = call.activation(0);
  const order = permutationOf(call, x.shape.length).join();
  if (order === x.shape.map((_, axis) => axis).join()) return x;
  if (order === '0,2,3,1' && !x.channelsLast) return { ...x, channelsLast: true };
  if (order === '0,3,1,2' && x.channelsLast) return { ...x, channelsLast: false };
  return call.refuse(
    `puts the axes in the order [${order}]; only between channels first and channels last is supported`,
  );
}

/** The smallest number above 0: what our own lowering pads with before a pool, for ONNX Runtime's sake. */
const almostZero = 2 ** -149;

function pad(call: Call): Activation {
  const x = call.activation(0);
  const mode = call.text('mode', 'constant');
  if (mode !== 'constant') call.refuse(`pads by "${mode.slice(0, 40)}"; only zeros are supported`);
  if (Math.abs(call.numbers(2)?.[0] ?? call.real('value', 0)) > almostZero)
    call.refuse('pads with another number than 0');
  const rank = x.shape.length;
  const pads = call.numbers(1) ?? call.list('pads') ?? call.refuse('has no pads');
  const axes = (call.numbers(3) ?? x.shape.map((_, axis) => axis)).map((axis) => axisOf(call, axis, rank));
  if (rank !== 4 || pads.length !== 2 * axes.length || pads.some((n) => n < 0 || n > 65_536))
    return call.refuse(
      `pads an input of ${rank} axes by [${pads.slice(0, 8).join(', ')}]; only zeros around a picture are supported`,
    );
  const sides = Array.from({ length: rank }, () => [0, 0] as const as readonly [number, number]);
  axes.forEach((axis, i) => {
    sides[x.channelsLast ? [0, 2, 3, 1][axis] : axis] = [pads[i], pads[i + axes.length]];
  });
  const [batch, channels, [top, bottom], [left, right]] = sides;
  if (batch.some((n) => n > 0)) call.refuse('pads the batch');
  if (pads.every((n) => n === 0)) return x;
  return call.layer('pad', [x.value], { channels, spatial: [top, left, bottom, right] }, x);
}

/** The identity, but for training. */
function dropout(call: Call): Activation {
  const x = call.activation(0);
  const { node, draft } = call;
  if ((draft.readers.get(node.outputs[1] ?? '') ?? 0) > 0) call.refuse('gives its mask, which is not supported');
  const rate = call.numbers(1)?.[0] ?? call.real('ratio', 0.5);
  const training = call.opset < 7 ? call.integer('is_test', 0) === 0 : call.numbers(2)?.[0];
  if (training && rate !== 0) call.refuse('is in training mode; export the network in eval mode');
  if (!(rate >= 0 && rate < 1)) call.refuse(`drops a share of ${rate}; a number from 0 to below 1 is due`);
  return call.layer('dropout', [x.value], { rate }, x);
}
