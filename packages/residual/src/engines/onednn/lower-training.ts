import type { Node } from '../../graph/graph.js';
import type { OpAttributes, OpName } from '../../graph/ops.js';
import type { TrainingOpAttributes, TrainingOpName } from '../../graph/training-ops.js';
import { sizeOf } from '../../tensor.js';
import { direct } from './convolve.js';
import { argument, type Layout } from './dnnl.js';
import { isHalfPixel, lowerings, type Site } from './lower.js';
import {
  convolve,
  convolveInputGradient,
  convolveWeightGradient,
  dense,
  denseInputGradient,
  denseWeightGradient,
} from './lower-training-convolution.js';
import {
  avgPoolGradient,
  globalAvgPoolGradient,
  maxPool,
  maxPoolGradient,
  spatialSum,
} from './lower-training-pooling.js';
import { apply, copy, operand, perChannel, picture, plainLoops, settled, type TrainingSite } from './training-site.js';

type Attributes = OpAttributes & TrainingOpAttributes;

/** Emits the calls of one op and settles its results; answers `false` where the library has no such primitive. */
type Lowering<K extends OpName | TrainingOpName> = (site: TrainingSite, attributes: Attributes[K]) => boolean;

/** Small numbers at the end of the network, which plain loops are best for. */
const small = () => false;

/** Ops of a network that training computes otherwise: they leave something behind, or write over what is not needed. */
const forward: { readonly [K in OpName]?: Lowering<K> } = {
  conv2d: convolve,
  dense,
  maxPool,
  add(site) {
    const { draft, work, index, shapeOf } = site;
    const [value] = work.outputs;
    const wish = picture(site, shapeOf(value));
    const [a, b] = work.inputs.map((one) => draft.find(one, wish));
    const to = draft.over(work.inputs, index, shapeOf(value), wish.layout, wish.dtype);
    const postOps = work.relu ? [{ op: 'relu' } as const] : [];
    const primitive = draft.dnnl.binary({ src: a.desc, src1: b.desc, dst: to.desc, kind: 'add', postOps });
    if (primitive === undefined) return false;
    draft.emit('other', work.name, primitive, [
      [argument.src, a],
      [argument.src1, b],
      [argument.dst, to],
    ]);
    draft.settle(value, to);
    return true;
  },
  relu(site) {
    const { draft, work, index, shapeOf } = site;
    const [x] = work.inputs;
    const wish = picture(site, shapeOf(x));
    const from = draft.find(x, wish);
    const to = draft.over([x], index, shapeOf(x), wish.layout, wish.dtype);
    const primitive = draft.dnnl.eltwise({ src: from.desc, dst: to.desc, kind: 'relu' });
    if (primitive === undefined) return false;
    draft.emit('other', work.name, primitive, [
      [argument.src, from],
      [argument.dst, to],
    ]);
    draft.settle(work.outputs[0], to);
    return true;
  },
};

