import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { Plan } from '../image/plan.js';
import type { ModelRecord } from '../tasks/model.js';
import { sharedFloats, sizeOf, type Tensor, type Weights } from '../tensor.js';
import type { Recipe } from './settings.js';

/** A network with its weights and record: what a run begins with. */
export interface Student {
  readonly graph: Graph;
  readonly weights: Weights;
  readonly record: ModelRecord;
}

/** The layer that makes a score of each class. @throws GRAPH when there is none */
function classifierOf({ nodes, outputs, name }: Graph): { input: number; weight: number; bias: number | undefined } {
  const output = outputs.find((one) => one.name === 'logits' || one.name === 'probabilities');
  let maker = nodes.find((node) => output && node.outputs.includes(output.value));
  if (maker?.op === 'softmax') maker = nodes.find((node) => node.outputs.includes(maker?.inputs[0] as number));
  if (maker?.op !== 'dense')
    throw new ResidualError(
      'GRAPH',
      `${name} has no dense layer that makes a score of each class; build it with one: { classes: 10 }`,
    );
  return { input: maker.inputs[0], weight: maker.inputs[1], bias: maker.inputs[2] };
}

/** The layer whose result the classifier reads. @throws GRAPH when the network ends in no dense layer. */
export function beforeClassifier(graph: Graph): string {
  const { input } = classifierOf(graph);
  const node = graph.nodes.find(({ outputs }) => outputs.includes(input));
  if (node === undefined)
    throw new ResidualError('GRAPH', `${graph.name} is a classifier alone; there is nothing before it`);
  return node.name;
}

/**
 * The same network with a new classifier for so many classes; all else stays. It begins with zeros (as BiT's does,
 * Kolesnikov et al. 2020): all classes are as likely, and no noise goes back into what was learnt before.
 * @throws GRAPH when the network ends in no dense layer.
 */
export function withNewHead({ graph, weights, record }: Student, classes: readonly string[]): Student {
  const { weight, bias } = classifierOf(graph);
  const parameters = graph.parameters.map((parameter) => {
    if (parameter.value !== weight && parameter.value !== bias) return parameter;
    return { ...parameter, shape: [classes.length, ...parameter.shape.slice(1)] };
  });
  const changed: Graph = { ...graph, parameters };
  const fresh = parameters
    .filter(({ value }) => value === weight || value === bias)
    .map(({ name, shape }): [string, Tensor] => [name, { dtype: 'float32', shape, data: sharedFloats(sizeOf(shape)) }]);
  return {
    graph: changed,
    weights: new Map([...weights, ...fresh]),
    record: {
      ...record,
      ...(record.config && { config: { ...record.config, classes: classes.length } }),
      classes: classes.map((label) => ({ label })),
    },
  };
}

/** The network without a softmax at its end: for classes that stand each for itself. */
export function withoutSoftmax(student: Student): Student {
  const { graph, record } = student;
  const [output, ...others] = graph.outputs;
  const last = graph.nodes.find(({ op, outputs }) => op === 'softmax' && outputs.includes(output.value));
  if (!last) return student;
  const outputs = [{ name: 'logits', value: last.inputs[0] }, ...others];
  return {
    ...student,
    graph: { ...graph, nodes: graph.nodes.filter((node) => node !== last), outputs },
    record: { ...record, ...(record.config && { config: { ...record.config, softmax: false } }) },
  };
}

/**
 * The preprocessing for tests at another size, or of another share of the picture: short side, then the centre.
 * Everything that changes values stays.
 */
export function testedAt(plan: Plan, [height, width]: readonly [number, number], share: number): Plan {
  const decode = plan.filter(({ step }) => step === 'decode');
  const values = plan.filter(
    ({ step }) => step !== 'decode' && step !== 'resize' && step !== 'resizeShortSide' && step !== 'centerCrop',
  );
  const filter = plan.flatMap((step) => ('filter' in step ? [step.filter] : []))[0] ?? 'bilinear';
  const short = Math.round(Math.max(height, width) / (share || 1));
  return [
    ...decode,
    { step: 'resizeShortSide', size: short, filter },
    { step: 'centerCrop', height, width },
    ...values,
  ];
}

/** The network with the preprocessing that a recipe tests it by. */
export function testedBy(student: Student, { testSize, testScale, testCrop }: Recipe): Student {
  const { record, graph } = student;
  if (testSize === 0 && testScale === 0 && testCrop === 0) return student;
  const [, , ...sides] = graph.inputs[0].shape;
  const [height, width] = sides.map((side) => testSize || (testScale ? 8 * Math.round((side * testScale) / 8) : side));
  const plan = testedAt(record.plan, [height, width], testCrop);
  return { ...student, record: { ...record, preprocess: 'custom', plan } };
}

/** All weights of a network: those that learnt, and those that stayed. */
export const merged = (before: Weights, learnt: Weights): Weights => new Map([...before, ...learnt]);
