import { ResidualError } from '../../errors.js';
import { eightBitTensor } from '../../graph/eight-bits.js';
import { type Folding, scaled } from '../../graph/passes.js';
import type { Shape, Tensor, Weights } from '../../tensor.js';
import { WeightsNeeded } from '../backend.js';
import { type Argument, argument, type Desc, type Dnnl } from './dnnl.js';

/** Packed weights, each layout and kind of numbers once, however many networks and plans use them. */
export interface PackedStore {
  readonly kept: Map<string, Kept[]>;
  /** Networks that use it. */
  users: number;
}

interface Kept {
  readonly as: Desc;
  /** What the plain numbers of each output channel were divided by. */
  readonly divisors: Float32Array | undefined;
  readonly memory: bigint;
  readonly address: bigint;
}

/** The weights of one network as primitives want them. */
export interface PackedWeights {
  /**
   * A weight, or a constant of the plan's own, as a memory object in the layout of `as`, times what a folded BatchNorm
   * leaves to it.
   * @param shape how the library reads the plain numbers: `[G, O/G, I/G, H, W]` for a grouped convolution.
   * @param scales what a number of an output channel is divided by.
   * @param transformed for Winograd's algorithm: version 2 lays such weights out without dividing, and says nothing.
   * @throws WeightsNeeded when it is not packed so yet and the plain numbers were let go.
   */
  pack(name: string, shape: Shape, as: Desc, scales?: Float32Array, transformed?: boolean): bigint;
  /** The plain numbers, BatchNorm folded in. @throws WeightsNeeded */
  plain(name: string): Float32Array;
  /** The largest magnitude of each output channel of a weight. @throws WeightsNeeded */
  largest(name: string): Float32Array;
  /** Adds numbers that are no weight of the network: a blur's taps. */
  add(name: string, data: Float32Array): void;
  /** Lets go of the plain numbers. */
  release(): void;
  /** Takes them again. */
  supply(folding: Folding, given: Weights): void;
  dispose(): void;
}

