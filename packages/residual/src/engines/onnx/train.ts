import { loadRuntime } from '#runtime';
import { ResidualError } from '../../errors.js';
import { gradientName, type TrainingStep } from '../../graph/training-step.js';
import type { Tensor, Weights } from '../../tensor.js';
import { plainArrays } from '../plain-arrays.js';
import type { ProgramOptions, TrainingBackend, TrainingProgram } from '../training.js';
import { writeStep } from './lower-training.js';
import type { OrtTensor } from './ort.js';
import { createSession, firstLine, unshared } from './session.js';

/**
 * Training by ONNX Runtime: the step as standard operators, its parameters as inputs, its gradients as results. Flat
 * arrays hold the parameters as they are, one behind the other.
 */
export const onnxTraining: TrainingBackend = { train };

async function train(step: TrainingStep, weights: Weights, options: ProgramOptions): Promise<TrainingProgram> {
  const { threads, precision = 'f32', groups } = options;
  if (precision !== 'f32')
    throw new ResidualError('ENGINE', `engine "onnx" does not train in ${precision}; it has: f32`, { precision });
  const { graph, trained } = step;
  const { slices, ranges, size, part, array, read, write } = plainArrays(trained, groups);
  const learning = new Set(trained.map(({ name }) => name));

  const found = await loadRuntime({ threads });
  const to = writeStep(graph, (name) => (learning.has(name) ? undefined : (weights.get(name) as Tensor)));
  const model = {
    name: graph.name,
    inputs: [
      ...graph.inputs,
      ...trained.filter(({ value }) => graph.parameters.some((one) => one.value === value)),
    ].map(({ value, shape }) => ({ name: to.nameOf(value), shape })),
    outputs: graph.outputs.map(({ name }) => ({ name })),
    nodes: to.nodes,
    initializers: [...to.initializers.values()],
  };
  // A pattern of all memory at once is a third larger and no faster.
  const session = await createSession(found, model, { threads }, { enableMemPattern: false });

  const [parameters, gradients] = [array(), array()];
  for (const { name } of slices) write(parameters, name, (weights.get(name) as Tensor).data);
  const { Tensor: OrtTensor } = found.ort;
  /** Views of a flat array, each under the name that `called` makes of a parameter's. */
  const views = (of: Float32Array, called: (name: string, value: number) => string): Record<string, OrtTensor> =>
    Object.fromEntries(
      trained.map(({ name, shape, value }) => [called(name, value), new OrtTensor('float32', part(of, name), shape)]),
    );
  const own = views(parameters, (_, value) => to.nameOf(value));
  const into = views(gradients, gradientName);
  const others = graph.outputs.map(({ name }) => name).filter((name) => !Object.hasOwn(into, name));
  const fetches = { ...Object.fromEntries(others.map((name) => [name, null])), ...into };

  return {
    slices,
    ranges,
    parameters,
    gradients,
    async run(inputs) {
      const given = Object.entries(inputs).map(([name, { data, shape }]) => [
        name,
        new OrtTensor('float32', unshared(data), shape),
      ]);
      const feeds: Record<string, OrtTensor> = { ...Object.fromEntries(given), ...own };
      // WebAssembly has memory of its own, and leaves tensors that it is given for results as they were.
      const results = await (found.writesResults ? session.run(feeds, fetches) : session.run(feeds)).catch(
        (error: Error) => {
          throw new ResidualError('ENGINE', `${found.runtime} cannot train ${graph.name}: ${firstLine(error)}`);
        },
      );
      if (!found.writesResults)
        for (const { name } of slices) write(gradients, name, results[gradientName(name)].data as Float32Array);
      return Object.fromEntries(
        others.map((name): [string, Tensor] => {
          const { data, dims } = results[name];
          return [name, { dtype: 'float32', shape: [...dims], data: data as Float32Array }];
        }),
      );
    },
    array,
    combine: (target, terms, [from, end] = [0, size]) => combine(target, terms, from, end),
    read,
    write,
    dispose: () => session.release(),
  };
}

type Terms = readonly (readonly [scale: number, array: Float32Array])[];

/** Numbers summed by one call: V8 makes the best code of a function that is called often. */
const block = 2 ** 14;

function combine(into: Float32Array, terms: Terms, from: number, end: number): void {
  const few = [one, two, three][terms.length - 1] ?? any;
  for (let i = from; i < end; i += block) few(into, terms, i, Math.min(i + block, end));
}

function one(into: Float32Array, [[a, x]]: Terms, from: number, end: number): void {
  for (let i = from; i < end; i++) into[i] = a * x[i];
}

// Sums of two and three arrays are most of what updates are. Four sums are stored together: a store might change what is
// read next, for all that V8 knows.
function two(into: Float32Array, terms: Terms, from: number, end: number): void {
  const [[a, x], [b, y]] = terms;
  let i = from;
  for (; i < end - 3; i += 4) {
    const first = a * x[i] + b * y[i];
    const second = a * x[i + 1] + b * y[i + 1];
    const third = a * x[i + 2] + b * y[i + 2];
    const fourth = a * x[i + 3] + b * y[i + 3];
    into[i] = first;
    into[i + 1] = second;
    into[i + 2] = third;
    into[i + 3] = fourth;
  }
  any(into, terms, i, end);
}

function three(into: Float32Array, terms: Terms, from: number, end: number): void {
  const [[a, x], [b, y], [c, z]] = terms;
  let i = from;
  for (; i < end - 3; i += 4) {
    const first = a * x[i] + b * y[i] + c * z[i];
    const second = a * x[i + 1] + b * y[i + 1] + c * z[i + 1];
    const third = a * x[i + 2] + b * y[i + 2] + c * z[i + 2];
    const fourth = a * x[i + 3] + b * y[i + 3] + c * z[i + 3];
    into[i] = first;
    into[i + 1] = second;
    into[i + 2] = third;
    into[i + 3] = fourth;
  }
  any(into, terms, i, end);
}

function any(into: Float32Array, terms: Terms, from: number, end: number): void {
  for (let i = from; i < end; i++) {
    let sum = 0;
    for (const [scale, { [i]: value }] of terms) sum += scale * value;
    into[i] = sum;
  }
}
