import { ResidualError } from '../errors.js';
import { formatShape, type Shape, sameShape } from '../tensor.js';
import type { Graph, Node, Parameter } from './graph.js';
import { type OpAttributes, type OpName, ops, type Padding, type Pair, type ParameterRole } from './ops.js';

/** A result while a network is being built: hand it to the next layer. */
export interface Value {
  readonly id: number;
  /** `[1, C, H, W]` or `[1, features]`: the batch is 1 while building and free afterwards. */
  readonly shape: Shape;
  readonly draft: Draft;
}

/** The network under construction that a Value belongs to. Only this file writes to it. */
export interface Draft {
  readonly input: Graph['inputs'][number];
  readonly nodes: Node[];
  readonly parameters: Parameter[];
  readonly shapes: Shape[];
  readonly names: Set<string>;
  block: string | undefined;
}

type Size = number | Pair;

interface Named {
  /** Unique in the network; `conv2d`, `conv2d_1`, … when left out, as Keras counts. */
  name?: string | undefined;
}

/** Options of a window that slides over a picture. */
interface Window extends Named {
  stride?: Size;
  /** Zeros on every side, `[top, left, bottom, right]`, or TensorFlow's `'same'`. Default 0 (Keras' `'valid'`). */
  padding?: number | Padding;
}

/** Starts a network: pictures of `channels × height × width`. */
export function input(size: { channels?: number; height: number; width: number; name?: string }): Value {
  const { channels = 3, height, width, name = 'input' } = size;
  positive(name, { channels, height, width });
  const shape = [1, channels, height, width];
  const draft: Draft = {
    input: { value: 0, name, shape },
    nodes: [],
    parameters: [],
    shapes: [shape],
    names: new Set([name]),
    block: undefined,
  };
  return { id: 0, shape, draft };
}

/** Convolution to `filters` channels; weight `[filters, C / groups, kh, kw]`. With a bias unless `bias: false`. */
export function conv2d(
  x: Value,
  filters: number,
  options: Window & { kernel?: Size; dilation?: Size; groups?: number; bias?: boolean } = {},
): Value {
  const { kernel = 1, stride = 1, padding = 0, dilation = 1, groups = 1, bias = true } = options;
  const [channels] = x.shape.slice(1);
  positive(options.name ?? 'conv2d', { filters, kernel, stride, dilation, groups });
  if (filters % groups || channels % groups)
    throw new ResidualError(
      'GRAPH',
      `layer "${options.name ?? 'conv2d'}": ${channels} → ${filters} channels cannot be split into ${groups} groups`,
    );
  const weight = [filters, channels / groups, ...pair(kernel)];
  return layer(
    x.draft,
    'conv2d',
    options.name,
    [x],
    {
      kernel: pair(kernel),
      stride: pair(stride),
      padding: sides(padding, options.name ?? 'conv2d'),
      dilation: pair(dilation),
      groups,
    },
    [
      { role: 'weight', suffix: 'weight', shape: weight, initial: 'he' },
      ...(bias ? [{ role: 'bias', suffix: 'bias', shape: [filters], initial: 'zeros' } as const] : []),
    ],
  );
}

/**
 * Batch normalisation over the channels. `epsilon` defaults to torchvision's 1e-5; Keras' layers use 1e-3.
 * `zeroGamma` starts the scale at 0, so that a residual block begins as the identity (Goyal et al. 2017, section 5.1).
 */
export function batchNorm(x: Value, options: Named & { epsilon?: number; zeroGamma?: boolean } = {}): Value {
  const shape = [x.shape[1]];
  return layer(x.draft, 'batchNorm', options.name, [x], { epsilon: options.epsilon ?? 1e-5 }, [
    { role: 'gamma', suffix: 'weight', shape, initial: options.zeroGamma ? 'zeros' : 'ones' },
    { role: 'beta', suffix: 'bias', shape, initial: 'zeros' },
    { role: 'mean', suffix: 'running_mean', shape, initial: 'zeros' },
    { role: 'variance', suffix: 'running_var', shape, initial: 'ones' },
  ]);
}

export const relu = (x: Value, options: Named = {}): Value => layer(x.draft, 'relu', options.name, [x], {});

