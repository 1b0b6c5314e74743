import { ResidualError } from '../errors.js';
import {
  add,
  avgPool,
  batchNorm,
  conv2d,
  dense,
  dropout,
  flatten,
  globalAvgPool,
  input,
  maxPool,
  network,
  relu,
  softmax,
  type Value,
  zeroPad,
} from '../graph/build.js';
import type { Graph } from '../graph/graph.js';

interface Layer {
  name: string;
  class_name: string;
  config: Record<string, unknown>;
  /** Names of the layers it takes. */
  from: string[];
}

/**
 * The network that a Keras `model_config` describes: functional and sequential models of the layers a CNN is made of,
 * channels last. The result is NCHW like everything here; layer names are kept.
 *
 * @throws WEIGHTS_FORMAT when the description is not one; GRAPH naming the layer when a layer or setting is not supported.
 */
export function kerasGraph(modelConfig: unknown): Graph {
  const { name, layers, outputs } = readLayers(modelConfig);
  const values = new Map<string, Value>();
  let logits: Value | undefined;
  for (const layer of layers) {
    const inputs = layer.from.map(
      (from) => values.get(from) ?? refuse(layer, `takes "${from}", which no earlier layer makes`),
    );
    const build = Object.hasOwn(builders, layer.class_name) ? builders[layer.class_name] : undefined;
    if (!build) refuse(layer, `is a ${layer.class_name}; supported are ${Object.keys(builders).join(', ')}`);
    let value = (build as Builder)(inputs, layer);
    const activation = layer.config.activation as string | undefined;
    if (activation === 'softmax') logits = value;
    if (layer.class_name !== 'Activation') value = activate(value, activation, layer, `${layer.name}_${activation}`);
    values.set(layer.name, value);
  }
  const last = outputs.map((output) => values.get(output))[0];
  if (!last) throw new ResidualError('WEIGHTS_FORMAT', `model_config of "${name}" names no output layer`);
  const producedBy = last.draft.nodes.find((node) => node.outputs.includes(last.id));
  const isClassifier = producedBy?.op === 'softmax';
  return network(
    name,
    { [isClassifier ? 'probabilities' : last.shape.length === 2 ? 'logits' : 'features']: last },
    logits ? { logits } : {},
  );
}

type Builder = (inputs: Value[], layer: Layer) => Value;

const builders: Record<string, Builder> = {
  InputLayer: (_, layer) => {
    const shape = (layer.config.batch_input_shape ?? layer.config.batch_shape) as (number | null)[] | undefined;
    if (shape?.length !== 4) refuse(layer, 'gives no picture size [null, height, width, channels]');
    const [, height, width, channels] = shape as (number | null)[];
    return input({ name: layer.name, height: height ?? 224, width: width ?? 224, channels: channels ?? 3 });
  },
  Conv2D: ([x], layer) => {
    const { filters, kernel_size, dilation_rate, groups, use_bias } = layer.config;
    return conv2d(x, filters as number, {
      ...window(layer),
      kernel: pair(kernel_size),
      dilation: pair(dilation_rate ?? 1),
      groups: (groups as number | undefined) ?? 1,
      bias: use_bias !== false,
    });
  },
  BatchNormalization: ([x], layer) => {
    const { axis, epsilon = 1e-3, scale, center } = layer.config;
    const over = Array.isArray(axis) ? axis[0] : axis;
    if (over !== undefined && over !== 3 && over !== -1)
      refuse(layer, `normalises axis ${over}; only the channels, axis 3, are supported`);
    if (scale === false || center === false)
      refuse(layer, 'has no gamma or beta; only scale and center true are supported');
    return batchNorm(x, { name: layer.name, epsilon: epsilon as number });
  },
  Activation: ([x], layer) => activate(x, layer.config.activation as string, layer, layer.name),
  ReLU: ([x], layer) => {
    const { max_value, negative_slope, threshold } = layer.config;
    if (max_value != null || negative_slope || threshold)
      refuse(layer, 'is a clipped or leaky ReLU; only the plain one is supported');
    return relu(x, { name: layer.name });
  },
  Softmax: ([x], layer) => softmax(x, { name: layer.name }),
  MaxPooling2D: ([x], layer) => maxPool(x, { ...window(layer), kernel: pair(layer.config.pool_size) }),
  AveragePooling2D: ([x], layer) => avgPool(x, { ...window(layer), kernel: pair(layer.config.pool_size) }),
  GlobalAveragePooling2D: ([x], layer) => {
    if (layer.config.keepdims) refuse(layer, 'keeps its dimensions, which is not supported');
    return globalAvgPool(x, { name: layer.name });
  },
  ZeroPadding2D: ([x], layer) => {
    const [[top, bottom], [left, right]] = layer.config.padding as [[number, number], [number, number]];
    return zeroPad(x, [top, left, bottom, right], { name: layer.name });
  },
  Add: ([a, ...rest], layer) => {
    if (rest.length !== 1) refuse(layer, `adds ${rest.length + 1} branches; two are supported`);
    return add(a, rest[0], { name: layer.name });
  },
  Flatten: ([x], layer) => flatten(x, { name: layer.name, channelsLast: true }),
  Dense: ([x], layer) =>
    dense(x, layer.config.units as number, { name: layer.name, bias: layer.config.use_bias !== false }),
  Dropout: ([x], layer) => dropout(x, layer.config.rate as number, { name: layer.name }),
};

