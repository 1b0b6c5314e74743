import { ResidualError } from '../errors.js';
import {
  add,
  avgPool,
  batchNorm,
  concat,
  conv2d,
  dense,
  dropout,
  flatten,
  globalAvgPool,
  input,
  maxPool,
  mul,
  network,
  relu,
  reshape,
  resize,
  sigmoid,
  softmax,
  type Value,
  zeroPad,
} from '../graph/build.js';
import type { Graph } from '../graph/graph.js';
import { sizeOf } from '../tensor.js';
import { endingOf } from './ending.js';
import { type Layer, readLayers, refuse, show } from './keras-layers.js';

/** Larger sizes and counts are damage: no ResNet comes near, and nothing here may ask for memory without bound. */
const largest = 65_536;
/** Elements of one weight or one result: what a typed array holds everywhere. */
const largestWeight = 2 ** 31 - 1;

/**
 * The network that a Keras `model_config` describes: functional and sequential models of the layers a CNN is made of,
 * and models within models, channels last, as Keras 2 and 3 write them. The result is NCHW like everything here; layer
 * names are kept. When it ends in a softmax, the softmax's input is the feature `logits`; a model without its top ends in
 * `features`.
 *
 * @throws WEIGHTS_FORMAT when the description is not one; GRAPH naming the layer when a layer or setting is not
 * supported or malformed, or a class is not Keras' own; WEIGHTS_UNSAFE naming the layer that holds program code.
 */
export function kerasGraph(modelConfig: unknown): Graph {
  const { name, layers, output } = readLayers(modelConfig);
  const values = new Map<string, Value>();
  for (const layer of layers) {
    if (values.has(layer.name)) refuse(layer, 'is there twice; give each layer its own name');
    const inputs = layer.from.map(
      (from) => values.get(from) ?? refuse(layer, `takes ${show(from)}, which no earlier layer makes`),
    );
    values.set(layer.name, buildLayer(layer, inputs));
  }
  const last = values.get(output);
  if (!last)
    throw new ResidualError(
      'WEIGHTS_FORMAT',
      `model_config of "${name}" has the output ${show(output)}, which no layer makes`,
    );
  const ending = endingOf(last.draft.nodes, last.id, last.shape);
  const softmaxNode = last.draft.nodes.find((node) => node.op === 'softmax' && node.outputs.includes(last.id));
  if (!softmaxNode) return network(name, { [ending]: last });
  // A softmax keeps its input's shape.
  return network(name, { probabilities: last }, { logits: { ...last, id: softmaxNode.inputs[0] } });
}

function buildLayer(layer: Layer, inputs: Value[]): Value {
  const build = Object.hasOwn(builders, layer.class_name) ? builders[layer.class_name] : undefined;
  if (layer.class_name === 'Rescaling' || layer.class_name === 'Normalization')
    return refuse(
      layer,
      `(${layer.class_name}) normalises the picture inside the network, which is not supported: save the model without it and say what it does as the plan (preprocess, --preprocess)`,
    );
  if (!build) return refuse(layer, `is a ${show(layer.class_name)}; supported are ${Object.keys(builders).join(', ')}`);
  if ((layer.class_name === 'Add' || layer.class_name === 'Multiply') && inputs.length !== 2)
    refuse(layer, `${layer.class_name === 'Add' ? 'adds' : 'multiplies'} ${inputs.length} branches; two are supported`);
  const wanted = wants[layer.class_name] ?? 1;
  if (wanted === '1 or more' ? !inputs.length : inputs.length !== wanted)
    refuse(layer, `takes ${wanted} input(s) but has ${inputs.length}`);
  if ((layer.config.data_format ?? 'channels_last') !== 'channels_last')
    refuse(layer, `has the data_format ${show(layer.config.data_format)}; only channels_last is supported`);
  const before = inputs[0]?.draft.parameters.length ?? 0;
  const value = build(inputs, layer);
  const heavy = value.draft.parameters.slice(before).find((p) => sizeOf(p.shape) > largestWeight);
  if (heavy) refuse(layer, `has ${sizeOf(heavy.shape)} weights; at most ${largestWeight} are supported`);
  if (sizeOf(value.shape) > largestWeight)
    refuse(layer, `makes ${sizeOf(value.shape)} numbers of one picture; at most ${largestWeight} are supported`);
  return value;
}

/** How many inputs a layer takes, where it is not one. */
const wants: Readonly<Record<string, number | '1 or more'>> = {
  InputLayer: 0,
  Add: 2,
  Multiply: 2,
  Concatenate: '1 or more',
};

type Builder = (inputs: Value[], layer: Layer) => Value;

