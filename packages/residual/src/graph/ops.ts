import { ResidualError } from '../errors.js';
import { formatShape, type Shape, sameShape, sizeOf } from '../tensor.js';

/** Height and width, in that order, as everywhere in this library. */
export type Pair = readonly [height: number, width: number];

/**
 * Zeros laid around a picture: `[top, left, bottom, right]`, or `'same'`, TensorFlow's rule, which depends on the
 * picture's size: output = ceil(input / stride), an odd zero goes to the bottom and right.
 */
export type Padding = readonly [top: number, left: number, bottom: number, right: number] | 'same';

/** What each op can be set to. The keys of this interface are the ops there are. */
export interface OpAttributes {
  conv2d: { kernel: Pair; stride: Pair; padding: Padding; dilation: Pair; groups: number };
  /** Inference form: (x − mean) / sqrt(variance + epsilon) · gamma + beta. */
  batchNorm: { epsilon: number };
  relu: Record<never, never>;
  /** 1 / (1 + exp(−x)). */
  sigmoid: Record<never, never>;
  /** Padding counts as −∞. */
  maxPool: { kernel: Pair; stride: Pair; padding: Padding };
  /** Padding is left out of the mean unless `countPadding`. */
  avgPool: { kernel: Pair; stride: Pair; padding: Padding; countPadding: boolean };
  /** Mean over height and width: `[N, C, H, W]` → `[N, C]`, or `[N, C, 1, 1]` with `keepDims`. */
  globalAvgPool: { keepDims: boolean };
  /**
   * A fixed blur of every channel by itself, with the picture mirrored at its rim: row `kernel` − 1 of Pascal's
   * triangle in both directions, scaled to sum 1 (Zhang 2019, section 3.2; timm's BlurPool2d).
   */
  blurPool: { kernel: number; stride: number };
  /** Height and width to new ones; `nearest` is the rounding of `mode` "nearest". Names and rules are ONNX Resize's. */
  resize: {
    to: { readonly scales: Pair } | { readonly sizes: Pair };
    mode: 'nearest' | 'bilinear';
    coordinates: 'half_pixel' | 'pytorch_half_pixel' | 'align_corners' | 'asymmetric';
    nearest: 'floor' | 'ceil' | 'round_prefer_floor' | 'round_prefer_ceil';
  };
  /** Zeros around channels and picture. */
  pad: { channels: readonly [before: number, after: number]; spatial: readonly [number, number, number, number] };
  add: Record<never, never>;
  /** Element by element: two equal shapes, or `[N, C, 1, 1]` with `[N, C, H, W]`, in either order. */
  mul: Record<never, never>;
  /** Inputs laid behind each other along `axis`, 1 or more. */
  concat: { axis: number };
  /** `[N, …]` → `[N, product]`; `channelsLast` lays the elements out as Keras does: height, width, channel. */
  flatten: { channelsLast: boolean };
  /** The same numbers in another shape; the batch is left out of it and stays. */
  reshape: { shape: Shape };
  /** x · weightᵀ + bias, weight `[out, in]`. */
  dense: Record<never, never>;
  /** Inference form: the identity. `rate` is the share of elements that training drops. */
  dropout: { rate: number };
  /** Over the last axis. */
  softmax: Record<never, never>;
}

export type OpName = keyof OpAttributes;

/** What an op's input is: an activation, or a parameter of the given role. */
export type ParameterRole = 'weight' | 'bias' | 'gamma' | 'beta' | 'mean' | 'variance';

export interface OpRow<K extends OpName> {
  /** The layer's name in a summary, as Keras spells it. */
  layer: string;
  /** How many activations it takes, and which parameters follow them, in order; the bias may be absent. */
  activations: number | 'any';
  parameters: readonly ParameterRole[];
  /** Shapes of the outputs for these shapes of all inputs. Throws GRAPH with `name` when they do not fit. */
  shapes(inputs: readonly Shape[], attributes: OpAttributes[K], name: string): Shape[];
  /** Multiply-adds, as the field counts them: convolutions and dense layers only. */
  macs(inputs: readonly Shape[], outputs: readonly Shape[]): number;
}

const free = () => 0;
const sameAsInput = (inputs: readonly Shape[]): Shape[] => [inputs[0]];

