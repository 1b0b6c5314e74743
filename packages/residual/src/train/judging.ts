import type { Batch, Example } from '../data/dataset.js';
import type { Graph } from '../graph/graph.js';
import { type OutputKind, softmax } from '../tasks/classify.js';
import { createModel, type EngineOptions, type Model, type ModelRecord } from '../tasks/model.js';
import type { Tensor, Weights } from '../tensor.js';
import { judge, type Scores } from './scores.js';

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
    readonly kind: OutputKind;
    /** Answers are chosen among these classes; all when left out. */
    readonly only?: readonly number[] | undefined;
    /** Ways to look at a batch, whose answers are averaged. */
    readonly views?: ((images: Tensor) => Iterable<Tensor>) | undefined;
    readonly signal?: AbortSignal | undefined;
    readonly each?: ((count: number, skipped: Batch['skipped']) => void) | undefined;
  },
): Promise<Scores> {
  const { labels, examples, kind, only, views, signal, each } = options;
  // Probabilities are averaged, as He et al. do it; logits of labels that stand each for itself as they are.
  const turned = views !== undefined && kind === 'logits';
  const judging = judge(labels, { kind: turned ? 'probabilities' : kind, only });
  const [{ name }] = model.graph.outputs;
  for await (const { images, targets, indices, skipped } of pictures) {
    each?.(indices.length, skipped);
    if (indices.length === 0) continue;
    const mean = new Float32Array(targets.data.length);
    let seen = 0;
    for (const view of views?.(images) ?? [images]) {
      const { [name]: output } = await model.run(view, [name], { signal });
      const answers = turned ? probabilities(output.data, labels.length) : output.data;
      seen++;
      for (let i = 0; i < mean.length; i++) mean[i] += (answers[i] - mean[i]) / seen;
    }
    judging.add(mean, targets.data, (row) => examples[indices[row]].id);
  }
  return judging.scores();
}

function probabilities(logits: Float32Array, classes: number): Float32Array {
  const found = new Float32Array(logits.length);
  for (let at = 0; at < logits.length; at += classes) found.set(softmax(logits.subarray(at, at + classes)), at);
  return found;
}

/** A network with weights of the moment, made ready for one look at its answers. */
export const momentary = (graph: Graph, record: ModelRecord, weights: Weights, engine: EngineOptions): Model =>
  createModel(graph, record, { ...engine, weights, deterministic: true, warn: () => {} });
