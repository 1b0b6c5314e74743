import { blurRim, blurTaps, type OpAttributes, type OpName, resolvePadding } from '../../graph/ops.js';
import { type Shape, sizeOf } from '../../tensor.js';

export type Numbers = Float64Array | Float32Array;

/** Numbers on their way through the network: all arithmetic is in float64, rounded once when it leaves. */
export interface Activation {
  readonly shape: Shape;
  readonly data: Numbers;
}

/** Computes one op from its inputs (activations, then parameters) to an output of the given shape. */
type Kernel<K extends OpName> = (inputs: readonly Activation[], attributes: OpAttributes[K], shape: Shape) => Numbers;

type Window = { kernel: readonly [number, number]; stride: readonly [number, number] };

/** What each op means, in plain loops. This is the definition that the engines are compared with. */
export const kernels = {
  /** out[n, o, y, x] = bias[o] + Σ over (i, ky, kx) of weight[o, i, ky, kx] · in[n, i, y·s + ky·d − p, x·s + kx·d − p]. */
  conv2d([input, weight, bias], attributes, shape) {
    const out = new Float64Array(sizeOf(shape));
    const numbers = new Float64Array(sizeOf(weight.shape.slice(1)));
    eachWindow(input.shape, shape, attributes, (pixels, channels) => {
      for (let k = 0; k < numbers.length; k++) numbers[k] = pixels[k] >= 0 ? input.data[pixels[k]] : 0;
      for (const [o, at] of channels) {
        const row = o * numbers.length;
        let sum = bias === undefined ? 0 : bias.data[o];
        for (let k = 0; k < numbers.length; k++) sum += weight.data[row + k] * numbers[k];
        out[at] = sum;
      }
    });
    return out;
  },

  /** (x − mean) / sqrt(variance + epsilon) · gamma + beta, a channel at a time (Ioffe and Szegedy 2015, algorithm 2). */
  batchNorm([input, gamma, beta, mean, variance], { epsilon }, shape) {
    const channels = shape[1];
    const size = sizeOf(shape.slice(2));
    const out = new Float64Array(input.data.length);
    for (let plane = 0; plane < out.length / size; plane++) {
      const c = plane % channels;
      const scale = gamma.data[c] / Math.sqrt(variance.data[c] + epsilon);
      for (let i = plane * size; i < (plane + 1) * size; i++)
        out[i] = (input.data[i] - mean.data[c]) * scale + beta.data[c];
    }
    return out;
  },

  relu([input]) {
    const out = new Float64Array(input.data);
    for (let i = 0; i < out.length; i++) out[i] = Math.max(out[i], 0);
    return out;
  },

  sigmoid([input]) {
    const out = new Float64Array(input.data);
    for (let i = 0; i < out.length; i++) out[i] = 1 / (1 + Math.exp(-out[i]));
    return out;
  },

  maxPool([input], { padding, ...window }, shape) {
    return slide(input, window, resolvePadding(padding, pictureSize(input), window.kernel, window.stride), shape, {
      start: Number.NEGATIVE_INFINITY,
      step: Math.max,
      end: (most) => most,
    });
  },

  avgPool([input], { padding, countPadding, ...window }, shape) {
    const area = window.kernel[0] * window.kernel[1];
    return slide(input, window, resolvePadding(padding, pictureSize(input), window.kernel, window.stride), shape, {
      start: 0,
      step: (sum, x) => sum + x,
      end: (sum, count) => sum / (countPadding ? area : count),
    });
  },

  globalAvgPool([input], _attributes, shape) {
    const size = input.data.length / sizeOf(shape);
    const out = new Float64Array(sizeOf(shape));
    for (let plane = 0; plane < out.length; plane++) {
      let sum = 0;
      for (let i = plane * size; i < (plane + 1) * size; i++) sum += input.data[i];
      out[plane] = sum / size;
    }
    return out;
  },

  blurPool([input], { kernel, stride }, [batch, channels, outH, outW]) {
    const [inH, inW] = pictureSize(input);
    const rim = blurRim(kernel, stride);
    const taps = blurTaps(kernel);
    const out = new Float64Array(batch * channels * outH * outW);
    let to = 0;
    for (let plane = 0; plane < batch * channels; plane++)
      for (let y = 0; y < outH; y++)
        for (let x = 0; x < outW; x++, to++)
          for (let ky = 0; ky < kernel; ky++) {
            const row = (plane * inH + mirrored(y * stride + ky - rim, inH)) * inW;
            for (let kx = 0; kx < kernel; kx++)
              out[to] += taps[ky] * taps[kx] * input.data[row + mirrored(x * stride + kx - rim, inW)];
          }
    return out;
  },

  resize([input], attributes, [batch, channels, outH, outW]) {
    const [inH, inW] = pictureSize(input);
    const [rows, columns] = [samples(attributes, 0, inH, outH), samples(attributes, 1, inW, outW)];
    const out = new Float64Array(batch * channels * outH * outW);
    let to = 0;
    for (let plane = 0; plane < batch * channels; plane++)
      for (const { low: y0, high: y1, share: ty } of rows)
        for (const { low: x0, high: x1, share: tx } of columns) {
          const at = (y: number, x: number) => input.data[(plane * inH + y) * inW + x];
          const [above, below] = [at(y0, x0) * (1 - tx) + at(y0, x1) * tx, at(y1, x0) * (1 - tx) + at(y1, x1) * tx];
          out[to++] = above * (1 - ty) + below * ty;
        }
    return out;
  },

  pad([input], { channels: [before], spatial: [top, left] }, [batch, outC, outH, outW]) {
    const [, inC, inH, inW] = input.shape;
    const out = new Float64Array(batch * outC * outH * outW);
    for (let n = 0; n < batch; n++)
      for (let c = 0; c < inC; c++)
        for (let y = 0; y < inH; y++) {
          const from = ((n * inC + c) * inH + y) * inW;
          out.set(input.data.subarray(from, from + inW), ((n * outC + before + c) * outH + top + y) * outW + left);
        }
    return out;
  },

  add([a, b]) {
    const out = new Float64Array(a.data);
    for (let i = 0; i < out.length; i++) out[i] += b.data[i];
    return out;
  },

  mul([a, b]) {
    const [x, gate] = a.data.length >= b.data.length ? [a, b] : [b, a];
    const size = x.data.length / gate.data.length;
    const out = new Float64Array(x.data);
    for (let i = 0; i < out.length; i++) out[i] *= gate.data[Math.floor(i / size)];
    return out;
  },

  concat(inputs, { axis }, shape) {
    const out = new Float64Array(sizeOf(shape));
    const row = sizeOf(shape.slice(axis));
    let offset = 0;
    for (const { shape: own, data } of inputs) {
      const piece = sizeOf(own.slice(axis));
      for (let from = 0, to = offset; from < data.length; from += piece, to += row)
        out.set(data.subarray(from, from + piece), to);
      offset += piece;
    }
    return out;
  },

  flatten([input], { channelsLast }) {
    if (!channelsLast || input.shape.length !== 4) return input.data;
    const [batch, channels, height, width] = input.shape;
    const size = height * width;
    const out = new Float64Array(input.data.length);
    for (let n = 0; n < batch; n++)
      for (let c = 0; c < channels; c++)
        for (let i = 0; i < size; i++) out[(n * size + i) * channels + c] = input.data[(n * channels + c) * size + i];
    return out;
  },

  reshape: ([input]) => input.data,

  dense([input, weight, bias], _attributes, [batch, outFeatures]) {
    const features = weight.shape[1];
    const out = new Float64Array(batch * outFeatures);
    for (let n = 0; n < batch; n++)
      for (let o = 0; o < outFeatures; o++) {
        let sum = bias === undefined ? 0 : bias.data[o];
        for (let i = 0; i < features; i++) sum += input.data[n * features + i] * weight.data[o * features + i];
        out[n * outFeatures + o] = sum;
      }
    return out;
  },

  dropout: ([input]) => input.data,

  /** exp(x − max) / Σ exp(x − max): the largest is taken off so that nothing overflows. */
  softmax([input], _attributes, shape) {
    const size = shape[shape.length - 1];
    const out = new Float64Array(input.data.length);
    for (let row = 0; row < out.length; row += size) {
      let most = Number.NEGATIVE_INFINITY;
      for (let i = row; i < row + size; i++) most = Math.max(most, input.data[i]);
      let sum = 0;
      for (let i = row; i < row + size; i++) {
        out[i] = Math.exp(input.data[i] - most);
        sum += out[i];
      }
      for (let i = row; i < row + size; i++) out[i] /= sum;
    }
    return out;
  },
} satisfies { [K in OpName]: Kernel<K> };

