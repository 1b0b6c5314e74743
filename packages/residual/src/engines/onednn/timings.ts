import { type Shape, sizeOf } from '../../tensor.js';
import { type Job, makeConvolution, sourceLayout, type Variant } from './convolve.js';
import { type Argument, argument, type Desc, type Dnnl, type Layout, type Primitive } from './dnnl.js';

/** Times on this machine, ms, each measured once and kept. */
export interface Timings {
  /** Infinite where the library has no such convolution, or only its slow reference kernel. */
  convolution(job: Job, variant: Variant): number;
  /** An f32 tensor from one layout to another. */
  reorder(shape: Shape, from: Layout, to: Layout): number;
}

/** What was measured, by a text that says what of. */
export type Measured = Map<string, number>;

/** Runs of one candidate: the fastest counts. Less where one run is long. */
const mostRuns = 6;
const longEnough = 12;

/** Times that `measured` does not hold yet are taken on the spot and added to it. */
export function measureTimings(dnnl: Dnnl, measured: Measured): Timings {
  function keep(key: string, measure: () => number): number {
    const found = measured.get(key);
    if (found !== undefined) return found;
    const time = measure();
    measured.set(key, time);
    return time;
  }
  return {
    convolution: (job, variant) =>
      keep(`${variant.algorithm} ${variant.layout} ${JSON.stringify(job)}`, () => {
        const primitive = makeConvolution(dnnl, job, variant, int8Scales(job));
        if (primitive?.weights === undefined) return Number.POSITIVE_INFINITY;
        if (primitive.implementation.startsWith('ref')) {
          primitive.destroy();
          return Number.POSITIVE_INFINITY;
        }
        return timed(dnnl, primitive, [
          [argument.src, dnnl.describe(job.src, job.types.src, sourceLayout(job, variant))],
          [argument.weights, primitive.weights],
          ...(job.bias ? [[argument.bias, dnnl.describe([job.dst[1]], 'f32', 'plain')] as const] : []),
          [argument.dst, dnnl.describe(job.dst, job.types.dst, variant.layout)],
        ]);
      }),
    reorder(shape, from, to) {
      if (sizeOf(shape.slice(2)) === 1) return 0;
      return keep(`reorder ${from} ${to} ${shape.join()}`, () => {
        const [src, dst] = [dnnl.describe(shape, 'f32', from), dnnl.describe(shape, 'f32', to)];
        const primitive = dnnl.reorder({ src, dst });
        if (primitive === undefined) return Number.POSITIVE_INFINITY;
        return timed(dnnl, primitive, [
          [argument.src, src],
          [argument.dst, dst],
        ]);
      });
    },
  };
}

const int8Scales = ({ types, dst, residual }: Job) =>
  types.weights === 's8'
    ? { scales: { src: 1, weights: new Float32Array(dst[1]).fill(1), dst: 1, ...(residual && { residual: 1 }) } }
    : {};

/** The shortest of a few runs on zeros, ms; the primitive is destroyed. */
function timed(dnnl: Dnnl, primitive: Primitive, tensors: readonly (readonly [number, Desc])[]): number {
  const addresses: bigint[] = [];
  const memories: bigint[] = [];
  function memory(desc: Desc): bigint {
    const address = dnnl.allocate(desc.bytes);
    addresses.push(address);
    dnnl.clear(address, desc.bytes);
    const made = dnnl.memory(desc, address);
    memories.push(made);
    return made;
  }
  try {
    const list = [...tensors.map(([id, desc]): Argument => [id, memory(desc)]), ...primitive.constants];
    if (primitive.scratchpad)
      list.push([argument.scratchpad, memory(dnnl.describe([primitive.scratchpad], 'u8', 'plain'))]);
    const args = dnnl.arguments(list);
    let [best, total] = [Number.POSITIVE_INFINITY, 0];
    for (let run = 0; run <= mostRuns && total < longEnough; run++) {
      const began = performance.now();
      dnnl.execute(primitive.handle, args);
      dnnl.wait();
      const time = performance.now() - began;
      // The first run makes its pages and caches.
      if (run === 0 && time < longEnough) continue;
      best = Math.min(best, time);
      total += time;
    }
    dnnl.freeArguments(args);
    return best;
  } finally {
    for (const made of memories) dnnl.destroyMemory(made);
    for (const address of addresses) dnnl.free(address);
    primitive.destroy();
  }
}
