import { blurRim, blurTaps, type OpAttributes, type OpName, resolvePadding } from '../../graph/ops.js';
import type { ActivationScale } from '../../graph/quantisation.js';
import { type Shape, sizeOf } from '../../tensor.js';
import { type Activation, kernels } from '../reference/kernels.js';
import type { Variant } from './convolve.js';
import { argument, type DataType, type Layout, type PostOp, type Primitive } from './dnnl.js';
import type { Step } from './fuse.js';
import { biasArgument, convolve, int8Input, weightScales } from './lower-convolution.js';
import type { PackedWeights } from './packed.js';
import type { Draft, Place } from './plan.js';

/** A step to be put into calls, and what surrounds it. */
export interface Site {
  readonly draft: Draft;
  readonly weights: PackedWeights;
  readonly step: Step;
  readonly index: number;
  /** Shapes of the inputs: activations, then parameters. */
  readonly shapes: readonly Shape[];
  readonly shape: Shape;
  /** Names of the parameters, in the op table's order. */
  readonly parameters: readonly string[];
  /** How the step's own convolution is computed. */
  readonly variant: Variant;
  /** The scale of a value, in a network of 8 bits. */
  scaleOf(value: number): ActivationScale | undefined;
}

/** Emits an op's calls and settles its result; answers `false` where the library has no such primitive. */
type Lowering<K extends OpName> = (site: Site, attributes: OpAttributes[K]) => boolean;

