import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { classFinder } from '../models/class-map.js';
import type { ClassLabel } from '../models/classes.js';
import type { Model } from './model.js';
import { outputsOf } from './network.js';

/** The classes of a model by the order of its outputs; `class 0`, `class 1` … where nobody said what they are. */
export const classesOf = ({ graph, record }: Pick<Model, 'graph' | 'record'>): readonly ClassLabel[] =>
  record.classes ?? Array.from({ length: outputsOf(graph) ?? 0 }, (_, index) => ({ label: `class ${index}` }));

/**
 * The labels of a model's outputs: the user's where there are any, else those that are known.
 *
 * The user's must be as many as the outputs. Where they carry WordNet ids, these must stand in the order of the known
 * ones; where only labels are there and most of them stand elsewhere in the known list, a note says so, because a
 * network may have been trained in that order. Another note says when all are the same.
 *
 * @param known what the outputs are by the model's record, or by custom
 * @throws CLASSES naming the difference.
 */
export function settleLabels(
  given: readonly ClassLabel[] | undefined,
  known: readonly ClassLabel[] | undefined,
  graph: Graph,
  file: string,
  notes: string[],
): readonly ClassLabel[] | undefined {
  const labels = given ?? known;
  const outputs = outputsOf(graph);
  if (!labels || outputs === undefined) return labels;
  if (labels.length !== outputs) throw otherNumber(labels, known, outputs, file);
  if (given && outputs > 1 && labels.every(({ label }) => label === labels[0].label))
    notes.push(`${file}: all ${outputs} labels are "${labels[0].label}"; answers cannot be told apart by them`);
  if (!known || labels === known) return labels;
  const places = new Map(known.map(({ wnid }, index) => [wnid, index]));
  if (labels.every(({ wnid }) => wnid !== undefined && places.has(wnid))) {
    const wrong = labels.findIndex(({ wnid }, index) => places.get(wnid) !== index);
    if (wrong >= 0) throw otherOrder(labels[wrong].wnid as string, wrong, places.get(labels[wrong].wnid) ?? 0, file);
    // Lines that hold the id alone get its label.
    return labels.map((label, index) => (label.label === label.wnid ? known[index] : label));
  }
  const find = classFinder(known);
  const elsewhere = labels.filter(({ label }, index) => {
    const found = find(label);
    return found.length === 1 && found[0] !== index;
  });
  if (elsewhere.length > labels.length / 2)
    notes.push(
      `${file}: ${elsewhere.length} of the ${labels.length} labels given stand elsewhere in the customary list ("${elsewhere[0].label}" is class ${find(elsewhere[0].label)[0]} there); they are right only if it was trained in this order`,
    );
  return labels;
}

function otherOrder(wnid: string, given: number, known: number, file: string): ResidualError {
  return new ResidualError(
    'CLASSES',
    `${file}: the labels are the model's classes in another order: ${wnid} is its class ${known}, but label ${given} of those given (counted from 0); put them in the order of the outputs, or give none`,
    { file, wnid, expected: known, received: given },
  );
}

/** Fewer labels that are all classes of the model are a subset to choose from. */
function otherNumber(
  labels: readonly ClassLabel[],
  known: readonly ClassLabel[] | undefined,
  outputs: number,
  file: string,
): ResidualError {
  const find = known && classFinder(known);
  const subset = find && labels.length < outputs && labels.every((one) => find(one.wnid ?? one.label).length > 0);
  const hint = subset
    ? '; they are a subset of its classes: to choose among these, give them as the classes to choose from (--classes, or `only` with matchClasses)'
    : '; give one label for each output, in their order';
  return new ResidualError(
    'CLASSES',
    `${file}: the model has ${outputs} classes but ${labels.length} label${labels.length === 1 ? ' was' : 's were'} given${hint}`,
    { file, expected: outputs, received: labels.length },
  );
}
