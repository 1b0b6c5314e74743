import type { Shape } from '../../tensor.js';
import { sizeOf } from '../../tensor.js';
import type { Activation, Numbers } from '../reference/kernels.js';
import { compute } from '../reference/training-kernels.js';
import { type Argument, argument, type Desc, type Dnnl, type Ready } from './dnnl.js';
import { readByWork, type Work } from './fuse-training.js';
import type { PackedWeights } from './packed.js';
import type { Draft, Place } from './plan.js';

/** A piece of work to be put into calls, and what surrounds it. */
export interface TrainingSite {
  readonly draft: Draft;
  readonly work: Work;
  readonly index: number;
  /** How pictures lie between layers. */
  readonly layout: 'blocked' | 'channelsLast';
  shapeOf(value: number): Shape;
  /** The name of a parameter. */
  nameOf(value: number): string | undefined;
  /** Parameters that stay as they are, and constants. */
  readonly frozen: PackedWeights;
  /** Parameters that learn: where they lie. */
  readonly learning: ReadonlyMap<number, Place>;
  /** Where the gradients of those are to be written, by the gradient's value. */
  readonly targets: ReadonlyMap<number, Place>;
  /** Gradients that are there already. */
  readonly delivered: Set<number>;
  /** What forward passes left for backward passes, by `workspaceKey`. */
  readonly workspaces: Map<string, Workspace>;
}

export interface Workspace {
  readonly place: Place;
  /** How the forward op's operands lay. */
  readonly layout: Place['layout'];
}

/** How an activation and its gradient lie. */
export const picture = ({ draft, layout }: Pick<TrainingSite, 'draft' | 'layout'>, shape: Shape) => {
  const pictures = layout === 'blocked' && fillsBlocks(draft.dnnl, shape) ? 'blocked' : 'channelsLast';
  return { layout: shape.length === 4 ? pictures : 'plain', dtype: draft.dtype } as const;
};

/** Whether blocks of channels are full: the library has few fast kernels for others. */
export const fillsBlocks = ({ processor: { avx512 } }: Dnnl, shape: Shape): boolean =>
  shape[1] % (avx512 ? 16 : 8) === 0;

type Given = readonly (readonly [id: number, place: Place])[];

/** A parameter as a primitive wants it, in the arguments of `emit`. */
export interface Operand {
  readonly places: Given;
  readonly constants: readonly Argument[];
}

/**
 * A parameter in the layout of `as`: one that learns is brought into it anew in every run, unless it lies so; one that
 * stays, once.
 * @param shape as the library reads the plain numbers.
 */
export function operand(site: TrainingSite, id: number, value: number, shape: Shape, as: Desc): Operand {
  const { draft, learning, frozen, nameOf, work } = site;
  const master = learning.get(value);
  if (master === undefined) return { places: [], constants: [[id, frozen.pack(nameOf(value) as string, shape, as)]] };
  if (draft.dnnl.areEqual(master.desc, as)) return { places: [[id, master]], constants: [] };
  const packed = draft.room(as);
  copy(draft, `${work.name}, weight`, master, packed);
  return { places: [[id, packed]], constants: [] };
}

/** Brings numbers into another layout. */
export function copy(draft: Draft, name: string, from: Place, to: Place): boolean {
  const primitive = draft.dnnl.reorder({ src: from.desc, dst: to.desc });
  if (primitive === undefined) return false;
  draft.emit('reorder', name, primitive, [
    [argument.src, from],
    [argument.dst, to],
  ]);
  return true;
}

/** Where a gradient of shape `[C]` goes: straight to its place in the flat array, if a parameter's. */
export function perChannel(site: TrainingSite, value: number | undefined, channels: number): Place {
  const { draft, targets, delivered } = site;
  const target = value === undefined ? undefined : targets.get(value);
  if (value === undefined || target === undefined) {
    const made = draft.fresh([channels], 'plain', 'f32');
    if (value !== undefined) draft.settle(value, made);
    return made;
  }
  delivered.add(value);
  draft.settle(value, target);
  return target;
}

/** Emits a primitive's call; `false` where the library has no such primitive. */
export function apply(
  site: TrainingSite,
  primitive: Parameters<TrainingSite['draft']['emit']>[2] | undefined,
  places: Given,
) {
  if (primitive) site.draft.emit('other', site.work.name, primitive, places);
  return primitive !== undefined;
}

/** Settles the result of a piece of work that is done. */
export function settled({ draft, work }: TrainingSite, to: Place, done: boolean): boolean {
  if (done) draft.settle(work.outputs[0], to);
  return done;
}

/** The first of several ways that is not one of the library's slow kernels; else the first there is. */
export function firstFast<Way, Made extends Ready>(
  ways: readonly Way[],
  make: (way: Way) => Made | undefined,
): { way: Way; primitive: Made } | undefined {
  let slow: { way: Way; primitive: Made } | undefined;
  for (const way of ways) {
    const primitive = make(way);
    if (primitive === undefined) continue;
    if (primitive.implementation.startsWith('ref')) {
      if (slow) primitive.destroy();
      else slow = { way, primitive };
      continue;
    }
    slow?.primitive.destroy();
    return { way, primitive };
  }
  return slow;
}

/** The work by `reference`'s loops, on plain f32. */
export function plainLoops(site: TrainingSite): void {
  const { draft, work, shapeOf, nameOf, learning, frozen } = site;
  const { node, mask, relu, bias } = work;
  const read = new Set(readByWork(work));
  const plain = { layout: 'plain', dtype: 'f32' } as const;
  const from = work.inputs.map((value): Place | Numbers | undefined => {
    const name = nameOf(value);
    if (!read.has(value)) return undefined;
    return name === undefined || learning.has(value) ? draft.find(value, plain) : frozen.plain(name);
  });
  const kept = mask === undefined ? undefined : draft.find(mask, plain);
  const to = work.outputs.map((value) => draft.fresh(shapeOf(value), 'plain', 'f32'));
  const summed = bias === undefined ? undefined : draft.fresh(shapeOf(bias), 'plain', 'f32');
  const all = [...from, kept, ...to, summed].filter((one): one is Place => one !== undefined && 'piece' in one);
  draft.host(work.name, 'plain loops', all, (addressOf) => {
    const numbers = (place: Place): Float32Array => {
      const length = sizeOf(place.desc.shape);
      return new Float32Array(draft.dnnl.view(addressOf(place), length * 4), 0, length);
    };
    const inputs = from.map((one, i): Activation => {
      const data = one === undefined ? new Float32Array(0) : 'piece' in one ? numbers(one) : one;
      return { shape: shapeOf(work.inputs[i]), data };
    });
    if (kept) inputs[0] = { ...inputs[0], data: passed(inputs[0].data, numbers(kept)) };
    const results = compute(node, inputs, work.outputs.map(shapeOf));
    results.forEach((result, i) => {
      numbers(to[i]).set(relu && i === 0 ? result.map((x) => Math.max(0, x)) : result);
    });
    if (summed) numbers(summed).set(compute({ op: 'channelSum', attributes: {} }, inputs, [summed.desc.shape])[0]);
  });
  work.outputs.forEach((value, i) => {
    draft.settle(value, to[i]);
  });
  if (bias !== undefined && summed) draft.settle(bias, summed);
}

const passed = (dy: Numbers, y: Numbers): Numbers => Float64Array.from(dy, (value, i) => (y[i] > 0 ? value : 0));