/** The one place that knows the ops. */
export const ops: { [K in OpName]: OpRow<K> } = {
  conv2d: {
    layer: 'Conv2D',
    activations: 1,
    parameters: ['weight', 'bias'],
    shapes([x, weight], { kernel, stride, padding, dilation, groups }, name) {
      const [n, c, h, w] = picture(x, name);
      if (weight[1] * groups !== c)
        throw misfit(
          name,
          `its weight ${formatShape(weight)} with ${groups} group(s) takes ${weight[1] * groups} channels`,
          x,
        );
      return [[n, weight[0], ...windows([h, w], kernel, stride, padding, dilation, name)]];
    },
    macs: ([, weight], [out]) => sizeOf(out) * sizeOf(weight.slice(1)),
  },
  batchNorm: {
    layer: 'BatchNormalization',
    activations: 1,
    parameters: ['gamma', 'beta', 'mean', 'variance'],
    shapes([x, gamma], _attributes, name) {
      if (x[1] !== gamma[0]) throw misfit(name, `it normalises ${gamma[0]} channels`, x);
      return [x];
    },
    macs: free,
  },
  relu: { layer: 'ReLU', activations: 1, parameters: [], shapes: sameAsInput, macs: free },
  sigmoid: { layer: 'Sigmoid', activations: 1, parameters: [], shapes: sameAsInput, macs: free },
  maxPool: {
    layer: 'MaxPooling2D',
    activations: 1,
    parameters: [],
    shapes: ([x], attributes, name) => [pooled(x, attributes, name)],
    macs: free,
  },
  avgPool: {
    layer: 'AveragePooling2D',
    activations: 1,
    parameters: [],
    shapes: ([x], attributes, name) => [pooled(x, attributes, name)],
    macs: free,
  },
  globalAvgPool: {
    layer: 'GlobalAveragePooling2D',
    activations: 1,
    parameters: [],
    shapes([x], { keepDims }, name) {
      const [n, c] = picture(x, name);
      return [keepDims ? [n, c, 1, 1] : [n, c]];
    },
    macs: free,
  },
  blurPool: {
    layer: 'BlurPool2D',
    activations: 1,
    parameters: [],
    shapes([x], { kernel, stride }, name) {
      const [n, c, h, w] = picture(x, name);
      const rim = blurRim(kernel, stride);
      if (Math.min(h, w) <= rim) throw misfit(name, `it mirrors ${rim} pixels at the rim of a larger picture`, x);
      const padding = [rim, rim, rim, rim] as const;
      return [[n, c, ...windows([h, w], [kernel, kernel], [stride, stride], padding, [1, 1], name)]];
    },
    macs: free,
  },
  resize: {
    layer: 'Resizing',
    activations: 1,
    parameters: [],
    shapes([x], { to }, name) {
      const [n, c, h, w] = picture(x, name);
      // In float32, as ONNX Runtime counts: 5 · 2.6 is 13.
      const scaled = (size: number, scale: number) => Math.floor(Math.fround(size * Math.fround(scale)));
      const [height, width] = 'sizes' in to ? to.sizes : [scaled(h, to.scales[0]), scaled(w, to.scales[1])];
      if (!(height >= 1 && width >= 1)) throw misfit(name, `it would make it ${height}×${width}`, x);
      return [[n, c, height, width]];
    },
    macs: free,
  },
  pad: {
    layer: 'ZeroPadding2D',
    activations: 1,
    parameters: [],
    shapes([x], { channels, spatial: [top, left, bottom, right] }, name) {
      const [n, c, h, w] = picture(x, name);
      return [[n, c + channels[0] + channels[1], h + top + bottom, w + left + right]];
    },
    macs: free,
  },
  add: {
    layer: 'Add',
    activations: 2,
    parameters: [],
    shapes([a, b], _attributes, name) {
      if (!sameShape(a, b)) throw misfit(name, `it adds ${formatShape(a, true)}`, b);
      return [a];
    },
    macs: free,
  },
  mul: {
    layer: 'Multiply',
    activations: 2,
    parameters: [],
    shapes([a, b], _attributes, name) {
      const gates = (gate: Shape, x: Shape) =>
        gate.length === 4 && x.length === 4 && sameShape(gate, [x[0], x[1], 1, 1]);
      if (sameShape(a, b) || gates(b, a)) return [a];
      if (gates(a, b)) return [b];
      throw misfit(name, `it multiplies ${formatShape(a, true)}`, b);
    },
    macs: free,
  },
  concat: {
    layer: 'Concatenate',
    activations: 'any',
    parameters: [],
    shapes(inputs, { axis }, name) {
      const [first] = inputs;
      if (!(Number.isInteger(axis) && axis >= 1 && axis < first.length))
        throw misfit(name, `it joins along axis ${axis}`, first);
      const apart = inputs.find((x) => !sameShape(x.toSpliced(axis, 1), first.toSpliced(axis, 1)));
      if (apart) throw misfit(name, `it joins ${formatShape(first, true)} along axis ${axis}`, apart);
      return [
        first.with(
          axis,
          inputs.reduce((sum, x) => sum + x[axis], 0),
        ),
      ];
    },
    macs: free,
  },
  flatten: {
    layer: 'Flatten',
    activations: 1,
    parameters: [],
    shapes: ([x]) => [[x[0], sizeOf(x.slice(1))]],
    macs: free,
  },
  reshape: {
    layer: 'Reshape',
    activations: 1,
    parameters: [],
    shapes([x], { shape }, name) {
      if (sizeOf(shape) !== sizeOf(x.slice(1))) throw misfit(name, `it makes ${formatShape([0, ...shape], true)}`, x);
      return [[x[0], ...shape]];
    },
    macs: free,
  },
  dense: {
    layer: 'Dense',
    activations: 1,
    parameters: ['weight', 'bias'],
    shapes([x, weight], _attributes, name) {
      if (x.length !== 2 || x[1] !== weight[1])
        throw misfit(name, `its weight ${formatShape(weight)} takes ${weight[1]} features`, x);
      return [[x[0], weight[0]]];
    },
    macs: ([, weight], [out]) => out[0] * sizeOf(weight),
  },
  dropout: { layer: 'Dropout', activations: 1, parameters: [], shapes: sameAsInput, macs: free },
  softmax: { layer: 'Softmax', activations: 1, parameters: [], shapes: sameAsInput, macs: free },
};