const builders: Record<string, Builder> = {
  InputLayer: (_, layer) => {
    const shape = layer.config.batch_input_shape ?? layer.config.batch_shape;
    if (!Array.isArray(shape) || shape.length !== 4)
      return refuse(layer, 'gives no picture size [null, height, width, channels]');
    const [height, width, channels] = [224, 224, 3].map((usual, i) =>
      whole(layer, 'an input size', shape[i + 1] ?? usual),
    );
    return input({ name: layer.name, height, width, channels });
  },
  Conv2D: ([x], layer) => {
    const { filters, kernel_size, dilation_rate, groups } = layer.config;
    const y = conv2d(x, whole(layer, 'filters', filters), {
      ...window(layer),
      kernel: pair(layer, 'kernel_size', kernel_size),
      dilation: pair(layer, 'dilation_rate', dilation_rate ?? 1),
      groups: whole(layer, 'groups', groups ?? 1),
      bias: flag(layer, 'use_bias', true),
    });
    return activate(y, layer);
  },
  BatchNormalization: ([x], layer) => {
    const { axis, epsilon = 1e-3 } = layer.config;
    checkAxis(layer, Array.isArray(axis) && axis.length === 1 ? axis[0] : axis, x, 'normalises');
    // Without gamma or beta these are ones or zeros, which the reader adds (`withUnits`).
    flag(layer, 'scale', true);
    flag(layer, 'center', true);
    if (typeof epsilon !== 'number' || !(epsilon >= 0 && epsilon < 1))
      return refuse(layer, `has the epsilon ${show(epsilon)}; expected a number from 0 to below 1`);
    return batchNorm(x, { name: layer.name, epsilon });
  },
  Activation: ([x], layer) => {
    if (layer.config.activation == null) refuse(layer, 'names no activation');
    return activate(x, layer, layer.name);
  },
  ReLU: ([x], layer) => {
    const { max_value, negative_slope, threshold } = layer.config;
    if (max_value != null || negative_slope || threshold)
      refuse(layer, 'is a clipped or leaky ReLU; only the plain one is supported');
    return relu(x, { name: layer.name });
  },
  Softmax: ([x], layer) => {
    checkAxis(layer, layer.config.axis, x, 'is a softmax over');
    return probabilities(x, layer, layer.name);
  },
  MaxPooling2D: ([x], layer) => maxPool(x, { ...window(layer), kernel: poolSize(layer) }),
  AveragePooling2D: ([x], layer) => avgPool(x, { ...window(layer), kernel: poolSize(layer) }),
  GlobalAveragePooling2D: ([x], layer) =>
    globalAvgPool(x, { name: layer.name, keepDims: flag(layer, 'keepdims', false) }),
  UpSampling2D: ([x], layer) => {
    const { size = 2, interpolation = 'nearest' } = layer.config;
    if (interpolation !== 'nearest' && interpolation !== 'bilinear')
      return refuse(layer, `has the interpolation ${show(interpolation)}; supported are "nearest" and "bilinear"`);
    return resize(x, { name: layer.name, scale: pair(layer, 'size', size), mode: interpolation });
  },
  ZeroPadding2D: ([x], layer) => {
    // As Keras: one number for all sides, one for each axis, or [before, after] for each axis.
    const [vertical, horizontal] = twice(layer, 'padding', layer.config.padding ?? 1);
    const [top, bottom] = pair(layer, 'padding', vertical, 0);
    const [left, right] = pair(layer, 'padding', horizontal, 0);
    return zeroPad(x, [top, left, bottom, right], { name: layer.name });
  },
  Add: ([a, b], layer) => add(a, b, { name: layer.name }),
  Multiply: ([a, b], layer) => mul(a, b, { name: layer.name }),
  Concatenate: (values, layer) => {
    const dimensions = values[0].shape.length;
    const { axis = -1 } = layer.config;
    const at = typeof axis === 'number' && axis < 0 ? axis + dimensions : axis;
    if (!Number.isInteger(at) || (at as number) < 1 || (at as number) >= dimensions)
      refuse(layer, `joins axis ${show(axis)} of ${dimensions}; expected one behind the batch`);
    // Keras' channels are last, ours come first behind the batch.
    const ours = at === dimensions - 1 ? 1 : (at as number) + 1;
    return concat(values, { name: layer.name, axis: ours });
  },
  Reshape: ([x], layer) => {
    // Of channels last, only a vector's channels stand where ours do: what squeeze and excitation makes of its means.
    const target = layer.config.target_shape;
    const [height, width, channels] = Array.isArray(target) ? target : [];
    if (x.shape.length !== 2 || height !== 1 || width !== 1 || (channels !== x.shape[1] && channels !== -1))
      return refuse(layer, `reshapes to ${show(target)}; supported is [1, 1, channels] of a vector of so many`);
    return reshape(x, [x.shape[1], 1, 1], { name: layer.name });
  },
  Flatten: ([x], layer) => flatten(x, { name: layer.name, channelsLast: true }),
  Dense: ([x], layer) => {
    const units = whole(layer, 'units', layer.config.units);
    const settings = { name: layer.name, bias: flag(layer, 'use_bias', true) };
    if (x.shape.length === 2) return activate(dense(x, units, settings), layer);
    // Keras' Dense takes the channels of each pixel. Of a single one they are a vector: squeeze and excitation.
    const [, , height, width] = x.shape;
    if (height !== 1 || width !== 1)
      return refuse(
        layer,
        `takes the channels of each of ${height}×${width} pixels; supported is a Dense of a vector or of one pixel: put a Conv2D of 1×1 in its place, or a Flatten or GlobalAveragePooling2D before it`,
      );
    const vector = dense(flatten(x, { name: `${layer.name}_flatten` }), units, settings);
    return activate(reshape(vector, [units, 1, 1], { name: `${layer.name}_reshape` }), layer);
  },
  Dropout: ([x], layer) => {
    const { rate } = layer.config;
    if (typeof rate !== 'number' || !(rate >= 0 && rate < 1))
      return refuse(layer, `has the rate ${show(rate)}; expected a number from 0 to below 1`);
    return dropout(x, rate, { name: layer.name });
  },
};

