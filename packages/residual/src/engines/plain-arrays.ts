import type { Parameter } from '../graph/graph.js';
import { sizeOf, type Tensor } from '../tensor.js';
import type { Range, Slice, TrainingProgram } from './training.js';

/** Flat arrays that hold the trained parameters as they are, one behind the other, group by group. */
export interface PlainArrays extends Pick<TrainingProgram, 'slices' | 'ranges' | 'array' | 'read' | 'write'> {
  /** Elements of every array. */
  readonly size: number;
  /** A parameter's own part of an array, in its memory. */
  part(array: Float32Array, name: string): Float32Array;
}

export function plainArrays(trained: readonly Parameter[], groups: readonly (readonly string[])[]): PlainArrays {
  const named = new Map(trained.map((parameter) => [parameter.name, parameter]));
  const shapeOf = (name: string) => (named.get(name) as Parameter).shape;
  const slices: Slice[] = [];
  let size = 0;
  const ranges = groups.map((names): Range => {
    const from = size;
    for (const name of names) {
      const length = sizeOf(shapeOf(name));
      slices.push({ name, offset: size, length });
      size += length;
    }
    return [from, size];
  });
  const sliceOf = new Map(slices.map((slice) => [slice.name, slice]));
  const part = (array: Float32Array, name: string): Float32Array => {
    const { offset, length } = sliceOf.get(name) as Slice;
    return array.subarray(offset, offset + length);
  };
  return {
    slices,
    ranges,
    size,
    part,
    array: () => new Float32Array(size),
    read: (array, name): Tensor => ({ dtype: 'float32', shape: shapeOf(name), data: part(array, name).slice() }),
    write: (array, name, values) => part(array, name).set(values),
  };
}
