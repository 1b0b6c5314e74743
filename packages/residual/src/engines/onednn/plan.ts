import { ResidualError } from '../../errors.js';
import type { StepGraph } from '../../graph/graph.js';
import type { Quantisation } from '../../graph/quantisation.js';
import { type Shape, sizeOf, type Tensor } from '../../tensor.js';
import { layOut, newPiece, type Piece } from './arena.js';
import {
  type Argument,
  type Arguments,
  argument,
  type DataType,
  type Desc,
  type Dnnl,
  type Layout,
  type Ready,
} from './dnnl.js';

/** A tensor in a plan's memory: real value = stored number · scale. */
export interface Place {
  readonly desc: Desc;
  readonly layout: Layout;
  readonly scale: number;
  readonly piece: Piece;
  /** Of memory that is not the plan's own. */
  readonly address?: bigint;
}

/** Bytes of scratch memory that all calls share, as it stays in the cache; more is found among the activations. */
const mostShared = 2 ** 22;

/** What a lowering asks for: layout and numbers; its input as it lies where a field is left out. */
export interface Wish {
  readonly layout?: Layout;
  readonly dtype?: DataType;
  readonly scale?: number;
}

export type InstructionKind = 'convolution' | 'reorder' | 'other' | 'host';

/** One call of a run. */
interface Instruction {
  readonly kind: InstructionKind;
  readonly name: string;
  readonly primitive?: Ready;
  readonly places: readonly (readonly [id: number, place: Place])[];
  readonly constants: readonly Argument[];
  /** What JavaScript does itself, in place of a primitive, once the places have their memory. */
  readonly host?: (addressOf: (place: Place) => bigint) => void;
  /** What the host's work is called. */
  readonly by?: HostWork;
}

/** `plain loops` are `reference`'s: slow. A `scan` only looks at memory. */
type HostWork = 'plain loops' | 'memset' | 'scan';

/** Which kernel a plan uses for a layer. */
export interface ChosenKernel {
  readonly layer: string;
  readonly kind: InstructionKind;
  /** The library's name of it; `plain loops` where JavaScript computes, `memset` where it clears memory, `scan`. */
  readonly implementation: string;
}

/** A network as a list of calls, for inputs of certain shapes. */
export interface Plan {
  readonly kernels: readonly ChosenKernel[];
  run(inputs: Readonly<Record<string, Tensor>>): Record<string, Tensor>;
  /** Does the calls of one kind only, on whatever the memory holds: for timings. */
  repeat(kind: InstructionKind): void;
  /** Bytes of the memory that all values share, scratch memory included. */
  readonly bytes: number;
  dispose(): void;
}

/** A plan in the making. Values are the graph's. */
export interface Draft {
  readonly dnnl: Dnnl;
  readonly quantisation: Quantisation | undefined;
  /** Numbers of activations that nothing else is said of. */
  readonly dtype: 'f32' | 'bf16';
  readonly fastMath?: boolean | undefined;
  /** A value as it first came to lie. */
  home(value: number): Place;
  /** The same, or undefined before it is there. */
  known(value: number): Place | undefined;
  /** A value in the wished layout and numbers; put in order for it once, however many ask. */
  find(value: number, wish: Wish): Place;
  /** New memory for a result. */
  fresh(shape: Shape, layout: Layout, dtype: DataType, scale?: number): Place;
  /** New memory for what only the library reads. */
  room(desc: Desc): Place;
  /** Memory for a result: that of one of `values` which nobody needs after the step at hand, where one lies so; else new. */
  over(values: readonly number[], step: number, shape: Shape, layout: Layout, dtype: DataType): Place;
  /**
   * The memory of a value that nobody needs after the step at hand, to be written over; a copy where it is needed, or
   * where the step reads it too, as `besides`, while it writes.
   */
  overwritable(value: number, wish: Wish, step: number, besides?: Place): Place;
  /** The same memory read as another shape. */
  alias(place: Place, shape: Shape, layout: Layout): Place;
  /** A box inside a place; undefined where its layout has none. */
  part(place: Place, offsets: readonly number[], shape: Shape): Place | undefined;
  settle(value: number, place: Place): void;
  emit(
    kind: InstructionKind,
    name: string,
    primitive: Ready,
    places: readonly (readonly [id: number, place: Place])[],
    constants?: readonly Argument[],
  ): void;
  host(name: string, by: HostWork, places: readonly Place[], run: (addressOf: (place: Place) => bigint) => void): void;
}

