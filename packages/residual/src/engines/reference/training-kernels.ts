import type { StepNode } from '../../graph/graph.js';
import { blurRim, blurTaps, type OpAttributes, type OpName, resolvePadding } from '../../graph/ops.js';
import type { TrainingOpAttributes, TrainingOpName } from '../../graph/training-ops.js';
import { type Shape, sizeOf } from '../../tensor.js';
import { type Activation, eachWindow, kernels, mirrored, type Numbers, pictureSize, samples } from './kernels.js';

/** Computes one op from its inputs (activations, then parameters) to its outputs, whose shapes are given. */
type TrainingKernel<K extends TrainingOpName> = (
  inputs: readonly Activation[],
  attributes: TrainingOpAttributes[K],
  shapes: readonly Shape[],
) => readonly Numbers[];

/**
 * Computes any op, of a network or of its training step. Results may be an input's own memory where nothing changes.
 * @param inputs the node's, in their order. @param shapes those of its outputs.
 */
export function compute(
  { op, attributes }: Pick<StepNode, 'op' | 'attributes'>,
  inputs: readonly Activation[],
  shapes: readonly Shape[],
): readonly Numbers[] {
  // The kernel and the attributes belong to the same op, which TypeScript cannot see through the union.
  if (Object.hasOwn(kernels, op)) {
    const kernel = kernels[op as OpName] as (typeof kernels)['conv2d'];
    return [kernel(inputs, attributes as OpAttributes['conv2d'], shapes[0])];
  }
  const kernel = trainingKernels[op as TrainingOpName] as TrainingKernel<'conv2dInputGradient'>;
  return kernel(inputs, attributes as OpAttributes['conv2d'], shapes);
}