/** The ops that only training has. What the library refuses is computed by `reference`'s loops. */
const training = {
  batchNormTraining(site, { epsilon }) {
    const { draft, work, shapeOf, workspaces } = site;
    const [x, gamma, beta] = work.inputs;
    const [y, mean, variance] = work.outputs;
    const shape = shapeOf(x);
    if (shape.length !== 4) return false;
    const from = draft.find(x, picture(site, shape));
    const to = draft.fresh(shape, from.layout, draft.dtype);
    const { dnnl } = draft;
    const primitive = dnnl.batchNormTraining({ src: from.desc, dst: to.desc, epsilon, relu: work.relu });
    if (primitive === undefined || (work.relu && primitive.workspace === undefined)) return false;
    const channels = dnnl.describe([shape[1]], 'f32', 'plain');
    const scale = operand(site, argument.scale, gamma, [shape[1]], channels);
    const shift = operand(site, argument.shift, beta, [shape[1]], channels);
    const [means, variances] = [mean, variance].map((value) => perChannel(site, value, shape[1]));
    const place = primitive.workspace && draft.room(primitive.workspace);
    if (place) workspaces.set(maskKey(y), { place, layout: from.layout });
    draft.emit(
      'other',
      work.name,
      primitive,
      [
        [argument.src, from],
        [argument.dst, to],
        [argument.mean, means],
        [argument.variance, variances],
        ...(place ? [[argument.workspace, place] as const] : []),
        ...scale.places,
        ...shift.places,
      ],
      [...scale.constants, ...shift.constants],
    );
    draft.settle(y, to);
    return true;
  },
  batchNormGradient(site, { epsilon }) {
    const { draft, work, index, shapeOf, workspaces } = site;
    const { dnnl, dtype } = draft;
    const [dy, x, mean, variance, gamma] = work.inputs;
    const [dx, dGamma, dBeta] = work.outputs;
    const shape = shapeOf(x);
    const workspace = work.mask === undefined ? undefined : workspaces.get(maskKey(work.mask));
    if (shape.length !== 4 || (work.mask !== undefined && workspace === undefined)) return false;
    const wish = { ...picture(site, shape), ...(workspace && { layout: workspace.layout }) };
    const [src, from] = [draft.find(x, wish), draft.find(dy, wish)];
    const to = draft.over([dy], index, shape, wish.layout, dtype);
    const primitive = dnnl.batchNormBackward({
      src: src.desc,
      diffSrc: to.desc,
      diffDst: from.desc,
      epsilon,
      relu: workspace !== undefined,
    });
    if (primitive === undefined) return false;
    const plain = { layout: 'plain', dtype: 'f32' } as const;
    const scale = operand(site, argument.scale, gamma, [shape[1]], dnnl.describe([shape[1]], 'f32', 'plain'));
    draft.emit(
      'other',
      work.name,
      primitive,
      [
        [argument.src, src],
        [argument.diffDst, from],
        [argument.diffSrc, to],
        [argument.mean, draft.find(mean, plain)],
        [argument.variance, draft.find(variance, plain)],
        [argument.diffScale, perChannel(site, dGamma, shape[1])],
        [argument.diffShift, perChannel(site, dBeta, shape[1])],
        ...(workspace ? [[argument.workspace, workspace.place] as const] : []),
        ...scale.places,
      ],
      scale.constants,
    );
    draft.settle(dx, to);
    return true;
  },
  /** By a factor for each channel that never changes. */
  frozenBatchNormGradient(site, { epsilon }) {
    const { draft, work, index, shapeOf, frozen, nameOf, learning } = site;
    const [dy, gamma, variance] = work.inputs;
    if (learning.has(gamma)) return false;
    const shape = shapeOf(dy);
    const [scales, variances] = [gamma, variance].map((value) => frozen.plain(nameOf(value) as string));
    const name = `${work.name}, factor`;
    frozen.add(
      name,
      scales.map((scale, c) => scale / Math.sqrt(variances[c] + epsilon)),
    );
    const wish = picture(site, shape);
    const from = draft.find(dy, wish);
    const to = draft.over([dy], index, shape, wish.layout, wish.dtype);
    const each = shape.map((size, axis) => (axis === 1 ? size : 1));
    const factor = draft.dnnl.describe(each, 'f32', wish.layout);
    const primitive = draft.dnnl.binary({ src: from.desc, src1: factor, dst: to.desc, kind: 'mul' });
    if (primitive === undefined) return false;
    draft.emit(
      'other',
      work.name,
      primitive,
      [
        [argument.src, from],
        [argument.dst, to],
      ],
      [[argument.src1, frozen.pack(name, each, factor)]],
    );
    draft.settle(work.outputs[0], to);
    return true;
  },
  crossEntropy: small,
  binaryCrossEntropy: small,
  crossEntropyGradient: small,
  binaryCrossEntropyGradient: small,
  conv2dInputGradient: convolveInputGradient,
  conv2dWeightGradient: convolveWeightGradient,
  channelSum(site) {
    const { draft, work, shapeOf } = site;
    const shape = shapeOf(work.inputs[0]);
    const from = draft.find(work.inputs[0], picture(site, shape));
    const to = perChannel(site, work.outputs[0], shape[1]);
    const each = shape.map((size, axis) => (axis === 1 ? size : 1));
    const dst = { ...to, desc: draft.dnnl.describe(each, 'f32', 'plain') };
    return apply(site, draft.dnnl.reduction({ src: from.desc, dst: dst.desc, kind: 'sum' }), [
      [argument.src, from],
      [argument.dst, dst],
    ]);
  },
  /**
   * dy · (y > 0): quicker than the library's own. The numbers are taken for one long row, as its fast kernel for a number
   * that all are compared with knows no blocks.
   */
  reluGradient(site) {
    const { draft, work, index, shapeOf, frozen } = site;
    const { dnnl, dtype } = draft;
    const [dy, y] = work.inputs;
    const shape = shapeOf(y);
    const wish = picture(site, shape);
    const to = draft.over([dy], index, shape, wish.layout, dtype);
    const row = dnnl.describe([sizeOf(shape)], dtype, 'plain');
    const nothing = dnnl.describe([1], dtype, 'plain');
    const primitive = dnnl.binary({
      src: row,
      src1: nothing,
      dst: row,
      kind: 'greater',
      postOps: [{ op: 'mul', by: row }],
    });
    if (primitive === undefined) return false;
    frozen.add('nothing', new Float32Array(1));
    draft.emit(
      'other',
      work.name,
      primitive,
      [
        [argument.src, { ...draft.find(y, wish), desc: row }],
        [dnnl.postOpArgument(0), { ...draft.find(dy, wish), desc: row }],
        [argument.dst, { ...to, desc: row }],
      ],
      [[argument.src1, frozen.pack('nothing', [1], nothing)]],
    );
    draft.settle(work.outputs[0], to);
    return true;
  },
  sigmoidGradient(site) {
    const { draft, work, index, shapeOf } = site;
    const [dy, y] = work.inputs;
    const wish = picture(site, shapeOf(y));
    const [from, dst] = [draft.find(dy, wish), draft.find(y, wish)];
    const to = draft.over([dy], index, shapeOf(y), wish.layout, wish.dtype);
    const op = { dst: dst.desc, diffSrc: to.desc, diffDst: from.desc, kind: 'sigmoid' } as const;
    return settled(
      site,
      to,
      apply(site, draft.dnnl.eltwiseBackward(op), [
        [argument.dst, dst],
        [argument.diffDst, from],
        [argument.diffSrc, to],
      ]),
    );
  },
  softmaxGradient(site) {
    const { draft, work, shapeOf } = site;
    const shape = shapeOf(work.inputs[1]);
    const [from, dst] = work.inputs.map((value) => draft.find(value, { layout: 'plain', dtype: 'f32' }));
    const to = draft.fresh(shape, 'plain', 'f32');
    const op = { dst: dst.desc, diffSrc: to.desc, diffDst: from.desc, axis: shape.length - 1 };
    return settled(
      site,
      to,
      apply(site, draft.dnnl.softmaxBackward(op), [
        [argument.dst, dst],
        [argument.diffDst, from],
        [argument.diffSrc, to],
      ]),
    );
  },
  maxPoolGradient,
  avgPoolGradient,
  globalAvgPoolGradient,
  blurPoolGradient: () => false,
  resizeGradient(site, { to, mode, coordinates }) {
    const { draft, work, shapeOf } = site;
    const [dy, x] = work.inputs;
    const [shape, larger] = [shapeOf(x), shapeOf(dy)];
    if (mode !== 'bilinear' || !isHalfPixel(to, coordinates, shape, larger)) return false;
    const wish = picture(site, shape);
    const from = draft.find(dy, wish);
    const made = draft.fresh(shape, wish.layout, wish.dtype);
    const primitive = draft.dnnl.resamplingBackward({ diffSrc: made.desc, diffDst: from.desc, kind: 'linear' });
    return settled(
      site,
      made,
      apply(site, primitive, [
        [argument.diffDst, from],
        [argument.diffSrc, made],
      ]),
    );
  },
  unflatten({ draft, work, shapeOf }, { channelsLast }) {
    const [value] = work.outputs;
    const shape = shapeOf(value);
    const from = draft.find(work.inputs[0], { layout: 'plain' });
    draft.settle(value, draft.alias(from, shape, channelsLast && shape.length === 4 ? 'channelsLast' : 'plain'));
    return true;
  },
  trim({ draft, work, shapeOf }, { axis, before }) {
    const [value] = work.outputs;
    const shape = shapeOf(value);
    const layout: Layout = shape.length === 4 ? 'channelsLast' : 'plain';
    const from = draft.find(work.inputs[0], { layout, dtype: draft.dtype });
    const offsets = shape.map((_, i) => (i === axis ? before : 0));
    const part = draft.part(from, offsets, shape);
    const to = draft.fresh(shape, layout, draft.dtype);
    if (part === undefined || !copy(draft, work.name, part, to)) return false;
    draft.settle(value, to);
    return true;
  },
  spatialSum,
  denseInputGradient,
  denseWeightGradient,
} satisfies { [K in TrainingOpName]: Lowering<K> };

