import type { Shape } from '../../tensor.js';
import type { OnnxNode } from './model.js';
import type { Site } from './site.js';

/** An op of a training step to be written. All its shapes are known: the step is of one size. */
export interface TrainingSite extends Site {
  /** Shapes of the results. */
  readonly results: readonly Shape[];
  /**
   * The factor of each channel, `[C]`, that an input still has to be multiplied by; undefined for 1. Only those ask who
   * can have one: gradients of a convolution, which are spared a pass over the activation.
   */
  owed(input: number): string | undefined;
  /** Whether all who read the first result multiply by such a factor themselves. */
  readonly mayOwe: boolean;
  /** Leaves the first result without a factor. */
  owe(factor: string): void;
}

/** Shorter ways to write the nodes that gradients are made of. */
export interface Steps {
  reshape(x: string, shape: Shape): string;
  transpose(x: string, permutation: readonly number[]): string;
  /** From `starts` to before `ends` along `axes`, in steps. */
  slice(
    x: string,
    axes: readonly number[],
    starts: readonly number[],
    ends: readonly number[],
    steps?: readonly number[],
  ): string;
  /** Zeros before and after each axis; fewer than none cut off. */
  pad(x: string, before: readonly number[], after: readonly number[]): string;
  sum(x: string, axes: readonly number[]): string;
  node(type: string, inputs: readonly string[], attributes?: OnnxNode['attributes']): string;
  whole(role: string, ...numbers: readonly number[]): string;
  number(role: string, value: number): string;
}

export function steps(site: TrainingSite): Steps {
  const whole = (role: string, ...numbers: readonly number[]): string =>
    site.constant(role, BigInt64Array.from(numbers, BigInt), [numbers.length]);
  const node: Steps['node'] = (type, inputs, attributes) => site.before(type, inputs, attributes);
  return {
    node,
    whole,
    number: (role, value) => site.constant(role, Float32Array.of(value), []),
    reshape: (x, shape) => node('Reshape', [x, whole('shape', ...shape)]),
    transpose: (x, permutation) => node('Transpose', [x], { perm: permutation }),
    slice(x, axes, starts, ends, by) {
      const given = [whole('starts', ...starts), whole('ends', ...ends), whole('axes', ...axes)];
      return node('Slice', [x, ...given, ...(by ? [whole('steps', ...by)] : [])]);
    },
    pad: (x, before, after) =>
      [...before, ...after].every((count) => count === 0) ? x : node('Pad', [x, whole('pads', ...before, ...after)]),
    sum: (x, axes) => node('ReduceSum', [x, whole('axes', ...axes)], { keepdims: 0 }),
  };
}
