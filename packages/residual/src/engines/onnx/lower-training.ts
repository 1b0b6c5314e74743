import { inferShapes, type StepGraph, type StepNode } from '../../graph/graph.js';
import { blurRim, blurTaps, type OpAttributes, type OpName, type Pair, resolvePadding } from '../../graph/ops.js';
import { type TrainingOpAttributes, type TrainingOpName, trainingOps } from '../../graph/training-ops.js';
import { type Shape, sizeOf, type Tensor } from '../../tensor.js';
import { mirrored, samples } from '../reference/kernels.js';
import { type Lowering, lowerings } from './lower.js';
import { inputGradient, weightGradient } from './lower-convolution-gradients.js';
import { type Writing, writing } from './site.js';
import { type Steps, steps, type TrainingSite } from './training-site.js';

type TrainingLowering<K extends TrainingOpName> = (site: TrainingSite, attributes: TrainingOpAttributes[K]) => void;

/** Every axis of an activation but the channels'. */
const besidesChannels = (shape: Shape): number[] => shape.map((_, axis) => axis).filter((axis) => axis !== 1);

/** A number for each channel, to stand beside an activation. */
const perChannel = (shape: Shape): number[] => shape.slice(1).map((size, i) => (i === 0 ? size : 1));

/**
 * 1 / ulp of anything that matters: HardSigmoid with this slope is 1 above 0 and 0 elsewhere, in half the time of Where
 * (ONNX Runtime 1.30). Results of a ReLU below 1e-30 count as partly on.
 */
const steep = 1e30;

/**
 * How each op of a training step is written in ONNX's standard operators (opset 17). Reshape, Transpose and Pad around
 * the products choose what was measured to be fast in ONNX Runtime; every result is the op's own up to rounding.
 */