/** @param shared where packed weights are kept that other networks of the same weights can use too. */
export function packWeights(dnnl: Dnnl, shared: PackedStore): PackedWeights {
  /** What only this network has: folded biases, constants. */
  const own: PackedStore = { kept: new Map(), users: 1 };
  const constants = new Map<string, Tensor>();
  const magnitudes = new Map<string, Float32Array>();
  let factors: Folding['factors'] = new Map();
  let folded: Weights | undefined;
  shared.users += 1;

  function tensorOf(name: string): Tensor {
    const found = constants.get(name) ?? folded?.get(name);
    if (found === undefined) throw new WeightsNeeded(name);
    return found;
  }
  function plain(name: string): Float32Array {
    const factor = factors.get(name);
    return factor ? scaled(tensorOf(name), factor).data : tensorOf(name).data;
  }
  /** Writes a weight into its memory. `factor`: the exact multipliers, where nothing but a BatchNorm divides. */
  function fill(
    tensor: Tensor,
    shape: Shape,
    as: Desc,
    memory: bigint,
    how: { divisors: Float32Array | undefined; factor: Float64Array | undefined; transformed: boolean },
  ): void {
    const { eightBits } = tensor;
    // What is stored as whole numbers only needs its layout.
    if (as.dtype === 's8' && eightBits && reorder(dnnl, eightBits.whole, shape, as, memory)) return;
    const { data } = tensor;
    if (!how.transformed && reorder(dnnl, data, shape, as, memory, how.divisors)) return;
    const by = how.factor ?? how.divisors?.map((divisor) => 1 / divisor);
    const multiplied = by ? scaled({ dtype: 'float32', shape, data }, by) : { data };
    if (!reorder(dnnl, multiplied.data, shape, as, memory))
      throw new ResidualError('ENGINE', `oneDNN ${dnnl.version} cannot lay out a weight of ${as.bytes} bytes`);
  }

  /** Names whose numbers are the network's own, not those of the weights. */
  const changed = new Set<string>();

  return {
    plain,
    pack(name, shape, as, scales, transformed = false) {
      const { kept } = constants.has(name) || changed.has(name) ? own : shared;
      const factor = factors.get(name);
      const divisors = factor ? Float32Array.from(factor, (by, c) => (scales?.[c] ?? 1) / by) : scales;
      const all = kept.get(name) ?? [];
      const found = all.find((one) => dnnl.areEqual(one.as, as) && areEqual(one.divisors, divisors));
      if (found) return found.memory;
      const tensor = tensorOf(name);
      const address = dnnl.allocate(as.bytes);
      const memory = dnnl.memory(as, address);
      try {
        fill(tensor, shape, as, memory, { divisors, factor: scales === undefined ? factor : undefined, transformed });
      } catch (error) {
        dnnl.destroyMemory(memory);
        dnnl.free(address);
        throw error;
      }
      kept.set(name, [...all, { as, divisors, memory, address }]);
      return memory;
    },
    largest(name) {
      const known = magnitudes.get(name);
      if (known) return known;
      const tensor = tensorOf(name);
      if (tensor.eightBits) return tensor.eightBits.scales.map((scale) => scale * 127);
      const { data, shape } = tensor;
      const factor = factors.get(name);
      const row = data.length / shape[0];
      const found = Float32Array.from({ length: shape[0] }, (_, c) => {
        let most = 0;
        for (let i = c * row; i < (c + 1) * row; i++) most = Math.max(most, Math.abs(data[i]));
        return most * Math.abs(factor?.[c] ?? 1);
      });
      magnitudes.set(name, found);
      return found;
    },
    add: (name, data) => void constants.set(name, { dtype: 'float32', shape: [data.length], data }),
    release() {
      folded = undefined;
    },
    supply(folding, weights) {
      const { factors: found, weights: all } = folding;
      factors = found;
      // Weights of 8 bits may come as whole numbers alone.
      folded = new Map(
        Array.from(all, ([name, tensor]) => [
          name,
          tensor.eightBits ? eightBitTensor(tensor.shape, tensor.eightBits) : tensor,
        ]),
      );
      for (const [name, tensor] of all) if (weights.get(name) !== tensor) changed.add(name);
    },
    dispose() {
      free(dnnl, own);
      shared.users -= 1;
      if (shared.users === 0) free(dnnl, shared);
    },
  };
}

function free(dnnl: Dnnl, { kept }: PackedStore): void {
  for (const { memory, address } of [...kept.values()].flat()) {
    dnnl.destroyMemory(memory);
    dnnl.free(address);
  }
  kept.clear();
}

/** Writes plain numbers into `memory`, in its layout and kind of numbers; false where the library cannot. */
function reorder(
  dnnl: Dnnl,
  data: Float32Array | Int8Array,
  shape: Shape,
  as: Desc,
  memory: bigint,
  divisors?: Float32Array,
): boolean {
  const plain = dnnl.describe(shape, data instanceof Int8Array ? 's8' : 'f32', 'plain');
  const axis = as.shape.length > 4 ? [0, 1] : 0;
  const primitive = dnnl.reorder({ src: plain, dst: as, ...(divisors && { scales: divisors, axis }) });
  if (primitive === undefined) return false;
  dnnl.using(data, (address) => {
    const from = dnnl.memory(plain, address);
    const list: Argument[] = [[argument.src, from], [argument.dst, memory], ...primitive.constants];
    const scratch = primitive.scratchpad ? dnnl.allocate(primitive.scratchpad) : undefined;
    const pad = scratch && dnnl.memory(dnnl.describe([primitive.scratchpad], 'u8', 'plain'), scratch);
    if (pad) list.push([argument.scratchpad, pad]);
    const args = dnnl.arguments(list);
    try {
      dnnl.execute(primitive.handle, args);
      dnnl.wait();
    } finally {
      dnnl.freeArguments(args);
      dnnl.destroyMemory(from);
      if (pad) dnnl.destroyMemory(pad);
      if (scratch) dnnl.free(scratch);
      primitive.destroy();
    }
  });
  return true;
}

function areEqual(a: Float32Array | undefined, b: Float32Array | undefined): boolean {
  return a?.length === b?.length && (a === undefined || a.every((x, i) => x === b?.[i]));
}
