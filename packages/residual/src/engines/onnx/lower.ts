import { ResidualError } from '../../errors.js';
import { layersOfEightBits, scalesByValue } from '../../graph/eight-bits.js';
import { type Graph, inferShapes } from '../../graph/graph.js';
import { blurRim, blurTaps, type OpAttributes, type OpName, type Padding, type Pair } from '../../graph/ops.js';
import type { Quantisation } from '../../graph/quantisation.js';
import type { Weights } from '../../tensor.js';
import type { OnnxAttribute, OnnxModel } from './model.js';
import { withScales } from './scales.js';
import { type Site, writing } from './site.js';

/**
 * The smallest number above 0. ONNX Runtime (seen in 1.30) merges a Pad of 0 into the MaxPool behind it, whose padding
 * is −∞: wrong wherever a window at the rim holds negative numbers only. It leaves any other value alone. Exported files
 * keep it: they are run by ONNX Runtime more than by anything else, of whatever version, and elsewhere it is a zero
 * (a difference of 1e-45, and 0 itself where numbers have 16 bits or tiny ones are flushed).
 */
const almostZero = Float32Array.of(2 ** -149);

export type Lowering<K extends OpName> = (site: Site, attributes: OpAttributes[K]) => void;

/** How each op is written in ONNX's standard operators (github.com/onnx/onnx/blob/main/docs/Operators.md, opset 17). */
export const lowerings = {
  conv2d: (site, { kernel, stride, padding, dilation, groups }) =>
    site.last('Conv', site.inputs, {
      kernel_shape: kernel,
      strides: stride,
      dilations: dilation,
      group: groups,
      ...pads(site, padding, kernel, stride, dilation),
    }),
  batchNorm: (site, { epsilon }) => site.last('BatchNormalization', site.inputs, { epsilon: { float: epsilon } }),
  relu: (site) => site.last('Relu', site.inputs),
  sigmoid: (site) => site.last('Sigmoid', site.inputs),
  maxPool: (site, { kernel, stride, padding }) =>
    site.last('MaxPool', site.inputs, {
      kernel_shape: kernel,
      strides: stride,
      ...pads(site, padding, kernel, stride),
    }),
  avgPool: (site, { kernel, stride, padding, countPadding }) =>
    site.last('AveragePool', site.inputs, {
      kernel_shape: kernel,
      strides: stride,
      count_include_pad: countPadding ? 1 : 0,
      ...pads(site, padding, kernel, stride),
    }),
  globalAvgPool(site, { keepDims }) {
    if (keepDims) site.last('GlobalAveragePool', site.inputs);
    else site.last('Flatten', [site.before('GlobalAveragePool', site.inputs)], { axis: 1 });
  },
  blurPool(site, { kernel, stride }) {
    const rim = blurRim(kernel, stride);
    const sides = site.constant('pads', BigInt64Array.from([0, 0, rim, rim, 0, 0, rim, rim], BigInt), [8]);
    const taps = blurTaps(kernel);
    const filter = taps.flatMap((a) => taps.map((b) => a * b));
    const channels = site.shapes[0][1];
    const weight = Float32Array.from({ length: channels * filter.length }, (_, i) => filter[i % filter.length]);
    const name = site.constant('weight', weight, [channels, 1, kernel, kernel]);
    site.last('Conv', [site.before('Pad', [...site.inputs, sides], { mode: 'reflect' }), name], {
      kernel_shape: [kernel, kernel],
      strides: [stride, stride],
      group: channels,
    });
  },
  resize(site, { to, mode, coordinates, nearest }) {
    let target: readonly string[];
    if ('scales' in to) target = [site.constant('scales', Float32Array.of(1, 1, ...to.scales), [4])];
    else {
      // Batch and channels are the input's own.
      const rest = site.before('Shape', site.inputs, { start: 0, end: 2 });
      const size = site.constant('sizes', BigInt64Array.from(to.sizes, BigInt), [2]);
      target = ['', site.before('Concat', [rest, size], { axis: 0 })];
    }
    site.last('Resize', [...site.inputs, '', ...target], {
      mode: mode === 'nearest' ? 'nearest' : 'linear',
      coordinate_transformation_mode: coordinates,
      nearest_mode: nearest,
    });
  },
  pad(site, { channels, spatial: [top, left, bottom, right] }) {
    const sides = BigInt64Array.from([0, channels[0], top, left, 0, channels[1], bottom, right], BigInt);
    const name = site.constant('pads', sides, [8]);
    const value = site.feedsPool ? [site.constant('zero', almostZero, [])] : [];
    site.last('Pad', [...site.inputs, name, ...value], { mode: 'constant' });
  },
  add: (site) => site.last('Add', site.inputs),
  mul: (site) => site.last('Mul', site.inputs),
  concat: (site, { axis }) => site.last('Concat', site.inputs, { axis }),
  flatten(site, { channelsLast }) {
    const rows =
      channelsLast && site.shapes[0].length === 4
        ? [site.before('Transpose', site.inputs, { perm: [0, 2, 3, 1] })]
        : site.inputs;
    site.last('Flatten', rows, { axis: 1 });
  },
  reshape(site, { shape }) {
    // 0 is the input's own size: the batch.
    const target = site.constant('shape', BigInt64Array.from([0, ...shape], BigInt), [1 + shape.length]);
    site.last('Reshape', [...site.inputs, target]);
  },
  dense: (site) => site.last('Gemm', site.inputs, { transB: 1 }),
  dropout: (site) => site.last('Identity', site.inputs),
  softmax: (site) => site.last('Softmax', site.inputs, { axis: -1 }),
} satisfies { [K in OpName]: Lowering<K> };