/**
 * Builds a plan: `lower` emits every step's calls; then memory is shared out by liveness and everything is bound.
 * @param reads the values that each step reads.
 * @throws ENGINE when the library fails or memory runs out; nothing stays behind then.
 */
export function buildPlan(
  given: Dnnl,
  graph: Pick<StepGraph, 'inputs' | 'outputs'>,
  reads: readonly (readonly number[])[],
  shapes: readonly Shape[],
  options: Pick<Draft, 'dtype' | 'fastMath' | 'quantisation'>,
  lower: (draft: Draft, step: number) => void,
): Plan {
  /** What the plan holds beside JavaScript's memory; it goes in the opposite order. */
  const owned: (() => void)[] = [];
  const dnnl = noted(given, ({ destroy }) => owned.push(destroy));
  const instructions: Instruction[] = [];
  const places = new Map<number, Place[]>();
  const pieces: Piece[] = [];
  /** Values that lie in a piece, under whichever shape. */
  const tenants = new Map<Piece, Set<number>>();
  const lastRead = new Map<number, number>();
  reads.forEach((values, step) => {
    for (const value of values) lastRead.set(value, step);
  });
  for (const { value } of graph.outputs) lastRead.set(value, reads.length);

  function use(place: Place): void {
    place.piece.from = Math.min(place.piece.from, instructions.length);
    place.piece.to = Math.max(place.piece.to, instructions.length);
  }
  function inhabit(value: number, { piece }: Place): void {
    tenants.set(piece, (tenants.get(piece) ?? new Set()).add(value));
  }
  const home = (value: number): Place => (places.get(value) as Place[])[0];
  const isDead = ({ piece }: Place, step: number): boolean =>
    [...(tenants.get(piece) ?? [])].every((tenant) => (lastRead.get(tenant) ?? -1) <= step);
  function made(desc: Desc, layout: Layout, scale: number): Place {
    const piece = newPiece(desc.bytes);
    pieces.push(piece);
    return { desc, layout, scale, piece };
  }
  const draft: Draft = {
    dnnl,
    ...options,
    home,
    known: (value) => places.get(value)?.[0],
    fresh: (shape, layout, dtype, scale = 1) => made(dnnl.describe(shape, dtype, layout), layout, scale),
    room: (desc) => made(desc, 'any', 1),
    over(values, step, shape, layout, dtype) {
      const desc = dnnl.describe(shape, dtype, layout);
      const found = values
        .flatMap((value) => places.get(value) ?? [])
        .find((place) => place.address === undefined && isDead(place, step) && dnnl.areEqual(place.desc, desc));
      return found ?? draft.fresh(shape, layout, dtype);
    },
    find(value, { layout, dtype, scale }) {
      const first = home(value);
      const wanted = {
        layout: layout ?? first.layout,
        dtype: dtype ?? first.desc.dtype,
        scale: scale ?? (dtype === undefined || dtype === first.desc.dtype ? first.scale : 1),
      };
      const all = places.get(value) as Place[];
      const found = all.find(
        (place) => place.desc.dtype === wanted.dtype && place.scale === wanted.scale && isLaid(place, wanted.layout),
      );
      if (found) return found;
      const made = draft.fresh(first.desc.shape, wanted.layout, wanted.dtype, wanted.scale);
      reorder(`value ${value}`, first, made);
      all.push(made);
      inhabit(value, made);
      return made;
    },
    overwritable(value, wish, step, besides) {
      const place = draft.find(value, wish);
      if (place.piece !== besides?.piece && isDead(place, step)) return place;
      const copy = draft.fresh(place.desc.shape, place.layout, place.desc.dtype, place.scale);
      reorder(`value ${value}, kept`, place, copy);
      return copy;
    },
    alias: (place, shape, layout) => ({ ...place, desc: dnnl.describe(shape, place.desc.dtype, layout), layout }),
    part(place, offsets, shape) {
      const desc = dnnl.part(place.desc, offsets, shape);
      return desc && { ...place, desc };
    },
    settle(value, place) {
      places.set(value, [place]);
      inhabit(value, place);
    },
    emit(kind, name, primitive, at, constants = []) {
      const { scratchpad: bytes } = primitive;
      const scratch = bytes > mostShared ? [draft.room(dnnl.describe([bytes], 'u8', 'plain'))] : [];
      const all = [...at, ...scratch.map((place) => [argument.scratchpad, place] as const)];
      for (const [, place] of all) use(place);
      instructions.push({ kind, name, primitive, places: all, constants: [...constants, ...primitive.constants] });
    },
    host(name, by, at, run) {
      for (const place of at) use(place);
      instructions.push({ kind: 'host', name, places: [], constants: [], host: run, by });
    },
  };

  function reorder(name: string, from: Place, to: Place): void {
    const scales = from.scale === to.scale ? {} : { scales: Float32Array.of(to.scale / from.scale) };
    const primitive = dnnl.reorder({ src: from.desc, dst: to.desc, ...scales });
    if (primitive === undefined)
      throw new ResidualError('ENGINE', `oneDNN ${dnnl.version} cannot put ${name} in another order`);
    draft.emit('reorder', name, primitive, [
      [argument.src, from],
      [argument.dst, to],
    ]);
  }

  try {
    const inputs = graph.inputs.map(({ name, value }) => {
      const place = draft.fresh(shapes[value], 'plain', 'f32');
      draft.settle(value, place);
      place.piece.from = 0;
      return { name, place };
    });
    for (let step = 0; step < reads.length; step++) lower(draft, step);
    const outputs = graph.outputs.map(({ name, value }) => {
      const place = draft.find(value, { layout: 'plain', dtype: 'f32' });
      place.piece.to = Number.POSITIVE_INFINITY;
      return { name, shape: shapes[value], place };
    });
    // Inputs are written before the first call, also by a plan without any.
    for (const { place } of inputs) place.piece.to = Math.max(place.piece.to, 0);
    return bind(dnnl, instructions, pieces, inputs, outputs, owned);
  } catch (error) {
    release(owned);
    throw error;
  }
}

