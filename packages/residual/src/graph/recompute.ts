import { freeFrom, readByNode, type StepGraph, type StepNode } from './graph.js';

const losses = new Set<StepNode['op']>(['crossEntropy', 'binaryCrossEntropy']);

/**
 * A training step that keeps less: what a residual block computes inside is let go of after the forward pass, and computed
 * again from the block's input before its backward pass (Chen et al. 2016, "Training deep nets with sublinear memory
 * cost"). The numbers are the same; each block's forward pass is done twice.
 */
export function recompute(graph: StepGraph): StepGraph {
  const end = graph.nodes.findIndex(({ op }) => losses.has(op));
  const forward = graph.nodes.slice(0, end);
  const backward = graph.nodes.slice(end);
  const blocks = new Map<string, StepNode[]>();
  for (const node of forward)
    if (node.block !== undefined) blocks.set(node.block, [...(blocks.get(node.block) ?? []), node]);

  let next = freeFrom(graph);
  /** By the value as the backward pass knows it: the value that is computed again. */
  const again = new Map<number, number>();
  /** By the node of the backward pass before which they are to be done. */
  const before = new Map<StepNode, StepNode[]>();
  for (const [block, own] of blocks) {
    const outside = forward.filter((node) => node.block !== block).flatMap(({ inputs }) => inputs);
    const kept = new Set([...outside, ...graph.outputs.map(({ value }) => value)]);
    // Of several results only the first is large: the others, a BatchNorm's statistics, stay.
    const inside = new Set(own.map(({ outputs }) => outputs[0]).filter((value) => !kept.has(value)));
    const first = backward.find((node) => readByNode(node).some((value) => inside.has(value)));
    if (first === undefined) continue;

    const wanted = new Set(backward.flatMap(readByNode).filter((value) => inside.has(value)));
    const copies: StepNode[] = [];
    for (const node of own.toReversed()) {
      if (!wanted.has(node.outputs[0])) continue;
      for (const value of node.inputs) if (inside.has(value)) wanted.add(value);
      copies.unshift(node);
    }
    for (const { outputs } of copies) again.set(outputs[0], next++);
    const repeated = copies.map((node) => ({
      ...moved(node, again),
      name: `${node.name}, again`,
      outputs: node.outputs.map((value, i) => (i === 0 ? (again.get(value) as number) : next++)),
    }));
    before.set(first, [...(before.get(first) ?? []), ...repeated]);
  }
  const nodes = backward.flatMap((node) => [...(before.get(node) ?? []), moved(node, again)]);
  return { ...graph, nodes: [...forward, ...nodes] };
}

/** A node that reads what was computed again. Shapes are known without that. */
function moved(node: StepNode, again: ReadonlyMap<number, number>): StepNode {
  const read = new Set(readByNode(node));
  return { ...node, inputs: node.inputs.map((value) => (read.has(value) ? (again.get(value) ?? value) : value)) };
}
