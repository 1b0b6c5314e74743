import { ResidualError } from '../errors.js';
import type { Shape } from '../tensor.js';
import { differentiate } from './gradient.js';
import {
  freeFrom,
  type Graph,
  type Input,
  inferShapes,
  type Parameter,
  type StepGraph,
  type StepNode,
} from './graph.js';
import { needed } from './passes.js';

export type Loss = 'crossEntropy' | 'binaryCrossEntropy';

/** A random factor that the loop makes for every step: 0 with the probability `rate`, else 1 / (1 − rate). */
export interface Mask {
  /** The input's name. */
  readonly name: string;
  readonly rate: number;
  /** `dropout`: a draw for each element; `depth`: one for each picture, which keeps or drops a whole branch. */
  readonly kind: 'dropout' | 'depth';
  /** `[N, …]` for the step's batch. */
  readonly shape: Shape;
}

/** What a BatchNorm measured, and which running statistics that moves. */
export interface Measured {
  /** Names of the running statistics; the step's outputs of the same names are the batch's. */
  readonly mean: string;
  readonly variance: string;
  /** Numbers behind each channel's statistics: the batch's variance is divided by this, the running one by one less. */
  readonly count: number;
}

/** One training step: everything between a batch and its gradients. A pure function of its inputs and parameters. */
export interface TrainingStep {
  /**
   * Inputs: the network's own, `targets` `[N, K]`, the masks. Outputs: `loss` `[1]`, `logits` `[N, K]`, the batch's
   * statistics by the names of the running ones, and the gradient of every trained parameter by `gradientName`.
   */
  readonly graph: StepGraph;
  readonly trained: readonly Parameter[];
  readonly masks: readonly Mask[];
  readonly measured: readonly Measured[];
}

export interface StepOptions {
  /** `[N, C, H, W]` of every step. */
  readonly shape: Shape;
  readonly loss: Loss;
  /** Whether a parameter learns. A BatchNorm whose gamma and beta both stay keeps its statistics, too. */
  readonly trains: (parameter: Parameter) => boolean;
  /**
   * Stochastic depth: the share of pictures for which the last residual branch is dropped; earlier ones are dropped less
   * often, in equal steps from 0 (Huang et al. 2016, section 3, as timm counts them).
   */
  readonly dropPath?: number;
}

/** The step's output that holds a parameter's gradient. */
export const gradientName = (parameter: string): string => `${parameter}, gradient`;

/**
 * Makes a network's training step: BatchNorms measure the batch, dropout and dropped branches become masks, the loss is
 * put behind the logits and all is differentiated.
 * @throws GRAPH when the network has no logits, or nothing to train.
 */
export function trainingStep(network: Graph, { shape, loss, trains, dropPath = 0 }: StepOptions): TrainingStep {
  const [picture] = network.inputs;
  const inputShapes = { [picture.name]: shape };
  const shapes = inferShapes(network, inputShapes);
  const trained = network.parameters.filter((one) => one.role !== 'mean' && one.role !== 'variance' && trains(one));
  if (trained.length === 0)
    throw new ResidualError('GRAPH', `${network.name} has nothing to train: all its parameters are frozen`);
  const learning = new Set(trained.map(({ value }) => value));
  const named = new Map(network.parameters.map((parameter) => [parameter.value, parameter.name]));
  const rates = branchRates(network, dropPath);
  const logits = logitsOf(network);

  const masks: Mask[] = [];
  const inputs: Input[] = [...network.inputs];
  const measured: (Measured & { readonly values: readonly number[] })[] = [];
  const nodes: StepNode[] = [];
  let next = freeFrom(network);
  function mask(name: string, kind: Mask['kind'], rate: number, maskShape: Shape): number {
    const value = next++;
    masks.push({ name, kind, rate, shape: maskShape });
    inputs.push({ value, name, shape: maskShape });
    return value;
  }

  // What does not lead to the loss is left out: a softmax at the end, other results.
  for (const node of needed(network.nodes, [logits]).kept) {
    if (node.op === 'dropout') {
      const factor = mask(`${node.name}.mask`, 'dropout', node.attributes.rate, shapes[node.outputs[0]]);
      nodes.push({ ...node, op: 'mul', inputs: [node.inputs[0], factor], attributes: {} });
      continue;
    }
    const rate = rates.get(node.name) ?? 0;
    if (node.op === 'add' && rate > 0) {
      const [n, c] = shapes[node.outputs[0]];
      const factor = mask(`${node.name}.kept`, 'depth', rate, [n, c, 1, 1]);
      const branch = next++;
      nodes.push({
        op: 'mul',
        name: `${node.name}.branch`,
        inputs: [node.inputs[0], factor],
        outputs: [branch],
        attributes: {},
      });
      nodes.push({ ...node, inputs: [branch, node.inputs[1]] });
      continue;
    }
    if (node.op === 'batchNorm' && node.inputs.slice(1, 3).some((value) => learning.has(value))) {
      const [x, gamma, beta, mean, variance] = node.inputs;
      const values = [next++, next++];
      const count = shapes[x].reduce((product, size) => product * size, 1) / shapes[x][1];
      measured.push({ mean: named.get(mean) as string, variance: named.get(variance) as string, count, values });
      nodes.push({
        ...node,
        op: 'batchNormTraining',
        inputs: [x, gamma, beta],
        outputs: [node.outputs[0], ...values],
      });
      continue;
    }
    nodes.push(node);
  }

  const targets = next++;
  inputs.push({ value: targets, name: 'targets', shape: shapes[logits] });
  const lossValue = next++;
  nodes.push({ op: loss, name: 'loss', inputs: [logits, targets], outputs: [lossValue], attributes: {} });

  const forward: StepGraph = { ...network, inputs: inputs.map((one) => ({ ...one })), nodes };
  const stepShapes = { ...inputShapes, targets: shapes[logits] };
  const { graph, gradients } = differentiate(forward, lossValue, learning, stepShapes);
  const used = new Set(graph.nodes.flatMap((node) => node.inputs));
  return {
    graph: {
      ...graph,
      inputs: graph.inputs.map((one) => (one.value === picture.value ? { ...one, shape } : one)),
      parameters: graph.parameters.filter(({ value }) => used.has(value)),
      outputs: [
        { name: 'loss', value: lossValue },
        { name: 'logits', value: logits },
        ...measured.flatMap(({ mean, variance, values: [m, v] }) => [
          { name: mean, value: m },
          { name: variance, value: v },
        ]),
        ...trained.map(({ name, value }) => ({ name: gradientName(name), value: gradients.get(value) as number })),
      ],
      features: {},
    },
    trained,
    masks,
    measured: measured.map(({ mean, variance, count }) => ({ mean, variance, count })),
  };
}

/** How often each residual sum's branch is dropped, by the sum's name. */
function branchRates(network: Graph, most: number): ReadonlyMap<string, number> {
  const sums = network.nodes.filter((node) => node.op === 'add' && node.block !== undefined);
  return new Map(sums.map(({ name }, i) => [name, sums.length > 1 ? (most * i) / (sums.length - 1) : most]));
}

/** What the loss takes: the first output, before a softmax if there is one. */
function logitsOf({ outputs, nodes, name }: Graph): number {
  const output = outputs.find((one) => one.name === 'logits') ?? outputs.find((one) => one.name === 'probabilities');
  if (output === undefined)
    throw new ResidualError('GRAPH', `${name} has no logits to train; give it a classifier: { classes: 10 }`);
  const maker = nodes.find((node) => node.outputs.includes(output.value));
  return maker?.op === 'softmax' ? maker.inputs[0] : output.value;
}
