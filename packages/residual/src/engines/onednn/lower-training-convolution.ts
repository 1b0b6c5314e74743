import type { OpAttributes } from '../../graph/ops.js';
import type { Shape } from '../../tensor.js';
import {
  direct,
  isWinograd,
  type Job,
  jobOf,
  makeConvolution,
  sourceLayout,
  type Variant,
  weightShape,
} from './convolve.js';
import { argument, type Desc, type Dnnl } from './dnnl.js';
import type { Backward } from './dnnl-training.js';
import type { Place } from './plan.js';
import { copy, fillsBlocks, firstFast, type Operand, operand, perChannel, type TrainingSite } from './training-site.js';

type Attributes = OpAttributes['conv2d'];

/**
 * The kernels a training step takes for a convolution, forward and backward, best first: never by the clock, as the same
 * step is to give the same bits.
 */
export function variantsOf(dnnl: Dnnl, job: Job, layout: Variant['layout']): Variant[] {
  const blocked = { layout: 'blocked', algorithm: 'direct' } as const;
  const isOpen = sourceLayout(job, blocked) === 'plain' || fillsBlocks(dnnl, job.src);
  if (layout !== 'blocked' || !isOpen || !fillsBlocks(dnnl, job.dst)) return [direct];
  const isQuicker = dnnl.major === 2 && isWinograd(job);
  return [...(isQuicker ? [{ ...blocked, algorithm: 'winograd' } as const] : []), blocked, direct];
}

function jobFor({ draft: { dtype }, work }: TrainingSite, attributes: Attributes, src: Shape, dst: Shape): Job {
  const types = { src: dtype, weights: dtype, dst: dtype } as const;
  return jobOf(attributes, src, dst, { bias: false, residual: undefined, relu: work.relu, types });
}

export function convolve(site: TrainingSite, attributes: Attributes): boolean {
  const { draft, work, shapeOf, layout } = site;
  const [x, weight, bias] = work.inputs;
  const plain = jobFor(site, attributes, shapeOf(x), shapeOf(work.outputs[0]));
  const job = { ...plain, bias: bias !== undefined };
  const found = firstFast(variantsOf(draft.dnnl, job, layout), (variant) =>
    makeConvolution(draft.dnnl, job, variant, { training: true }),
  );
  if (found?.primitive.weights === undefined) return false;
  const { way, primitive } = found;
  const src = draft.find(x, { layout: sourceLayout(job, way), dtype: draft.dtype });
  const dst = draft.fresh(job.dst, way.layout, draft.dtype);
  const weights = operand(site, argument.weights, weight, weightShape(job), primitive.weights as Desc);
  const shift = biasOperand(site, bias, job.dst[1]);
  draft.emit(
    'convolution',
    work.name,
    primitive,
    [[argument.src, src], [argument.dst, dst], ...weights.places, ...shift.places],
    [...weights.constants, ...shift.constants],
  );
  draft.settle(work.outputs[0], dst);
  return true;
}

function biasOperand(site: TrainingSite, bias: number | undefined, channels: number): Operand {
  if (bias === undefined) return { places: [], constants: [] };
  return operand(site, argument.bias, bias, [channels], site.draft.dnnl.describe([channels], 'f32', 'plain'));
}

export function convolveInputGradient(site: TrainingSite, attributes: Attributes): boolean {
  const { draft, work, shapeOf, layout } = site;
  const { dnnl } = draft;
  const [dy, x, weight] = work.inputs;
  const job = jobFor(site, attributes, shapeOf(x), shapeOf(dy));
  const make = (dtype: 'f32' | 'bf16') =>
    firstFast(variantsOf(dnnl, job, layout), (variant) =>
      dnnl.convolutionBackwardData({
        ...geometry(job, variant),
        diffSrc: dnnl.describe(job.src, dtype, sourceLayout(job, variant)),
        weights: dnnl.describe(weightShape(job), dtype, 'any'),
        diffDst: dnnl.describe(job.dst, dtype, variant.layout),
      }),
    );
  const inOwn = make(draft.dtype);
  // Some are refused in bf16: windows of one number over an odd number of channels.
  const dtype = inOwn ? draft.dtype : 'f32';
  const found = inOwn ?? make(dtype);
  if (found === undefined) return false;
  const { way, primitive } = found;
  const from = draft.find(dy, { layout: way.layout, dtype });
  const to = draft.fresh(job.src, sourceLayout(job, way), dtype);
  const weights = operand(site, argument.weights, weight, weightShape(job), primitive.weights);
  draft.emit(
    'convolution',
    work.name,
    primitive,
    [[argument.diffDst, from], [argument.diffSrc, to], ...weights.places],
    weights.constants,
  );
  draft.settle(work.outputs[0], to);
  return true;
}

const geometry = ({ stride, dilation, padding }: Job, { algorithm }: Variant) => ({
  stride,
  dilation,
  padding,
  algorithm,
});

/** What a convolution's weight gradient is made by: it decides how the weight lies in the flat arrays, too. */
export function weightGradient(
  dnnl: Dnnl,
  job: Job,
  layout: Variant['layout'],
  hasBias: boolean,
): { way: Variant; primitive: Backward<'src' | 'diffWeights' | 'diffDst'> } | undefined {
  const found = firstFast(variantsOf(dnnl, job, layout), (variant) =>
    dnnl.convolutionBackwardWeights({
      ...geometry(job, variant),
      src: dnnl.describe(job.src, job.types.src, sourceLayout(job, variant)),
      diffWeights: dnnl.describe(weightShape(job), 'f32', 'any'),
      ...(hasBias && { diffBias: dnnl.describe([job.dst[1]], 'f32', 'plain') }),
      diffDst: dnnl.describe(job.dst, job.types.dst, variant.layout),
    }),
  );
  if (found || job.types.src === 'f32') return found;
  // Some are refused in bf16: pictures narrower than the stride.
  return weightGradient(dnnl, { ...job, types: { src: 'f32', weights: 'f32', dst: 'f32' } }, layout, hasBias);
}

