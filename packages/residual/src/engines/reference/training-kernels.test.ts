import { describe, expect, test } from 'vitest';
import { nodeShapes, type StepNode } from '../../graph/graph.js';
import { type TrainingOpAttributes, type TrainingOpName, trainingOps } from '../../graph/training-ops.js';
import { type Shape, sizeOf } from '../../tensor.js';
import type { Activation } from './kernels.js';
import { compute, trainingKernels } from './training-kernels.js';

const of = (shape: Shape, ...numbers: number[]): Activation => ({ shape, data: Float64Array.from(numbers) });
/** 0, 1, 2 … in a shape. */
const count = (shape: Shape, from = 0): Activation =>
  of(shape, ...Array.from({ length: sizeOf(shape) }, (_, i) => i + from));
const ones = (shape: Shape): Activation => of(shape, ...Array<number>(sizeOf(shape)).fill(1));

/** Every result's numbers; the op table's shapes are asked for on the way. */
function results<K extends TrainingOpName>(op: K, inputs: Activation[], attributes: TrainingOpAttributes[K]) {
  const node = { op, name: op, inputs: inputs.map((_, i) => i), outputs: [], attributes } as unknown as StepNode;
  const shapes = nodeShapes(
    node,
    inputs.map(({ shape }) => shape),
  );
  const found = compute(node, inputs, shapes);
  expect(found.map(({ length }) => length)).toEqual(shapes.map(sizeOf));
  return found.map((numbers) => [...numbers]);
}

const close = (numbers: number[]) => numbers.map((x) => expect.closeTo(x, 12));

test('there is a kernel for every op of a training step', () => {
  expect(Object.keys(trainingKernels).toSorted()).toEqual(Object.keys(trainingOps).toSorted());
});

describe('BatchNorm by the batch', () => {
  // Channel 0: 0, 2 and 4, 6 in two pictures; channel 1 the same everywhere.
  const x = of([2, 2, 1, 2], 0, 2, 7, 7, 4, 6, 7, 7);
  const [gamma, beta] = [of([2], 2, 3), of([2], 1, -1)];
  test('normalises, and tells the mean and the biased variance', () => {
    const [y, mean, variance] = results('batchNormTraining', [x, gamma, beta], { epsilon: 4 });
    expect(mean).toEqual([3, 7]);
    expect(variance).toEqual([5, 0]);
    expect(y).toEqual(close([-1, 1 / 3, -1, -1, 5 / 3, 3, -1, -1]));
  });
  test('what all numbers of a channel share changes nothing', () => {
    const inputs = [ones([2, 2, 1, 2]), x, of([2], 3, 7), of([2], 5, 0), gamma];
    expect(results('batchNormGradient', inputs, { epsilon: 4 })).toEqual([Array(8).fill(0), [0, 0], [4, 4]]);
  });
});

describe('losses', () => {
  const never = Number.MAX_VALUE / 4;
  test('crossEntropy is the mean over the batch, and does not overflow', () => {
    const targets = of([2, 2], 1, 0, 0.25, 0.75);
    expect(results('crossEntropy', [of([2, 2], 3, 3, 0, 0), targets], {})).toEqual([close([Math.log(2)])]);
    expect(results('crossEntropy', [of([1, 2], 1000, 0), of([1, 2], 0, 1)], {})).toEqual([[1000]]);
    expect(results('crossEntropyGradient', [of([1, 2], never, 0), of([1, 2], 0, 1)], {})).toEqual([[1, -1]]);
  });
  test('a row of targets counts as much as it adds up to', () => {
    const logits = of([1, 2], 0, 0);
    expect(results('crossEntropy', [logits, of([1, 2], 3, 0)], {})).toEqual([close([3 * Math.log(2)])]);
    expect(results('crossEntropyGradient', [logits, of([1, 2], 3, 0)], {})).toEqual([close([-1.5, 1.5])]);
  });
  test('binaryCrossEntropy is the mean over batch and classes, and does not overflow', () => {
    const targets = of([1, 4], 1, 0, 0, 0.5);
    const [[loss]] = results('binaryCrossEntropy', [of([1, 4], 1000, 1000, -1000, 0), targets], {});
    expect(loss).toBeCloseTo((0 + 1000 + 0 + Math.log(2)) / 4, 12);
    expect(results('binaryCrossEntropyGradient', [of([1, 4], 1000, 1000, -1000, 0), targets], {})).toEqual([
      [0, 0.25, 0, 0],
    ]);
  });
});

