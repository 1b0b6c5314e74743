import { findValue, type Graph, type StepGraph } from './graph.js';

/** Everything that a value is computed from: the parameters up to there, by their values. */
export function parametersBefore(graph: StepGraph, value: number): ReadonlySet<number> {
  const needed = new Set([value]);
  for (const node of graph.nodes.toReversed())
    if (node.outputs.some((output) => needed.has(output))) for (const input of node.inputs) needed.add(input);
  return new Set(graph.parameters.filter((parameter) => needed.has(parameter.value)).map(({ value }) => value));
}

/**
 * The names of the parameters that stay as they are when a network is frozen up to a point, running statistics among
 * them.
 * @param upTo a named point or a layer; none when empty
 * @throws UNKNOWN_NAME with the nearest name.
 */
export function frozenUpTo(graph: Graph, upTo: string): ReadonlySet<string> {
  if (upTo === '') return new Set();
  const before = parametersBefore(graph, findValue(graph, upTo));
  return new Set(graph.parameters.filter(({ value }) => before.has(value)).map(({ name }) => name));
}