const trainingLowerings: { [K in TrainingOpName]: TrainingLowering<K> } = {
  batchNormTraining(site, { epsilon }) {
    const [x, gamma, beta] = site.inputs;
    // The running statistics that it would go on from count for nothing here. ONNX Runtime (1.30) writes the new ones
    // over them, over constants too, and merges equal constants of up to 8 numbers: so they are computed, each its own.
    const old = [site.before('Mul', [gamma, beta]), site.before('Add', [gamma, beta])];
    site.last('BatchNormalization', [x, gamma, beta, ...old], {
      training_mode: 1,
      momentum: { float: 0 },
      epsilon: { float: epsilon },
    });
  },
  crossEntropy(site) {
    const to = steps(site);
    const [logits, targets] = site.inputs;
    const log = to.node('LogSoftmax', [logits], { axis: -1 });
    const sum = to.sum(to.node('Mul', [log, targets]), [0, 1]);
    site.last('Mul', [sum, site.constant('share', Float32Array.of(-1 / site.shapes[0][0]), [1])]);
  },
  binaryCrossEntropy(site) {
    const to = steps(site);
    const [logits, targets] = site.inputs;
    const each = to.node('Sub', [to.node('Softplus', [logits]), to.node('Mul', [logits, targets])]);
    site.last('Mul', [to.sum(each, [0, 1]), site.constant('share', Float32Array.of(1 / sizeOf(site.shapes[0])), [1])]);
  },
  crossEntropyGradient(site) {
    const to = steps(site);
    const [logits, targets] = site.inputs;
    const whole = to.node('ReduceSum', [targets, to.whole('axes', 1)], { keepdims: 1 });
    const expected = to.node('Mul', [to.node('Softmax', [logits], { axis: -1 }), whole]);
    site.last('Mul', [to.node('Sub', [expected, targets]), to.number('share', 1 / site.shapes[0][0])]);
  },
  binaryCrossEntropyGradient(site) {
    const to = steps(site);
    const [logits, targets] = site.inputs;
    const apart = to.node('Sub', [to.node('Sigmoid', [logits]), targets]);
    site.last('Mul', [apart, to.number('share', 1 / sizeOf(site.shapes[0]))]);
  },
  conv2dInputGradient: inputGradient,
  conv2dWeightGradient: weightGradient,
  channelSum(site) {
    const [shape] = site.shapes;
    const to = steps(site);
    const axes = to.whole('axes', ...besidesChannels(shape));
    const factor = site.owed(0);
    if (factor === undefined) site.last('ReduceSum', [site.inputs[0], axes], { keepdims: 0 });
    else site.last('Mul', [to.node('ReduceSum', [site.inputs[0], axes], { keepdims: 0 }), factor]);
  },
  batchNormGradient(site, { epsilon }) {
    const to = steps(site);
    const [dy, x, mean, variance, gamma] = site.inputs;
    const [, shape, channels] = site.shapes;
    const axes = besidesChannels(shape);
    const share = to.number('share', -sizeOf(channels) / sizeOf(shape));
    const spread = to.node('Sqrt', [to.node('Add', [variance, to.number('epsilon', epsilon)])]);
    site.last('ReduceSum', [dy, to.whole('axes', ...axes)], { keepdims: 0 }, [2]);
    const dBeta = site.outputs[2];
    const products = to.sum(to.node('Mul', [dy, x]), axes);
    site.last('Div', [to.node('Sub', [products, to.node('Mul', [mean, dBeta])]), spread], {}, [1]);
    const dGamma = site.outputs[1];
    const [slope, shift] = [to.node('Mul', [dGamma, share]), to.node('Mul', [dBeta, share])];
    const drift = drifts(to, shape, x, { slope, shift, mean, variance, spread, epsilon });
    const factor = to.node('Div', [gamma, spread]);
    if (site.mayOwe) {
      site.last('Add', [dy, drift], {}, [0]);
      site.owe(factor);
    } else site.last('Mul', [to.node('Add', [dy, drift]), to.reshape(factor, perChannel(shape))], {}, [0]);
  },
  frozenBatchNormGradient(site, { epsilon }) {
    const to = steps(site);
    const [dy, gamma, variance] = site.inputs;
    const factor = to.node('Div', [
      gamma,
      to.node('Sqrt', [to.node('Add', [variance, to.number('epsilon', epsilon)])]),
    ]);
    if (site.mayOwe) {
      site.last('Identity', [dy]);
      site.owe(factor);
    } else site.last('Mul', [dy, to.reshape(factor, perChannel(site.shapes[0]))]);
  },
  reluGradient(site) {
    const [dy, y] = site.inputs;
    const open = site.before('HardSigmoid', [y], { alpha: { float: steep }, beta: { float: 0 } });
    site.last('Mul', [dy, open]);
  },
  sigmoidGradient(site) {
    const to = steps(site);
    const [dy, y] = site.inputs;
    const slope = to.node('Mul', [y, to.node('Sub', [to.number('one', 1), y])]);
    site.last('Mul', [dy, slope]);
  },
  softmaxGradient(site) {
    const to = steps(site);
    const [dy, y] = site.inputs;
    const sum = to.node('ReduceSum', [to.node('Mul', [dy, y]), to.whole('axes', -1)], { keepdims: 1 });
    site.last('Mul', [to.node('Sub', [dy, sum]), y]);
  },
  maxPoolGradient(site, { kernel, stride, padding }) {
    const to = steps(site);
    const [dy, x] = site.inputs;
    const [gradient, shape] = site.shapes;
    // Places in the whole tensor, laid out flat.
    const places = site.before(
      'MaxPool',
      [x],
      {
        kernel_shape: kernel,
        strides: stride,
        pads: resolvePadding(padding, [shape[2], shape[3]], kernel, stride),
      },
      1,
    );
    const zeros = to.node('ConstantOfShape', [to.whole('size', sizeOf(shape))]);
    const flat = (one: string) => to.reshape(one, [sizeOf(gradient)]);
    const sum = to.node('ScatterElements', [zeros, flat(places), flat(dy)], { axis: 0, reduction: 'add' });
    site.last('Reshape', [sum, to.whole('shape', ...shape)]);
  },
  avgPoolGradient(site, { kernel, stride, padding, countPadding }) {
    const [[, , ...small], [, , ...large]] = site.shapes;
    const pads = resolvePadding(padding, [large[0], large[1]], kernel, stride);
    const along = (axis: 0 | 1) =>
      Array.from({ length: small[axis] }, (_, i) => {
        const from = i * stride[axis] - pads[axis];
        const seen = Array.from({ length: kernel[axis] }, (_, k) => from + k).filter((j) => j >= 0 && j < large[axis]);
        return seen.map((j) => [j, 1 / (countPadding ? kernel[axis] : seen.length)] as const);
      });
    separable(site, along(0), along(1));
  },
  globalAvgPoolGradient(site) {
    const to = steps(site);
    const [n, c, ...picture] = site.results[0];
    const mean = to.node('Mul', [site.inputs[0], to.number('share', 1 / sizeOf(picture))]);
    site.last('Expand', [to.reshape(mean, [n, c, 1, 1]), to.whole('shape', n, c, ...picture)]);
  },
  blurPoolGradient(site, { kernel, stride }) {
    const [[, , ...small], [, , ...large]] = site.shapes;
    const [rim, taps] = [blurRim(kernel, stride), blurTaps(kernel)];
    const along = (axis: 0 | 1) =>
      Array.from({ length: small[axis] }, (_, i) =>
        taps.map((tap, k) => [mirrored(i * stride + k - rim, large[axis]), tap] as const),
      );
    separable(site, along(0), along(1));
  },
  resizeGradient(site, attributes) {
    const [[, , ...small], [, , ...large]] = site.shapes;
    const along = (axis: 0 | 1) =>
      samples(attributes, axis, large[axis], small[axis]).map(
        ({ low, high, share }) =>
          [
            [low, 1 - share],
            [high, share],
          ] as const,
      );
    separable(site, along(0), along(1));
  },
  unflatten(site, { channelsLast }) {
    const to = steps(site);
    const [shape] = site.results;
    const [n, c, h, w] = shape;
    if (channelsLast && shape.length === 4)
      site.last('Transpose', [to.reshape(site.inputs[0], [n, h, w, c])], { perm: [0, 3, 1, 2] });
    else site.last('Reshape', [site.inputs[0], to.whole('shape', ...shape)]);
  },
  trim(site, { axis, before }) {
    const to = steps(site);
    const end = before + site.results[0][axis];
    site.last('Slice', [site.inputs[0], to.whole('starts', before), to.whole('ends', end), to.whole('axes', axis)]);
  },
  spatialSum(site) {
    site.last('ReduceSum', [site.inputs[0], steps(site).whole('axes', 2, 3)], { keepdims: 1 });
  },
  denseInputGradient: (site) => site.last('Gemm', site.inputs),
  denseWeightGradient: (site) => site.last('Gemm', site.inputs, { transA: 1 }),
};

