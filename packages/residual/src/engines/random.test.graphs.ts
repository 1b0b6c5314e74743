import fc from 'fast-check';
import type { Graph } from '../graph/graph.js';
import type { OpAttributes, OpName, Padding, Pair } from '../graph/ops.js';
import { type Shape, sizeOf, type Tensor } from '../tensor.js';
import { noise, noiseTensor, type Sketch, sketch } from './sketch.js';

/** One random choice of a layer's settings; what does not fit the value at hand is cut down to what does. */
interface Choice {
  readonly op: OpName;
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly dilation: Pair;
  readonly padding: Padding;
  readonly groups: number;
  readonly channels: number;
  readonly flag: boolean;
  readonly resize: Pick<OpAttributes['resize'], 'coordinates' | 'nearest'>;
}

const opNames = [
  'conv2d',
  'batchNorm',
  'relu',
  'sigmoid',
  'maxPool',
  'avgPool',
  'globalAvgPool',
  'blurPool',
  'resize',
  'pad',
  'add',
  'mul',
  'concat',
  'flatten',
  'reshape',
  'dense',
  'dropout',
  'softmax',
] as const satisfies readonly OpName[];

const pair = (low: number, high: number) =>
  fc.tuple(fc.integer({ min: low, max: high }), fc.integer({ min: low, max: high }));
const side = fc.integer({ min: 0, max: 3 });

/** Settings for any of these ops. */
const choiceOf = (...from: readonly OpName[]): fc.Arbitrary<Choice> =>
  fc.record({
    op: fc.constantFrom(...from),
    kernel: pair(1, 4),
    stride: pair(1, 3),
    dilation: pair(1, 3),
    padding: fc.oneof(fc.constant('same' as const), fc.tuple(side, side, side, side)),
    groups: fc.constantFrom(1, 2, 3),
    channels: fc.integer({ min: 1, max: 5 }),
    flag: fc.boolean(),
    resize: fc.record({
      coordinates: fc.constantFrom('half_pixel', 'pytorch_half_pixel', 'align_corners', 'asymmetric'),
      nearest: fc.constantFrom('floor', 'ceil', 'round_prefer_floor', 'round_prefer_ceil'),
    }),
  });

/** A chain of random layers, with every other layer's result among the outputs, and pictures to run it on. */
export const randomNetwork: fc.Arbitrary<{ graph: Graph; image: Tensor }> = fc
  .record({
    image: imageShape(),
    choices: fc.array(choiceOf(...opNames), { minLength: 1, maxLength: 10 }),
  })
  .map(({ image, choices }) => {
    const net = sketch('random', [1, ...image.slice(1)]);
    const outputs: Record<string, number> = {};
    let value = net.image;
    choices.forEach((choice, i) => {
      value = layer(net, value, choice) ?? value;
      if (value !== net.image && (choice.flag || i === choices.length - 1)) outputs[`out${i}`] = value;
    });
    if (Object.keys(outputs).length === 0) outputs.out = net.add('relu', [value], {});
    return { graph: net.finish(outputs), image: noiseTensor(image, noise(choices.length)) };
  });

/** One random layer alone. */
export const randomLayer = (op: OpName): fc.Arbitrary<{ graph: Graph; image: Tensor }> =>
  fc.record({ image: imageShape(), choice: choiceOf(op) }).map(({ image, choice }) => {
    const net = sketch(op, [1, ...image.slice(1)]);
    // A layer that takes a row of features gets the picture flattened.
    const from = op === 'dense' ? net.add('flatten', [net.image], { channelsLast: choice.flag }) : net.image;
    const value = layer(net, from, choice);
    return {
      graph: net.finish({ out: value ?? net.add('relu', [from], {}) }),
      image: noiseTensor(image, noise(choice.channels)),
    };
  });

function imageShape(): fc.Arbitrary<Shape> {
  return fc.tuple(
    fc.integer({ min: 1, max: 3 }),
    fc.integer({ min: 1, max: 6 }),
    fc.integer({ min: 1, max: 12 }),
    fc.integer({ min: 1, max: 12 }),
  );
}

