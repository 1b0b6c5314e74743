import { freeFrom, type Graph, type Node } from '../graph/graph.js';
import type { OpName } from '../graph/ops.js';
import type { Finding } from './compare.js';
import {
  biases,
  type Experiment,
  gammaBeta,
  type Hypothesis,
  kernels,
  rounded,
  variance,
} from './compare-causes-weights.js';
import type { Net } from './compare-network.js';

// The table of what is known to make two networks differ. Each row changes a network in one way; the search redoes a
// side with it and looks whether the difference goes away. A row is never believed without that.

/** Changes nodes; undefined when none changed. */
function rewrite(graph: Graph, change: (node: Node) => readonly Node[] | undefined): Graph | undefined {
  let changed = false;
  const nodes = graph.nodes.flatMap((node) => {
    const instead = change(node);
    changed ||= instead !== undefined;
    return instead ?? [node];
  });
  return changed ? { ...graph, nodes } : undefined;
}

const experiment = (net: Net, graph: Graph | undefined, finding: Finding): Experiment | undefined =>
  graph && { finding, net: { ...net, graph } };

/** A number as papers write it: 1e-3, 1.001e-5. */
const power = (value: number): string => (value === 0 ? '0' : value.toExponential().replace('e+', 'e'));

const epsilon: Hypothesis = (net, wanted) => {
  const epsilons = (graph: Graph) =>
    graph.nodes.flatMap((node) => (node.op === 'batchNorm' ? node.attributes.epsilon : []));
  const [now] = epsilons(net.graph);
  if (now === undefined) return [];
  const usual = wanted ? epsilons(wanted.graph).slice(0, 1) : [1e-3, 1e-5, 1.001e-5, 2e-5, 1e-4, 1e-6, 1e-2, 0];
  return usual
    .filter((value) => value !== now)
    .map((value) =>
      experiment(
        net,
        rewrite(net.graph, (node) =>
          node.op === 'batchNorm' ? [{ ...node, attributes: { epsilon: value } }] : undefined,
        ),
        { id: 'epsilon', subject: "BatchNorm's epsilon", base: power(now), other: power(value) },
      ),
    );
};

const batchStatistics: Hypothesis = (net) =>
  net.batchStatistics
    ? []
    : [
        {
          net: { ...net, batchStatistics: true },
          finding: {
            id: 'batch-statistics',
            subject: 'BatchNorm',
            base: 'by its running statistics',
            other: "by the batch's own (training mode)",
          },
        },
      ];

/** Moves the stride of a bottleneck between its first 1×1 and its 3×3. */
const strideOn: Hypothesis = (net) => {
  const makers = makersOf(net.graph);
  const strides = new Map<string, readonly [number, number]>();
  let from: '1×1' | '3×3' | undefined;
  for (const node of net.graph.nodes) {
    if (node.op !== 'conv2d' || node.attributes.kernel[0] !== 3) continue;
    const before = previousConvolution(makers, node);
    if (before?.attributes.kernel[0] !== 1 || before.block !== node.block) continue;
    const [first, second] = [before.attributes.stride, node.attributes.stride];
    if (first[0] === second[0]) continue;
    from ??= first[0] > 1 ? '1×1' : '3×3';
    strides.set(before.name, second).set(node.name, first);
  }
  const words = (on: '1×1' | '3×3') => (on === '1×1' ? 'on the first 1×1' : 'on the 3×3');
  return [
    experiment(
      net,
      rewrite(net.graph, (node) => {
        const stride = strides.get(node.name);
        return node.op === 'conv2d' && stride ? [{ ...node, attributes: { ...node.attributes, stride } }] : undefined;
      }),
      {
        id: 'stride',
        subject: 'stride',
        base: words(from ?? '1×1'),
        other: words(from === '1×1' ? '3×3' : '1×1'),
      },
    ),
  ];
};

type NodeOf<K extends OpName> = Extract<Node, { op: K }>;

const makersOf = (graph: Graph): Map<number, Node> =>
  new Map(graph.nodes.flatMap((node) => node.outputs.map((value) => [value, node] as const)));

