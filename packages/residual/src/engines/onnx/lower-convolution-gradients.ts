import type { OpAttributes, Pair } from '../../graph/ops.js';
import { resolvePadding } from '../../graph/ops.js';
import { type Shape, sizeOf } from '../../tensor.js';
import { type Steps, steps, type TrainingSite } from './training-site.js';

/** A convolution as its gradients see it, all numbers known. */
interface Convolution {
  /** `[N, Ci, H, W]`, `[N, Co, OH, OW]`, `[Co, Ci / groups, kh, kw]`. */
  readonly x: Shape;
  readonly y: Shape;
  readonly weight: Shape;
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly dilation: Pair;
  readonly groups: number;
  readonly pads: readonly [top: number, left: number, bottom: number, right: number];
}

function convolution(
  x: Shape,
  y: Shape,
  { kernel, stride, padding, dilation, groups }: OpAttributes['conv2d'],
): Convolution {
  const pads = resolvePadding(padding, [x[2], x[3]], kernel, stride, dilation);
  return { x, y, weight: [y[1], x[1] / groups, ...kernel], kernel, stride, dilation, groups, pads };
}

/** The furthest that a kernel reaches along an axis. */
const reach = ({ kernel, dilation }: Convolution, axis: 0 | 1): number => (kernel[axis] - 1) * dilation[axis];

/** [dy, x°, weight] → [dx]: a convolution by the weights turned by half a turn, or, after a stride, ONNX's ConvTranspose. */
export function inputGradient(site: TrainingSite, attributes: OpAttributes['conv2d']): void {
  const [dyShape, xShape] = site.shapes;
  const conv = convolution(xShape, dyShape, attributes);
  const { kernel, stride, dilation, groups, pads, weight: shape } = conv;
  const to = steps(site);
  const [dy, , given] = site.inputs;
  const factor = site.owed(0);
  const weight = factor === undefined ? given : to.node('Mul', [given, to.reshape(factor, [shape[0], 1, 1, 1])]);

  const around = pads.map((zeros, side) => reach(conv, side % 2 === 0 ? 0 : 1) - zeros);
  const plain = stride.every((step) => step === 1) && around.every((zeros) => zeros >= 0);
  if (plain) {
    site.last('Conv', [dy, turned(site, weight, conv)], {
      kernel_shape: kernel,
      strides: [1, 1],
      dilations: dilation,
      group: groups,
      pads: around,
    });
    return;
  }
  // What a stride left over at the bottom and right.
  const rest = ([0, 1] as const).map(
    (axis) =>
      xShape[2 + axis] - ((dyShape[2 + axis] - 1) * stride[axis] + reach(conv, axis) + 1 - pads[axis] - pads[axis + 2]),
  );
  site.last('ConvTranspose', [dy, weight], {
    kernel_shape: kernel,
    strides: stride,
    dilations: dilation,
    group: groups,
    pads,
    output_padding: rest,
  });
}

/**
 * `[Co, Ci / groups, kh, kw]` → `[Ci, Co / groups, kh, kw]`, each kernel turned by half a turn: a product with a matrix
 * of ones and zeros, which takes a quarter of the time of Slice with steps of −1.
 */
function turned(site: TrainingSite, weight: string, { weight: [co, ci, ...kernel], groups }: Convolution): string {
  const to = steps(site);
  const size = sizeOf(kernel);
  let flipped = weight;
  if (size > 1) {
    const turn = new Float32Array(size * size);
    for (let tap = 0; tap < size; tap++) turn[tap * size + size - 1 - tap] = 1;
    flipped = to.node('MatMul', [to.reshape(weight, [co * ci, size]), site.constant('turn', turn, [size, size])]);
  }
  const apart = to.reshape(flipped, [groups, co / groups, ci, size]);
  return to.reshape(to.transpose(apart, [0, 2, 1, 3]), [groups * ci, co / groups, ...kernel]);
}