/**
 * A graph and its weights as an ONNX model. Batch, height and width of the inputs may vary; inputs, parameters, layers
 * and outputs keep their names. With `quantisation`, as a network of 8 bits.
 */
export function lower(graph: Graph, weights: Weights, quantisation?: Quantisation): OnnxModel {
  const to = writing(graph, inferShapes(graph), (name) => weights.get(name));
  for (const node of graph.nodes) {
    // The row and the attributes belong to the same op, which TypeScript cannot see through the union.
    const lowering = lowerings[node.op] as Lowering<'conv2d'>;
    lowering(to.site(node), node.attributes as OpAttributes['conv2d']);
  }
  to.nameOutputs();
  const model: OnnxModel = {
    name: graph.name,
    inputs: graph.inputs.map(({ name, shape: [, ...sizes] }) => ({
      name,
      shape: sizes.length === 3 ? ['batch', sizes[0], 'height', 'width'] : ['batch', ...sizes],
    })),
    outputs: graph.outputs.map(({ name }) => ({ name })),
    nodes: to.nodes,
    initializers: [...to.initializers.values()],
  };
  if (!quantisation) return model;
  const scales = [...scalesByValue(graph, quantisation)].map(([value, scale]) => [to.nameOf(value), scale] as const);
  const layers = layersOfEightBits(graph, quantisation).map(({ outputs }) => to.nameOf(outputs[0]));
  return withScales(model, { activations: new Map(scales), layers: new Set(layers) }, to.fresh);
}

/**
 * The zeros as ONNX's attributes; `auto_pad` only where they depend on the picture's size.
 * @throws ENGINE for the two settings of `same` that ONNX Runtime refuses, and no published network has.
 */
function pads(
  { layer }: Site,
  padding: Padding,
  kernel: Pair,
  stride: Pair,
  dilation?: Pair,
): Record<string, OnnxAttribute> {
  if (padding !== 'same') return { pads: padding };
  const reach = kernel.map((size, axis) => (size - 1) * (dilation?.[axis] ?? 1));
  if (stride.every((step, axis) => step === 1 || reach[axis] === 0)) {
    const [height, width] = reach;
    return { pads: [height >> 1, width >> 1, height - (height >> 1), width - (width >> 1)] };
  }
  const trouble = dilation
    ? dilation.some((step) => step > 1) && 'a stride together with a dilation'
    : stride.some((step, axis) => step > kernel[axis]) && 'a stride larger than its window';
  if (trouble)
    throw new ResidualError(
      'ENGINE',
      `layer "${layer}" has padding "same" and ${trouble}, which ONNX Runtime cannot do; give its padding as numbers or use engine "reference"`,
      { layer },
    );
  return { auto_pad: 'SAME_UPPER' };
}
