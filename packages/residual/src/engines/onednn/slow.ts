import { anyScales } from '../../graph/eight-bits.js';
import { type Graph, inferShapes } from '../../graph/graph.js';
import type { Precision } from '../engine.js';
import { candidatesOf, compilePlan, kindOf } from './compile.js';
import { direct, type Job, type Variant } from './convolve.js';
import type { Dnnl } from './dnnl.js';
import { fuse } from './fuse.js';
import type { PackedWeights } from './packed.js';
import type { ChosenKernel } from './plan.js';

/** Layers that are computed by the library's own reference kernels or by loops in JavaScript: `conv1 (ref:any)`. */
export const slowOnes = (kernels: readonly ChosenKernel[]): string[] =>
  kernels
    .filter(({ implementation }) => /^ref|^plain loops/.test(implementation))
    .map(({ layer, implementation }) => `${layer} (${implementation})`);

/**
 * The same for a network that nobody runs: which kernels there are depends on shapes and kinds of numbers alone, so its
 * weights are left out.
 * @param graph with its BatchNorms folded; its pictures are of the built size.
 * @param variantOf how a convolution is computed; all of them as `deterministic` has it when left out.
 */
export function slowLayers(
  dnnl: Dnnl,
  graph: Graph,
  precision: Precision,
  variantOf: (job: Job) => Variant = () => direct,
): string[] {
  const shapes = inferShapes(graph, Object.fromEntries(graph.inputs.map(({ name, shape }) => [name, shape])));
  const quantisation = precision === 'int8' ? anyScales(graph) : undefined;
  const network = { graph, steps: fuse(graph), shapes, quantisation, ...kindOf(precision) };
  const jobs = candidatesOf(network).map(({ job }) => job);
  const variants = jobs.map((job) => (job ? variantOf(job) : direct));
  const plan = compilePlan(dnnl, network, noWeights(graph), (step) => variants[step]);
  plan.dispose();
  return slowOnes(plan.kernels);
}

/** In place of weights, for a plan that is not run. */
function noWeights({ parameters }: Graph): PackedWeights {
  const channels = new Map(parameters.map(({ name, shape }) => [name, shape[0]]));
  return {
    pack: () => 0n,
    plain: () => new Float32Array(0),
    largest: (name) => new Float32Array(channels.get(name) as number).fill(1),
    add() {},
    release() {},
    supply() {},
    dispose() {},
  };
}
