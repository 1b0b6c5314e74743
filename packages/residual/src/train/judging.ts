import type { Batch, Example } from '../data/dataset.js';
import type { Graph } from '../graph/graph.js';
import { createModel, type EngineOptions, type Model, type ModelRecord } from '../tasks/model.js';
import type { Weights } from '../tensor.js';
import { judge, type Scores } from './scores.js';
import type { Recipe } from './settings.js';

/** What a network's first output is, as `judge` takes it. */
export const outputKind = (
  graph: Graph,
  loss: Recipe['loss'],
  labels: string,
): 'logits' | 'probabilities' | 'labels' =>
  graph.outputs[0].name === 'probabilities'
    ? 'probabilities'
    : loss === 'binaryCrossEntropy' && labels === 'several'
      ? 'labels'
      : 'logits';

/**
 * Has a network answer to pictures and counts.
 * @param each is told of every batch that is done
 */
export async function judgeModel(
  model: Model,
  pictures: AsyncIterable<Batch>,
  options: {
    readonly labels: readonly string[];
    readonly examples: readonly Example[];
    readonly kind: 'logits' | 'probabilities' | 'labels';
    readonly signal?: AbortSignal | undefined;
    readonly each?: ((count: number, skipped: Batch['skipped']) => void) | undefined;
  },
): Promise<Scores> {
  const { labels, examples, kind, signal, each } = options;
  const judging = judge(labels, { kind });
  const [{ name }] = model.graph.outputs;
  for await (const { images, targets, indices, skipped } of pictures) {
    const { [name]: output } = await model.run(images, [name], { signal });
    judging.add(output.data, targets.data, (row) => examples[indices[row]].id);
    each?.(indices.length, skipped);
  }
  return judging.scores();
}

/** A network with weights of the moment, made ready for one look at its answers. */
export const momentary = (graph: Graph, record: ModelRecord, weights: Weights, engine: EngineOptions): Model =>
  createModel(graph, record, { ...engine, weights, deterministic: true, warn: () => {} });