/** The zeros that `padding` means for a picture of this size. */
export function resolvePadding(
  padding: Padding,
  size: Pair,
  kernel: Pair,
  stride: Pair,
  dilation: Pair = [1, 1],
): readonly [number, number, number, number] {
  if (padding !== 'same') return padding;
  const total = (axis: 0 | 1) =>
    Math.max(
      (Math.ceil(size[axis] / stride[axis]) - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1 - size[axis],
      0,
    );
  const [h, w] = [total(0), total(1)];
  return [h >> 1, w >> 1, h - (h >> 1), w - (w >> 1)];
}

/** How many pixels a blur mirrors on each side (timm's `get_padding`). */
export const blurRim = (kernel: number, stride: number): number => (stride - 1 + kernel - 1) >> 1;

/** The blur's weights in one direction: they sum to 1. */
export function blurTaps(kernel: number): number[] {
  let taps = [1];
  for (let i = 1; i < kernel; i++) taps = [...taps, 0].map((tap, j) => (tap + (j ? taps[j - 1] : 0)) / 2);
  return taps;
}

function windows(size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, name: string): Pair {
  const [top, left, bottom, right] = resolvePadding(padding, size, kernel, stride, dilation);
  const count = (axis: 0 | 1, zeros: number) =>
    Math.floor((size[axis] + zeros - (kernel[axis] - 1) * dilation[axis] - 1) / stride[axis]) + 1;
  const out: Pair = [count(0, top + bottom), count(1, left + right)];
  if (out[0] < 1 || out[1] < 1)
    throw new ResidualError(
      'GRAPH',
      `layer "${name}" has a ${kernel.join('×')} window but its input is only ${size.join('×')}; give it a larger picture, or build the network for this size`,
      { layer: name },
    );
  return out;
}

function pooled(x: Shape, attributes: { kernel: Pair; stride: Pair; padding: Padding }, name: string): Shape {
  const [n, c, h, w] = picture(x, name);
  return [n, c, ...windows([h, w], attributes.kernel, attributes.stride, attributes.padding, [1, 1], name)];
}

function picture(x: Shape, name: string): Shape {
  if (x.length !== 4) throw misfit(name, 'it takes [N, C, H, W]', x);
  return x;
}

/** @returns GRAPH: a layer that does not fit what it reads. */
export function misfit(name: string, takes: string, received: Shape): ResidualError {
  return new ResidualError(
    'GRAPH',
    `layer "${name}" does not fit: ${takes} but received ${formatShape(received, true)}`,
    { layer: name },
  );
}
