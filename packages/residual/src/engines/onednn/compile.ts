import type { Graph } from '../../graph/graph.js';
import type { Quantisation } from '../../graph/quantisation.js';
import type { Shape } from '../../tensor.js';
import type { Precision } from '../engine.js';
import { largestOfEach } from '../unsound-pictures.js';
import type { Candidate } from './choose.js';
import { jobOf, type Variant } from './convolve.js';
import { argument, type Dnnl } from './dnnl.js';
import { readBy, type Step } from './fuse.js';
import { lower } from './lower.js';
import type { PackedWeights } from './packed.js';
import { buildPlan, type Draft, type Place, type Plan } from './plan.js';

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

/** A network's plan, and the values that are looked at while it runs. */
export interface WatchedPlan extends Plan {
  /** After a run: by the value, the largest magnitude in each picture. */
  readonly seen: ReadonlyMap<number, Float64Array>;
}

/**
 * @param variantOf how the convolution of a step is computed, by the step's position.
 * @param watched results of steps to be looked at.
 */
export function compilePlan(
  dnnl: Dnnl,
  { graph, steps, shapes, dtype, fastMath, quantisation }: Sized,
  packed: PackedWeights,
  variantOf: (step: number) => Variant,
  watched: ReadonlySet<number> = new Set(),
): WatchedPlan {
  const seen = new Map<number, Float64Array>();
  const parameters = new Map(graph.parameters.map(({ value, name }) => [value, name]));
  const layers = new Map([
    ...graph.inputs.map(({ value, name }) => [value, name] as const),
    ...steps.map((step) => [step.output, step.name] as const),
  ]);
  const pooled: { readonly output: number; readonly name: string; readonly at: Place }[] = [];
  const plan = buildPlan(dnnl, graph, steps.map(readBy), shapes, { dtype, fastMath, quantisation }, (draft, index) => {
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
    if (watched.has(step.output)) pooled.push(...watch(draft, step, seen));
    if (index + 1 === steps.length) for (const { output, name, at } of pooled) read(draft, name, at, output, seen);
  });
  return { ...plan, seen };
}

/**
 * Looks at a step's result when it is there, or at what the library made of it when the run is over: the library's
 * threads fall asleep while JavaScript reads.
 */
function watch(draft: Draft, { output, name, relu }: Step, seen: Map<number, Float64Array>) {
  const place = draft.home(output);
  const { dtype, shape } = place.desc;
  const at = relu && dtype !== 'u8' ? largestOfPlanes(draft, name, place) : undefined;
  if (at) return [{ output, name, at }];
  if (dtype === 'u8' || dtype === 's8') seen.set(output, new Float64Array(shape[0]).fill(255 * place.scale));
  else read(draft, name, place, output, seen);
  return [];
}

function read(draft: Draft, name: string, at: Place, output: number, seen: Map<number, Float64Array>): void {
  const { dtype, shape, bytes } = at.desc;
  const Bits = dtype === 'bf16' ? Uint16Array : Int32Array;
  let bits: Uint16Array | Int32Array | undefined;
  draft.host(`${name}, looked at`, 'scan', [at], (addressOf) => {
    bits ??= new Bits(draft.dnnl.view(addressOf(at), bytes), 0, bytes / Bits.BYTES_PER_ELEMENT);
    seen.set(output, largestOfEach(bits, shape[0]));
  });
}

/** The largest number of each channel, none below 0, by the library: far fewer are left to look at. */
function largestOfPlanes(draft: Draft, name: string, from: Place): Place | undefined {
  const { shape, dtype } = from.desc;
  if (shape.length !== 4 || shape[2] * shape[3] === 1) return undefined;
  const [batch, channels, height, width] = shape;
  const to = draft.fresh([batch, channels, 1, 1], from.layout, dtype);
  const window = { kernel: [height, width], stride: [1, 1], padding: [0, 0, 0, 0], kind: 'max' } as const;
  const primitive = draft.dnnl.pooling({ src: from.desc, dst: to.desc, ...window });
  if (primitive === undefined || primitive.implementation.startsWith('ref')) return undefined;
  draft.emit('other', `${name}, looked at`, primitive, [
    [argument.src, from],
    [argument.dst, to],
  ]);
  return to;
}
