import type { Graph, Node } from '../../graph/graph.js';

/** One op as the library can do it in one go: the op, then `+ residual`, then ReLU. */
export interface Step {
  /** The op itself; zeros laid around its input before may have become its own padding. */
  readonly node: Node;
  /** A value to be added to the result. */
  readonly residual?: number;
  readonly relu: boolean;
  /** The value that the last of the joined layers made, and that layer's name. */
  readonly output: number;
  readonly name: string;
}

type Draft = { -readonly [K in keyof Step]: Step[K] };

/** What the library can add to, and follow by a ReLU, while it stores the result. */
const joins = new Set<Node['op']>(['conv2d', 'mul', 'add']);
const takesRelu = new Set<Node['op']>([...joins, 'batchNorm', 'dense']);

/**
 * The steps of a graph whose BatchNorms are folded, in an order in which they can be done. Where nothing else reads
 * what lies between, an addition and a ReLU join the op before them (He et al. 2015, figure 2: F(x) + x, then ReLU),
 * and a frame of zeros joins the convolution or pooling behind it.
 */
export function fuse(graph: Graph): Step[] {
  const readers = new Map<number, number>();
  const read = [...graph.nodes.flatMap((node) => node.inputs), ...graph.outputs.map((output) => output.value)];
  for (const value of read) readers.set(value, (readers.get(value) ?? 0) + 1);
  const steps = new Map<number, Draft>();

  /** The step that made a value which only the op at hand reads. */
  const before = (value: number): Draft | undefined => (readers.get(value) === 1 ? steps.get(value) : undefined);
  /** The joined step stands where its last layer stood: by then all it reads is there. */
  function join(step: Draft, node: Node, change: Partial<Draft>): void {
    steps.delete(step.output);
    steps.set(node.outputs[0], { ...step, ...change, output: node.outputs[0], name: node.name });
  }

  for (const node of graph.nodes) {
    const [first, second] = node.inputs;
    if (node.op === 'relu') {
      const step = before(first);
      if (step && takesRelu.has(step.node.op) && !step.relu) {
        join(step, node, { relu: true });
        continue;
      }
    }
    if (node.op === 'add') {
      const candidates = [
        [before(first), second],
        [before(second), first],
      ] as const;
      const open = candidates.filter(
        ([step]) => step && joins.has(step.node.op) && !step.relu && step.residual === undefined,
      );
      const [step, residual] = open.find(([found]) => found?.node.op === 'conv2d') ?? open[0] ?? [];
      if (step && residual !== undefined) {
        join(step, node, { residual });
        continue;
      }
    }
    steps.set(node.outputs[0], {
      node: withPadding(node, steps),
      relu: false,
      output: node.outputs[0],
      name: node.name,
    });
  }
  return needed([...steps.values()], graph);
}

/** A convolution or pooling that reads zeros laid around a picture lays them itself, where that is the same. */
function withPadding(node: Node, steps: ReadonlyMap<number, Step>): Node {
  if ((node.op !== 'conv2d' && node.op !== 'maxPool') || node.attributes.padding === 'same') return node;
  const frame = steps.get(node.inputs[0])?.node;
  if (frame?.op !== 'pad' || frame.attributes.channels.some(Boolean)) return node;
  const { spatial } = frame.attributes;
  if (spatial.some((zeros) => zeros < 0)) return node;
  if (node.op === 'maxPool') {
    // A pool's own padding is −∞: the same as zeros where no number is below zero and no window lies in the frame alone.
    const { kernel, padding } = node.attributes;
    if (padding.some(Boolean) || spatial.some((zeros, i) => zeros >= kernel[i % 2])) return node;
    if (!isPositive(frame.inputs[0], steps)) return node;
  }
  const padding = node.attributes.padding.map((zeros, i) => zeros + spatial[i]);
  const inputs = [frame.inputs[0], ...node.inputs.slice(1)];
  return { ...node, inputs, attributes: { ...node.attributes, padding } } as unknown as Node;
}

/** Whether a value is known to hold nothing below zero. */
function isPositive(value: number, steps: ReadonlyMap<number, Step>): boolean {
  const step = steps.get(value);
  if (step === undefined) return false;
  if (step.relu || step.node.op === 'relu' || step.node.op === 'sigmoid') return true;
  return step.node.op === 'maxPool' && isPositive(step.node.inputs[0], steps);
}

/** Without the steps whose results nobody reads any more. */
function needed(steps: readonly Step[], graph: Graph): Step[] {
  const live = new Set(graph.outputs.map((output) => output.value));
  const kept: Step[] = [];
  for (const step of steps.toReversed()) {
    if (!live.has(step.output)) continue;
    kept.push(step);
    for (const value of readBy(step)) live.add(value);
  }
  return kept.reverse();
}

/** All values that a step reads: activations, parameters, the residual. */
export const readBy = ({ node, residual }: Step): number[] =>
  residual === undefined ? [...node.inputs] : [...node.inputs, residual];
