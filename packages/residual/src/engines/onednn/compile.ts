import type { Graph } from '../../graph/graph.js';
import type { Quantisation } from '../../graph/quantisation.js';
import type { Shape } from '../../tensor.js';
import type { Precision } from '../engine.js';
import type { Candidate } from './choose.js';
import { jobOf, type Variant } from './convolve.js';
import type { Dnnl } from './dnnl.js';
import { readBy, type Step } from './fuse.js';
import { lower } from './lower.js';
import type { PackedWeights } from './packed.js';
import { buildPlan, type Plan } from './plan.js';

/** A network at given shapes, ready to be put into calls. */
export interface Sized {
  /** With its BatchNorms folded. */
  readonly graph: Graph;
  readonly steps: readonly Step[];
  /** Of every value. */
  readonly shapes: readonly Shape[];
  readonly dtype: 'f32' | 'bf16';
  /** Numbers of f32 are multiplied as bf16. */
  readonly fastMath?: boolean;
  readonly quantisation?: Quantisation | undefined;
}

/** How a network of that precision keeps and multiplies its numbers. */
export const kindOf = (precision: Precision = 'f32'): Pick<Sized, 'dtype' | 'fastMath'> => ({
  dtype: precision === 'bf16' ? 'bf16' : 'f32',
  ...(precision === 'f32-bf16' && { fastMath: true }),
});

/** What there is to choose for each step. */
export const candidatesOf = ({ steps, shapes, dtype, fastMath }: Sized): Candidate[] =>
  steps.map((step) => {
    const { node, relu, residual } = step;
    if (node.op !== 'conv2d') return { step };
    const job = jobOf(node.attributes, shapes[node.inputs[0]], shapes[node.outputs[0]], {
      bias: node.inputs.length > 2,
      residual: residual === undefined ? undefined : dtype,
      relu,
      types: { src: dtype, weights: dtype, dst: dtype },
      ...(fastMath && { fastMath }),
    });
    return { step, job };
  });

/** @param variantOf how the convolution of a step is computed, by the step's position. */
export function compilePlan(
  dnnl: Dnnl,
  { graph, steps, shapes, dtype, fastMath, quantisation }: Sized,
  packed: PackedWeights,
  variantOf: (step: number) => Variant,
): Plan {
  const parameters = new Map(graph.parameters.map(({ value, name }) => [value, name]));
  const layers = new Map([
    ...graph.inputs.map(({ value, name }) => [value, name] as const),
    ...steps.map((step) => [step.output, step.name] as const),
  ]);
  return buildPlan(dnnl, graph, steps.map(readBy), shapes, { dtype, fastMath, quantisation }, (draft, index) => {
    const step = steps[index];
    lower({
      draft,
      weights: packed,
      step,
      index,
      shapes: step.node.inputs.map((value) => shapes[value]),
      shape: shapes[step.node.outputs[0]],
      parameters: step.node.inputs.flatMap((value) => parameters.get(value) ?? []),
      variant: variantOf(index),
      scaleOf(value) {
        if (quantisation === undefined) return undefined;
        const place = draft.known(value);
        const dtype = place?.desc.dtype;
        if (place && (dtype === 'u8' || dtype === 's8')) return { scale: place.scale, dtype };
        return quantisation.activations[layers.get(value) ?? ''];
      },
    });
  });
}