/** Every op in oneDNN's primitives. What the library refuses is computed by `reference`'s loops. */
export const lowerings = {
  conv2d: (site, attributes) => convolve(site, attributes),
  batchNorm(site, { epsilon }) {
    const { draft, step, shape, parameters } = site;
    if (shape.length !== 4) return false;
    const from = draft.find(step.node.inputs[0], { layout: pictureLayout(site, 0), dtype: draft.dtype });
    const to = draft.fresh(shape, from.layout, draft.dtype);
    const primitive = draft.dnnl.batchNorm({ src: from.desc, dst: to.desc, epsilon, relu: step.relu });
    if (primitive === undefined) return false;
    const perChannel = draft.dnnl.describe([shape[1]], 'f32', 'plain');
    const [gamma, beta, mean, variance] = parameters.map((name) => site.weights.pack(name, [shape[1]], perChannel));
    draft.emit(
      'other',
      step.name,
      primitive,
      [
        [argument.src, from],
        [argument.dst, to],
      ],
      [
        [argument.scale, gamma],
        [argument.shift, beta],
        [argument.mean, mean],
        [argument.variance, variance],
      ],
    );
    draft.settle(step.output, to);
    return true;
  },
  relu: (site) => eltwise(site, 'relu'),
  sigmoid: (site) => eltwise(site, 'sigmoid'),
  maxPool: (site, { kernel, stride, padding }) =>
    pool(site, 'max', kernel, stride, resolvePadding(padding, pictureSize(site), kernel, stride)),
  avgPool(site, { kernel, stride, padding, countPadding }) {
    const zeros = resolvePadding(padding, pictureSize(site), kernel, stride);
    return pool(site, countPadding ? 'mean with padding' : 'mean', kernel, stride, zeros);
  },
  globalAvgPool(site, { keepDims }) {
    const size = pictureSize(site);
    if (!pool(site, 'mean', size, [1, 1], [0, 0, 0, 0], [...site.shape.slice(0, 2), 1, 1])) return false;
    if (!keepDims) flat(site.draft, site.step.output, site.shape);
    return true;
  },
  blurPool(site, { kernel, stride }) {
    const { draft, step, shapes, shape } = site;
    const [batch, channels, height, width] = shapes[0];
    const rim = blurRim(kernel, stride);
    const taps = blurTaps(kernel);
    const filter = taps.flatMap((a) => taps.map((b) => a * b));
    const name = `${step.node.name}.taps`;
    site.weights.add(
      name,
      Float32Array.from({ length: channels * filter.length }, (_, i) => filter[i % filter.length]),
    );
    const from = draft.find(step.node.inputs[0], { layout: 'channelsLast', dtype: draft.dtype });
    const framed = draft.fresh([batch, channels, height + 2 * rim, width + 2 * rim], 'channelsLast', draft.dtype);
    const copy = (source: Place, [y0, x0]: Shape, [y1, x1]: Shape, [h, w]: Shape) =>
      copyPart(site, source, [0, 0, y0, x0], framed, [0, 0, y1, x1], [batch, channels, h, w]);
    let done = copy(from, [0, 0], [rim, rim], [height, width]);
    // Columns first, then whole rows: the corners are mirrored twice.
    for (let i = 1; i <= rim; i++)
      done &&=
        copy(framed, [rim, rim + i], [rim, rim - i], [height, 1]) &&
        copy(framed, [rim, rim + width - 1 - i], [rim, rim + width - 1 + i], [height, 1]);
    for (let i = 1; i <= rim; i++)
      done &&=
        copy(framed, [rim + i, 0], [rim - i, 0], [1, width + 2 * rim]) &&
        copy(framed, [rim + height - 1 - i, 0], [rim + height - 1 + i, 0], [1, width + 2 * rim]);
    if (!done) return false;
    draft.settle(step.output, framed);
    const attributes = { kernel: [kernel, kernel], stride: [stride, stride], padding: [0, 0, 0, 0] } as const;
    return convolve(
      {
        ...site,
        step: { ...step, node: { ...step.node, inputs: [step.output] } as Step['node'] },
        shapes: [framed.desc.shape],
        shape,
        parameters: [name],
        variant: { layout: 'channelsLast', algorithm: 'direct' },
        scaleOf: () => undefined,
      },
      { ...attributes, dilation: [1, 1], groups: channels },
    );
  },
  resize(site, { to, mode, coordinates }) {
    const { draft, step, shapes, shape } = site;
    if (mode !== 'bilinear' || !isHalfPixel(to, coordinates, shapes[0], shape)) return false;
    const from = draft.find(step.node.inputs[0], { layout: pictureLayout(site, 0), dtype: draft.dtype });
    const made = draft.fresh(shape, from.layout, draft.dtype);
    const primitive = draft.dnnl.resampling({ src: from.desc, dst: made.desc, kind: 'linear' });
    return single(site, primitive, from, made);
  },
  pad(site, { channels, spatial: [top, left] }) {
    const { draft, step, shapes, shape } = site;
    const from = draft.find(step.node.inputs[0], { layout: 'channelsLast', dtype: draft.dtype });
    const made = draft.fresh(shape, 'channelsLast', draft.dtype);
    draft.host(`${step.name}, zeros`, 'memset', [made], (addressOf) =>
      draft.dnnl.clear(addressOf(made), made.desc.bytes),
    );
    if (!copyPart(site, from, [0, 0, 0, 0], made, [0, channels[0], top, left], shapes[0])) return false;
    draft.settle(step.output, made);
    return true;
  },
  add: (site) => binary(site, 'add'),
  mul: (site) => binary(site, 'mul'),
  concat(site, { axis }) {
    const { draft, step, shapes, shape } = site;
    const layout: Layout = shape.length === 4 ? 'channelsLast' : 'plain';
    const made = draft.fresh(shape, layout, draft.dtype);
    let at = 0;
    for (const [i, value] of step.node.inputs.entries()) {
      const from = draft.find(value, { layout, dtype: draft.dtype });
      const offsets = shape.map((_, dimension) => (dimension === axis ? at : 0));
      if (
        !copyPart(
          site,
          from,
          shape.map(() => 0),
          made,
          offsets,
          shapes[i],
        )
      )
        return false;
      at += shapes[i][axis];
    }
    draft.settle(step.output, made);
    return true;
  },
  flatten(site, { channelsLast }) {
    const { draft, step, shapes, shape } = site;
    const isPicture = shapes[0].length === 4;
    const from = draft.find(step.node.inputs[0], { layout: channelsLast && isPicture ? 'channelsLast' : 'plain' });
    draft.settle(step.output, draft.alias(from, shape, 'plain'));
    return true;
  },
  reshape({ draft, step, shape }) {
    const from = draft.find(step.node.inputs[0], { layout: 'plain' });
    draft.settle(step.output, draft.alias(from, shape, 'plain'));
    return true;
  },
  dense(site) {
    const { draft, step, shapes, shape, parameters } = site;
    const [weight, bias] = parameters;
    const input = int8Input(site);
    const wish = input ?? { dtype: draft.dtype };
    const from = draft.find(step.node.inputs[0], { layout: 'plain', ...wish });
    const to = draft.fresh(shape, 'plain', 'f32');
    const scales = input && {
      src: input.scale,
      weights: weightScales(site.weights.largest(weight)),
      dst: 1,
    };
    const primitive = draft.dnnl.innerProduct({
      src: from.desc,
      weights: draft.dnnl.describe(shapes[1], input ? 's8' : draft.dtype, 'any'),
      ...(scales && { scales }),
      ...(bias !== undefined && { bias: draft.dnnl.describe([shape[1]], 'f32', 'plain') }),
      dst: to.desc,
      ...(step.relu && { postOps: [{ op: 'relu' }] }),
      ...(draft.fastMath && { fastMath: true }),
    });
    if (primitive?.weights === undefined) return false;
    draft.emit(
      'other',
      step.name,
      primitive,
      [
        [argument.src, from],
        [argument.dst, to],
      ],
      [
        [argument.weights, site.weights.pack(weight, shapes[1], primitive.weights, scales?.weights)],
        ...biasArgument(site, bias, primitive),
      ],
    );
    draft.settle(step.output, to);
    return true;
  },
  dropout({ draft, step }) {
    draft.settle(step.output, draft.home(step.node.inputs[0]));
    return true;
  },
  softmax(site) {
    const { draft, step, shape } = site;
    const from = draft.find(step.node.inputs[0], { layout: 'plain', dtype: 'f32' });
    const to = draft.fresh(shape, 'plain', 'f32');
    const primitive = draft.dnnl.softmax({ src: from.desc, dst: to.desc, axis: shape.length - 1 });
    return single(site, primitive, from, to);
  },
} satisfies { [K in OpName]: Lowering<K> };

