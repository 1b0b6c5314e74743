import { ResidualError } from '../../errors.js';
import { type Shape, sizeOf, type Tensor } from '../../tensor.js';
import type { Range, Slice, TrainingProgram } from '../training.js';
import { type Argument, type Arguments, argument, type Desc, type Dnnl, type Ready } from './dnnl.js';

/** A parameter that learns: how its numbers lie in the flat arrays. */
export interface Kept {
  readonly name: string;
  readonly shape: Shape;
  /** As the gradient comes out of the library; its shape may begin with an axis of groups. */
  readonly desc: Desc;
}

/** Flat arrays in the library's memory, all of one layout, and sums of them. */
export interface Flat extends Pick<TrainingProgram, 'slices' | 'ranges' | 'array' | 'combine' | 'read' | 'write'> {
  /** Where a parameter lies in an array. */
  addressOf(array: Float32Array, name: string): bigint;
  dispose(): void;
}

/** A cache line in numbers. */
const line = 16;
const wholeLines = (length: number): number => Math.ceil(length / line) * line;

/** Sums that are kept ready: a schedule makes new ones with every step. */
const sumsKept = 64;

/** A primitive that is called on memory of its own choice, again and again. */
interface Ready1 {
  readonly primitive: Ready;
  readonly args: Arguments;
  readonly memories: readonly bigint[];
}

/** @param groups the parameters in the order in which they are to lie. */
export function flatArrays(dnnl: Dnnl, groups: readonly (readonly Kept[])[]): Flat {
  const slices: Slice[] = [];
  const kept = new Map<string, Kept & { offset: number }>();
  let length = 0;
  const ranges = groups.map((group): Range => {
    const from = length;
    for (const one of group) {
      const size = one.desc.bytes / 4;
      slices.push({ name: one.name, offset: length, length: size });
      kept.set(one.name, { ...one, offset: length });
      length += wholeLines(size);
    }
    return [from, length];
  });
  const addresses = new Map<Float32Array, bigint>();
  const sums = new Map<string, Ready1>();

  function baseOf(array: Float32Array): bigint {
    const address = addresses.get(array);
    if (address === undefined)
      throw new ResidualError('ENGINE', 'an update takes the flat arrays of its own training program only');
    return address;
  }
  const keptOf = (name: string) => kept.get(name) as Kept & { offset: number };
  const addressOf = (array: Float32Array, name: string): bigint => baseOf(array) + BigInt(4 * keptOf(name).offset);

  function bound(primitive: Ready, list: readonly (readonly [id: number, desc: Desc, address: bigint])[]): Ready1 {
    const memories = list.map(([, desc, address]) => dnnl.memory(desc, address));
    const all: Argument[] = [...list.map(([id], i): Argument => [id, memories[i]]), ...primitive.constants];
    return { primitive, args: dnnl.arguments(all), memories };
  }
  function perform({ primitive, args }: Ready1): void {
    dnnl.execute(primitive.handle, args);
    dnnl.wait();
  }
  function free({ primitive, args, memories }: Ready1): void {
    dnnl.freeArguments(args);
    for (const memory of memories) dnnl.destroyMemory(memory);
    primitive.destroy();
  }

  /** Copies a parameter between its place and plain numbers. */
  function relaid(name: string, plain: Float32Array, from: 'flat' | 'plain', array: Float32Array): void {
    const { desc } = keptOf(name);
    const rows = dnnl.describe(desc.shape, 'f32', 'plain');
    const way = from === 'flat' ? { src: desc, dst: rows } : { src: rows, dst: desc };
    const primitive = dnnl.reorder(way);
    if (primitive === undefined)
      throw new ResidualError('ENGINE', `oneDNN ${dnnl.version} cannot put "${name}" in another order`);
    const scratch = dnnl.allocate(primitive.scratchpad + 64);
    dnnl.using(plain, (address) => {
      const [src, dst] = from === 'flat' ? [addressOf(array, name), address] : [address, addressOf(array, name)];
      const pad = dnnl.describe([primitive.scratchpad + 64], 'u8', 'plain');
      const call = bound(primitive, [
        [argument.src, way.src, src],
        [argument.dst, way.dst, dst],
        [argument.scratchpad, pad, scratch],
      ]);
      perform(call);
      free(call);
    });
    dnnl.free(scratch);
  }

  function sumOf(into: bigint, terms: readonly (readonly [scale: number, address: bigint])[], size: number) {
    const key = `${into} ${size} ${terms.flat().join(' ')}`;
    const known = sums.get(key);
    sums.delete(key);
    const found = known ?? makeSum();
    if (found) sums.set(key, found);
    if (sums.size > sumsKept) {
      const [oldest, old] = sums.entries().next().value as [string, Ready1];
      sums.delete(oldest);
      free(old);
    }
    return found;

    function makeSum(): Ready1 | undefined {
      const numbers = dnnl.describe([size], 'f32', 'plain');
      const scales = terms.map(([scale]) => scale);
      const primitive = dnnl.sum({ srcs: terms.map(() => numbers), scales, dst: numbers });
      if (primitive === undefined || primitive.scratchpad > 0) {
        primitive?.destroy();
        return undefined;
      }
      return bound(primitive, [
        ...terms.map(([, address], i) => [argument.multipleSrc + i, numbers, address] as const),
        [argument.dst, numbers, into] as const,
      ]);
    }
  }

  return {
    slices,
    ranges,
    addressOf,
    array() {
      const bytes = Math.max(4 * length, 64);
      const address = dnnl.allocate(bytes);
      dnnl.clear(address, bytes);
      const made = new Float32Array(dnnl.view(address, bytes), 0, length);
      addresses.set(made, address);
      return made;
    },
    combine(into, given, [from, end] = [0, length]) {
      // What is written over is read first: the library takes it so, and so it is the same sum whatever computes it.
      const own = given.filter(([, array]) => array === into).reduce((sum, [scale]) => sum + scale, 0);
      const others = given.filter(([, array]) => array !== into);
      const terms = others.length === given.length ? others : [[own, into] as const, ...others];
      if (end <= from) return;
      if (terms.length === 0) return void into.fill(0, from, end);
      if (terms.length === 1 && terms[0][0] === 1) {
        if (terms[0][1] !== into) into.set(terms[0][1].subarray(from, end), from);
        return;
      }
      const at = (array: Float32Array): bigint => baseOf(array) + BigInt(4 * from);
      const sum = sumOf(
        at(into),
        terms.map(([scale, array]) => [scale, at(array)]),
        end - from,
      );
      if (sum) return perform(sum);
      for (let i = from; i < end; i++) {
        let total = 0;
        for (const [scale, { [i]: value }] of terms) total += scale * value;
        into[i] = total;
      }
    },
    read(array, name): Tensor {
      const { shape } = keptOf(name);
      const data = new Float32Array(sizeOf(shape));
      relaid(name, data, 'flat', array);
      return { dtype: 'float32', shape, data };
    },
    write: (array, name, values) => relaid(name, values, 'plain', array),
    dispose() {
      for (const sum of sums.values()) free(sum);
      sums.clear();
      for (const address of addresses.values()) dnnl.free(address);
      addresses.clear();
    },
  };
}
