import { describe, expect, test } from 'vitest';
import type { OpAttributes } from '../../graph/ops.js';
import type { Shape } from '../../tensor.js';
import { noise, noiseTensor, sketch } from '../sketch.js';
import { differing, stepOf, testTraining, trainable } from '../training.test.cases.js';
import { onnxTraining } from './train.js';

describe('onnx trains as reference does', () => {
  testTraining(onnxTraining, { bound: 1e-4, threads: 1 });
});

/** A convolution's step: its shape chooses how its gradients are written. */
function convolution(shape: Shape, channels: number, size: number, how: Partial<OpAttributes['conv2d']> = {}) {
  const net = sketch('convolution', [1, ...shape.slice(1)]);
  const [kernel, rim] = [[size, size] as const, (size - 1) >> 1];
  const settings = { kernel, stride: [1, 1], dilation: [1, 1], padding: [rim, rim, rim, rim], groups: 1 } as const;
  const conv = net.add('conv2d', [net.image], { ...settings, ...how }, [
    [channels, shape[1] / (how.groups ?? 1), ...kernel],
  ]);
  const norm = net.add('batchNorm', [conv], { epsilon: 1e-5 }, Array(4).fill([channels]));
  return stepOf(trainable(net.finish({ norm })), noiseTensor(shape, noise(7)));
}

describe('a convolution’s gradients, each way to write them', () => {
  test.each([
    ['1×1, few pixels', convolution([3, 6, 5, 6], 9, 1)],
    ['1×1, many pixels', convolution([2, 6, 12, 13], 9, 1)],
    ['1×1 in steps', convolution([2, 6, 13, 12], 9, 1, { stride: [2, 3] })],
    ['shifted copies', convolution([3, 7, 9, 11], 5, 3)],
    ['shifted copies, odd zeros', convolution([3, 7, 9, 11], 5, 3, { padding: [0, 1, 2, 0], dilation: [2, 1] })],
    ['slices', convolution([2, 130, 6, 5], 9, 3)],
    ['slices, odd zeros', convolution([2, 130, 6, 7], 9, 3, { padding: [0, 1, 2, 0], dilation: [2, 1] })],
    [
      'slices where shifts leave the picture',
      convolution([2, 3, 2, 2], 9, 5, { dilation: [1, 2], padding: [5, 6, 5, 6] }),
    ],
    ['a stride, few windows', convolution([3, 6, 13, 12], 5, 3, { stride: [2, 2] })],
    ['a stride, many windows', convolution([2, 6, 29, 30], 5, 3, { stride: [2, 2] })],
    ['a stride that leaves pixels over', convolution([2, 6, 14, 15], 5, 2, { stride: [3, 4] })],
    ['a picture in steps', convolution([3, 3, 27, 26], 8, 7, { stride: [2, 2] })],
    ['groups', convolution([3, 8, 9, 8], 12, 3, { groups: 4, stride: [2, 1] })],
    ['each channel by itself', convolution([3, 8, 9, 8], 8, 3, { groups: 8 })],
    ['more weights than pixels', convolution([1, 40, 4, 3], 32, 3)],
  ])('%s', async (_, one) => {
    expect(await differing(onnxTraining, one, 1e-4, { threads: 2 })).toEqual([]);
  });
});

test('bf16 is refused', async () => {
  const one = convolution([3, 6, 5, 6], 9, 1);
  const options = { groups: [one.step.trained.map(({ name }) => name)], precision: 'bf16' } as const;
  await expect(onnxTraining.train(one.step, one.weights, options)).rejects.toMatchObject({ code: 'ENGINE' });
});