/** Emits a step's calls. */
export function lower(site: Site): void {
  // The row and the attributes belong to the same op, which TypeScript cannot see through the union.
  const row = lowerings[site.step.node.op] as Lowering<'conv2d'>;
  if (!row(site, site.step.node.attributes as OpAttributes['conv2d'])) plainLoops(site);
}

/** The step by `reference`'s loops, on plain f32. */
function plainLoops({ draft, weights, step, shapes, shape, parameters }: Site): void {
  const { node, residual, relu } = step;
  const activations = node.inputs.slice(0, node.inputs.length - parameters.length);
  const from = activations.map((value) => draft.find(value, { layout: 'plain', dtype: 'f32' }));
  const added = residual === undefined ? undefined : draft.find(residual, { layout: 'plain', dtype: 'f32' });
  const to = draft.fresh(shape, 'plain', 'f32');
  const kernel = kernels[node.op] as (typeof kernels)['conv2d'];
  const attributes = node.attributes as OpAttributes['conv2d'];
  const constants = parameters.map(
    (name, i): Activation => ({
      shape: shapes[from.length + i],
      data: weights.plain(name),
    }),
  );
  draft.host(step.name, 'plain loops', [...from, ...(added ? [added] : []), to], (addressOf) => {
    const numbers = (place: Place): Activation => {
      const length = sizeOf(place.desc.shape);
      const view = draft.dnnl.view(addressOf(place), length * 4);
      return { shape: place.desc.shape, data: new Float32Array(view, 0, length) };
    };
    const result = kernel([...from.map(numbers), ...constants], attributes, shape);
    const other = added && numbers(added).data;
    numbers(to).data.set(result.map((x, i) => (relu ? Math.max(0, x + (other?.[i] ?? 0)) : x + (other?.[i] ?? 0))));
  });
  draft.settle(step.output, to);
}

/** Emits the one call from one place to another that a step is; false where the library has none. */
function single({ draft, step }: Site, primitive: Primitive | undefined, from: Place, to: Place): boolean {
  if (primitive === undefined) return false;
  draft.emit('other', step.name, primitive, [
    [argument.src, from],
    [argument.dst, to],
  ]);
  draft.settle(step.output, to);
  return true;
}

const pictureSize = ({ shapes }: Site) => [shapes[0][2], shapes[0][3]] as const;

/** Whether pictures are resized by the library's one rule: half-pixel centres, and the ratio of the sizes. */
export function isHalfPixel(
  to: OpAttributes['resize']['to'],
  coordinates: OpAttributes['resize']['coordinates'],
  [, , height, width]: Shape,
  result: Shape,
): boolean {
  const exact = 'sizes' in to || (to.scales[0] * height === result[2] && to.scales[1] * width === result[3]);
  return (
    exact && (coordinates === 'half_pixel' || (coordinates === 'pytorch_half_pixel' && result[2] > 1 && result[3] > 1))
  );
}