function activate(x: Value, activation: string | undefined, layer: Layer, name: string): Value {
  switch (activation) {
    case undefined:
    case 'linear':
      return x;
    case 'relu':
      return relu(x, { name });
    case 'softmax':
      return softmax(x, { name });
    default:
      return refuse(layer, `has the activation ${activation}; supported are relu, softmax and linear`);
  }
}

function window(layer: Layer) {
  const { strides, padding, data_format, pool_size } = layer.config;
  if (data_format === 'channels_first') refuse(layer, 'is channels first; only channels last is supported');
  return {
    name: layer.name,
    stride: pair(strides ?? pool_size ?? 1),
    padding: padding === 'same' ? ('same' as const) : 0,
  };
}

const pair = (value: unknown): readonly [number, number] =>
  Array.isArray(value) ? [value[0], value[1]] : [value as number, value as number];

function readLayers(modelConfig: unknown): { name: string; layers: Layer[]; outputs: string[] } {
  const model = modelConfig as {
    class_name?: string;
    config?: { name?: string; layers?: unknown; output_layers?: unknown };
  } | null;
  const raw = model?.config?.layers;
  if (!Array.isArray(raw))
    throw new ResidualError(
      'WEIGHTS_FORMAT',
      'model_config holds no list of layers; save the whole model with Keras again',
    );
  const name = model?.config?.name ?? 'model';
  const layers = raw.map(
    (entry: { name?: string; class_name?: string; config?: Record<string, unknown>; inbound_nodes?: unknown }) => ({
      name: String(entry.name ?? entry.config?.name ?? ''),
      class_name: String(entry.class_name ?? ''),
      config: entry.config ?? {},
      from: inbound(entry.inbound_nodes),
    }),
  );
  if (model?.class_name === 'Sequential') {
    if (layers[0] && layers[0].class_name !== 'InputLayer' && layers[0].config.batch_input_shape)
      layers.unshift({ name: `${layers[0].name}_input`, class_name: 'InputLayer', config: layers[0].config, from: [] });
    layers.forEach((layer, i) => {
      layer.from = i ? [layers[i - 1].name] : [];
    });
    return { name, layers, outputs: [layers[layers.length - 1]?.name] };
  }
  const outputs = Array.isArray(model?.config?.output_layers) ? model.config.output_layers : [];
  return {
    name,
    layers,
    outputs: (typeof outputs[0] === 'string' ? [outputs] : outputs).map((o: unknown[]) => String(o[0])),
  };
}

/** Keras 2 writes a layer's inputs as `[[["conv2d", 0, 0, {}], …]]`. */
function inbound(nodes: unknown): string[] {
  if (!Array.isArray(nodes) || !Array.isArray(nodes[0])) return [];
  return nodes[0].map((node: unknown[]) => String(node[0]));
}

function refuse(layer: Layer, why: string): never {
  throw new ResidualError('GRAPH', `Keras layer "${layer.name}" ${why}`, { layer: layer.name });
}