/** The same library, but whatever primitive it makes is told: one that was not put to use yet must go, too. */
function noted(dnnl: Dnnl, tell: (made: Ready) => void): Dnnl {
  const note =
    <Op, Made extends Ready>(make: (op: Op) => Made | undefined) =>
    (op: Op): Made | undefined => {
      const made = make(op);
      if (made) tell(made);
      return made;
    };
  return {
    ...dnnl,
    convolution: note(dnnl.convolution),
    innerProduct: note(dnnl.innerProduct),
    pooling: note(dnnl.pooling),
    batchNorm: note(dnnl.batchNorm),
    eltwise: note(dnnl.eltwise),
    binary: note(dnnl.binary),
    softmax: note(dnnl.softmax),
    resampling: note(dnnl.resampling),
    reorder: note(dnnl.reorder),
    convolutionBackwardData: note(dnnl.convolutionBackwardData),
    convolutionBackwardWeights: note(dnnl.convolutionBackwardWeights),
    innerProductBackwardData: note(dnnl.innerProductBackwardData),
    innerProductBackwardWeights: note(dnnl.innerProductBackwardWeights),
    batchNormTraining: note(dnnl.batchNormTraining),
    batchNormBackward: note(dnnl.batchNormBackward),
    poolingTraining: note(dnnl.poolingTraining),
    poolingBackward: note(dnnl.poolingBackward),
    eltwiseBackward: note(dnnl.eltwiseBackward),
    softmaxBackward: note(dnnl.softmaxBackward),
    resamplingBackward: note(dnnl.resamplingBackward),
    sum: note(dnnl.sum),
    reduction: note(dnnl.reduction),
  };
}

function release(owned: readonly (() => void)[]): void {
  for (const free of owned.toReversed()) free();
}

