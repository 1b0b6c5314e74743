import { type Shape, sizeOf } from '../../tensor.js';
import { type Job, makeConvolution, sourceLayout, type Variant } from './convolve.js';
import { type Argument, type Arguments, argument, type Desc, type Dnnl, type Layout, type Primitive } from './dnnl.js';

/** Times on this machine, ms, each measured once and kept. */
export interface Timings {
  /**
   * The ways to compute a job, in turn and from cold weights, as a network finds them. Infinite where the library has
   * no such convolution, or only its slow reference kernel.
   */
  convolutions(job: Job, variants: readonly Variant[]): readonly number[];
  /** An f32 tensor from one layout to another. */
  reorder(shape: Shape, from: Layout, to: Layout): number;
  /** Frees what measuring needed. */
  done(): void;
}

/** What was measured, by a text that says what of. */
export type Measured = Map<string, number>;

/** Rounds of one measurement: the fastest counts. Fewer where they are long. */
const mostRounds = 10;
const longEnough = 30;
/** Weights are read from here, each time from another place: more than caches hold. */
const coldBytes = 96 * 2 ** 20;

/** Times that `measured` does not hold yet are taken on the spot and added to it. */
export function measureTimings(dnnl: Dnnl, measured: Measured): Timings {
  let region: bigint | undefined;
  const cold = (): bigint => {
    region ??= dnnl.allocate(coldBytes);
    return region;
  };

  function keep(keys: readonly string[], measure: () => readonly number[]): readonly number[] {
    if (!keys.every((key) => measured.has(key))) {
      const times = measure();
      keys.forEach((key, i) => {
        measured.set(key, times[i]);
      });
    }
    return keys.map((key) => measured.get(key) as number);
  }

  return {
    convolutions: (job, variants) =>
      keep(
        variants.map(({ algorithm, layout }) => `${algorithm} ${layout} ${JSON.stringify(job)}`),
        () =>
          race(
            dnnl,
            variants.map((variant) => {
              const primitive = makeConvolution(dnnl, job, variant);
              if (primitive?.weights === undefined || primitive.implementation.startsWith('ref')) {
                primitive?.destroy();
                return undefined;
              }
              return {
                primitive,
                weights: primitive.weights,
                tensors: [
                  [argument.src, dnnl.describe(job.src, job.types.src, sourceLayout(job, variant))],
                  [argument.dst, dnnl.describe(job.dst, job.types.dst, variant.layout)],
                  ...(job.bias ? [[argument.bias, dnnl.describe([job.dst[1]], 'f32', 'plain')] as const] : []),
                ],
              };
            }),
            cold,
          ),
      ),
    reorder(shape, from, to) {
      if (sizeOf(shape.slice(2)) === 1) return 0;
      const [time] = keep([`reorder ${from} ${to} ${shape.join()}`], () => {
        const [src, dst] = [dnnl.describe(shape, 'f32', from), dnnl.describe(shape, 'f32', to)];
        const primitive = dnnl.reorder({ src, dst });
        const tensors = [
          [argument.src, src],
          [argument.dst, dst],
        ] as const;
        return race(dnnl, [primitive && { primitive, tensors }], cold);
      });
      return time;
    },
    done() {
      if (region !== undefined) dnnl.free(region);
      region = undefined;
    },
  };
}

interface Entrant {
  readonly primitive: Primitive;
  readonly tensors: readonly (readonly [id: number, desc: Desc])[];
  readonly weights?: Desc;
}

/** The shortest time of each, ms, all run in turn on zeros; the primitives are destroyed. */
function race(dnnl: Dnnl, entrants: readonly (Entrant | undefined)[], cold: () => bigint): number[] {
  const addresses: bigint[] = [];
  const memories: bigint[] = [];
  const lists: Arguments[] = [];
  function memoryAt(desc: Desc, address: bigint): bigint {
    const made = dnnl.memory(desc, address);
    memories.push(made);
    return made;
  }
  function memory(desc: Desc): bigint {
    const address = dnnl.allocate(desc.bytes);
    addresses.push(address);
    dnnl.clear(address, desc.bytes);
    return memoryAt(desc, address);
  }
  /** The arguments of each round: they differ in where the weights are read. */
  function rounds({ primitive, tensors, weights }: Entrant): Arguments[] {
    const list = [...tensors.map(([id, desc]): Argument => [id, memory(desc)]), ...primitive.constants];
    if (primitive.scratchpad)
      list.push([argument.scratchpad, memory(dnnl.describe([primitive.scratchpad], 'u8', 'plain'))]);
    const places = weights ? Math.max(1, Math.min(mostRounds, Math.floor(coldBytes / weights.bytes))) : 1;
    return Array.from({ length: places }, (_, i) => {
      const step = BigInt(Math.floor(coldBytes / places / 64) * 64 * i);
      const at = weights && (weights.bytes > coldBytes ? memory(weights) : memoryAt(weights, cold() + step));
      const made = dnnl.arguments(at === undefined ? list : [...list, [argument.weights, at]]);
      lists.push(made);
      return made;
    });
  }

  try {
    const ready = entrants.map((entrant) => entrant && { ...entrant, rounds: rounds(entrant) });
    const best = ready.map(() => Number.POSITIVE_INFINITY);
    // The first round makes pages and kernels.
    for (let round = 0, total = 0; round <= mostRounds && total < longEnough * entrants.length; round++)
      ready.forEach((entrant, i) => {
        if (entrant === undefined) return;
        const began = performance.now();
        dnnl.execute(entrant.primitive.handle, entrant.rounds[round % entrant.rounds.length]);
        dnnl.wait();
        const time = performance.now() - began;
        total += time;
        if (round > 0) best[i] = Math.min(best[i], time);
      });
    return best;
  } finally {
    for (const list of lists) dnnl.freeArguments(list);
    for (const made of memories) dnnl.destroyMemory(made);
    for (const address of addresses) dnnl.free(address);
    for (const entrant of entrants) entrant?.primitive.destroy();
  }
}
