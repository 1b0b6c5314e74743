import { type OpAttributes, resolvePadding } from '../../graph/ops.js';
import type { Shape } from '../../tensor.js';
import type { Attributes, Convolution, DataType, Dnnl, Layout, Primitive } from './dnnl.js';

/** How a convolution is computed. `winograd`: Lavin and Gray 2015, for 3×3 windows with stride 1, blocked layouts, f32. */
export interface Variant {
  readonly layout: 'channelsLast' | 'blocked';
  readonly algorithm: Convolution['algorithm'];
}

export const direct: Variant = { layout: 'channelsLast', algorithm: 'direct' };

/** A convolution without its layout: what decides how long it takes. */
export interface Job extends Pick<OpAttributes['conv2d'], 'kernel' | 'stride' | 'dilation' | 'groups'> {
  readonly src: Shape;
  readonly dst: Shape;
  readonly padding: readonly [number, number, number, number];
  readonly bias: boolean;
  /** Numbers of what the destination holds and is added; undefined where nothing is. */
  readonly residual: DataType | undefined;
  readonly relu: boolean;
  /** Multiplies as bf16 what is kept in f32. */
  readonly fastMath?: boolean;
  readonly types: { readonly src: DataType; readonly weights: DataType; readonly dst: DataType };
}

export function jobOf(
  attributes: OpAttributes['conv2d'],
  src: Shape,
  dst: Shape,
  rest: Pick<Job, 'bias' | 'residual' | 'relu' | 'types' | 'fastMath'>,
): Job {
  const { kernel, stride, dilation, groups } = attributes;
  const padding = resolvePadding(attributes.padding, [src[2], src[3]], kernel, stride, dilation);
  return { kernel, stride, dilation, groups, padding, src, dst, ...rest };
}

/** `[O, I, H, W]`, or `[G, O/G, I/G, H, W]`. */
export function weightShape({ src, dst, kernel, groups }: Job): Shape {
  const [out, into] = [dst[1] / groups, src[1] / groups];
  return groups === 1 ? [out, into, ...kernel] : [groups, out, into, ...kernel];
}

/** Whether Winograd's algorithm is defined for it. */
export const isWinograd = ({ kernel, stride, dilation, groups, types, src, dst }: Job): boolean =>
  types.src === 'f32' &&
  groups === 1 &&
  [...kernel].every((side) => side === 3) &&
  [...stride, ...dilation].every((step) => step === 1) &&
  src[1] % 16 === 0 &&
  dst[1] % 16 === 0;

/** Ways to compute all convolutions of a network alike, each where it is defined: the self-check goes through them. */
export const ways = {
  direct: () => direct,
  blocked: () => ({ layout: 'blocked', algorithm: 'direct' }),
  winograd: (job) => ({ layout: 'blocked', algorithm: isWinograd(job) ? 'winograd' : 'direct' }),
} satisfies Record<string, (job: Job) => Variant>;

/** Pictures come row by row, and the blocked kernels read so few channels best that way. */
export const sourceLayout = ({ src }: Job, { layout }: Variant): Layout =>
  layout === 'blocked' && src[1] < 8 ? 'plain' : layout;

/** The library's convolution for a job; undefined where it has none. */
export function makeConvolution(
  dnnl: Dnnl,
  job: Job,
  variant: Variant,
  attributes: Attributes & Pick<Convolution, 'training'> = {},
): Primitive | undefined {
  const { src, dst, types, stride, dilation, padding, residual, relu, fastMath } = job;
  return dnnl.convolution({
    src: dnnl.describe(src, types.src, sourceLayout(job, variant)),
    weights: dnnl.describe(weightShape(job), types.weights, 'any'),
    ...(job.bias && { bias: dnnl.describe([dst[1]], 'f32', 'plain') }),
    dst: dnnl.describe(dst, types.dst, variant.layout),
    stride,
    dilation,
    padding,
    algorithm: variant.algorithm,
    postOps: [
      ...(residual === undefined ? [] : [{ op: 'sum', dtype: residual } as const]),
      ...(relu ? [{ op: 'relu' } as const] : []),
    ],
    ...(fastMath && { fastMath }),
    ...attributes,
  });
}