/** The layout an input lies in already, unless that is the one pictures arrive in. */
function pictureLayout({ draft, step, shapes }: Site, i: number): Layout {
  const { layout } = draft.home(step.node.inputs[i]);
  return shapes[i].length !== 4 ? 'plain' : layout === 'plain' ? 'channelsLast' : layout;
}

function eltwise(site: Site, kind: 'relu' | 'sigmoid'): boolean {
  const { draft, step, shape } = site;
  const from = draft.find(step.node.inputs[0], { layout: pictureLayout(site, 0), dtype: draft.dtype });
  const to = draft.fresh(shape, from.layout, draft.dtype);
  const primitive = draft.dnnl.eltwise({ src: from.desc, dst: to.desc, kind });
  return single(site, primitive, from, to);
}

function pool(
  site: Site,
  kind: 'max' | 'mean' | 'mean with padding',
  kernel: readonly [number, number],
  stride: readonly [number, number],
  padding: readonly [number, number, number, number],
  shape = site.shape,
): boolean {
  const { draft, step } = site;
  const { desc, scale } = draft.home(step.node.inputs[0]);
  // The largest of numbers of 8 bits is one of them; a mean is not.
  const isInt8 = desc.dtype === 'u8' || desc.dtype === 's8';
  const dtype: DataType = isInt8 && kind === 'max' ? desc.dtype : draft.dtype;
  // One pixel is left: its channels then lie densely, which blocks of channels may not.
  const one = shape[2] * shape[3] === 1 && shape[1] % 16 !== 0;
  const layout = one ? 'channelsLast' : pictureLayout(site, 0);
  const from = draft.find(step.node.inputs[0], { layout, dtype, ...(dtype === desc.dtype && { scale }) });
  const to = draft.fresh(shape, from.layout, dtype, from.scale);
  const primitive = draft.dnnl.pooling({ src: from.desc, dst: to.desc, kernel, stride, padding, kind });
  return single(site, primitive, from, to);
}

/** The one pixel of every channel as a row of features. */
function flat(draft: Draft, value: number, shape: Shape): void {
  draft.settle(value, draft.alias(draft.home(value), shape, 'plain'));
}

function binary(site: Site, kind: 'add' | 'mul'): boolean {
  const { draft, step, shapes, shape, index } = site;
  const { node, residual, relu } = step;
  // The larger operand first; a gate [N, C, 1, 1] is the other.
  const swapped = sizeOf(shapes[0]) < sizeOf(shapes[1]);
  const [big, small] = swapped ? [1, 0] : [0, 1];
  const wish = { layout: pictureLayout(site, big), dtype: draft.dtype };
  const [a, b] = [big, small].map((i) => draft.find(node.inputs[i], wish));
  const added = residual === undefined ? undefined : draft.find(residual, wish);
  // An operand that is added once more is not written over meanwhile: 2.6.3 would add what it has just written.
  const again = added && [a, b].some(({ piece }) => piece === added.piece) ? added : undefined;
  const to =
    residual === undefined || again
      ? draft.fresh(shape, wish.layout, wish.dtype)
      : draft.overwritable(residual, wish, index);
  const sum = again ? ({ op: 'add', by: again.desc } as const) : ({ op: 'sum' } as const);
  const postOps: PostOp[] = [...(residual === undefined ? [] : [sum]), ...(relu ? [{ op: 'relu' } as const] : [])];
  const primitive = draft.dnnl.binary({ src: a.desc, src1: b.desc, dst: to.desc, kind, postOps });
  if (primitive === undefined) return false;
  draft.emit('other', step.name, primitive, [
    [argument.src, a],
    [argument.src1, b],
    [argument.dst, to],
    ...(again ? [[draft.dnnl.postOpArgument(0), again] as const] : []),
  ]);
  draft.settle(step.output, to);
  return true;
}

/** Copies a box of `shape` from one place into another. */
function copyPart(
  { draft, step }: Site,
  from: Place,
  fromOffsets: readonly number[],
  to: Place,
  toOffsets: readonly number[],
  shape: Shape,
): boolean {
  const [source, target] = [draft.part(from, fromOffsets, shape), draft.part(to, toOffsets, shape)];
  const primitive = source && target && draft.dnnl.reorder({ src: source.desc, dst: target.desc });
  if (primitive === undefined) return false;
  draft.emit('reorder', step.name, primitive, [
    [argument.src, source as Place],
    [argument.dst, target as Place],
  ]);
  return true;
}