/**
 * Visits a convolution's windows: where each number of one output channel's weight meets the input, −1 in the padding, and
 * the output channels that this window makes, each with the place of what it makes.
 */
export function eachWindow(
  [batch, inChannels, inH, inW]: Shape,
  [, outChannels, outH, outW]: Shape,
  { kernel, stride, padding, dilation, groups }: OpAttributes['conv2d'],
  visit: (pixels: Int32Array, channels: readonly (readonly [channel: number, at: number])[]) => void,
): void {
  const [top, left] = resolvePadding(padding, [inH, inW], kernel, stride, dilation);
  const [groupIn, groupOut] = [inChannels / groups, outChannels / groups];
  const pixels = new Int32Array(groupIn * kernel[0] * kernel[1]);
  for (let n = 0; n < batch; n++)
    for (let group = 0; group < groups; group++)
      for (let y = 0; y < outH; y++)
        for (let x = 0; x < outW; x++) {
          let k = 0;
          for (let i = 0; i < groupIn; i++)
            for (let ky = 0; ky < kernel[0]; ky++)
              for (let kx = 0; kx < kernel[1]; kx++) {
                const iy = y * stride[0] + ky * dilation[0] - top;
                const ix = x * stride[1] + kx * dilation[1] - left;
                const plane = n * inChannels + group * groupIn + i;
                const inside = iy >= 0 && iy < inH && ix >= 0 && ix < inW;
                pixels[k++] = inside ? (plane * inH + iy) * inW + ix : -1;
              }
          const channels = Array.from({ length: groupOut }, (_, i) => {
            const o = group * groupOut + i;
            return [o, ((n * outChannels + o) * outH + y) * outW + x] as const;
          });
          visit(pixels, channels);
        }
}