export function convolveWeightGradient(site: TrainingSite, attributes: Attributes): boolean {
  const { draft, work, shapeOf, layout } = site;
  const [dy, x] = work.inputs;
  const job = jobFor(site, attributes, shapeOf(x), shapeOf(dy));
  const found = weightGradient(draft.dnnl, job, layout, work.bias !== undefined);
  if (found === undefined) return false;
  const { way, primitive } = found;
  const { dtype } = primitive.src;
  const src = draft.find(x, { layout: sourceLayout(job, way), dtype });
  const from = draft.find(dy, { layout: way.layout, dtype });
  deliverWeight(site, primitive, [
    [argument.src, src],
    [argument.diffDst, from],
  ]);
  return true;
}

/** Emits what makes a weight's gradient, straight to its place in the flat array where it lies there alike. */
function deliverWeight(
  site: TrainingSite,
  primitive: Backward<'diffWeights'>,
  from: readonly (readonly [id: number, place: Place])[],
): void {
  const { draft, work, shapeOf, targets, delivered } = site;
  const { diffWeights } = primitive;
  const [value] = work.outputs;
  const target = targets.get(value);
  const direct = target && draft.dnnl.areEqual(target.desc, diffWeights) ? target : undefined;
  const to = direct ?? draft.room(diffWeights);
  const bias = work.bias === undefined ? undefined : perChannel(site, work.bias, shapeOf(work.bias)[0]);
  draft.emit(work.node.op === 'conv2dWeightGradient' ? 'convolution' : 'other', work.name, primitive, [
    ...from,
    [argument.diffWeights, to],
    ...(bias ? [[argument.diffBias, bias] as const] : []),
  ]);
  if (direct) {
    delivered.add(value);
    draft.settle(value, direct);
    return;
  }
  const plain = draft.fresh(diffWeights.shape, 'plain', 'f32');
  copy(draft, `${work.name}, plain`, to, plain);
  draft.settle(value, draft.alias(plain, shapeOf(value), 'plain'));
}

export function dense(site: TrainingSite): boolean {
  const { draft, work, shapeOf } = site;
  const { dnnl, dtype } = draft;
  const [x, weight, bias] = work.inputs;
  const [value] = work.outputs;
  const from = draft.find(x, { layout: 'plain', dtype });
  const to = draft.fresh(shapeOf(value), 'plain', 'f32');
  const primitive = dnnl.innerProduct({
    src: from.desc,
    weights: dnnl.describe(shapeOf(weight), dtype, 'any'),
    ...(bias !== undefined && { bias: dnnl.describe(shapeOf(bias), 'f32', 'plain') }),
    dst: to.desc,
    ...(work.relu && { postOps: [{ op: 'relu' }] }),
  });
  if (primitive?.weights === undefined) return false;
  const weights = operand(site, argument.weights, weight, shapeOf(weight), primitive.weights);
  const shift = biasOperand(site, bias, shapeOf(value)[1]);
  draft.emit(
    'other',
    work.name,
    primitive,
    [[argument.src, from], [argument.dst, to], ...weights.places, ...shift.places],
    [...weights.constants, ...shift.constants],
  );
  draft.settle(value, to);
  return true;
}

export function denseInputGradient(site: TrainingSite): boolean {
  const { draft, work, shapeOf } = site;
  const { dnnl, dtype } = draft;
  const [dy, weight] = work.inputs;
  const from = draft.find(dy, { layout: 'plain', dtype });
  const to = draft.fresh(shapeOf(work.outputs[0]), 'plain', dtype);
  const primitive = dnnl.innerProductBackwardData({
    diffSrc: to.desc,
    weights: dnnl.describe(shapeOf(weight), dtype, 'any'),
    diffDst: from.desc,
  });
  if (primitive === undefined) return false;
  const weights = operand(site, argument.weights, weight, shapeOf(weight), primitive.weights);
  draft.emit(
    'other',
    work.name,
    primitive,
    [[argument.diffDst, from], [argument.diffSrc, to], ...weights.places],
    weights.constants,
  );
  draft.settle(work.outputs[0], to);
  return true;
}

/** What a dense layer's weight gradient is made by. */
export const denseGradient = (
  dnnl: Dnnl,
  [dy, x, weight]: readonly Shape[],
  dtype: 'f32' | 'bf16',
  hasBias: boolean,
): Backward<'src' | 'diffWeights' | 'diffDst'> | undefined =>
  dnnl.innerProductBackwardWeights({
    src: dnnl.describe(x, dtype, 'plain'),
    diffWeights: dnnl.describe(weight, 'f32', 'any'),
    ...(hasBias && { diffBias: dnnl.describe([dy[1]], 'f32', 'plain') }),
    diffDst: dnnl.describe(dy, dtype, 'plain'),
  });

export function denseWeightGradient(site: TrainingSite): boolean {
  const { draft, work, shapeOf } = site;
  const [dy, x] = work.inputs;
  const shapes = [dy, x, work.outputs[0]].map(shapeOf);
  const primitive = denseGradient(draft.dnnl, shapes, draft.dtype, work.bias !== undefined);
  if (primitive === undefined) return false;
  const wish = { layout: 'plain', dtype: draft.dtype } as const;
  deliverWeight(site, primitive, [
    [argument.src, draft.find(x, wish)],
    [argument.diffDst, draft.find(dy, wish)],
  ]);
  return true;
}
