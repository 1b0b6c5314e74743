import type { Node } from '../graph/graph.js';
import type { OpName } from '../graph/ops.js';
import type { Shape } from '../tensor.js';

/** What lies between scores and the end without making others of them; a mean over the picture ends a network of convolutions. */
const plain: ReadonlySet<OpName> = new Set(['flatten', 'reshape', 'dropout', 'globalAvgPool', 'avgPool']);

/**
 * What a network out of a file ends in, which such a file does not say: `probabilities` behind a softmax; `logits` where a
 * dense layer or a convolution makes one number for each class and nothing bends it; else `features`, such as pooled
 * activations, or scores that stand each for itself behind a sigmoid.
 *
 * @param nodes in the order of computation
 * @param shape of the result
 */
export function endingOf(nodes: readonly Node[], value: number, shape: Shape): 'probabilities' | 'logits' | 'features' {
  if (shape.length !== 2) return 'features';
  const makers = new Map(nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  let last = makers.get(value);
  if (last?.op === 'softmax') return 'probabilities';
  while (last && plain.has(last.op)) last = makers.get(last.inputs[0]);
  return last?.op === 'dense' || last?.op === 'conv2d' ? 'logits' : 'features';
}
