import { gradientName } from '../../graph/training-step.js';
import type { Tensor } from '../../tensor.js';
import { plainArrays } from '../plain-arrays.js';
import type { TrainingBackend } from '../training.js';
import type { Activation } from './kernels.js';
import { evaluate, rounded } from './run.js';

/** Training by plain loops in float64; parameters and gradients are kept in float32, one behind the other. */
export const referenceTraining: TrainingBackend = {
  async train({ graph, trained }, weights, { groups }) {
    const { slices, ranges, size, part, array, read, write } = plainArrays(trained, groups);
    const [parameters, gradients] = [array(), array()];
    for (const { name } of slices) write(parameters, name, (weights.get(name) as Tensor).data);
    const known = new Map<string, Activation>(weights);
    for (const { name, shape } of trained) known.set(name, { shape, data: part(parameters, name) });
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
          else part(gradients, name).set(value.data);
        }
        return others;
      },
      array,
      combine(into, terms, [from, end] = [0, size]) {
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