/** Whether a place lies so: where several layouts are one and the same, any name will do. */
function isLaid({ layout, desc: { shape } }: Place, wanted: Layout): boolean {
  if (layout === 'any') return false;
  if (layout === wanted || shape.length !== 4) return true;
  if (layout === 'blocked' || wanted === 'blocked') return false;
  return shape[1] === 1 || (shape[2] === 1 && shape[3] === 1);
}

interface Port {
  readonly name: string;
  readonly place: Place;
}

/** Gives every place its memory, and every call its arguments. */
function bind(
  dnnl: Dnnl,
  instructions: readonly Instruction[],
  pieces: readonly Piece[],
  inputs: readonly Port[],
  outputs: readonly (Port & { shape: Shape })[],
  owned: (() => void)[],
): Plan {
  const used = pieces.filter((piece) => piece.to >= 0);
  const bytes = layOut(used);
  const shared = ({ primitive }: Instruction): number => {
    const bytes = primitive?.scratchpad ?? 0;
    return bytes > mostShared ? 0 : bytes;
  };
  const scratchBytes = Math.max(0, ...instructions.map(shared));
  function allocate(bytes: number): bigint {
    const address = dnnl.allocate(bytes);
    owned.push(() => dnnl.free(address));
    return address;
  }
  function memory(desc: Desc, address: bigint): bigint {
    const made = dnnl.memory(desc, address);
    owned.push(() => dnnl.destroyMemory(made));
    return made;
  }
  function arguments_(list: readonly Argument[]): Arguments {
    const made = dnnl.arguments(list);
    owned.push(() => dnnl.freeArguments(made));
    return made;
  }
  const base = allocate(Math.max(64, bytes));
  const memories = new Map<string, bigint>();
  const scratchMemory = scratchBytes
    ? memory(dnnl.describe([scratchBytes], 'u8', 'plain'), allocate(scratchBytes))
    : undefined;

  const addressOf = ({ piece, address }: Place): bigint => address ?? base + BigInt(piece.offset);
  const descs: Desc[] = [];
  /** One memory object for a layout at an address, however many calls use it. */
  function memoryOf(place: Place): bigint {
    let number = descs.indexOf(place.desc);
    if (number < 0) number = descs.push(place.desc) - 1;
    const key = `${number} ${addressOf(place)}`;
    const found = memories.get(key) ?? memory(place.desc, addressOf(place));
    memories.set(key, found);
    return found;
  }

  const calls = instructions.map((instruction) => {
    const { kind, primitive, places, constants, host } = instruction;
    if (primitive === undefined) return { kind, host: () => host?.(addressOf) };
    const list: Argument[] = [...places.map(([id, place]): Argument => [id, memoryOf(place)]), ...constants];
    if (shared(instruction) && scratchMemory) list.push([argument.scratchpad, scratchMemory]);
    return { kind, handle: primitive.handle, args: arguments_(list) };
  });
  const floats = (place: Place, length: number) => new Float32Array(dnnl.view(addressOf(place), length * 4), 0, length);
  const into = inputs.map(({ name, place }) => ({ name, view: floats(place, sizeOf(place.desc.shape)) }));
  const from = outputs.map(({ name, shape, place }) => ({ name, shape, view: floats(place, sizeOf(shape)) }));

  function perform(call: (typeof calls)[number]): void {
    if (call.handle === undefined) {
      dnnl.wait();
      call.host();
    } else dnnl.execute(call.handle, call.args as Arguments);
  }

  return {
    kernels: instructions.map(({ name, kind, primitive, by }) => ({
      layer: name,
      kind,
      implementation: primitive?.implementation ?? (by as HostWork),
    })),
    run(given) {
      for (const { name, view } of into) view.set(given[name].data);
      for (const call of calls) perform(call);
      dnnl.wait();
      return Object.fromEntries(
        from.map(({ name, shape, view }): [string, Tensor] => [name, { dtype: 'float32', shape, data: view.slice() }]),
      );
    },
    bytes: bytes + scratchBytes,
    repeat(kind) {
      for (const call of calls) if (call.kind === kind) perform(call);
      dnnl.wait();
    },
    dispose: () => release(owned),
  };
}