/** Emits the calls of a piece of work, and brings gradients of parameters to where they belong. */
export function lowerTraining(site: TrainingSite): void {
  const { draft, work, targets, delivered } = site;
  // The row and the attributes belong to the same op, which TypeScript cannot see through the union.
  const row = { ...forward, ...training }[work.node.op] as Lowering<'relu'> | undefined;
  const done = row ? row(site, work.node.attributes as OpAttributes['relu']) : asInNetwork(site);
  if (!done) plainLoops(site);
  for (const value of [...work.outputs, work.bias]) {
    const target = value === undefined ? undefined : targets.get(value);
    if (value === undefined || target === undefined || delivered.has(value)) continue;
    const plain = draft.find(value, { layout: 'plain', dtype: 'f32' });
    copy(draft, `${work.name}, kept`, draft.alias(plain, target.desc.shape, 'plain'), target);
    delivered.add(value);
  }
}

/** An op that has no parameters that learn, as a network computes it. */
function asInNetwork({ draft, frozen, work, index, shapeOf, nameOf }: TrainingSite): boolean {
  const node = work.node as Node;
  const [output] = work.outputs;
  const site: Site = {
    draft,
    weights: frozen,
    step: { node, relu: work.relu, output, name: work.name },
    index,
    shapes: node.inputs.map(shapeOf),
    shape: shapeOf(node.outputs[0]),
    parameters: node.inputs.flatMap((value) => nameOf(value) ?? []),
    variant: direct,
    scaleOf: () => undefined,
  };
  const row = lowerings[node.op] as (site: Site, attributes: OpAttributes['relu']) => boolean;
  return row(site, node.attributes as OpAttributes['relu']);
}

/** What a ReLU behind a BatchNorm let pass. */
const maskKey = (y: number): string => `mask ${y}`;
