import type { OpAttributes } from '../../graph/ops.js';
import type { ActivationScale } from '../../graph/quantisation.js';
import { jobOf, makeConvolution, sourceLayout, weightShape } from './convolve.js';
import { type Argument, argument, type DataType, type Primitive } from './dnnl.js';
import type { Site } from './lower.js';
import type { Place } from './plan.js';

/** The largest `s8` weight. */
const largestWeight = 127;

/**
 * A convolution with all that joined it, in one call. The residual is added where it lies (post-op `sum`): the identity's
 * memory becomes the block's result.
 */
export function convolve(site: Site, attributes: OpAttributes['conv2d']): boolean {
  const { draft, weights, step, shapes, shape, parameters, variant, index } = site;
  const { dnnl, dtype } = draft;
  const [weight, bias] = parameters;
  const input = int8Input(site);
  const result = input && site.scaleOf(step.output);
  const types = input
    ? ({ src: input.dtype, weights: 's8', dst: result?.dtype ?? 'f32' } as const)
    : ({ src: dtype, weights: dtype, dst: dtype } as const);
  const plain = jobOf(attributes, shapes[0], shape, {
    bias: bias !== undefined,
    residual: undefined,
    relu: step.relu,
    types,
    ...(draft.fastMath && { fastMath: true }),
  });

  const layout = sourceLayout(plain, variant);
  const src = draft.find(step.node.inputs[0], { layout, dtype: types.src, scale: input?.scale ?? 1 });
  const added = step.residual === undefined ? undefined : residual(site, types.dst, step.residual);
  const dst: Place = added
    ? { ...added, desc: dnnl.describe(shape, types.dst, variant.layout), scale: result?.scale ?? 1 }
    : draft.fresh(shape, variant.layout, types.dst, result?.scale ?? 1);
  const job = { ...plain, residual: added?.desc.dtype };
  const scales = input
    ? {
        src: src.scale,
        weights: weightScales(weights.largest(weight)),
        dst: dst.scale,
        ...(added && { residual: added.scale }),
      }
    : undefined;

  const primitive = makeConvolution(dnnl, job, variant, scales && { scales });
  if (primitive?.weights === undefined) {
    if (variant.layout === 'channelsLast' && variant.algorithm === 'direct') return false;
    return convolve({ ...site, variant: { layout: 'channelsLast', algorithm: 'direct' } }, attributes);
  }
  const constants: Argument[] = [
    [
      argument.weights,
      weights.pack(weight, weightShape(job), primitive.weights, scales?.weights, variant.algorithm === 'winograd'),
    ],
    ...biasArgument(site, bias, primitive),
  ];
  draft.emit(
    'convolution',
    step.name,
    primitive,
    [
      [argument.src, src],
      [argument.dst, dst],
    ],
    constants,
  );
  draft.settle(step.output, dst);
  return true;

  /** The residual in memory that may be written over. A result in 8 bits is as wide as any number of 8 bits. */
  function residual({ scaleOf }: Site, dst: DataType, value: number): Place {
    const wish = { layout: variant.layout };
    if (dst === 'f32' || dst === 'bf16')
      return draft.overwritable(value, { ...wish, dtype: dst, scale: 1 }, index, src);
    const scale = scaleOf(value);
    const { desc } = draft.home(value);
    const eightBits = desc.dtype === 'u8' || desc.dtype === 's8';
    // Float numbers that were never given a scale take the result's.
    const as = eightBits ? {} : (scale ?? { dtype: dst, scale: result?.scale ?? 1 });
    return draft.overwritable(value, { ...wish, ...as }, index, src);
  }
}

/** The scale of a layer's input where the layer computes in 8 bits. */
export const int8Input = ({ draft, step, scaleOf }: Site): ActivationScale | undefined =>
  draft.quantisation?.float.includes(step.node.name) ? undefined : scaleOf(step.node.inputs[0]);

/** A layer's bias, where it has one, as its primitive wants it. */
export function biasArgument(
  { draft, weights, shape }: Site,
  bias: string | undefined,
  { biasFactor }: Primitive,
): readonly Argument[] {
  if (bias === undefined) return [];
  const perChannel = draft.dnnl.describe([shape[1]], 'f32', 'plain');
  return [
    [
      argument.bias,
      weights.pack(
        bias,
        [shape[1]],
        perChannel,
        biasFactor?.map((factor) => 1 / factor),
      ),
    ],
  ];
}

/** One scale for each output channel, so that its largest weight is 127; 1 for a channel of zeros. */
export const weightScales = (largest: Float32Array): Float32Array =>
  largest.map((most) => (most === 0 ? 1 : most / largestWeight));
