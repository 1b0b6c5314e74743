import { ResidualError } from '../../errors.js';
import { type Folding, scaled } from '../../graph/passes.js';
import type { Shape, Tensor } from '../../tensor.js';
import { type Argument, argument, type Desc, type Dnnl } from './dnnl.js';

/** The weights of one network as primitives want them: each layout and kind of numbers made once, for all plans. */
export interface PackedWeights {
  /**
   * A weight, or a constant of the plan's own, as a memory object in the layout of `as`, times what a folded BatchNorm
   * leaves to it.
   * @param shape how the library reads the plain numbers: `[G, O/G, I/G, H, W]` for a grouped convolution.
   * @param scales what a number of an output channel is divided by.
   */
  pack(name: string, shape: Shape, as: Desc, scales?: Float32Array): bigint;
  /** The plain numbers, BatchNorm folded in. Throws WEIGHTS_MISMATCH when nobody gave them. */
  plain(name: string): Float32Array;
  /** The largest magnitude of each output channel of a weight. */
  largest(name: string): Float32Array;
  /** Adds numbers that are no weight of the network: a blur's taps. */
  add(name: string, data: Float32Array): void;
  /** Bytes held. */
  bytes(): number;
  dispose(): void;
}

interface Kept {
  readonly as: Desc;
  readonly scales: Float32Array | undefined;
  readonly memory: bigint;
  readonly address: bigint;
}

export function packWeights(dnnl: Dnnl, { weights, factors }: Omit<Folding, 'graph'>): PackedWeights {
  const kept = new Map<string, Kept[]>();
  const constants = new Map<string, Tensor>();
  let bytes = 0;

  function given(name: string): Tensor {
    const found = constants.get(name) ?? weights.get(name);
    if (found === undefined)
      throw new ResidualError('WEIGHTS_MISMATCH', `the weight "${name}" was not given`, { name });
    return found;
  }
  function plain(name: string): Float32Array {
    const factor = factors.get(name);
    return factor ? scaled(given(name), factor).data : given(name).data;
  }

  return {
    plain,
    largest(name) {
      const { data, shape } = given(name);
      const factor = factors.get(name);
      const row = data.length / shape[0];
      return Float32Array.from({ length: shape[0] }, (_, c) => {
        let most = 0;
        for (let i = c * row; i < (c + 1) * row; i++) most = Math.max(most, Math.abs(data[i]));
        return most * Math.abs(factor?.[c] ?? 1);
      });
    },
    pack(name, shape, as, scales) {
      const all = kept.get(name) ?? [];
      const found = all.find((one) => dnnl.areEqual(one.as, as) && areEqual(one.scales, scales));
      if (found) return found.memory;
      const address = dnnl.allocate(as.bytes);
      const memory = dnnl.memory(as, address);
      const factor = factors.get(name);
      const divisors = factor ? Float32Array.from(factor, (by, c) => (scales?.[c] ?? 1) / by) : scales;
      // Not every layout can be reached and multiplied for in one go: Winograd's cannot.
      if (!reorder(dnnl, given(name).data, shape, as, memory, divisors))
        if (scales !== undefined || !reorder(dnnl, plain(name), shape, as, memory, undefined))
          throw new ResidualError('ENGINE', `oneDNN ${dnnl.version} cannot lay out the weight "${name}"`, { name });
      kept.set(name, [...all, { as, scales, memory, address }]);
      bytes += as.bytes;
      return memory;
    },
    add: (name, data) => void constants.set(name, { dtype: 'float32', shape: [data.length], data }),
    bytes: () => bytes,
    dispose() {
      for (const { memory, address } of [...kept.values()].flat()) {
        dnnl.destroyMemory(memory);
        dnnl.free(address);
      }
      kept.clear();
    },
  };
}

/** Writes plain numbers into `memory`, in its layout and kind of numbers; false where the library cannot. */
function reorder(
  dnnl: Dnnl,
  data: Float32Array,
  shape: Shape,
  as: Desc,
  memory: bigint,
  scales: Float32Array | undefined,
): boolean {
  const plain = dnnl.describe(shape, 'f32', 'plain');
  const primitive = dnnl.reorder({
    src: plain,
    dst: as,
    ...(scales && { scales, axis: as.shape.length > 4 ? [0, 1] : 0 }),
  });
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
