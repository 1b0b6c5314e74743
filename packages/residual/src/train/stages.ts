import { ResidualError } from '../errors.js';
import { frozenUpTo, parametersBefore } from '../graph/frozen.js';
import { type Graph, isTrainable, type Parameter } from '../graph/graph.js';
import type { Group } from '../updates/optimizers.js';
import type { Recipe } from './settings.js';

/** A stretch of a network between two of its named points. */
export interface Stage {
  /** The point it ends at: `stem`, `layer1` …; `head` behind the last one. */
  readonly name: string;
  readonly parameters: readonly Parameter[];
}

/** A network's stages, from the picture to the answer; of one without named points, the whole is `head`. */
export function stagesOf(graph: Graph): Stage[] {
  const points = Object.entries(graph.features)
    .map(([name, value]) => ({ name, before: parametersBefore(graph, value) }))
    // The answer itself is one of them.
    .filter(({ before }) => before.size < graph.parameters.length)
    .sort((a, b) => a.before.size - b.before.size);
  const stages: Stage[] = [];
  let done: ReadonlySet<number> = new Set();
  for (const { name, before } of points) {
    const parameters = graph.parameters.filter(({ value }) => before.has(value) && !done.has(value));
    if (parameters.length > 0) stages.push({ name, parameters });
    done = before.size > done.size ? before : done;
  }
  const rest = graph.parameters.filter(({ value }) => !done.has(value));
  if (rest.length > 0) stages.push({ name: 'head', parameters: rest });
  return stages;
}

/** From an epoch on, what is frozen. */
export interface Phase {
  readonly epoch: number;
  /** The last frozen point; empty when everything learns. */
  readonly freeze: string;
}

/**
 * Gradual unfreezing (Howard and Ruder 2018, section 3.3): after every `unfreeze` epochs the last frozen stage begins to
 * learn, until all do.
 * @throws UNKNOWN_NAME; ARGUMENT for a point that is no stage's end.
 */
export function phasesOf(graph: Graph, { freeze, unfreeze, epochs }: Recipe): Phase[] {
  frozenUpTo(graph, freeze);
  const phases: Phase[] = [{ epoch: 0, freeze }];
  if (freeze === '' || unfreeze === 0) return phases;
  const names = stagesOf(graph).map(({ name }) => name);
  // `avgpool` has no parameters of its own: it stands for the last stage before the head.
  const frozen = frozenUpTo(graph, freeze);
  let last = stagesOf(graph).findLastIndex(({ parameters }) => parameters.every(({ name }) => frozen.has(name)));
  if (last < 0)
    throw new ResidualError('ARGUMENT', `unfreezing needs a stage to begin with; freeze one of: ${names.join(', ')}`);
  for (let epoch = unfreeze; epoch < epochs && last >= 0; epoch += unfreeze) {
    last--;
    phases.push({ epoch: Math.ceil(epoch), freeze: last < 0 ? '' : names[last] });
  }
  return phases;
}

/** What is frozen in an epoch. */
export const phaseAt = (phases: readonly Phase[], epoch: number): Phase =>
  phases.findLast((phase) => phase.epoch <= epoch) ?? phases[0];

/**
 * The trained parameters by what is done to them alike: each stage has its own rate where the recipe says so
 * (discriminative rates: Howard and Ruder 2018, section 3.2), norms and biases do not decay unless it says so.
 */
export function groupsOf(graph: Graph, trained: readonly Parameter[], { stageRate, decayNorms }: Recipe): Group[] {
  const learning = new Set(trained.map(({ name }) => name));
  const stages = stagesOf(graph);
  const groups = new Map<string, { parameters: string[]; rate: number; decay: number }>();
  stages.forEach(({ parameters }, i) => {
    const rate = stageRate ** (stages.length - 1 - i);
    for (const parameter of parameters) {
      if (!isTrainable(parameter) || !learning.has(parameter.name)) continue;
      const decay = decayNorms || parameter.role === 'weight' ? 1 : 0;
      const key = `${rate} ${decay}`;
      const group = groups.get(key) ?? { parameters: [], rate, decay };
      groups.set(key, group);
      group.parameters.push(parameter.name);
    }
  });
  return [...groups.values()];
}
