import { type Padding, type Pair, resolvePadding } from '../graph/ops.js';
import type { Call } from './onnx-call.js';
import type { Activation } from './onnx-draft.js';

// Convolution and pooling: a window that slides over a picture.

const four = (list: readonly number[]) => list as unknown as readonly [number, number, number, number];
const two = (list: readonly number[]) => list as unknown as Pair;

/**
 * The zeros around the picture: ONNX lists them as we do, `[top, left, bottom, right]`. SAME_UPPER is TensorFlow's rule;
 * SAME_LOWER puts the odd zero at the top and left, which is fixed only by the picture's size.
 */
function paddingOf(call: Call, x: Activation, kernel: Pair, stride: Pair, dilation: Pair): Padding {
  const auto = call.text('auto_pad', 'NOTSET');
  if (auto === 'NOTSET') return four(call.sizes('pads', 4, 0, 0));
  if (auto === 'VALID') return [0, 0, 0, 0];
  if (auto !== 'SAME_UPPER' && auto !== 'SAME_LOWER') return call.refuse(`has ${auto.slice(0, 40)} for auto_pad`);
  const strides = Math.max(...stride) > 1;
  if (auto === 'SAME_UPPER' && !(strides && Math.max(...dilation) > 1)) return 'same';
  if (strides && !call.draft.fixedSize)
    call.refuse(
      `has ${auto} with a stride, and the file leaves the size of its pictures open; export it with a fixed size`,
    );
  const [top, left, bottom, right] = resolvePadding('same', two(x.shape.slice(2)), kernel, stride, dilation);
  return auto === 'SAME_LOWER' ? [bottom, right, top, left] : [top, left, bottom, right];
}

/** Conv: weight `[out, in / group, kh, kw]`, and perhaps a bias. */
export function convolution(call: Call): Activation {
  const x = call.picture(0);
  const weight = call.constant(1);
  if (weight.shape.length !== 4) call.refuse(`has a weight of ${weight.shape.length} axes; only 4 are supported`);
  const kernel = two(call.sizes('kernel_shape', 2, 0, 0).map((n, i) => n || weight.shape[2 + i]));
  if (kernel.some((n, i) => n !== weight.shape[2 + i] || n < 1))
    call.refuse(`has a kernel_shape of ${kernel.join('×')} and another weight`);
  const [stride, dilation] = [two(call.sizes('strides', 2, 1)), two(call.sizes('dilations', 2, 1))];
  const groups = call.integer('group', 1);
  const filters = weight.shape[0];
  if (groups < 1 || filters < 1 || filters % groups) call.refuse(`splits ${filters} filters into ${groups} groups`);
  const padding = paddingOf(call, x, kernel, stride, dilation);
  const parameters = [call.parameter(weight, 'weight', weight.shape)];
  if (call.input(2)) parameters.push(call.parameter(call.constant(2), 'bias', [filters]));
  return call.layer('conv2d', [x.value, ...parameters], { kernel, stride, padding, dilation, groups });
}

export function maxPool(call: Call): Activation {
  if ((call.draft.readers.get(call.node.outputs[1] ?? '') ?? 0) > 0)
    call.refuse('gives the places of its maxima, which are not supported');
  const x = call.picture(0);
  const { kernel, stride, padding, open } = poolWindow(call, x);
  return call.layer('maxPool', [x.value], { kernel, stride, padding: lastWindow(call, padding, kernel, stride, open) });
}

export function averagePool(call: Call): Activation {
  const x = call.picture(0);
  const { kernel, stride, padding, open } = poolWindow(call, x);
  let countPadding = call.integer('count_include_pad', 0) !== 0;
  if (open && countPadding) {
    // What lies beyond the padding is never counted.
    if (padding === 'same' || padding.some((n) => n > 0))
      call.refuse('has ceil_mode and counts its padding, which is not supported together');
    countPadding = false;
  }
  const around = lastWindow(call, padding, kernel, stride, open);
  return call.layer('avgPool', [x.value], { kernel, stride, padding: around, countPadding });
}

function poolWindow(call: Call, x: Activation) {
  const kernel = two(call.sizes('kernel_shape', 2, 0, 1));
  const stride = two(call.sizes('strides', 2, 1));
  if (call.sizes('dilations', 2, 1).some((n) => n > 1)) call.refuse('has dilations, which pooling does not have here');
  if (call.integer('storage_order', 0) !== 0) call.refuse('has a storage_order; only 0 is supported');
  return {
    kernel,
    stride,
    padding: paddingOf(call, x, kernel, stride, [1, 1]),
    open: call.integer('ceil_mode', 0) !== 0,
  };
}

/**
 * ceil_mode, which lets the last window reach beyond the picture: `stride − 1` more at the bottom and right make
 * floor((size + stride − 1 − kernel) / stride) of ceil((size − kernel) / stride), whatever the size. Padding counts for
 * nothing in a maximum, nor in a mean that leaves it out.
 */
function lastWindow(call: Call, padding: Padding, kernel: Pair, stride: Pair, open: boolean): Padding {
  if (!open || padding === 'same') return padding;
  const [top, left, bottom, right] = padding;
  const [down, across] = [bottom + stride[0] - 1, right + stride[1] - 1];
  if (down >= kernel[0] || across >= kernel[1])
    call.refuse('has ceil_mode with windows that may lie outside the picture');
  return [top, left, down, across];
}
