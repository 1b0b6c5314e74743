import type { Graph } from '../graph/graph.js';
import type { OpName } from '../graph/ops.js';
import { kerasLayers } from './keras-order.js';
import { applyNames, type Naming } from './names.js';

/** Keras' classes by our ops, in snake case, and their variables in the order of our parameters. */
const classes: { readonly [Op in OpName]?: readonly [snake: string, withBias: readonly string[]] } = {
  conv2d: ['conv2d', ['kernel', 'bias']],
  dense: ['dense', ['kernel', 'bias']],
  batchNorm: ['batch_normalization', ['gamma', 'beta', 'moving_mean', 'moving_variance']],
};

/**
 * Names of a file whose layers are known by class and number only (`conv2d_3/kernel`, see `nameVariables`) for a
 * network that is known: of each class the layers are taken in Keras' order.
 * @param shortcutFirst see `kerasLayers`.
 */
export function numberedNaming(
  graph: Graph,
  names: readonly string[],
  shortcutFirst: boolean,
): Pick<Naming, 'layout' | 'prefix' | 'tensors' | 'ignored' | 'foreign'> {
  const ops = new Map(graph.nodes.map(({ name, op }) => [name, op]));
  const counts = new Map<string, number>();
  const parameterOf = new Map<string, string>();
  for (const { name, parameters } of kerasLayers(graph, shortcutFirst)) {
    const op = ops.get(name);
    const known = op && classes[op];
    if (!known || !parameters.length) continue;
    const [snake, roles] = known;
    const count = counts.get(snake) ?? 0;
    counts.set(snake, count + 1);
    for (const [i, parameter] of parameters.entries())
      parameterOf.set(`${count ? `${snake}_${count}` : snake}/${roles[i]}`, parameter);
  }
  return { layout: 'keras', prefix: '', ...applyNames(names, '', (name) => parameterOf.get(name)) };
}