/** Pixels of a result below which all pictures of a batch are laid behind each other for one product. */
const fewPixels = 128;
/** The same where a product has nine times as many columns. */
const fewWindows = 196;
/** Channels up to which shifted copies of both sides take less time than one of the input for each weight. */
const fewChannels = 128;
/** Channels of pictures. */
const colours = 4;

/** [dy, x] → [d weight]: the way that was the fastest for such a shape in ONNX Runtime 1.30 on two cores. */
export function weightGradient(site: TrainingSite, attributes: OpAttributes['conv2d']): void {
  const [dyShape, xShape] = site.shapes;
  const conv = convolution(xShape, dyShape, attributes);
  const { kernel, stride, groups, pads, weight: shape } = conv;
  const to = steps(site);
  const [dy, x] = site.inputs;
  const factor = site.owed(0);
  const last = (type: string, inputs: readonly string[], more?: Parameters<TrainingSite['last']>[2]): void => {
    if (factor === undefined) site.last(type, inputs, more);
    else site.last('Mul', [site.before(type, inputs, more), to.reshape(factor, [shape[0], 1, 1, 1])]);
  };
  /** `[Co, Ci · kh · kw]` as the weight. */
  const asWeight = (product: string): void => last('Reshape', [product, to.whole('shape', ...shape)]);

  const strided = stride.some((step) => step > 1);
  const pixels = dyShape[2] * dyShape[3];
  if (groups > 1 || (strided && xShape[1] <= colours)) swapped(to, conv, dy, x, last);
  else if (kernel.every((size) => size === 1) && pads.every((zeros) => zeros === 0)) {
    const ends = [0, 1].map((axis) => (dyShape[2 + axis] - 1) * stride[axis] + 1);
    const seen = strided ? to.slice(x, [2, 3], [0, 0], ends, stride) : x;
    asWeight(product(to, dyShape, dy, xShape[1], seen, pixels < fewPixels));
  } else if (strided)
    asWeight(product(to, dyShape, dy, sizeOf(shape.slice(1)), windows(site, conv, x), pixels < fewWindows));
  else if (xShape[1] <= fewChannels && shiftable(conv)) shifted(site, conv, dy, x, last);
  else sliced(to, conv, dy, x, last);
}

/** The weight's last node. */
type Last = TrainingSite['last'];

/** dy · xᵀ over all pixels of all pictures: `[Co, columns]`; x is `[N, columns, …]` with as many pixels as dy. */
function product(
  to: Steps,
  [n, co, ...picture]: Shape,
  dy: string,
  columns: number,
  x: string,
  together: boolean,
): string {
  const pixels = sizeOf(picture);
  const [a, b] = [to.reshape(dy, [n, co, pixels]), to.reshape(x, [n, columns, pixels])];
  // A product for each picture, added up; ONNX Runtime reads x as if transposed.
  if (!together) return to.sum(to.node('MatMul', [a, to.transpose(b, [0, 2, 1])]), [0]);
  const rows = (one: string, count: number) => to.reshape(to.transpose(one, [1, 0, 2]), [count, n * pixels]);
  return to.node('Gemm', [rows(a, co), rows(b, columns)], { transB: 1 });
}

/** Every window of x as a column, by a convolution whose kernels each pick one pixel: `[N, Ci · kh · kw, OH, OW]`. */
function windows(site: TrainingSite, { x, kernel, stride, dilation, pads }: Convolution, name: string): string {
  const size = sizeOf(kernel);
  const picks = new Float32Array(x[1] * size * size);
  for (let i = 0; i < x[1] * size; i++) picks[i * size + (i % size)] = 1;
  return site.before('Conv', [name, site.constant('picks', picks, [x[1] * size, 1, ...kernel])], {
    kernel_shape: kernel,
    strides: stride,
    dilations: dilation,
    pads,
    group: x[1],
  });
}