/** An index beyond the rim as one within, which does not repeat the rim itself: −1 is 1, `size` is `size − 2`. */
export const mirrored = (i: number, size: number): number => size - 1 - Math.abs(size - 1 - Math.abs(i));

/**
 * For each pixel of a resized axis the two it is mixed from, and the second one's share. Places are computed in 32 bits,
 * as ONNX Runtime does (core/providers/cpu/tensor/upsamplebase.h): with a scale such as 0.7 that decides which pixel is
 * the nearest.
 */
export function samples(
  { to, mode, coordinates, nearest }: OpAttributes['resize'],
  axis: 0 | 1,
  size: number,
  resized: number,
): { low: number; high: number; share: number }[] {
  const { fround } = Math;
  const scale = fround('sizes' in to ? resized / size : to.scales[axis]);
  const back = (x: number) => fround(x / scale);
  const halfPixel = (i: number) => fround(back(i + 0.5) - 0.5);
  const source = {
    half_pixel: halfPixel,
    pytorch_half_pixel: (i: number) => (resized > 1 ? halfPixel(i) : 0),
    align_corners: (i: number) => (resized > 1 ? fround((i * (size - 1)) / (resized - 1)) : 0),
    asymmetric: back,
  }[coordinates];
  const round = {
    floor: Math.floor,
    ceil: Math.ceil,
    round_prefer_floor: (x: number) => Math.ceil(x - 0.5),
    round_prefer_ceil: (x: number) => Math.floor(x + 0.5),
  }[nearest];
  return Array.from({ length: resized }, (_, i) => {
    const x = mode === 'nearest' ? round(source(i)) : source(i);
    const inside = Math.min(Math.max(x, 0), size - 1);
    const low = Math.floor(inside);
    return { low, high: Math.min(low + 1, size - 1), share: inside - low };
  });
}

export const pictureSize = ({ shape }: Activation): [number, number] => [shape[2], shape[3]];

/** Folds each window's elements that lie in the picture; `end` also gets how many there were. */
function slide(
  input: Activation,
  { kernel, stride }: Window,
  [top, left]: readonly [number, number, number, number],
  [batch, channels, outH, outW]: Shape,
  fold: { start: number; step(so: number, x: number): number; end(so: number, count: number): number },
): Float64Array {
  const [inH, inW] = pictureSize(input);
  const out = new Float64Array(batch * channels * outH * outW);
  let to = 0;
  for (let plane = 0; plane < batch * channels; plane++)
    for (let y = 0; y < outH; y++)
      for (let x = 0; x < outW; x++) {
        const y0 = y * stride[0] - top;
        const x0 = x * stride[1] - left;
        const [startY, endY] = [Math.max(y0, 0), Math.min(y0 + kernel[0], inH)];
        const [startX, endX] = [Math.max(x0, 0), Math.min(x0 + kernel[1], inW)];
        let so = fold.start;
        for (let iy = startY; iy < endY; iy++)
          for (let ix = startX; ix < endX; ix++) so = fold.step(so, input.data[(plane * inH + iy) * inW + ix]);
        out[to++] = fold.end(so, (endY - startY) * (endX - startX));
      }
  return out;
}
