import type { Shape } from '../../tensor.js';
import { direct, isWinograd, type Job, sourceLayout, type Variant } from './convolve.js';
import type { Dnnl, Layout } from './dnnl.js';
import type { Step } from './fuse.js';
import type { Timings } from './timings.js';

/** What the choice needs to know of a step. */
export interface Candidate {
  readonly step: Step;
  /** Its convolution; absent for other ops. */
  readonly job?: Job;
}

/**
 * How each convolution of a network is computed: the assignment whose measured times, with the reorders that it makes
 * necessary, add up to least. Searched by changing one convolution, one block, or all of one picture size at a time,
 * from each layout throughout, until nothing helps.
 */
export function chooseVariants(
  dnnl: Dnnl,
  candidates: readonly Candidate[],
  shapes: readonly Shape[],
  timings: Timings,
): Variant[] {
  const options = candidates.map(({ job }) => (job ? optionsOf(dnnl, job, timings) : []));
  const costs = (assignment: readonly Option[]) => totalTime(candidates, shapes, assignment, timings);
  const groups = groupsOf(candidates);

  let best: { assignment: Option[]; cost: number } | undefined;
  for (const layout of ['channelsLast', 'blocked'] as const) {
    const assignment = options.map((of) => fastest(of, layout));
    let cost = costs(assignment);
    for (let changed = true; changed; ) {
      changed = false;
      for (const group of groups)
        for (const to of ['channelsLast', 'blocked'] as const) {
          const tried = [...assignment];
          for (const i of group) tried[i] = fastest(options[i], to);
          const time = costs(tried);
          if (time >= cost * 0.9999) continue;
          cost = time;
          changed = true;
          assignment.splice(0, assignment.length, ...tried);
        }
    }
    if (best === undefined || cost < best.cost) best = { assignment, cost };
  }
  return (best as { assignment: Option[] }).assignment;
}

/** A way to compute a convolution and its time, ms. */
interface Option extends Variant {
  readonly time: number;
}

/** The ways the library can compute a job. */
function optionsOf(dnnl: Dnnl, job: Job, timings: Timings): Option[] {
  const all: Variant[] = [direct, { layout: 'blocked', algorithm: 'direct' }];
  if (dnnl.major === 2 && isWinograd(job)) all.push({ layout: 'blocked', algorithm: 'winograd' });
  const times = timings.convolutions(job, all);
  return all.map((variant, i) => ({ ...variant, time: times[i] })).filter(({ time }) => Number.isFinite(time));
}

/** The fastest of a layout; of any where it has none of that. */
function fastest(options: readonly Option[], layout: Variant['layout']): Option {
  const of = options.filter((option) => option.layout === layout);
  const among = of.length ? of : options;
  return among.reduce((a, b) => (b.time < a.time ? b : a), among[0] ?? { ...direct, time: 0 });
}

/** What is changed together: each convolution, each residual block, each picture size, and all. */
function groupsOf(candidates: readonly Candidate[]): number[][] {
  const groups = new Map<string, number[]>();
  candidates.forEach(({ step, job }, i) => {
    if (job === undefined) return;
    const names = [`one ${i}`, `block ${step.node.block ?? i}`, `size ${job.dst.slice(2).join()}`, 'all'];
    for (const name of names) groups.set(name, [...(groups.get(name) ?? []), i]);
  });
  return [...groups.values()];
}

/** Time of all convolutions and of the reorders between them, ms. Other ops take what comes, in any layout. */
function totalTime(
  candidates: readonly Candidate[],
  shapes: readonly Shape[],
  assignment: readonly Option[],
  timings: Timings,
): number {
  let total = 0;
  const layouts = new Map<number, Set<Layout>>();
  const homes = new Map<number, Layout>();
  function settle(value: number, layout: Layout): void {
    homes.set(value, layout);
    layouts.set(value, new Set([layout]));
  }
  function need(value: number, layout: Layout): void {
    const kept = layouts.get(value);
    if (kept === undefined || kept.has(layout) || shapes[value].length !== 4) return;
    kept.add(layout);
    total += timings.reorder(shapes[value], homes.get(value) as Layout, layout);
  }
  candidates.forEach(({ step, job }, i) => {
    const [first, ...others] = step.node.inputs;
    let layout: Layout;
    if (job) {
      layout = assignment[i].layout;
      need(first, sourceLayout(job, assignment[i]));
      total += assignment[i].time;
    } else {
      const given = homes.get(first) ?? 'plain';
      layout = given === 'plain' ? 'channelsLast' : given;
      for (const value of [first, ...others]) need(value, layout);
    }
    if (step.residual !== undefined) need(step.residual, layout);
    settle(step.output, layout);
  });
  return total;
}
