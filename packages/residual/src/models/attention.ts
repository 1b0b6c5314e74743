import { conv2d, globalAvgPool, mul, relu, reshape, sigmoid, type Value } from '../graph/build.js';

/**
 * Squeeze and excitation (Hu et al. 2018, figure 3), as timm builds and names it: the mean of each channel, two 1×1
 * convolutions with biases, a sigmoid, and that factor for each channel. `[N, C, H, W]` → the same.
 */
export function squeezeExcite(x: Value, name: string, ratio: number): Value {
  const channels = x.shape[1];
  // timm's make_divisible: the nearest multiple of eight, at least eight.
  const inner = Math.max(8, Math.floor((channels * ratio + 4) / 8) * 8);
  const mean = globalAvgPool(x, { name: `${name}.mean`, keepDims: true });
  const squeezed = relu(conv2d(mean, inner, { name: `${name}.fc1` }), { name: `${name}.act` });
  const gate = sigmoid(conv2d(squeezed, channels, { name: `${name}.fc2` }), { name: `${name}.gate` });
  return mul(x, gate, { name });
}

/**
 * Efficient channel attention (Wang et al. 2020, equation 9 and 12): a convolution along the channels' means in place
 * of squeeze and excitation's layers. Its kernel grows with the channels.
 */
export function channelAttention(x: Value, name: string): Value {
  const channels = x.shape[1];
  const wish = Math.trunc(Math.abs(Math.log2(channels) + 1) / 2);
  const kernel = Math.max(wish % 2 ? wish : wish + 1, 3);
  const rim = (kernel - 1) / 2;
  const mean = globalAvgPool(x, { name: `${name}.mean`, keepDims: true });
  const row = reshape(mean, [1, channels, 1], { name: `${name}.row` });
  const mixed = conv2d(row, 1, { name: `${name}.conv`, kernel: [kernel, 1], padding: [rim, 0, rim, 0], bias: false });
  const gate = sigmoid(reshape(mixed, [channels, 1, 1], { name: `${name}.column` }), { name: `${name}.gate` });
  return mul(x, gate, { name });
}
