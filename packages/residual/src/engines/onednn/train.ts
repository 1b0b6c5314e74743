import { processor } from '#runtime';
import { inferShapes, type Parameter, type StepNode } from '../../graph/graph.js';
import { recompute } from '../../graph/recompute.js';
import { gradientName, type TrainingStep } from '../../graph/training-step.js';
import type { Shape, Weights } from '../../tensor.js';
import type { ProgramOptions, TrainingBackend, TrainingProgram } from '../training.js';
import { newPiece } from './arena.js';
import { jobOf, type Variant } from './convolve.js';
import type { Desc, Dnnl } from './dnnl.js';
import { type Flat, flatArrays } from './flat.js';
import { fuseTraining, readByWork, type Work } from './fuse-training.js';
import { openDnnl } from './library.js';
import { lowerTraining } from './lower-training.js';
import { denseGradient, weightGradient } from './lower-training-convolution.js';
import { packWeights } from './packed.js';
import { buildPlan, type Place, type Plan } from './plan.js';
import { checkPrecision } from './session.js';

/**
 * Training on oneDNN: forward and backward are one plan, and the memory of what is no longer needed is shared by both.
 * The kernels are fixed by shapes and processor, so the same step gives the same bits.
 */
export const onednnTraining: TrainingBackend = {
  begin: () => void openDnnl({ patient: true }),
  async train(step, weights, options) {
    const dnnl = openDnnl();
    checkPrecision(dnnl, options);
    return prepare(dnnl, step, weights, options);
  },
};

/** A step's program with what a benchmark asks of it. */
export interface OnednnTraining extends TrainingProgram {
  readonly plan: Plan;
  /** All convolutions of a step, forward and backward, by themselves, on the same memory: ms. */
  convolutions(): number;
}

/**
 * @param layout how pictures lie between layers. Kernels for AMX want the channels of a pixel together; all others are as
 * quick with blocks of channels, and BatchNorm is twice as quick: what it reads again is still in the cache.
 */
export function prepare(
  dnnl: Dnnl,
  step: TrainingStep,
  weights: Weights,
  options: ProgramOptions,
  layout: Variant['layout'] = options.precision === 'bf16' && dnnl.processor.amx ? 'channelsLast' : 'blocked',
): OnednnTraining {
  const threads = options.threads ?? processor().cores;
  dnnl.setThreads(threads);
  const dtype = options.precision === 'bf16' ? 'bf16' : 'f32';
  const { trained } = step;
  const graph = options.recompute ? recompute(step.graph) : step.graph;
  const shapes = inferShapes(graph);
  const work = fuseTraining(graph);
  const named = new Map(trained.map((parameter) => [parameter.name, parameter]));
  const descs = descsOf(dnnl, { graph, trained }, work, shapes, dtype, layout);
  const flat = flatArrays(
    dnnl,
    options.groups.map((names) =>
      names.map((name) => {
        const { value, shape } = named.get(name) as Parameter;
        return { name, shape, desc: descs.get(value) as Desc };
      }),
    ),
  );
  const frozen = packWeights(dnnl, { kept: new Map(), users: 0 });
  function release(): void {
    frozen.dispose();
    flat.dispose();
  }
  try {
    const [parameters, gradients] = [flat.array(), flat.array()];
    for (const { name } of trained) flat.write(parameters, name, (weights.get(name) as { data: Float32Array }).data);
    const place = (array: Float32Array, { name, value }: Parameter): Place => ({
      desc: descs.get(value) as Desc,
      layout: (descs.get(value) as Desc).shape.length === 1 ? 'plain' : 'any',
      scale: 1,
      piece: newPiece(0),
      address: flat.addressOf(array, name),
    });
    const gradientOf = new Map(graph.outputs.map(({ name, value }) => [name, value]));
    const learning = new Map(trained.map((one) => [one.value, place(parameters, one)]));
    const targets = new Map(
      trained.map((one) => [gradientOf.get(gradientName(one.name)) as number, place(gradients, one)]),
    );
    const others = graph.outputs.filter(({ value }) => !targets.has(value));
    const names = new Map(graph.parameters.map(({ value, name }) => [value, name]));
    const shared = { layout, frozen, learning, targets, delivered: new Set<number>(), workspaces: new Map() } as const;
    frozen.supply({ graph: graph as never, weights, factors: new Map() }, weights);
    const plan = buildPlan(
      dnnl,
      { inputs: graph.inputs, outputs: others },
      work.map(readByWork),
      shapes,
      { dtype, quantisation: undefined },
      (draft, index) => {
        if (index === 0) for (const [value, found] of learning) draft.settle(value, found);
        lowerTraining({
          ...shared,
          draft,
          work: work[index],
          index,
          shapeOf: (value) => shapes[value],
          nameOf: (value) => names.get(value),
        });
      },
    );
    frozen.release();
    return program(dnnl, threads, flat, plan, { parameters, gradients }, release);
  } catch (error) {
    release();
    throw error;
  }
}

function program(
  dnnl: Dnnl,
  threads: number,
  flat: Flat,
  plan: Plan,
  arrays: Pick<TrainingProgram, 'parameters' | 'gradients'>,
  release: () => void,
): OnednnTraining {
  const { slices, ranges, array, read, write } = flat;
  return {
    slices,
    ranges,
    ...arrays,
    array,
    read,
    write,
    plan,
    async run(inputs) {
      // A primitive must run in as many threads as it was made for; another program may have set another number since.
      dnnl.setThreads(threads);
      return plan.run(inputs);
    },
    combine(into, terms, range) {
      dnnl.setThreads(threads);
      flat.combine(into, terms, range);
    },
    convolutions() {
      dnnl.setThreads(threads);
      const began = performance.now();
      plan.repeat('convolution');
      return performance.now() - began;
    },
    async dispose() {
      plan.dispose();
      release();
    },
  };
}

/** How each trained parameter lies in the flat arrays: as its gradient comes out of the library, else row by row. */
function descsOf(
  dnnl: Dnnl,
  { graph, trained }: Pick<TrainingStep, 'graph' | 'trained'>,
  work: readonly Work[],
  shapes: readonly Shape[],
  dtype: 'f32' | 'bf16',
  layout: Variant['layout'],
): Map<number, Desc> {
  const makers = new Map(work.map((one) => [one.outputs[0], one]));
  return new Map(
    trained.map(({ name, value, shape }) => {
      const gradient = (graph.outputs.find((output) => output.name === gradientName(name)) as { value: number }).value;
      const maker = makers.get(gradient);
      const made = maker && gradientPrimitive(maker);
      made?.destroy();
      return [value, made?.diffWeights ?? dnnl.describe(shape, 'f32', 'plain')];
    }),
  );

  function gradientPrimitive({ node, inputs: [dy, x], outputs, bias }: Work) {
    const hasBias = bias !== undefined;
    if (isA(node, 'denseWeightGradient'))
      return denseGradient(dnnl, [shapes[dy], shapes[x], shapes[outputs[0]]], dtype, hasBias);
    if (!isA(node, 'conv2dWeightGradient')) return undefined;
    const types = { src: dtype, weights: dtype, dst: dtype } as const;
    const rest = { bias: false, residual: undefined, relu: false, types } as const;
    return weightGradient(dnnl, jobOf(node.attributes, shapes[x], shapes[dy], rest), layout, hasBias)?.primitive;
  }
}

const isA = <K extends StepNode['op']>(node: StepNode, op: K): node is Extract<StepNode, { op: K }> => node.op === op;
