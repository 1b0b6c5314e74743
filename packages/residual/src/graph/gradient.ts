import { ResidualError } from '../errors.js';
import { type Shape, sameShape } from '../tensor.js';
import { freeFrom, inferShapes, nodeShapes, type StepGraph, type StepNode } from './graph.js';
import type { OpAttributes, OpName } from './ops.js';
import type { TrainingOpAttributes, TrainingOpName } from './training-ops.js';

type AnyAttributes = OpAttributes & TrainingOpAttributes;
type AnyOpName = OpName | TrainingOpName;

/** One op whose gradient is asked for. */
interface Site {
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** The loss's gradient by the op's first result. */
  readonly dy: number;
  /** Whether the gradient by this input is of any use. */
  wanted(input: number): boolean;
  shape(value: number): Shape;
  /** Adds an op, called after what it gives (`conv1 by weight`), and answers with its results. */
  emit<K extends AnyOpName>(what: string, op: K, inputs: readonly number[], attributes: AnyAttributes[K]): number[];
}

/** The gradients by an op's inputs, in their order; undefined where none is wanted. */
type Rule<K extends AnyOpName> = (site: Site, attributes: AnyAttributes[K]) => readonly (number | undefined)[];

/** Why an op has no gradient. */
interface None {
  readonly none: string;
}
const none = (reason: string): None => ({ none: reason });
const secondOrder = none('gradients of gradients are not computed');

/** An op with one input whose gradient is another op of `dy` and one more value. */
const unary =
  <K extends AnyOpName>(op: K, second: 'input' | 'output') =>
  ({ dy, inputs, outputs, emit }: Site, attributes: unknown): number[] =>
    emit('by input', op, [dy, second === 'input' ? inputs[0] : outputs[0]], attributes as AnyAttributes[K]);

/** The gradient of every op. */
const rules: { [K in AnyOpName]: Rule<K> | None } = {
  conv2d: ({ dy, inputs: [x, weight, bias], wanted, emit }, attributes) => [
    wanted(x) ? emit('by input', 'conv2dInputGradient', [dy, x, weight], attributes)[0] : undefined,
    wanted(weight) ? emit('by weight', 'conv2dWeightGradient', [dy, x], attributes)[0] : undefined,
    bias !== undefined && wanted(bias) ? emit('by bias', 'channelSum', [dy], {})[0] : undefined,
  ],
  // With statistics that stay as they are; gamma and beta then stay, too.
  batchNorm: ({ dy, inputs: [, gamma, , , variance], emit }, { epsilon }) =>
    emit('by input', 'frozenBatchNormGradient', [dy, gamma, variance], { epsilon }),
  batchNormTraining: ({ dy, inputs: [x, gamma], outputs: [, mean, variance], emit }, attributes) =>
    emit('by input', 'batchNormGradient', [dy, x, mean, variance, gamma], attributes),
  relu: unary('reluGradient', 'output'),
  sigmoid: unary('sigmoidGradient', 'output'),
  softmax: unary('softmaxGradient', 'output'),
  maxPool: unary('maxPoolGradient', 'input'),
  avgPool: unary('avgPoolGradient', 'input'),
  globalAvgPool: unary('globalAvgPoolGradient', 'input'),
  blurPool: unary('blurPoolGradient', 'input'),
  resize: unary('resizeGradient', 'input'),
  pad({ dy, emit }, { channels, spatial: [top, left, bottom, right] }) {
    const ends = [channels, [top, bottom], [left, right]];
    return [
      ends.reduce((from, [before, after], i) => {
        if (before === 0 && after === 0) return from;
        return emit(`by input, axis ${i + 1}`, 'trim', [from], { axis: i + 1, before, after })[0];
      }, dy),
    ];
  },
  add: ({ dy }) => [dy, dy],
  mul({ dy, inputs, wanted, shape, emit }) {
    return inputs.map((x, i) => {
      if (!wanted(x)) return undefined;
      const [product] = emit(`by input ${i}`, 'mul', [dy, inputs[1 - i]], {});
      if (sameShape(shape(x), shape(product))) return product;
      return emit(`by input ${i}, summed`, 'spatialSum', [product], {})[0];
    });
  },
  concat({ dy, inputs, wanted, shape, emit }, { axis }) {
    const whole = shape(dy)[axis];
    let before = 0;
    return inputs.map((x, i) => {
      const size = shape(x)[axis];
      const from = before;
      before += size;
      return wanted(x)
        ? emit(`by input ${i}`, 'trim', [dy], { axis, before: from, after: whole - from - size })[0]
        : undefined;
    });
  },
  flatten: unary('unflatten', 'input'),
  reshape: ({ dy, inputs, emit }) => emit('by input', 'unflatten', [dy, inputs[0]], { channelsLast: false }),
  dense: ({ dy, inputs: [x, weight, bias], wanted, emit }) => [
    wanted(x) ? emit('by input', 'denseInputGradient', [dy, weight], {})[0] : undefined,
    wanted(weight) ? emit('by weight', 'denseWeightGradient', [dy, x], {})[0] : undefined,
    bias !== undefined && wanted(bias) ? emit('by bias', 'channelSum', [dy], {})[0] : undefined,
  ],
  dropout: none('a training step multiplies by a mask in its place'),
  crossEntropy: ({ inputs, emit }) => emit('by logits', 'crossEntropyGradient', inputs, {}),
  binaryCrossEntropy: ({ inputs, emit }) => emit('by logits', 'binaryCrossEntropyGradient', inputs, {}),
  crossEntropyGradient: secondOrder,
  binaryCrossEntropyGradient: secondOrder,
  conv2dInputGradient: secondOrder,
  conv2dWeightGradient: secondOrder,
  channelSum: secondOrder,
  batchNormGradient: secondOrder,
  frozenBatchNormGradient: secondOrder,
  reluGradient: secondOrder,
  sigmoidGradient: secondOrder,
  softmaxGradient: secondOrder,
  maxPoolGradient: secondOrder,
  avgPoolGradient: secondOrder,
  globalAvgPoolGradient: secondOrder,
  blurPoolGradient: secondOrder,
  resizeGradient: secondOrder,
  unflatten: secondOrder,
  trim: secondOrder,
  spatialSum: secondOrder,
  denseInputGradient: secondOrder,
  denseWeightGradient: secondOrder,
};