describe('pools', () => {
  const whole = { kernel: [2, 2], stride: [1, 1], padding: [0, 0, 0, 0] } as const;
  test('the first of equals gets it all, row by row', () => {
    const x = of([1, 1, 2, 3], 1, 5, 5, 5, 2, 5);
    expect(results('maxPoolGradient', [of([1, 1, 1, 2], 10, 100), x], whole)).toEqual([[0, 110, 0, 0, 0, 0]]);
    expect(results('maxPoolGradient', [of([1, 1, 1, 2], 10, 100), of([1, 1, 2, 3], 0, 0, 0, 1, 1, 1)], whole)).toEqual([
      [0, 0, 0, 10, 100, 0],
    ]);
  });
  test('padding gets nothing, even where all is negative', () => {
    const padded = { kernel: [2, 2], stride: [2, 2], padding: [1, 1, 1, 1] } as const;
    const x = of([1, 1, 2, 2], -1, -2, -3, -4);
    const dy = count([1, 1, 2, 2], 1);
    expect(results('maxPoolGradient', [dy, x], padded)).toEqual([[1, 2, 3, 4]]);
    expect(results('avgPoolGradient', [dy, x], { ...padded, countPadding: false })).toEqual([[1, 2, 3, 4]]);
    expect(results('avgPoolGradient', [dy, x], { ...padded, countPadding: true })).toEqual([[0.25, 0.5, 0.75, 1]]);
  });
});

describe('the others, by hand', () => {
  const attributes = { kernel: [1, 2], stride: [1, 2], padding: [0, 0, 0, 1], dilation: [1, 1], groups: 1 } as const;
  const x = of([1, 1, 1, 3], 5, 6, 7); // Windows 5 6 and 7 0.
  const dy = of([1, 1, 1, 2], 1, 10);
  test('a convolution by its input and by its weight', () => {
    expect(results('conv2dInputGradient', [dy, x, of([1, 1, 1, 2], 2, 3)], attributes)).toEqual([[2, 3, 20]]);
    expect(results('conv2dWeightGradient', [dy, x], attributes)).toEqual([[75, 6]]);
  });
  test('channelSum leaves the second axis', () => {
    expect(results('channelSum', [count([2, 2, 1, 2])], {})).toEqual([[0 + 1 + 4 + 5, 2 + 3 + 6 + 7]]);
    expect(results('channelSum', [count([3, 2])], {})).toEqual([[6, 9]]);
  });
  test('trim takes from both ends of one axis', () => {
    expect(results('trim', [count([2, 3, 1, 2])], { axis: 1, before: 1, after: 1 })).toEqual([[2, 3, 8, 9]]);
    expect(results('trim', [count([1, 1, 2, 3])], { axis: 3, before: 0, after: 1 })).toEqual([[0, 1, 3, 4]]);
    expect(() => results('trim', [count([1, 2])], { axis: 1, before: 1, after: 1 })).toThrow(
      'it takes 1 and 1 from the ends of axis 1 but received [N, 2]',
    );
  });
  test('gradients that do not fit are refused by name', () => {
    expect(() => results('reluGradient', [count([1, 2]), count([1, 3])], {})).toThrow(
      'layer "reluGradient" does not fit: it takes the gradient of [N, 3] but received [N, 2]',
    );
    expect(() => results('crossEntropy', [count([2, 2]), count([2, 3])], {})).toThrow('layer "crossEntropy"');
  });
});