/** By a convolution of x with dy as its kernel, pictures and channels changing places, stride and dilation too. */
function swapped(
  to: Steps,
  { x, y, weight, kernel, stride, dilation, groups, pads }: Convolution,
  dy: string,
  name: string,
  last: Last,
): void {
  const [n, channels, height, width] = x;
  const apart = to.reshape(name, [n, groups, channels / groups, height, width]);
  const pictures = to.reshape(to.transpose(apart, [2, 1, 0, 3, 4]), [channels / groups, groups * n, height, width]);
  const found = to.node('Conv', [pictures, to.transpose(dy, [1, 0, 2, 3])], {
    kernel_shape: [y[2], y[3]],
    strides: dilation,
    dilations: stride,
    pads,
    group: groups,
  });
  // A stride that leaves pixels over gives more than the kernel.
  const more = [0, 1].some(
    (axis) =>
      x[2 + axis] + pads[axis] + pads[axis + 2] - (y[2 + axis] - 1) * stride[axis] - 1 >=
      weight[2 + axis] * dilation[axis],
  );
  last('Transpose', [more ? to.slice(found, [2, 3], [0, 0], kernel) : found], { perm: [1, 0, 2, 3] });
}

/** Whether no shift of the rows moves all of them out of the picture. */
const shiftable = ({ x, y, kernel, dilation, pads }: Convolution): boolean =>
  [0, kernel[0] - 1].every((ky) => {
    const shift = ky * dilation[0] - pads[0];
    return shift > -y[2] && shift < x[2];
  });

/**
 * Copies of dy, one shifted for each row of the kernel, times copies of x, one for each column: kh + kw copies in place
 * of kh · kw.
 */
function shifted(site: TrainingSite, conv: Convolution, dy: string, name: string, last: Last): void {
  const { x, y, weight, kernel, dilation, pads } = conv;
  const [[co, ci], [kh, kw], [top, left, , right]] = [weight, kernel, pads];
  const [n, , height] = x;
  const [, , outHeight, outWidth] = y;
  const to = steps(site);
  const flat = to.reshape(dy, [n, co, outHeight * outWidth]);
  const rows = Array.from({ length: kh }, (_, ky) => {
    const before = (ky * dilation[0] - top) * outWidth;
    return to.pad(flat, [0, 0, before], [0, 0, (height - outHeight) * outWidth - before]);
  });
  const gradients = kh === 1 ? rows[0] : to.node('Concat', rows, { axis: 1 });
  const columns = windows(site, { ...conv, kernel: [1, kw], pads: [0, left, 0, right] }, name);
  const found = product(to, [n, kh * co, height * outWidth], gradients, ci * kw, columns, false);
  last('Transpose', [to.reshape(found, [kh, co, ci, kw])], { perm: [1, 2, 0, 3] });
}

/** For each weight of the kernel the pixels of x that it saw, channels first, times dy. */
function sliced(
  to: Steps,
  { x, y, weight: [co, ci], kernel, stride, dilation, pads: [top, left, bottom, right] }: Convolution,
  dy: string,
  name: string,
  last: Last,
): void {
  const [n, , height, width] = y;
  const columns = n * height * width;
  const gradients = to.reshape(to.transpose(dy, [1, 0, 2, 3]), [co, columns]);
  const channels = to.pad(to.transpose(name, [1, 0, 2, 3]), [0, 0, top, left], [0, 0, bottom, right]);
  const [allRows, allColumns] = [x[2] + top + bottom, x[3] + left + right];
  const taps = Array.from({ length: kernel[0] * kernel[1] }, (_, tap) => {
    const [ky, kx] = [Math.floor(tap / kernel[1]) * dilation[0], (tap % kernel[1]) * dilation[1]];
    const ends = [Math.min(ky + height * stride[0], allRows), Math.min(kx + width * stride[1], allColumns)];
    const seen = to.reshape(to.slice(channels, [2, 3], [ky, kx], ends, stride), [ci, columns]);
    return to.reshape(to.node('Gemm', [gradients, seen], { transB: 1 }), [co * ci, 1]);
  });
  const all = taps.length === 1 ? taps[0] : to.node('Concat', taps, { axis: 1 });
  last('Reshape', [all, to.whole('shape', co, ci, ...kernel)]);
}