/** Pixels from which ONNX Runtime's convolution of each channel by itself, which uses all threads, is the faster. */
const manyPixels = 256;

/** x̂ · slope + shift in one pass: a normalisation, which ONNX Runtime does with one thread, or a convolution. */
function drifts(
  to: Steps,
  [, channels, ...picture]: Shape,
  x: string,
  {
    slope,
    shift,
    mean,
    variance,
    spread,
    epsilon,
  }: Record<'slope' | 'shift' | 'mean' | 'variance' | 'spread', string> & { epsilon: number },
): string {
  if (picture.length !== 2 || sizeOf(picture) < manyPixels)
    return to.node('BatchNormalization', [x, slope, shift, mean, variance], { epsilon: { float: epsilon } });
  const scale = to.node('Div', [slope, spread]);
  const bias = to.node('Sub', [shift, to.node('Mul', [scale, mean])]);
  return to.node('Conv', [x, to.reshape(scale, [channels, 1, 1, 1]), bias], { kernel_shape: [1, 1], group: channels });
}

/** For each pixel of a result along one axis: the pixels it was mixed from, and the share of each. */
type Mixture = readonly (readonly (readonly [pixel: number, share: number])[])[];

/** The gradient of what mixes rows and columns each by themselves: a product with the shares on either side. */
function separable(site: TrainingSite, rows: Mixture, columns: Mixture): void {
  const [, [, , height, width]] = site.shapes;
  const shares = (mixture: Mixture, size: number, place: (small: number, large: number) => number) => {
    const found = new Float32Array(mixture.length * size);
    mixture.forEach((parts, i) => {
      for (const [j, share] of parts) found[place(i, j)] += share;
    });
    return found;
  };
  const right = shares(columns, width, (i, j) => i * width + j);
  const left = shares(rows, height, (i, j) => j * rows.length + i);
  const wide = site.before('MatMul', [site.inputs[0], site.constant('columns', right, [columns.length, width])]);
  site.last('MatMul', [site.constant('rows', left, [height, rows.length]), wide]);
}

