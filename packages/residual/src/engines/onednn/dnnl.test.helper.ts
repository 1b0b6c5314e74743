import { describe, test } from 'vitest';
import type { ResidualError } from '../../errors.js';
import { type Shape, sizeOf, type Tensor } from '../../tensor.js';
import { shared } from '../../testing.js';
import { compute } from '../reference/training-kernels.js';
import { type Argument, argument, type DataType, type Desc, type Dnnl, type Ready } from './dnnl.js';
import { openDnnl } from './library.js';

function open(): Dnnl | ResidualError {
  try {
    return openDnnl();
  } catch (error) {
    if (shared) throw error; // With the shared material there, the library must be too.
    return error as ResidualError;
  }
}

const opened = open();
// With more threads than free cores every op waits for its slowest thread; a test of its own runs in several.
if (!('code' in opened)) opened.setThreads(1);

/** The library; tests with it stand in `withLibrary`, which skips them where it is not installed. */
export const dnnl = opened as Dnnl;
export const withLibrary = (name: string, tests: () => void): void =>
  'code' in opened ? test.skip(`${name} (oneDNN is not installed)`) : void describe(name, tests);

/** What a test allocated; freed by `release`. */
const held: (() => void)[] = [];

export function release(): void {
  for (const free of held.splice(0).reverse()) free();
}

/** A tensor in the library's memory. */
export interface Stored {
  readonly desc: Desc;
  readonly address: bigint;
  readonly memory: bigint;
}

/** Memory of a descriptor, or a view of memory that is there. */
export function place(desc: Desc, at?: bigint): Stored {
  const address = at ?? dnnl.allocate(desc.bytes);
  const memory = dnnl.memory(desc, address);
  held.push(() => {
    dnnl.destroyMemory(memory);
    if (at === undefined) dnnl.free(address);
  });
  return { desc, address, memory };
}

/** Numbers in the library's plain memory. */
function placePlain({ shape, data }: Pick<Tensor, 'shape' | 'data'>): Stored {
  const stored = place(dnnl.describe(shape, 'f32', 'plain'));
  new Float32Array(dnnl.view(stored.address, data.byteLength)).set(data);
  return stored;
}

/** A primitive that must exist. */
export function must<T extends Ready>(primitive: T | undefined): T {
  if (primitive === undefined) throw new Error('the library has no implementation');
  held.push(() => primitive.destroy());
  return primitive;
}

/** One that must not be computed by the library's slow reference kernels either. */
export function quick<T extends Ready>(primitive: T | undefined): T {
  const made = must(primitive);
  if (made.implementation.startsWith('ref')) throw new Error(`the library has ${made.implementation} only`);
  return made;
}

/** Runs a primitive once over the tensors given, scratch memory and constants added. */
export function run(primitive: Ready, tensors: readonly (readonly [id: number, tensor: Stored])[]): void {
  const list: Argument[] = [...tensors.map(([id, { memory }]): Argument => [id, memory]), ...primitive.constants];
  if (primitive.scratchpad > 0) {
    // Larger than needed, as when several primitives share it.
    const scratch = place(dnnl.describe([primitive.scratchpad + 4096], 'u8', 'plain'));
    list.push([argument.scratchpad, scratch.memory]);
  }
  const made = dnnl.arguments(list);
  dnnl.execute(primitive.handle, made);
  dnnl.wait();
  dnnl.freeArguments(made);
}

/** Brings numbers into the layout and type of `desc`: stored = value / scale. */
export function store(
  desc: Desc,
  data: Float32Array,
  scales?: { scales: Float32Array; axis?: number | readonly number[] },
): Stored {
  const from = placePlain({ shape: desc.shape, data });
  const to = place(desc);
  run(must(dnnl.reorder({ src: from.desc, dst: desc, ...scales })), [
    [argument.src, from],
    [argument.dst, to],
  ]);
  return to;
}

