import { type OpAttributes, resolvePadding } from '../../graph/ops.js';
import type { Shape } from '../../tensor.js';
import { argument, type Pooling } from './dnnl.js';
import type { Place } from './plan.js';
import { apply, copy, picture, settled, type TrainingSite } from './training-site.js';

// Pooling and sums over windows in a training step, and their gradients.

/** Leaves behind where the largest of each window was. */
export function maxPool(site: TrainingSite, attributes: OpAttributes['maxPool']): boolean {
  const { draft, work, shapeOf } = site;
  const [x] = work.inputs;
  const from = draft.find(x, picture(site, shapeOf(x)));
  const to = draft.fresh(shapeOf(work.outputs[0]), from.layout, draft.dtype);
  const primitive = draft.dnnl.poolingTraining({ ...windowOf(shapeOf(x), attributes), src: from.desc, dst: to.desc });
  if (primitive?.workspace === undefined) return false;
  const place = draft.room(primitive.workspace);
  site.workspaces.set(poolKey(x, attributes), { place, layout: from.layout });
  draft.emit('other', work.name, primitive, [
    [argument.src, from],
    [argument.dst, to],
    [argument.workspace, place],
  ]);
  draft.settle(work.outputs[0], to);
  return true;
}

export function maxPoolGradient(site: TrainingSite, attributes: OpAttributes['maxPool']): boolean {
  const { draft, work, shapeOf, workspaces } = site;
  const [dy, x] = work.inputs;
  const workspace = workspaces.get(poolKey(x, attributes));
  if (workspace === undefined) return false;
  const window = { ...windowOf(shapeOf(x), attributes), kind: 'max' } as const;
  const from = draft.find(dy, { layout: workspace.layout, dtype: draft.dtype });
  return poolGradient(site, window, from, workspace.place);
}

export function avgPoolGradient(site: TrainingSite, { countPadding, ...attributes }: OpAttributes['avgPool']): boolean {
  const { draft, work, shapeOf } = site;
  const [dy, x] = work.inputs;
  const kind = countPadding ? 'mean with padding' : 'mean';
  const from = draft.find(dy, picture(site, shapeOf(dy)));
  return poolGradient(site, { ...windowOf(shapeOf(x), attributes), kind }, from);
}

export function globalAvgPoolGradient(site: TrainingSite): boolean {
  const { draft, work, shapeOf } = site;
  const [dy, x] = work.inputs;
  const [batch, channels, height, width] = shapeOf(x);
  const row = draft.find(dy, { layout: 'plain', dtype: draft.dtype });
  const wish = picture(site, shapeOf(x));
  // One pixel: its channels lie densely, which blocks of channels may not.
  const pixel = draft.alias(row, [batch, channels, 1, 1], 'channelsLast');
  const from = draft.fresh([batch, channels, 1, 1], wish.layout, wish.dtype);
  if (!copy(draft, work.name, pixel, from)) return false;
  const size = [height, width] as const;
  const window = { kernel: size, stride: [1, 1], padding: [0, 0, 0, 0], kind: 'mean' } as const;
  return poolGradient(site, window, from);
}

/** As a mean, for which there are fast kernels, times the number of pixels. */
export function spatialSum(site: TrainingSite): boolean {
  const { draft, work, shapeOf } = site;
  const [value] = work.outputs;
  const shape = shapeOf(work.inputs[0]);
  const size = [shape[2], shape[3]] as const;
  const from = draft.find(work.inputs[0], picture(site, shape));
  const to = draft.fresh(shapeOf(value), from.layout, draft.dtype);
  const window = { kernel: size, stride: [1, 1], padding: [0, 0, 0, 0], kind: 'mean' } as const;
  const mean = draft.dnnl.pooling({ ...window, src: from.desc, dst: to.desc });
  const sum = draft.dnnl.sum({ srcs: [to.desc], scales: [size[0] * size[1]], dst: to.desc });
  if (mean === undefined || sum === undefined) return false;
  draft.emit('other', work.name, mean, [
    [argument.src, from],
    [argument.dst, to],
  ]);
  draft.emit('other', `${work.name}, times pixels`, sum, [
    [argument.multipleSrc, to],
    [argument.dst, to],
  ]);
  draft.settle(value, to);
  return true;
}

/** Where the largest of each window was. */
const poolKey = (x: number, { kernel, stride, padding }: OpAttributes['maxPool']): string =>
  `pool ${x} ${kernel} ${stride} ${padding}`;

type Window = Pick<Pooling, 'kernel' | 'stride' | 'padding' | 'kind'>;

const windowOf = ([, , height, width]: Shape, { kernel, stride, padding }: OpAttributes['maxPool']): Window => ({
  kernel,
  stride,
  padding: resolvePadding(padding, [height, width], kernel, stride),
  kind: 'max',
});

function poolGradient(site: TrainingSite, window: Window, from: Place, workspace?: Place): boolean {
  const { draft, work, shapeOf } = site;
  const to = draft.fresh(shapeOf(work.outputs[0]), from.layout, draft.dtype);
  const primitive = draft.dnnl.poolingBackward({ ...window, diffSrc: to.desc, diffDst: from.desc });
  const places = [[argument.diffDst, from] as const, [argument.diffSrc, to] as const];
  return settled(site, to, apply(site, primitive, workspace ? [...places, [argument.workspace, workspace]] : places));
}