/**
 * Writes a training step: its inputs, results and the parameters that are not `stored` keep their names.
 * @param stored the values of a parameter that is kept in the model, for those that stay as they are.
 */
export function writeStep(graph: StepGraph, stored: (parameter: string) => Tensor | undefined): Writing {
  const shapes = inferShapes(graph);
  const to = writing(graph, shapes, stored);
  const readers = new Map<number, { node: StepNode; i: number }[]>();
  for (const node of graph.nodes)
    node.inputs.forEach((value, i) => {
      const known = readers.get(value);
      if (known) known.push({ node, i });
      else readers.set(value, [{ node, i }]);
    });
  const results = new Set(graph.outputs.map(({ value }) => value));
  /** A convolution's gradients can multiply their weights instead, where these are the fewer. */
  const mayOwe = (value: number): boolean =>
    !results.has(value) &&
    (readers.get(value) ?? []).every(({ node, i }) => {
      if (i !== 0) return false;
      if (node.op === 'channelSum') return true;
      if (node.op === 'conv2dInputGradient') return 2 * sizeOf(shapes[node.inputs[2]]) < sizeOf(shapes[value]);
      return node.op === 'conv2dWeightGradient' && 2 * sizeOf(shapes[node.outputs[0]]) < sizeOf(shapes[value]);
    });

  const owed = new Map<number, string>();
  for (const node of graph.nodes) {
    const site = to.site(node);
    if (!Object.hasOwn(trainingOps, node.op)) {
      // The row and the attributes belong to the same op, which TypeScript cannot see through the union.
      const lowering = lowerings[node.op as OpName] as Lowering<'conv2d'>;
      lowering(site, settled(node.attributes as OpAttributes['conv2d'], site.shapes[0]));
      continue;
    }
    const lowering = trainingLowerings[node.op as TrainingOpName] as TrainingLowering<'trim'>;
    lowering(
      {
        ...site,
        results: node.outputs.map((value) => shapes[value]),
        owed: (i) => owed.get(node.inputs[i]),
        mayOwe: mayOwe(node.outputs[0]),
        owe: (factor) => void owed.set(node.outputs[0], factor),
      },
      node.attributes as TrainingOpAttributes['trim'],
    );
  }
  to.nameOutputs();
  return to;
}

/** Zeros in numbers: the picture's size is known. */
function settled<A extends object>(attributes: A, [, , height, width]: Shape): A {
  if (!('padding' in attributes) || attributes.padding !== 'same') return attributes;
  const { kernel, stride, dilation } = attributes as unknown as { kernel: Pair; stride: Pair; dilation?: Pair };
  return { ...attributes, padding: resolvePadding('same', [height, width], kernel, stride, dilation) };
}