/** The numbers of a tensor, row by row: stored · scale. */
export function fetch(from: Stored, scale = 1): Float32Array {
  const to = place(dnnl.describe(from.desc.shape, 'f32', 'plain'));
  const scales = Float32Array.of(1 / scale);
  run(must(dnnl.reorder({ src: from.desc, dst: to.desc, ...(scale !== 1 && { scales }) })), [
    [argument.src, from],
    [argument.dst, to],
  ]);
  return new Float32Array(dnnl.view(to.address, 4 * sizeOf(from.desc.shape))).slice();
}

/** The same numbers on every run, from −1 to 1, in steps that 8 bits and bf16 can hold. */
export function numbersOf(shape: Shape, seed: number, dtype: DataType = 'f32'): Float32Array {
  let state = seed * 2654435761 + 12345;
  return Float32Array.from({ length: sizeOf(shape) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    const unit = (state >>> 8) / 2 ** 24;
    if (dtype === 'u8') return Math.round(unit * 127) / 127;
    if (dtype === 's8') return Math.round(unit * 254 - 127) / 127;
    return Math.round((unit * 2 - 1) * 128) / 128;
  });
}

/** |a − b| over |b|, both as Euclidean lengths. */
export function relativeError(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [difference, length] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    difference += (got[i] - expected[i]) ** 2;
    length += expected[i] ** 2;
  }
  return Math.sqrt(difference / length);
}

/** The largest |a − b|. */
export const farthest = (got: Float32Array, expected: ArrayLike<number>): number =>
  got.reduce((most, v, i) => Math.max(most, Math.abs(v - expected[i])), 0);

/** What a type can lose when a result is stored in it. */
export const bound: Record<'f32' | 'bf16', number> = { f32: 1e-6, bf16: 4e-3 };

/** A convolution to test: its sizes. */
export interface Case {
  readonly src: readonly [number, number, number, number];
  readonly out: number;
  readonly kernel: readonly [number, number];
  readonly stride?: readonly [number, number];
  readonly dilation?: readonly [number, number];
  readonly padding?: readonly [number, number, number, number];
  readonly groups?: number;
}

export const cases: Record<string, Case> = {
  'one by one': { src: [2, 32, 7, 9], out: 48, kernel: [1, 1] },
  'one by one, stride 2': { src: [1, 32, 8, 8], out: 64, kernel: [1, 1], stride: [2, 2] },
  'three by three': { src: [2, 32, 9, 7], out: 32, kernel: [3, 3], padding: [1, 1, 1, 1] },
  'a stem': { src: [1, 3, 32, 32], out: 64, kernel: [7, 7], stride: [2, 2], padding: [3, 3, 3, 3] },
  'more padding at the end': { src: [1, 16, 8, 8], out: 16, kernel: [3, 3], stride: [2, 2], padding: [0, 0, 1, 1] },
  'sides that differ': { src: [1, 16, 9, 12], out: 16, kernel: [3, 1], stride: [1, 2], padding: [2, 0, 1, 0] },
  dilated: { src: [1, 32, 11, 11], out: 32, kernel: [3, 3], dilation: [2, 2], padding: [2, 2, 2, 2] },
  'dilated by 4 and 2': { src: [1, 16, 15, 11], out: 16, kernel: [3, 3], dilation: [4, 2], padding: [4, 2, 4, 2] },
  grouped: { src: [1, 64, 8, 8], out: 64, kernel: [3, 3], padding: [1, 1, 1, 1], groups: 4 },
  'groups of 4 channels': { src: [1, 32, 8, 8], out: 32, kernel: [3, 3], padding: [1, 1, 1, 1], groups: 8 },
  depthwise: { src: [1, 32, 8, 8], out: 32, kernel: [3, 3], stride: [2, 2], padding: [1, 1, 1, 1], groups: 32 },
};

/** What plain loops make of an op; the results have the shapes given. */
export const loops = (
  op: string,
  inputs: readonly (readonly [shape: Shape, data: Float32Array])[],
  shapes: readonly Shape[],
  attributes = {},
) =>
  compute(
    { op, attributes } as never,
    inputs.map(([shape, data]) => ({ shape, data })),
    shapes,
  );