/** Adds the layer, or nothing where it cannot be. */
function layer(net: Sketch, from: number, choice: Choice): number | undefined {
  const shape = net.shape(from);
  const { op, stride, dilation, flag } = choice;
  const isPicture = shape.length === 4;
  if (op === 'relu' || op === 'sigmoid' || op === 'softmax') return net.add(op, [from], {});
  if (op === 'dropout') return net.add(op, [from], { rate: 0.5 });
  if (op === 'flatten') return net.add(op, [from], { channelsLast: flag });
  if (op === 'reshape')
    return net.add(op, [from], { shape: flag ? shape.slice(1).toReversed() : [1, 1, sizeOf(shape.slice(1))] });
  if (op === 'add') return net.add(op, [from, net.add('relu', [from], {})], {});
  if (op === 'mul') {
    const gate = isPicture && flag ? net.add('globalAvgPool', [from], { keepDims: true }) : from;
    return net.add(op, choice.groups > 1 ? [gate, from] : [from, gate], {});
  }
  if (op === 'concat') {
    const axis = 1 + (choice.channels % (shape.length - 1));
    return net.add(op, [from, net.add('relu', [from], {}), from].slice(flag ? 0 : 1), { axis });
  }
  if (op === 'batchNorm') return net.add(op, [from], { epsilon: flag ? 1e-3 : 1e-5 }, Array(4).fill([shape[1]]));
  if (op === 'dense') {
    if (isPicture) return undefined;
    return net.add(op, [from], {}, [[choice.channels, shape[1]], ...(flag ? [[choice.channels]] : [])]);
  }
  if (!isPicture) return undefined;
  if (op === 'globalAvgPool') return net.add(op, [from], { keepDims: flag });
  if (op === 'blurPool') {
    const [kernel, step] = [choice.kernel[0], stride[0]];
    if (Math.min(shape[2], shape[3]) <= (kernel + step - 2) >> 1) return undefined;
    if (Math.min(shape[2], shape[3]) + 2 * ((kernel + step - 2) >> 1) < kernel) return undefined;
    return net.add(op, [from], { kernel, stride: step });
  }
  if (op === 'resize') {
    const mode = flag ? 'nearest' : 'bilinear';
    // Scales that float32 holds exactly, also as a quotient of sizes: a rounding must not decide which pixel is nearest.
    const sizes: Pair = flag
      ? [shape[2] * stride[0], shape[3] * stride[1]]
      : [choice.kernel[0] * 2, choice.kernel[1] * 3];
    const to =
      choice.groups === 3
        ? { sizes }
        : ({ scales: [stride[0], choice.groups === 2 && shape[3] > 1 ? 0.5 : 1.5] } as const);
    return net.add(op, [from], { to, mode, ...choice.resize });
  }
  if (op === 'pad') {
    const spatial = choice.padding === 'same' ? ([0, 1, 2, 0] as const) : choice.padding;
    return net.add(op, [from], { channels: flag ? [choice.channels, 1] : [0, 0], spatial });
  }
  if (op === 'conv2d') {
    const groups = shape[1] % choice.groups === 0 ? choice.groups : 1;
    const channels = choice.channels * groups;
    const [height, width] = fitting(shape, choice);
    const kernel: Pair = [Math.min(choice.kernel[0], height), Math.min(choice.kernel[1], width)];
    // Zeros of 'same' with a stride and a dilation: ONNX Runtime refuses them, and so does the lowering.
    const step: Pair = choice.padding === 'same' && Math.max(...dilation) > 1 ? [1, 1] : stride;
    return net.add(op, [from], { kernel, stride: step, dilation, groups, padding: choice.padding }, [
      [channels, shape[1] / groups, ...kernel],
      ...(flag ? [[channels]] : []),
    ]);
  }
  const [height, width] = fitting(shape, { padding: choice.padding, dilation: [1, 1] });
  const kernel: Pair = [Math.min(choice.kernel[0], height), Math.min(choice.kernel[1], width)];
  // Zeros fewer than the window, or a window lies wholly in them; no 'same' with a stride larger than the window.
  const same = choice.padding === 'same';
  const step: Pair = same ? [Math.min(stride[0], kernel[0]), Math.min(stride[1], kernel[1])] : stride;
  const zeros = (i: 0 | 1 | 2 | 3) => Math.min(Number(choice.padding[i]), kernel[i % 2] - 1);
  const padding: Padding = same ? 'same' : [zeros(0), zeros(1), zeros(2), zeros(3)];
  if (op === 'maxPool') return net.add(op, [from], { kernel, stride: step, padding });
  return net.add(op, [from], { kernel, stride: step, padding, countPadding: flag });
}

/** The largest kernel that fits the picture. */
function fitting(shape: Shape, { padding, dilation }: Pick<Choice, 'padding' | 'dilation'>): Pair {
  if (padding === 'same') return [99, 99];
  // Without the zeros: a pool's are cut down later.
  return [1 + Math.floor((shape[2] - 1) / dilation[0]), 1 + Math.floor((shape[3] - 1) / dilation[1])];
}
