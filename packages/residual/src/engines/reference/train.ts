import { gradientName } from '../../graph/training-step.js';
import { type Shape, sizeOf, type Tensor } from '../../tensor.js';
import type { Range, Slice, TrainingBackend } from '../training.js';
import type { Activation } from './kernels.js';
import { evaluate, rounded } from './run.js';

/** Training by plain loops in float64; parameters and gradients are kept in float32, one behind the other. */
export const referenceTraining: TrainingBackend = {
  async train({ graph, trained }, weights, { groups }) {
    const shapeOf = new Map(trained.map(({ name, shape }): [string, Shape] => [name, shape]));
    const slices: Slice[] = [];
    let offset = 0;
    const ranges = groups.map((names): Range => {
      const from = offset;
      for (const name of names) {
        const length = sizeOf(shapeOf.get(name) as Shape);
        slices.push({ name, offset, length });
        offset += length;
      }
      return [from, offset];
    });
    const sliceOf = new Map(slices.map((slice) => [slice.name, slice]));
    const part = (array: Float32Array, name: string): Float32Array | undefined => {
      const slice = sliceOf.get(name);
      return slice && array.subarray(slice.offset, slice.offset + slice.length);
    };

    const array = () => new Float32Array(offset);
    const write = (into: Float32Array, name: string, values: Float32Array) => part(into, name)?.set(values);
    const read = (from: Float32Array, name: string): Tensor =>
      rounded({ shape: shapeOf.get(name) as Shape, data: part(from, name) as Float32Array });
    const [parameters, gradients] = [array(), array()];
    for (const { name } of slices) write(parameters, name, (weights.get(name) as Tensor).data);
    const known = new Map<string, Activation>(weights);
    for (const { name, shape } of trained) known.set(name, { shape, data: part(parameters, name) as Float32Array });
    const gradientOf = new Map(trained.map(({ name }) => [gradientName(name), name]));

    return {
      slices,
      ranges,
      parameters,
      gradients,
      async run(inputs) {
        const results = evaluate(graph, inputs, known);
        const others: Record<string, Tensor> = {};
        for (const [output, value] of Object.entries(results)) {
          const name = gradientOf.get(output);
          if (name === undefined) others[output] = rounded(value);
          else part(gradients, name)?.set(value.data);
        }
        return others;
      },
      array,
      combine(into, terms, [from, end] = [0, offset]) {
        const sums = new Float64Array(end - from);
        for (const [scale, values] of terms) for (let i = 0; i < sums.length; i++) sums[i] += scale * values[from + i];
        into.set(sums, from);
      },
      read,
      write,
      async dispose() {},
    };
  },
};
