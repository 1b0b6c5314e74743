import type { Graph } from '../graph/graph.js';
import { sameShape, type Tensor } from '../tensor.js';
import type { Finding } from './compare.js';
import { networkHypotheses } from './compare-causes.js';
import type { Experiment } from './compare-causes-weights.js';
import type { Net } from './compare-network.js';
import type { Stop } from './compare-search.js';
import { commonName, relativeError } from './compare-stations.js';

// What the search tries, in this order: each row of the table, two of them at once, then what the other network has.

/** One or more changes of a network, tried together. */
export interface Trial {
  readonly findings: readonly Finding[];
  readonly net: Net;
}

/** Rows of trials; of each row the best trial counts. */
export type Trials = (
  net: Net,
  other: Net | undefined,
  line: readonly Stop[],
  at: number,
) => Iterable<readonly Trial[]>;

const trialOf = ({ finding, net }: Experiment): Trial => ({ findings: [finding], net });

export const singles: Trials = function* (net, other) {
  for (const hypothesis of Object.values(networkHypotheses))
    yield hypothesis(net, other).flatMap((found) => (found ? [trialOf(found)] : []));
};

/** The rows that go together where weights are put into another system's network. */
const topology = ['epsilon', 'strideOn', 'stemPool', 'samePadding', 'biases', 'missingRelu', 'pooledShortcut'] as const;

/**
 * Two rows at once, for recordings, which have few stations: between two of them several things may differ. Only for
 * parts of a network, where a trial takes milliseconds.
 */
export const pairs: Trials = function* (net, other, line, at) {
  const [from, to] = [line[at - 1], line[at]].map((stop) => stop?.a ?? stop?.b ?? -1);
  const between = net.graph.nodes.filter(({ outputs: [value] }) => value > from && value <= to).length;
  if (other || between > 60) return;
  const rows = topology.map((name) => networkHypotheses[name]);
  for (const [i, first] of rows.entries())
    for (const begun of first(net, other).slice(0, 3))
      if (begun)
        for (const second of rows.slice(i + 1))
          yield second(begun.net, other).flatMap((found) =>
            found ? [{ findings: [begun.finding, found.finding], net: found.net }] : [],
          );
};

/** What the other network has in the same layers: settings, then weights. */
export const copies: Trials = function* (net, other) {
  if (!other) return;
  yield settings(net, other);
  yield weights(net, other);
};

function settings(net: Net, other: Net): Trial[] {
  const theirs = new Map(other.graph.nodes.map((node) => [commonName(node.name), node]));
  const findings: Finding[] = [];
  const nodes = net.graph.nodes.map((node) => {
    const like = theirs.get(commonName(node.name));
    if (like?.op !== node.op) return node;
    const [mine, wanted] = [node.attributes, like.attributes] as Record<string, unknown>[];
    const keys = Object.keys(mine).filter((key) => JSON.stringify(mine[key]) !== JSON.stringify(wanted[key]));
    for (const key of keys)
      findings.push({
        id: 'layer-setting',
        subject: `${key} of ${commonName(node.name)}`,
        base: JSON.stringify(mine[key]),
        other: JSON.stringify(wanted[key]),
      });
    return keys.length ? ({ ...node, attributes: wanted } as unknown as Graph['nodes'][number]) : node;
  });
  return findings.length ? [{ findings: findings.slice(0, 3), net: { ...net, graph: { ...net.graph, nodes } } }] : [];
}

function weights(net: Net, other: Net): Trial[] {
  const key = (name: string) => commonName(name.slice(0, name.lastIndexOf('.'))) + name.slice(name.lastIndexOf('.'));
  const theirs = new Map(other.graph.parameters.map((parameter) => [key(parameter.name), parameter]));
  const taken = new Map<string, Tensor>();
  const layers = new Set<string>();
  for (const parameter of net.graph.parameters) {
    const like = theirs.get(key(parameter.name));
    if (!like || !sameShape(like.shape, parameter.shape)) continue;
    const values = other.weight(like);
    if (relativeError(values, net.weight(parameter)) === 0) continue;
    taken.set(parameter.name, values);
    layers.add(commonName(parameter.name.slice(0, parameter.name.lastIndexOf('.'))));
  }
  if (!taken.size) return [];
  const [first, ...more] = layers;
  const all = new Set(net.graph.parameters.map(({ name }) => name.slice(0, name.lastIndexOf('.'))));
  const some = `the weights of ${layers.size} of ${all.size} layers differ, first ${first}`;
  const many = layers.size === all.size ? 'other weights altogether' : some;
  const plain = more.length ? many : `the weights of one layer differ: ${first}`;
  return [
    {
      findings: [{ id: 'weights', plain, base: '', other: '' }],
      net: { ...net, weight: (parameter) => taken.get(parameter.name) ?? net.weight(parameter) },
    },
  ];
}