/** The convolution whose result, normalised, activated or padded, a convolution reads. */
function previousConvolution(makers: Map<number, Node>, { inputs }: Node): NodeOf<'conv2d'> | undefined {
  let node = makers.get(inputs[0]);
  while (node && (node.op === 'batchNorm' || node.op === 'relu' || node.op === 'pad'))
    node = makers.get(node.inputs[0]);
  return node?.op === 'conv2d' ? node : undefined;
}

/** Padding in front of a window op: its own and that of a pad layer before it, `[top, left, bottom, right]`. */
const stemPool: Hypothesis = (net) => {
  const makers = makersOf(net.graph);
  const pool = net.graph.nodes.find((node): node is NodeOf<'maxPool'> => node.op === 'maxPool');
  if (!pool || pool.attributes.kernel[0] < 2 || pool.attributes.padding === 'same') return [];
  const pad = makers.get(pool.inputs[0]);
  const zeros = pad?.op === 'pad' ? pad : undefined;
  const kinds = {
    padded: '−∞ around it',
    zeroPadded: 'zeros around it',
    unpadded: 'nothing around it',
    ceil: '−∞ at its bottom and right (Caffe, ceil_mode)',
  } as const;
  type Kind = keyof typeof kinds;
  const [top, left, bottom, right] = pool.attributes.padding;
  const now: Kind = zeros ? 'zeroPadded' : top || left ? 'padded' : bottom || right ? 'ceil' : 'unpadded';
  const free = freeFrom(net.graph);
  const build = (kind: Kind): readonly Node[] => {
    const from = zeros ? zeros.inputs[0] : pool.inputs[0];
    const padding = {
      padded: [1, 1, 1, 1],
      zeroPadded: [0, 0, 0, 0],
      unpadded: [0, 0, 0, 0],
      ceil: [0, 0, 1, 1],
    } as const;
    const attributes = { ...pool.attributes, padding: padding[kind] };
    if (kind !== 'zeroPadded') return [{ ...pool, inputs: [from], attributes }];
    const spatial = [1, 1, 1, 1] as const;
    const added: Node = {
      op: 'pad',
      name: `${pool.name}.zeros`,
      inputs: [from],
      outputs: [free],
      attributes: { channels: [0, 0], spatial },
    };
    return [added, { ...pool, inputs: [free], attributes }];
  };
  return (Object.keys(kinds) as Kind[])
    .filter((kind) => kind !== now)
    .map((kind) =>
      experiment(
        net,
        rewrite(net.graph, (node) => (node === pool ? build(kind) : undefined)),
        { id: 'stem-pool', subject: "the stem's max pool with", base: kinds[now], other: kinds[kind] },
      ),
    );
};

/** "same" padding as TensorFlow does it, where a window strides: more at the bottom and right. */
const samePadding: Hypothesis = (net) => {
  const makers = makersOf(net.graph);
  const words = {
    symmetric: 'alike on all sides',
    same: 'TensorFlow\'s "same" (more at the bottom and right)',
  } as const;
  const toSame = rewrite(net.graph, (node) => {
    if ((node.op !== 'conv2d' && node.op !== 'maxPool') || node.attributes.stride[0] < 2) return undefined;
    if (node.attributes.padding === 'same' || node.attributes.kernel[0] < 2) return undefined;
    const before = makers.get(node.inputs[0]);
    const pad = before?.op === 'pad' ? before : undefined;
    if (!pad && !node.attributes.padding.some((n) => n > 0)) return undefined;
    const inputs = pad ? [pad.inputs[0], ...node.inputs.slice(1)] : node.inputs;
    return [{ ...node, inputs, attributes: { ...node.attributes, padding: 'same' } } as Node];
  });
  const toSymmetric = rewrite(net.graph, (node) => {
    if ((node.op !== 'conv2d' && node.op !== 'maxPool') || node.attributes.padding !== 'same') return undefined;
    const [h, w] = node.attributes.kernel.map((k) => (k - 1) >> 1);
    return [{ ...node, attributes: { ...node.attributes, padding: [h, w, h, w] } } as Node];
  });
  const finding = { id: 'same-padding', subject: 'padding where a window strides,' };
  return [
    experiment(net, toSame, { ...finding, base: words.symmetric, other: words.same }),
    experiment(net, toSymmetric, { ...finding, base: words.same, other: words.symmetric }),
  ];
};

