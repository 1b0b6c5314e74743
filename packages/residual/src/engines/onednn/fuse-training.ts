import { readByNode, type StepGraph, type StepNode } from '../../graph/graph.js';

/** What the library can do of a training step in one go. */
export interface Work {
  readonly node: StepNode;
  readonly name: string;
  /** The node's, but for what has joined it. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** A ReLU that follows; `outputs[0]` is its result. */
  readonly relu: boolean;
  /**
   * The result of the ReLU that followed this BatchNorm: what comes back passes where it is above zero. `inputs[0]` is the
   * gradient by that result.
   */
  readonly mask?: number;
  /** The bias' gradient, which is made with the weight's. */
  readonly bias?: number;
}

/** What the library can follow by a ReLU while it stores the result. */
const takesRelu = new Set<StepNode['op']>(['batchNormTraining', 'batchNorm', 'conv2d', 'dense', 'add', 'mul']);
const weightGradients = new Set<StepNode['op']>(['conv2dWeightGradient', 'denseWeightGradient']);

/** The work of a training step, in an order in which it can be done. */
export function fuseTraining(graph: StepGraph): Work[] {
  const readers = new Map<number, number>();
  const read = [...graph.nodes.flatMap((node) => node.inputs), ...graph.outputs.map((output) => output.value)];
  for (const value of read) readers.set(value, (readers.get(value) ?? 0) + 1);
  /** By the value that it makes first. */
  const all = new Map<number, Work>();
  const set = (work: Work): void => void all.set(work.outputs[0], work);
  const before = (value: number): Work | undefined => (readers.get(value) === 1 ? all.get(value) : undefined);

  for (const node of graph.nodes) {
    const [first] = node.inputs;
    const { name, inputs, outputs } = node;
    const maker = before(first);
    if (node.op === 'relu' && maker && takesRelu.has(maker.node.op) && !maker.relu) {
      all.delete(first);
      set({ ...maker, name, outputs: [outputs[0], ...maker.outputs.slice(1)], relu: true });
      continue;
    }
    if (node.op === 'batchNormGradient' && maker?.node.op === 'reluGradient') {
      const [dy, y] = maker.inputs;
      const forward = all.get(y);
      if (forward?.relu && forward.node.op === 'batchNormTraining' && forward.inputs[0] === inputs[1]) {
        all.delete(first);
        set({ node, name, inputs: [dy, ...inputs.slice(1)], outputs, relu: false, mask: y });
        continue;
      }
    }
    if (node.op === 'channelSum') {
      const weight = [...all.values()].find(
        (work) => weightGradients.has(work.node.op) && work.inputs[0] === first && work.bias === undefined,
      );
      if (weight) {
        set({ ...weight, bias: outputs[0] });
        continue;
      }
    }
    set({ node, name, inputs, outputs, relu: false });
  }
  return weightsFirst([...all.values()]);
}

/** A weight's gradient before the input's: what the layer read is then let go of before memory is needed for more. */
function weightsFirst(all: readonly Work[]): Work[] {
  const out = [...all];
  for (let i = 0; i + 1 < out.length; i++) {
    const [one, next] = [out[i], out[i + 1]];
    if (/InputGradient$/.test(one.node.op) && weightGradients.has(next.node.op) && one.inputs[0] === next.inputs[0])
      out.splice(i++, 2, next, one);
  }
  return out;
}

/** The values whose numbers a piece of work may read. */
export function readByWork({ node, inputs, mask }: Work): number[] {
  const read = readByNode({ op: node.op, inputs });
  return mask === undefined ? read : [...read, mask];
}