/** 1 / (1 + exp(−x)). */
export const sigmoid = (x: Value, options: Named = {}): Value => layer(x.draft, 'sigmoid', options.name, [x], {});

/** Largest of each window; padding never wins. `stride` defaults to the kernel, as in Keras. */
export function maxPool(x: Value, options: Window & { kernel: Size }): Value {
  return layer(x.draft, 'maxPool', options.name, [x], poolWindow(options));
}

/** Mean of each window; padding is not counted unless `countPadding`. `stride` defaults to the kernel. */
export function avgPool(x: Value, options: Window & { kernel: Size; countPadding?: boolean }): Value {
  return layer(x.draft, 'avgPool', options.name, [x], {
    ...poolWindow(options),
    countPadding: options.countPadding ?? false,
  });
}

/** Mean over height and width: `[N, C, H, W]` → `[N, C]`, or `[N, C, 1, 1]` with `keepDims`. */
export const globalAvgPool = (x: Value, options: Named & { keepDims?: boolean } = {}): Value =>
  layer(x.draft, 'globalAvgPool', options.name, [x], { keepDims: options.keepDims ?? false });

/** Blurs before it strides (Zhang 2019; timm's BlurPool2d); default a 3×3 filter and stride 2. */
export function blurPool(x: Value, options: Named & { kernel?: number; stride?: number } = {}): Value {
  const { kernel = 3, stride = 2 } = options;
  positive(options.name ?? 'blur_pool2d', { kernel, stride });
  return layer(x.draft, 'blurPool', options.name, [x], { kernel, stride });
}

/**
 * Height and width times `scale`, or to `size`. `mode` "nearest" (default) repeats pixels as Keras' UpSampling2D and
 * PyTorch's interpolate do, "bilinear" takes pixels' centres; `coordinates` and `nearest` say otherwise, in the words
 * of ONNX Resize.
 * @throws ARGUMENT unless exactly one of `scale` and `size` is there and positive.
 */
export function resize(
  x: Value,
  options: Named & { scale?: Size; size?: Size } & Partial<Omit<OpAttributes['resize'], 'to'>>,
): Value {
  const { scale, size, mode = 'nearest', name } = options;
  const given = scale ?? size;
  const numbers = given === undefined ? [] : pair(given);
  const right = (n: number) => (size === undefined ? Number.isFinite(n) : Number.isInteger(n)) && n > 0;
  if (!numbers.length || (scale !== undefined && size !== undefined) || !numbers.every(right))
    throw new ResidualError(
      'ARGUMENT',
      `layer "${name ?? 'resizing'}": expected a positive scale or a size in whole pixels but received scale ${scale} and size ${size}`,
      { layer: name ?? 'resizing' },
    );
  return layer(x.draft, 'resize', name, [x], {
    to: size === undefined ? { scales: pair(given as Size) } : { sizes: pair(size) },
    mode,
    coordinates: options.coordinates ?? (mode === 'nearest' ? 'asymmetric' : 'half_pixel'),
    nearest: options.nearest ?? 'floor',
  });
}

/** Zeros around the picture, and around the channels for the paper's shortcut A. */
export function zeroPad(
  x: Value,
  spatial: number | Exclude<Padding, 'same'>,
  options: Named & { channels?: Pair } = {},
): Value {
  return layer(x.draft, 'pad', options.name, [x], {
    channels: options.channels ?? [0, 0],
    spatial: sides(spatial, options.name ?? 'zero_padding2d') as Exclude<Padding, 'same'>,
  });
}

/**
 * The residual sum F(x) + x (He et al. 2015a, equation 1).
 * @throws GRAPH with block, both layers and both shapes when the branches cannot add.
 */
export function add(main: Value, shortcut: Value, options: Named = {}): Value {
  const { draft } = main;
  if (!sameShape(main.shape, shortcut.shape)) {
    const block = draft.block ?? options.name ?? 'residual sum';
    const [a, b] = [producer(main), producer(shortcut)];
    const [shapeA, shapeB] = [formatShape(main.shape, true), formatShape(shortcut.shape, true)];
    throw new ResidualError(
      'GRAPH',
      `block "${block}" cannot add its branches: layer "${a}" gives ${shapeA} but the shortcut from "${b}" gives ${shapeB}; ` +
        repair(main.shape, shortcut.shape),
      { block, main: a, shortcut: b, mainShape: main.shape, shortcutShape: shortcut.shape },
    );
  }
  return layer(draft, 'add', options.name, [main, shortcut], {});
}

