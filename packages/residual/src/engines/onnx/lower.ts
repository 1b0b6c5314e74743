import { ResidualError } from '../../errors.js';
import { layersOfEightBits, scalesByValue } from '../../graph/eight-bits.js';
import { type Graph, inferShapes } from '../../graph/graph.js';
import { blurRim, blurTaps, type OpAttributes, type OpName, type Padding, type Pair } from '../../graph/ops.js';
import type { Quantisation } from '../../graph/quantisation.js';
import type { Shape, Tensor, Weights } from '../../tensor.js';
import type { Initializer, OnnxAttribute, OnnxModel, OnnxNode } from './model.js';
import { withScales } from './scales.js';

/** One op to be written: where it reads, where it writes, and what may be added. */
interface Site {
  readonly layer: string;
  /** Whether a pooling layer reads the result. */
  readonly feedsPool: boolean;
  /** Names of the inputs: activations, then parameters. */
  readonly inputs: readonly string[];
  /** Shape of the first input, at the size the network was built for. */
  readonly shape: Shape;
  /** Writes the last node, the one whose result is the op's. */
  last(type: string, inputs: readonly string[], attributes?: OnnxNode['attributes']): void;
  /** Writes a node before it and gives the name of its result. */
  before(type: string, inputs: readonly string[], attributes?: OnnxNode['attributes']): string;
  /** Adds a constant and gives its name. */
  constant(role: string, data: Initializer['data'], shape: Shape): string;
}

/**
 * The smallest number above 0. ONNX Runtime (seen in 1.30) merges a Pad of 0 into the MaxPool behind it, whose padding
 * is −∞: wrong wherever a window at the rim holds negative numbers only. It leaves any other value alone. Exported files
 * keep it: they are run by ONNX Runtime more than by anything else, of whatever version, and elsewhere it is a zero
 * (a difference of 1e-45, and 0 itself where numbers have 16 bits or tiny ones are flushed).
 */
const almostZero = Float32Array.of(2 ** -149);

type Lowering<K extends OpName> = (site: Site, attributes: OpAttributes[K]) => void;

/** How each op is written in ONNX's standard operators (github.com/onnx/onnx/blob/main/docs/Operators.md, opset 17). */
const lowerings = {
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
    const channels = site.shape[1];
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
      channelsLast && site.shape.length === 4
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
  const nodes: OnnxNode[] = [];
  const initializers = new Map<string, Initializer>();
  const shapes = inferShapes(graph);
  const { names, fresh } = nameValues(graph);
  const nameOf = (value: number): string => names.get(value) as string;
  const parameters = new Map(graph.parameters.map((parameter) => [nameOf(parameter.value), parameter]));
  const pooled = new Set(
    graph.nodes.filter(({ op }) => op === 'maxPool' || op === 'avgPool').flatMap(({ inputs }) => inputs),
  );

  for (const node of graph.nodes) {
    const write = (type: string, name: string, result: string, inputs: readonly string[], attributes = {}) => {
      nodes.push({ name, type, inputs, outputs: [result], attributes });
      for (const input of inputs) {
        const parameter = parameters.get(input);
        if (parameter === undefined) continue;
        const tensor = weights.get(parameter.name) as Tensor;
        const { eightBits } = tensor;
        initializers.set(input, {
          name: input,
          shape: parameter.shape,
          // Not asked for where they are not needed: to make them takes time.
          get data() {
            return tensor.data;
          },
          eightBits,
        });
      }
    };
    const site: Site = {
      layer: node.name,
      feedsPool: pooled.has(node.outputs[0]),
      inputs: node.inputs.map(nameOf),
      shape: shapes[node.inputs[0]],
      last: (type, inputs, attributes) => write(type, node.name, nameOf(node.outputs[0]), inputs, attributes),
      before(type, inputs, attributes) {
        const result = fresh(`${node.name}.${type.toLowerCase()}`);
        write(type, result, result, inputs, attributes);
        return result;
      },
      constant(role, data, shape) {
        const name = fresh(`${node.name}.${role}`);
        initializers.set(name, { name, shape, data });
        return name;
      },
    };
    // The row and the attributes belong to the same op, which TypeScript cannot see through the union.
    const lowering = lowerings[node.op] as Lowering<'conv2d'>;
    lowering(site, node.attributes as OpAttributes['conv2d']);
  }

  for (const { name, value } of graph.outputs)
    if (nameOf(value) !== name)
      nodes.push({ name: fresh(name), type: 'Identity', inputs: [nameOf(value)], outputs: [name], attributes: {} });
  const model: OnnxModel = {
    name: graph.name,
    inputs: graph.inputs.map(({ name, shape: [, ...sizes] }) => ({
      name,
      shape: sizes.length === 3 ? ['batch', sizes[0], 'height', 'width'] : ['batch', ...sizes],
    })),
    outputs: graph.outputs.map(({ name }) => ({ name })),
    nodes,
    initializers: [...initializers.values()],
  };
  if (!quantisation) return model;
  const scales = [...scalesByValue(graph, quantisation)].map(([value, scale]) => [nameOf(value), scale] as const);
  const layers = layersOfEightBits(graph, quantisation).map(({ outputs }) => nameOf(outputs[0]));
  return withScales(model, { activations: new Map(scales), layers: new Set(layers) }, fresh);
}

/** A name for every value, no two the same: inputs and outputs have theirs, then parameters, then layers' results. */
function nameValues(graph: Graph): { names: Map<number, string>; fresh(wish: string): string } {
  const taken = new Set<string>();
  const names = new Map<number, string>();
  /** The last number given to each wish: a thousand layers of one name must not each count from 2. */
  const counts = new Map<string, number>();
  const fresh = (wish: string): string => {
    let name = wish;
    let count = counts.get(wish) ?? 1;
    while (taken.has(name)) name = `${wish}_${++count}`;
    counts.set(wish, count);
    taken.add(name);
    return name;
  };
  for (const { value, name } of graph.inputs) names.set(value, name);
  for (const { name } of [...graph.inputs, ...graph.outputs]) {
    if (taken.has(name))
      throw new ResidualError('GRAPH', `${graph.name}: two of its inputs and outputs are called "${name}"; rename one`);
    taken.add(name);
  }
  for (const { value, name } of graph.outputs) if (!names.has(value)) names.set(value, name);
  for (const { value, name } of graph.parameters) if (!names.has(value)) names.set(value, fresh(name));
  for (const node of graph.nodes)
    for (const value of node.outputs) if (!names.has(value)) names.set(value, fresh(node.name));
  return { names, fresh };
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