/** The identity in place of a node: its value keeps its number. */
const skipped = (node: Node): Node =>
  ({ ...node, op: 'dropout', attributes: { rate: 0 }, inputs: [node.inputs[0]] }) as Node;

const missingRelu: Hypothesis = (net) => {
  const makers = makersOf(net.graph);
  const after = (op: OpName) =>
    rewrite(net.graph, (node) =>
      node.op === 'relu' && makers.get(node.inputs[0])?.op === op ? [skipped(node)] : undefined,
    );
  return [
    experiment(net, after('add'), {
      id: 'relu',
      subject: 'ReLU after the residual sum',
      base: 'applied',
      other: 'missing',
    }),
    experiment(net, after('batchNorm'), {
      id: 'relu',
      subject: 'ReLU after BatchNorm',
      base: 'applied',
      other: 'missing',
    }),
  ];
};

/** A striding 1×1 projection against ResNet-D's: a 2×2 mean, then a 1×1 that does not stride. */
const pooledShortcut: Hypothesis = (net) => {
  const makers = makersOf(net.graph);
  let free = freeFrom(net.graph);
  const main = new Set(
    net.graph.nodes.flatMap((node) =>
      previousConvolution(makers, node) && node.op === 'conv2d' ? [previousConvolution(makers, node)?.name] : [],
    ),
  );
  const graph = rewrite(net.graph, (node) => {
    // A projection ends in the sum; the first 1×1 of a bottleneck feeds another convolution.
    if (node.op !== 'conv2d' || node.attributes.kernel[0] !== 1 || node.attributes.stride[0] !== 2) return undefined;
    if (main.has(node.name)) return undefined;
    const pooled = free++;
    const attributes = { kernel: [2, 2], stride: [2, 2], padding: 'same', countPadding: false } as const;
    const pool: Node = {
      op: 'avgPool',
      name: `${node.name}.mean`,
      inputs: [node.inputs[0]],
      outputs: [pooled],
      attributes,
    };
    return [
      pool,
      { ...node, inputs: [pooled, ...node.inputs.slice(1)], attributes: { ...node.attributes, stride: [1, 1] } },
    ];
  });
  return [
    experiment(net, graph, {
      id: 'shortcut',
      subject: 'shortcut projection',
      base: 'of every second pixel',
      other: 'of 2×2 means (ResNet-D)',
    }),
  ];
};

const flattenOrder: Hypothesis = (net) => {
  const node = net.graph.nodes.find((found): found is NodeOf<'flatten'> => found.op === 'flatten');
  if (!node) return [];
  const words = (last: boolean) => (last ? 'channels last (Keras)' : 'channels first (PyTorch)');
  const now = node.attributes.channelsLast;
  return [
    experiment(
      net,
      rewrite(net.graph, (found) =>
        found.op === 'flatten' ? [{ ...found, attributes: { channelsLast: !now } }] : undefined,
      ),
      { id: 'flatten', subject: 'flattened with', base: words(now), other: words(!now) },
    ),
  ];
};

/** Each class by itself in place of all together. */
const outputActivation: Hypothesis = (net) => {
  const instead = { softmax: 'sigmoid', sigmoid: 'softmax' } as const;
  const [output] = net.graph.nodes.slice(-1);
  if (output.op !== 'softmax' && output.op !== 'sigmoid') return [];
  const other = instead[output.op];
  return [
    experiment(
      net,
      rewrite(net.graph, (node) => (node === output ? [{ ...node, op: other }] : undefined)),
      { id: 'output-activation', subject: 'probabilities by', base: output.op, other },
    ),
  ];
};

/** Every hypothesis about layers and weights, in the order in which they are tried. */
export const networkHypotheses = {
  epsilon,
  strideOn,
  stemPool,
  samePadding,
  biases,
  missingRelu,
  pooledShortcut,
  flattenOrder,
  outputActivation,
  variance,
  gammaBeta,
  kernels,
  rounded,
  batchStatistics,
} as const satisfies Record<string, Hypothesis>;
