// ResNets in the shape of torchvision's, with random weights: networks to measure engines on.
import { noiseWeights, sketch } from '../packages/residual/dist/engines/sketch.js';

const same = (kernel) => Array(4).fill((kernel - 1) / 2);

/** `blocks` per stage; bottleneck blocks (1×1, 3×3, 1×1) or basic ones (3×3, 3×3). */
export function resnet(name, blocks, bottleneck, size = 224) {
  const { image, add, shape, finish } = sketch(name, [1, 3, size, size]);
  const conv = (x, channels, kernel, step) =>
    add(
      'conv2d',
      [x],
      { kernel: [kernel, kernel], stride: [step, step], padding: same(kernel), dilation: [1, 1], groups: 1 },
      [[channels, shape(x)[1], kernel, kernel]],
    );
  const norm = (x) => add('batchNorm', [x], { epsilon: 1e-5 }, Array(4).fill([shape(x)[1]]));
  const relu = (x) => add('relu', [x], {});
  let x = relu(norm(conv(image, 64, 7, 2)));
  x = add('maxPool', [x], { kernel: [3, 3], stride: [2, 2], padding: same(3) });
  blocks.forEach((count, stage) => {
    const width = 64 * 2 ** stage;
    const out = bottleneck ? 4 * width : width;
    for (let i = 0; i < count; i++) {
      const step = stage > 0 && i === 0 ? 2 : 1;
      const shortcut = i === 0 && (step > 1 || shape(x)[1] !== out) ? norm(conv(x, out, 1, step)) : x;
      const branch = bottleneck
        ? norm(conv(relu(norm(conv(relu(norm(conv(x, width, 1, 1))), width, 3, step))), out, 1, 1))
        : norm(conv(relu(norm(conv(x, width, 3, step))), width, 3, 1));
      x = relu(add('add', [branch, shortcut], {}));
    }
  });
  const pooled = add('globalAvgPool', [x], {});
  const graph = finish({ logits: add('dense', [pooled], {}, [[1000, shape(pooled)[1]], [1000]]) });
  return { graph, weights: noiseWeights(graph) };
}

export const resnet18 = (size) => resnet('resnet18', [2, 2, 2, 2], false, size);
export const resnet50 = (size) => resnet('resnet50', [3, 4, 6, 3], true, size);

/** A batch of pictures of one grey. */
export const pictures = (batch, size = 224) => ({
  dtype: 'float32',
  shape: [batch, 3, size, size],
  data: new Float32Array(batch * 3 * size * size).fill(0.5),
});

/** Resident memory of the process in MB. */
export const resident = () => process.memoryUsage().rss / 1e6;