/** What each op of a training step means, in plain loops; what leaves them is rounded nowhere. */
export const trainingKernels = {
  batchNormTraining([{ shape, data: x }, gamma, beta], { epsilon }) {
    const channels = shape[1];
    const [out, means, variances] = [x.length, channels, channels].map((size) => new Float64Array(size));
    for (let c = 0; c < channels; c++) {
      const own = channel(shape, c);
      means[c] = sum(own, (i) => x[i]) / own.count;
      variances[c] = sum(own, (i) => (x[i] - means[c]) ** 2) / own.count;
      const scale = gamma.data[c] / Math.sqrt(variances[c] + epsilon);
      each(own, (i) => {
        out[i] = (x[i] - means[c]) * scale + beta.data[c];
      });
    }
    return [out, means, variances];
  },

  crossEntropy([logits, { data: targets }]) {
    const [batch, classes] = logits.shape;
    let loss = 0;
    for (let n = 0; n < batch; n++) {
      const row = logits.data.subarray(n * classes, (n + 1) * classes);
      const log = logOfSum(row);
      for (let k = 0; k < classes; k++) loss += targets[n * classes + k] * (log - row[k]);
    }
    return [Float64Array.of(loss / batch)];
  },

  /** max(x, 0) − x · t + log(1 + exp(−|x|)): −t · log σ(x) − (1 − t) · log(1 − σ(x)) without overflow. */
  binaryCrossEntropy([{ data: x }, { data: t }]) {
    let loss = 0;
    for (let i = 0; i < x.length; i++) loss += Math.max(x[i], 0) - x[i] * t[i] + Math.log1p(Math.exp(-Math.abs(x[i])));
    return [Float64Array.of(loss / x.length)];
  },

  /** (softmax · Σ targets − targets) / N: a row of targets need not add up to 1. */
  crossEntropyGradient([logits, { data: targets }]) {
    const [batch, classes] = logits.shape;
    const out = new Float64Array(logits.data.length);
    for (let n = 0; n < batch; n++) {
      const [from, end] = [n * classes, (n + 1) * classes];
      const log = logOfSum(logits.data.subarray(from, end));
      let whole = 0;
      for (let i = from; i < end; i++) whole += targets[i];
      for (let i = from; i < end; i++) out[i] = (Math.exp(logits.data[i] - log) * whole - targets[i]) / batch;
    }
    return [out];
  },

  binaryCrossEntropyGradient([{ data: x }, { data: t }]) {
    return [Float64Array.from(x, (value, i) => (1 / (1 + Math.exp(-value)) - t[i]) / x.length)];
  },

  conv2dInputGradient([dy, , weight], attributes, [shape]) {
    const out = new Float64Array(sizeOf(shape));
    const products = new Float64Array(sizeOf(weight.shape.slice(1)));
    eachWindow(shape, dy.shape, attributes, (pixels, channels) => {
      products.fill(0);
      for (const [o, at] of channels) {
        const given = dy.data[at];
        const row = o * products.length;
        for (let k = 0; k < products.length; k++) products[k] += given * weight.data[row + k];
      }
      for (let k = 0; k < products.length; k++) if (pixels[k] >= 0) out[pixels[k]] += products[k];
    });
    return [out];
  },

  conv2dWeightGradient([dy, x], attributes, [shape]) {
    const out = new Float64Array(sizeOf(shape));
    const numbers = new Float64Array(sizeOf(shape.slice(1)));
    eachWindow(x.shape, dy.shape, attributes, (pixels, channels) => {
      for (let k = 0; k < numbers.length; k++) numbers[k] = pixels[k] >= 0 ? x.data[pixels[k]] : 0;
      for (const [o, at] of channels) {
        const given = dy.data[at];
        const row = o * numbers.length;
        for (let k = 0; k < numbers.length; k++) out[row + k] += given * numbers[k];
      }
    });
    return [out];
  },

  channelSum([{ shape, data }]) {
    return [Float64Array.from({ length: shape[1] }, (_, c) => sum(channel(shape, c), (i) => data[i]))];
  },

  /** With x̂ = (x − mean) / sqrt(variance + ε): dx = γ / sqrt(variance + ε) · (dy − mean of dy − x̂ · mean of dy · x̂). */
  batchNormGradient([{ data: dy }, { shape, data: x }, mean, variance, gamma], { epsilon }) {
    const channels = shape[1];
    const [dx, dGamma, dBeta] = [x.length, channels, channels].map((size) => new Float64Array(size));
    for (let c = 0; c < channels; c++) {
      const own = channel(shape, c);
      const inverse = 1 / Math.sqrt(variance.data[c] + epsilon);
      const normal = (i: number) => (x[i] - mean.data[c]) * inverse;
      dGamma[c] = sum(own, (i) => dy[i] * normal(i));
      dBeta[c] = sum(own, (i) => dy[i]);
      each(own, (i) => {
        dx[i] = gamma.data[c] * inverse * (dy[i] - (dBeta[c] + normal(i) * dGamma[c]) / own.count);
      });
    }
    return [dx, dGamma, dBeta];
  },

  frozenBatchNormGradient([{ shape, data: dy }, gamma, variance], { epsilon }) {
    const out = new Float64Array(dy.length);
    for (let c = 0; c < shape[1]; c++) {
      const scale = gamma.data[c] / Math.sqrt(variance.data[c] + epsilon);
      each(channel(shape, c), (i) => {
        out[i] = dy[i] * scale;
      });
    }
    return [out];
  },

  reluGradient: ([{ data: dy }, { data: y }]) => [Float64Array.from(dy, (value, i) => (y[i] > 0 ? value : 0))],

  sigmoidGradient: ([{ data: dy }, { data: y }]) => [Float64Array.from(dy, (value, i) => value * y[i] * (1 - y[i]))],

  /** y · (dy − Σ dy · y), over the last axis. */
  softmaxGradient([{ data: dy }, { shape, data: y }]) {
    const size = shape[shape.length - 1];
    const out = new Float64Array(y.length);
    for (let row = 0; row < y.length; row += size) {
      let product = 0;
      for (let i = row; i < row + size; i++) product += dy[i] * y[i];
      for (let i = row; i < row + size; i++) out[i] = y[i] * (dy[i] - product);
    }
    return [out];
  },

  maxPoolGradient([dy, x], attributes, [shape]) {
    const out = new Float64Array(sizeOf(shape));
    eachPool(shape, dy.shape, attributes, (to, pixels) => {
      let most = pixels[0];
      for (const i of pixels) if (x.data[i] > x.data[most]) most = i;
      // A window that lies wholly in the padding has no pixel.
      if (pixels.length > 0) out[most] += dy.data[to];
    });
    return [out];
  },

  avgPoolGradient([dy], attributes, [shape]) {
    const out = new Float64Array(sizeOf(shape));
    const area = attributes.kernel[0] * attributes.kernel[1];
    eachPool(shape, dy.shape, attributes, (to, pixels) => {
      for (const i of pixels) out[i] += dy.data[to] / (attributes.countPadding ? area : pixels.length);
    });
    return [out];
  },

  globalAvgPoolGradient([{ data: dy }], _attributes, [shape]) {
    const out = new Float64Array(sizeOf(shape));
    const size = out.length / dy.length;
    return [out.map((_, i) => dy[Math.floor(i / size)] / size)];
  },

  blurPoolGradient([dy], { kernel, stride }, [shape]) {
    const [inH, inW] = [shape[2], shape[3]];
    const [outH, outW] = pictureSize(dy);
    const rim = blurRim(kernel, stride);
    const taps = blurTaps(kernel);
    const out = new Float64Array(sizeOf(shape));
    let from = 0;
    for (let plane = 0; plane < shape[0] * shape[1]; plane++)
      for (let y = 0; y < outH; y++)
        for (let x = 0; x < outW; x++, from++)
          for (let ky = 0; ky < kernel; ky++) {
            const row = (plane * inH + mirrored(y * stride + ky - rim, inH)) * inW;
            for (let kx = 0; kx < kernel; kx++)
              out[row + mirrored(x * stride + kx - rim, inW)] += taps[ky] * taps[kx] * dy.data[from];
          }
    return [out];
  },

  resizeGradient([dy], attributes, [shape]) {
    const [inH, inW] = [shape[2], shape[3]];
    const [outH, outW] = pictureSize(dy);
    const [rows, columns] = [samples(attributes, 0, inH, outH), samples(attributes, 1, inW, outW)];
    const out = new Float64Array(sizeOf(shape));
    let from = 0;
    for (let plane = 0; plane < shape[0] * shape[1]; plane++)
      for (const { low: y0, high: y1, share: ty } of rows)
        for (const { low: x0, high: x1, share: tx } of columns) {
          const [above, below] = [(plane * inH + y0) * inW, (plane * inH + y1) * inW];
          const given = dy.data[from++];
          out[above + x0] += given * (1 - ty) * (1 - tx);
          out[above + x1] += given * (1 - ty) * tx;
          out[below + x0] += given * ty * (1 - tx);
          out[below + x1] += given * ty * tx;
        }
    return [out];
  },

  unflatten([{ data: dy }], { channelsLast }, [shape]) {
    if (!channelsLast || shape.length !== 4) return [dy];
    const [batch, channels, height, width] = shape;
    const size = height * width;
    const out = new Float64Array(dy.length);
    for (let n = 0; n < batch; n++)
      for (let c = 0; c < channels; c++)
        for (let i = 0; i < size; i++) out[(n * channels + c) * size + i] = dy[(n * size + i) * channels + c];
    return [out];
  },

  trim([x], { axis, before }, [shape]) {
    const out = new Float64Array(sizeOf(shape));
    const [whole, rest] = [sizeOf(x.shape.slice(axis)), sizeOf(shape.slice(axis))];
    const skipped = before * sizeOf(shape.slice(axis + 1));
    for (let from = skipped, to = 0; to < out.length; from += whole, to += rest)
      out.set(x.data.subarray(from, from + rest), to);
    return [out];
  },

  spatialSum([{ data }], _attributes, [shape]) {
    const out = new Float64Array(sizeOf(shape));
    const size = data.length / out.length;
    for (let i = 0; i < data.length; i++) out[Math.floor(i / size)] += data[i];
    return [out];
  },

  denseInputGradient([dy, weight], _attributes, [[batch, features]]) {
    const given = weight.shape[0];
    const out = new Float64Array(batch * features);
    for (let n = 0; n < batch; n++)
      for (let o = 0; o < given; o++)
        for (let i = 0; i < features; i++)
          out[n * features + i] += dy.data[n * given + o] * weight.data[o * features + i];
    return [out];
  },

  denseWeightGradient([dy, x], _attributes, [[given, features]]) {
    const out = new Float64Array(given * features);
    for (let n = 0; n < dy.shape[0]; n++)
      for (let o = 0; o < given; o++)
        for (let i = 0; i < features; i++) out[o * features + i] += dy.data[n * given + o] * x.data[n * features + i];
    return [out];
  },
} satisfies { [K in TrainingOpName]: TrainingKernel<K> };