/** A graph with its gradients behind it. */
export interface Differentiated {
  readonly graph: StepGraph;
  /** By the value asked for: the value of its gradient. */
  readonly gradients: ReadonlyMap<number, number>;
}

/**
 * Adds to a graph what computes the gradients of `loss` by the values in `by`: reverse accumulation, a rule for each op
 * (Griewank and Walther 2008, chapter 3). Shapes are those of `inputShapes`; the graph holds for them alone.
 * @param loss the result of a loss op.
 * @throws GRAPH where an op on the way has no gradient, or where a value in `by` does not reach the loss.
 */
export function differentiate(
  graph: StepGraph,
  loss: number,
  by: ReadonlySet<number>,
  inputShapes: Readonly<Record<string, Shape>> = {},
): Differentiated {
  const shapes = inferShapes(graph, inputShapes);
  const active = new Set(by);
  for (const node of graph.nodes)
    if (node.inputs.some((value) => active.has(value))) for (const value of node.outputs) active.add(value);

  const nodes: StepNode[] = [...graph.nodes];
  let next = freeFrom(graph);
  function add<K extends AnyOpName>(name: string, op: K, inputs: readonly number[], attributes: AnyAttributes[K]) {
    const draft = { op, name, inputs, outputs: [] as number[], attributes };
    const found = nodeShapes(draft as unknown as StepNode, shapes);
    for (const shape of found) {
      shapes[next] = shape;
      draft.outputs.push(next++);
    }
    nodes.push(draft as unknown as StepNode);
    return draft.outputs;
  }

  /** The loss's gradient by a value, as the sum of what came back by every use of it. */
  const adjoints = new Map<number, number>();
  const makers = new Map(graph.nodes.flatMap((node) => node.outputs.map((value) => [value, node.name] as const)));
  const sums = new Map<number, number>();
  function give(value: number, gradient: number): void {
    const known = adjoints.get(value);
    if (known === undefined) {
      adjoints.set(value, gradient);
      return;
    }
    const count = (sums.get(value) ?? 0) + 1;
    sums.set(value, count);
    const name = `${makers.get(value) ?? `value ${value}`}, gradients ${count === 1 ? 'summed' : `summed ${count}`}`;
    adjoints.set(value, add(name, 'add', [known, gradient], {})[0]);
  }

  for (const node of graph.nodes.toReversed()) {
    const dy = node.outputs[0] === loss ? loss : adjoints.get(node.outputs[0]);
    if (dy === undefined || !node.inputs.some((value) => active.has(value))) continue;
    // The rule and the attributes belong to the same op, which TypeScript cannot see through the union.
    const rule = rules[node.op] as Rule<'relu'> | None;
    if ('none' in rule)
      throw new ResidualError('GRAPH', `layer "${node.name}" has no gradient: ${rule.none}`, { layer: node.name });
    const site: Site = {
      inputs: node.inputs,
      outputs: node.outputs,
      dy,
      wanted: (input) => active.has(input),
      shape: (value) => shapes[value],
      emit: (what, op, inputs, attributes) => add(`${node.name} ${what}`, op, inputs, attributes),
    };
    rule(site, node.attributes as OpAttributes['relu']).forEach((gradient, i) => {
      if (gradient !== undefined && active.has(node.inputs[i])) give(node.inputs[i], gradient);
    });
  }
  return {
    graph: { ...graph, nodes },
    gradients: new Map(
      Array.from(by, (value) => {
        const found = adjoints.get(value);
        if (found === undefined)
          throw new ResidualError(
            'GRAPH',
            `${graph.parameters.find((one) => one.value === value)?.name ?? `value ${value}`} has no gradient: the loss does not depend on it, or it is a BatchNorm's whose statistics are frozen`,
          );
        return [value, found];
      }),
    ),
  };
}
