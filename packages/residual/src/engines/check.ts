import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { Tensor } from '../tensor.js';
import type { Backend, BackendOptions } from './backend.js';
import { reference } from './reference/run.js';
import { noise, noiseTensor, noiseWeights, sketch } from './sketch.js';

/** Relative to the largest result. Right kernels stay near 1e-6; a wrong one is off by far more. */
const tolerance = 1e-4;

/** A residual network in miniature: every op whose result depends on its numbers or their layout. */
export function checkGraph(): Graph {
  const { image, add, shape, finish } = sketch('self-check', [1, 3, 13, 11]);
  const conv = (from: number, channels: number, size: number, step: number, groups = 1) =>
    add('conv2d', [from], { kernel: [size, size], stride: [step, step], padding: 'same', dilation: [1, 1], groups }, [
      [channels, shape(from)[1] / groups, size, size],
    ]);
  const norm = (from: number) =>
    add('batchNorm', [from], { epsilon: 1e-5 }, Array(4).fill([shape(from)[1]]) as number[][]);
  const stem = norm(conv(image, 8, 3, 2));
  const rim = add('pad', [stem], { channels: [0, 0], spatial: [1, 1, 1, 1] });
  const pooled = add('maxPool', [rim], { kernel: [3, 3], stride: [1, 1], padding: [0, 0, 0, 0] });
  const branch = norm(conv(add('relu', [norm(pooled)], {}), 8, 3, 1, 4));
  const sum = add('add', [pooled, branch], {});
  const mean = add('avgPool', [sum], { kernel: [2, 2], stride: [2, 2], padding: [0, 1, 0, 1], countPadding: true });
  const padded = add('pad', [mean], { channels: [1, 1], spatial: [1, 0, 0, 1] });
  const gate = add('sigmoid', [add('globalAvgPool', [padded], { keepDims: true })], {});
  const gated = add('mul', [padded, gate], {});
  const small = add('blurPool', [gated], { kernel: 3, stride: 2 });
  // Channels enough for Winograd's algorithm, and few pixels: plain loops have to do it, too.
  const wide = norm(conv(conv(small, 16, 1, 1), 16, 3, 1));
  const large = add('resize', [wide], {
    to: { sizes: [shape(gated)[2], shape(gated)[3]] },
    mode: 'bilinear',
    coordinates: 'half_pixel',
    nearest: 'floor',
  });
  const joined = add('concat', [gated, large], { axis: 1 });
  const flat = add('flatten', [joined], { channelsLast: true });
  const logits = add('dense', [flat], {}, [[5, shape(flat)[1]], [5]]);
  return finish({
    pooled: add('globalAvgPool', [sum], { keepDims: false }),
    probabilities: add('softmax', [logits], {}),
  });
}

/**
 * Runs a small network on an engine, in each of the ways that are named, and on `reference`.
 * @returns the largest difference, relative to the largest result.
 * @throws ENGINE when it is above 1e-4, with the engine and the difference.
 */
export async function selfCheck(
  name: string,
  backend: Backend,
  ways: readonly (string | undefined)[],
  options: BackendOptions,
): Promise<number> {
  const graph = checkGraph();
  const weights = noiseWeights(graph);
  const inputs = { image: noiseTensor([2, 3, 13, 11], noise(7)) };
  const expected = await runOnce(reference, {});
  const differences: number[] = [];
  for (const way of ways) {
    const received = await runOnce(backend, { ...options, way });
    for (const [output, right] of Object.entries(expected)) differences.push(difference(received[output], right));
  }
  const worst = Math.max(...differences);
  // A NaN is a failure too.
  if (worst <= tolerance) return worst;
  throw new ResidualError(
    'ENGINE',
    `engine "${name}" computes wrong results on this machine: a small network differs from plain loops by ${worst.toExponential(1)}, allowed is ${tolerance}; use engine "reference" and report this`,
    { engine: name, difference: worst },
  );

  async function runOnce(on: Backend, with_: BackendOptions): Promise<Record<string, Tensor>> {
    const program = await on.compile(graph, weights, { ...with_, shapes: { image: inputs.image.shape } });
    try {
      return await program.run(inputs);
    } finally {
      await program.dispose();
    }
  }
}

/** The largest difference of two tensors, relative to the largest expected number; infinite when the shapes differ. */
export function difference(received: Tensor | undefined, expected: Tensor): number {
  if (received?.shape.join() !== expected.shape.join()) return Number.POSITIVE_INFINITY;
  let [most, largest] = [0, 0];
  for (let i = 0; i < expected.data.length; i++) {
    most = Math.max(most, Math.abs(received.data[i] - expected.data[i]));
    largest = Math.max(largest, Math.abs(expected.data[i]));
  }
  return most / Math.max(largest, 1e-30); // Where all is 0, a number too small to matter must not count.
}