/** Element by element; one of the two may be `[N, C, 1, 1]`, a factor for each channel of the other. */
export const mul = (a: Value, b: Value, options: Named = {}): Value => layer(a.draft, 'mul', options.name, [a, b], {});

/** Lays values behind each other along `axis`, by default the channels. */
export function concat(values: readonly Value[], options: Named & { axis?: number } = {}): Value {
  const [first] = values;
  if (!first)
    throw new ResidualError(
      'ARGUMENT',
      `layer "${options.name ?? 'concatenate'}" has nothing to join; give it a value`,
    );
  return layer(first.draft, 'concat', options.name, values, { axis: options.axis ?? 1 });
}

/** `[N, C, H, W]` → `[N, C·H·W]`; `channelsLast` orders the elements as Keras does. */
export function flatten(x: Value, options: Named & { channelsLast?: boolean } = {}): Value {
  return layer(x.draft, 'flatten', options.name, [x], { channelsLast: options.channelsLast ?? false });
}

/** The same numbers as `[N, …shape]`. */
export const reshape = (x: Value, shape: Shape, options: Named = {}): Value =>
  layer(x.draft, 'reshape', options.name, [x], { shape });

/** Fully connected to `units`; weight `[units, features]`. */
export function dense(x: Value, units: number, options: Named & { bias?: boolean } = {}): Value {
  if (x.shape.length !== 2)
    throw new ResidualError(
      'GRAPH',
      `layer "${options.name ?? 'dense'}" takes [N, features] but received ${formatShape(x.shape, true)}; put flatten() or globalAvgPool() before it`,
    );
  positive(options.name ?? 'dense', { units });
  return layer(x.draft, 'dense', options.name, [x], {}, [
    { role: 'weight', suffix: 'weight', shape: [units, x.shape[1]], initial: 'glorot' },
    ...(options.bias === false ? [] : [{ role: 'bias', suffix: 'bias', shape: [units], initial: 'zeros' } as const]),
  ]);
}

/** Drops a share `rate` of the elements while training; the identity otherwise. */
export function dropout(x: Value, rate: number, options: Named = {}): Value {
  if (!(rate >= 0 && rate < 1))
    throw new ResidualError(
      'ARGUMENT',
      `layer "${options.name ?? 'dropout'}": expected a rate from 0 to below 1 but received ${rate}`,
    );
  return layer(x.draft, 'dropout', options.name, [x], { rate });
}

export const softmax = (x: Value, options: Named = {}): Value => layer(x.draft, 'softmax', options.name, [x], {});

/**
 * Runs `body`, whose layers belong to the block `name` (in summaries, drawings and errors). When it throws, none of
 * its layers stay: the block can be written again, mended, on the same value.
 */
export function inBlock(x: Value, name: string, body: () => Value): Value {
  const { draft } = x;
  const outer = draft.block;
  const [nodes, parameters, shapes] = [draft.nodes.length, draft.parameters.length, draft.shapes.length];
  draft.block = name;
  try {
    return body();
  } catch (error) {
    for (const node of draft.nodes.splice(nodes)) draft.names.delete(node.name);
    draft.parameters.length = parameters;
    draft.shapes.length = shapes;
    throw error;
  } finally {
    draft.block = outer;
  }
}

/**
 * Closes the construction: the network from its input to `outputs`, by name; the first is the main one.
 * @throws ARGUMENT without outputs; GRAPH when they come from two inputs.
 */
export function network(name: string, outputs: Record<string, Value>, features: Record<string, Value> = {}): Graph {
  const [main, ...others] = [...Object.values(outputs), ...Object.values(features)];
  if (!main || !Object.keys(outputs).length)
    throw new ResidualError('ARGUMENT', `network "${name}" needs at least one output but received none`);
  const { draft } = main;
  if (others.some((value) => value.draft !== draft))
    throw new ResidualError(
      'GRAPH',
      `network "${name}" has outputs of two different networks; start both from one input()`,
    );
  return {
    name,
    inputs: [draft.input],
    parameters: draft.parameters,
    nodes: draft.nodes,
    outputs: Object.entries(outputs).map(([output, value]) => ({ name: output, value: value.id })),
    features: Object.fromEntries(Object.entries(features).map(([feature, value]) => [feature, value.id])),
  };
}