/** log Σ exp(x): the largest is taken off so that nothing overflows. */
function logOfSum(row: Numbers): number {
  let most = Number.NEGATIVE_INFINITY;
  for (const x of row) most = Math.max(most, x);
  let total = 0;
  for (const x of row) total += Math.exp(x - most);
  return most + Math.log(total);
}

/** Where a channel's numbers lie in `[N, C, …]`: `size` of them from every `first + n · step`. */
interface Channel {
  readonly first: number;
  readonly step: number;
  readonly size: number;
  readonly end: number;
  readonly count: number;
}

function channel(shape: Shape, c: number): Channel {
  const size = sizeOf(shape.slice(2));
  return { first: c * size, step: shape[1] * size, size, end: sizeOf(shape), count: shape[0] * size };
}

function each({ first, step, size, end }: Channel, visit: (i: number) => void): void {
  for (let from = first; from < end; from += step) for (let i = from; i < from + size; i++) visit(i);
}

function sum(own: Channel, of: (i: number) => number): number {
  let total = 0;
  each(own, (i) => {
    total += of(i);
  });
  return total;
}

/** Visits a pool's outputs, each with the pixels of its window that lie in the picture, row by row. */
function eachPool(
  [batch, channels, inH, inW]: Shape,
  [, , outH, outW]: Shape,
  { kernel, stride, padding }: OpAttributes['maxPool'],
  visit: (to: number, pixels: readonly number[]) => void,
): void {
  const [top, left] = resolvePadding(padding, [inH, inW], kernel, stride);
  for (let plane = 0, to = 0; plane < batch * channels; plane++)
    for (let y = 0; y < outH; y++)
      for (let x = 0; x < outW; x++, to++) {
        const pixels: number[] = [];
        for (let ky = 0; ky < kernel[0]; ky++)
          for (let kx = 0; kx < kernel[1]; kx++) {
            const [iy, ix] = [y * stride[0] - top + ky, x * stride[1] - left + kx];
            if (iy >= 0 && iy < inH && ix >= 0 && ix < inW) pixels.push((plane * inH + iy) * inW + ix);
          }
        visit(to, pixels);
      }
}
