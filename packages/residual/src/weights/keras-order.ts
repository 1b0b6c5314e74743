import type { Graph, Node } from '../graph/graph.js';

/** A layer of a Keras model and the parameters it has, in the order that Keras keeps them. */
export interface KerasLayer {
  readonly name: string;
  readonly parameters: readonly string[];
}

/**
 * The layers of a network in the order in which Keras lists those of a functional model, which is the order it loads
 * weights by (keras/src/ops/function.py, `map_graph`): by falling distance from the output and, at one distance, as a
 * walk from the output, first input first, meets them.
 * @param shortcutFirst whether the sums name their shortcut first, as keras.applications does.
 */
export function kerasLayers(graph: Graph, shortcutFirst: boolean): readonly KerasLayer[] {
  const { producers, layerOf } = layersOf(graph);
  const inputsOf = (node: Node): Node[] => {
    const found = node.inputs.flatMap((value) => producers.get(value) ?? []).map(layerOf);
    return shortcutFirst && node.op === 'add' ? found.reverse() : found;
  };
  const inside = new Map<Node, Node[]>();
  for (const node of graph.nodes) {
    const layer = layerOf(node);
    const from = inputsOf(node).filter((other) => other !== layer);
    inside.set(layer, [...(inside.get(layer) ?? []), ...from]);
  }

  const met = new Map<Node, number>();
  const finished: Node[] = [];
  // A walk with a list of its own: a network may be deeper than the call stack.
  for (const { value } of graph.outputs) {
    const last = producers.get(value);
    if (!last) continue;
    const path: { layer: Node; next: number }[] = [];
    const enter = (layer: Node) => {
      if (met.has(layer)) return;
      met.set(layer, met.size);
      path.push({ layer, next: 0 });
    };
    enter(layerOf(last));
    while (path.length) {
      const here = path[path.length - 1];
      const from = (inside.get(here.layer) ?? [])[here.next++];
      if (from) enter(from);
      else finished.push((path.pop() as { layer: Node }).layer);
    }
  }

  const distance = new Map<Node, number>();
  for (const layer of finished.toReversed())
    for (const from of inside.get(layer) ?? [])
      distance.set(from, Math.max(distance.get(from) ?? 0, (distance.get(layer) ?? 0) + 1));
  const sorted = finished.toSorted(
    (a, b) => (distance.get(b) ?? 0) - (distance.get(a) ?? 0) || (met.get(a) ?? 0) - (met.get(b) ?? 0),
  );
  const parameters = new Map(graph.parameters.map(({ value, name }) => [value, name]));
  return [
    ...graph.inputs.map(({ name }) => ({ name, parameters: [] })),
    ...sorted.map((layer) => ({
      name: layer.name,
      parameters: layer.inputs.flatMap((value) => parameters.get(value) ?? []),
    })),
  ];
}

/**
 * An activation that a Keras layer has inside (`activation='relu'`) is a node of its own here, named after both: it
 * belongs to the layer before it.
 */
function layersOf(graph: Graph): { producers: ReadonlyMap<number, Node>; layerOf: (node: Node) => Node } {
  const producers = new Map(graph.nodes.flatMap((node) => node.outputs.map((value) => [value, node] as const)));
  const layerOf = (node: Node): Node => {
    const before = node.inputs.length === 1 ? producers.get(node.inputs[0]) : undefined;
    return before && node.name === `${before.name}_${node.op}` ? before : node;
  };
  return { producers, layerOf };
}