interface ParameterDraft {
  role: ParameterRole;
  suffix: string;
  shape: Shape;
  initial: Parameter['initial'];
}

function layer<K extends OpName>(
  draft: Draft,
  op: K,
  wanted: string | undefined,
  inputs: readonly Value[],
  attributes: OpAttributes[K],
  parameters: readonly ParameterDraft[] = [],
): Value {
  const name = wanted ?? nextName(draft, op);
  if (draft.names.has(name))
    throw new ResidualError('GRAPH', `two layers are called "${name}"; give each its own name`, { layer: name });
  for (const from of inputs)
    if (from.draft !== draft)
      throw new ResidualError('GRAPH', `layer "${name}" joins two different networks`, { layer: name });

  // Asked first, so that a layer that does not fit leaves no trace in the network.
  const [shape] = ops[op].shapes(
    [...inputs, ...parameters].map((from) => from.shape),
    attributes,
    name,
  );

  const values = parameters.map(({ role, suffix, shape, initial }) => {
    const value = draft.shapes.push(shape) - 1;
    draft.parameters.push({ value, name: `${name}.${suffix}`, shape, role, initial });
    return value;
  });
  const id = draft.shapes.push(shape) - 1;
  const block = draft.block === undefined ? {} : { block: draft.block };
  const node = {
    op,
    name,
    inputs: [...inputs.map((from) => from.id), ...values],
    outputs: [id],
    attributes,
    ...block,
  } as Node;
  draft.nodes.push(node);
  draft.names.add(name);
  return { id, shape, draft };
}

function nextName(draft: Draft, op: OpName): string {
  const base = ops[op].layer.replace(/([a-z])([A-Z])/g, '$1_$2').toLowerCase();
  for (let i = 0; ; i++) {
    const name = i ? `${base}_${i}` : base;
    if (!draft.names.has(name)) return name;
  }
}

const producer = (value: Value): string =>
  value.draft.nodes.find((node) => node.outputs.includes(value.id))?.name ?? value.draft.input.name;

function repair(main: Shape, shortcut: Shape): string {
  if (main.length !== 4 || shortcut.length !== 4) return 'give both branches the same shape';
  const stride = Math.round(shortcut[2] / main[2]);
  const how = stride > 1 ? ` with stride ${stride}` : '';
  if (main[1] !== shortcut[1])
    return `project the shortcut: a 1×1 convolution to ${main[1]} channels${how} (convBlock instead of identityBlock)`;
  return stride > 1 ? `give the shortcut stride ${stride} too` : 'give both branches the same stride and padding';
}

const pair = (size: Size): Pair => (typeof size === 'number' ? [size, size] : size);

function sides(padding: number | Padding, layer: string): Padding {
  if (padding === 'same') return padding;
  const zeros = typeof padding === 'number' ? ([padding, padding, padding, padding] as const) : padding;
  if (!zeros.every((n) => Number.isInteger(n) && n >= 0))
    throw new ResidualError(
      'ARGUMENT',
      `layer "${layer}": expected whole numbers, 0 or more, for padding but received ${padding}`,
      { layer },
    );
  return zeros;
}

function poolWindow({ name = 'pool', kernel, stride = kernel, padding = 0 }: Window & { kernel: Size }) {
  positive(name, { kernel, stride });
  return { kernel: pair(kernel), stride: pair(stride), padding: sides(padding, name) };
}

/** Sizes and counts are whole and at least 1. */
function positive(layer: string, settings: Record<string, Size>): void {
  for (const [what, value] of Object.entries(settings))
    if (!pair(value).every((n) => Number.isInteger(n) && n > 0))
      throw new ResidualError(
        'ARGUMENT',
        `layer "${layer}": expected a positive integer for ${what} but received ${value}`,
        { layer },
      );
}