/** An Activation layer has its `own` name; that of a Conv2D or Dense is a node of its own here, named after both. */
function activate(x: Value, layer: Layer, own?: string): Value {
  const activation = activationOf(layer);
  const name = own ?? `${layer.name}_${typeof activation === 'string' ? activation : ''}`;
  switch (activation ?? 'linear') {
    case 'linear':
      return x;
    case 'relu':
      return relu(x, { name });
    case 'sigmoid':
      return sigmoid(x, { name });
    case 'softmax':
      return probabilities(x, layer, name);
    default:
      return refuse(layer, `has the activation ${show(activation)}; supported are relu, sigmoid, softmax and linear`);
  }
}

/** Keras 3 names some activations as functions of its own; others arrive as text. */
function activationOf(layer: Layer): unknown {
  const { activation } = layer.config;
  const { module, class_name, config } = (activation ?? {}) as Record<string, unknown>;
  const isOwn = class_name === 'function' && (module === 'builtins' || /^keras\./.test(String(module)));
  return isOwn ? config : activation;
}

/** Keras' last axis is the channels, which are not the last axis here: only vectors have the same one. */
function probabilities(x: Value, layer: Layer, name: string): Value {
  if (x.shape.length !== 2) refuse(layer, 'is a softmax of a picture; only one of a vector is supported');
  return softmax(x, { name });
}

/** Keras' default axis, -1, and the last one by its number. */
function checkAxis(layer: Layer, axis: unknown, x: Value, does: string): void {
  const last = x.shape.length - 1;
  if (axis !== undefined && axis !== last && axis !== -1)
    refuse(layer, `${does} axis ${show(axis)}; only the last, axis ${last}, is supported`);
}

function window(layer: Layer) {
  const { strides, padding = 'valid', pool_size } = layer.config;
  if (padding !== 'same' && padding !== 'valid')
    refuse(layer, `has the padding ${show(padding)}; supported are "same" and "valid"`);
  return {
    name: layer.name,
    stride: pair(layer, 'strides', strides ?? pool_size ?? 1),
    padding: padding === 'same' ? ('same' as const) : 0,
  };
}

const poolSize = (layer: Layer) => pair(layer, 'pool_size', layer.config.pool_size ?? 2);

function whole(layer: Layer, what: string, value: unknown, least = 1): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= largest) return value;
  return refuse(layer, `has ${show(value)} for ${what}; expected a whole number from ${least} to ${largest}`);
}

function twice(layer: Layer, what: string, value: unknown): readonly [unknown, unknown] {
  if (!Array.isArray(value)) return [value, value];
  if (value.length !== 2) refuse(layer, `has ${show(value)} for ${what}; expected one number or two`);
  return [value[0], value[1]];
}

function pair(layer: Layer, what: string, value: unknown, least = 1): readonly [number, number] {
  const [a, b] = twice(layer, what, value);
  return [whole(layer, what, a, least), whole(layer, what, b, least)];
}

function flag(layer: Layer, what: string, usual: boolean): boolean {
  const value = layer.config[what] ?? usual;
  return typeof value === 'boolean' ? value : refuse(layer, `has ${show(value)} for ${what}; expected true or false`);
}
