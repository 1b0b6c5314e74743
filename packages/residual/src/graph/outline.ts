import { type Shape, sizeOf } from '../tensor.js';
import { type Graph, inferShapes, type Node } from './graph.js';
import type { OpName, Pair } from './ops.js';

/** Layers that a picture shows as one: a convolution with the padding before it and the BatchNorm and ReLU behind it. */
export interface Bar {
  /** `3×3, 64, /2`: kernel, channels, stride, as He et al. 2015a write them. */
  label: string;
  /** What is folded in: `32 groups`, `BN`, `ReLU`. */
  marks: string[];
  layers: string[];
  shape: Shape;
  parameters: number;
  block?: string;
  /** The layers it reads from, where that is not simply the bar before it. */
  from?: string[];
}

/** What stands between two points that only one value crosses. */
export type Piece =
  | { kind: 'bar'; bar: Bar }
  /** Two branches and their sum. `before` and `after` are the bars in line with them that belong to the same block. */
  | {
      kind: 'residual';
      before: Bar[];
      main: Bar[];
      shortcut: Bar[];
      after: string[];
      /** The sum and what is behind it. */
      layers: string[];
      shape: Shape;
      block?: string;
    };

export interface Stage {
  /** The feature that ends here, such as `layer1`; none behind the last and in graphs without features. */
  name?: string;
  /** Of its first piece's result. */
  shape: Shape;
  /** In order; equal neighbours stand in one group. */
  groups: Piece[][];
}

/**
 * The network as people draw it: stages of bars and residual blocks. Blocks are found by the graph's structure alone,
 * so a network from a file has them too; names only give them titles.
 */
export function outline(graph: Graph): Stage[] {
  const shapes = inferShapes(graph);
  const pieces = assemble(graph, shapes);
  const stages = stagesOf(graph, pieces, shapes);
  return stages.map(({ name, members }) => ({
    ...(name === undefined ? {} : { name }),
    shape: shapeOf(members[0]),
    groups: collapse(members),
  }));
}

const shapeOf = (piece: Piece): Shape => (piece.kind === 'bar' ? piece.bar.shape : piece.shape);

const layersOf = (piece: Piece): string[] =>
  piece.kind === 'bar'
    ? piece.bar.layers
    : [...[...piece.before, ...piece.main, ...piece.shortcut].flatMap((bar) => bar.layers), ...piece.layers];

/** Sections of the node list, each between two points that only one value crosses. */
function sections(graph: Graph): Node[][] {
  const lastReader = new Map<number, number>();
  graph.nodes.forEach((node, i) => {
    for (const value of node.inputs) lastReader.set(value, i);
  });
  const live = new Set<number>(graph.inputs.map(({ value }) => value));
  const found: Node[][] = [];
  let section: Node[] = [];
  graph.nodes.forEach((node, i) => {
    section.push(node);
    for (const value of node.inputs) if (lastReader.get(value) === i) live.delete(value);
    for (const value of node.outputs) if (lastReader.has(value)) live.add(value);
    if (live.size > 1) return;
    found.push(section);
    section = [];
  });
  if (section.length) found.push(section);
  return found;
}

/**
 * The two branches of a section that ends in a sum, the longer first; undefined when it is not two chains and their
 * sum.
 */
function branches(section: readonly Node[]): { main: Node[]; shortcut: Node[]; sum: Node } | undefined {
  const sum = section.at(-1);
  if (sum?.op !== 'add' || section.length < 2) return undefined;
  const producer = new Map(section.flatMap((node) => node.outputs.map((value) => [value, node] as const)));
  /** From `end` back to `start`, or to the section's beginning; a gate's own chain stands before its product. */
  const chain = (end: number, start?: number): Node[] => {
    const nodes: Node[] = [];
    for (
      let value = end, node = producer.get(end);
      value !== start && node && node.op !== 'add' && node.op !== 'concat';
      value = node.inputs[0], node = producer.get(value)
    )
      nodes.unshift(...(node.op === 'mul' ? chain(node.inputs[1], node.inputs[0]) : []), node);
    return nodes;
  };
  const [a, b] = [chain(sum.inputs[0]), chain(sum.inputs[1])];
  const together = a.length + b.length === section.length - 1 && new Set([...a, ...b]).size === section.length - 1;
  if (!together) return undefined;
  const weighty = (nodes: readonly Node[]) => nodes.filter((node) => node.op === 'conv2d').length;
  const [main, shortcut] = weighty(b) > weighty(a) ? [b, a] : [a, b];
  return { main, shortcut, sum };
}

/** All pieces in order, with their neighbours folded in. */
function assemble(graph: Graph, shapes: readonly Shape[]): Piece[] {
  const bars = barMaker(graph, shapes);
  const pieces: Piece[] = [];
  let line: Node[] = [];
  const flush = () => {
    for (const bar of bars(line, 'line')) pieces.push({ kind: 'bar', bar });
    line = [];
  };
  for (const section of sections(graph)) {
    const [node] = section;
    const last = pieces.at(-1);
    const split = branches(section);
    if (section.length === 1 && !line.length && node.op === 'relu' && last?.kind === 'residual') {
      last.after.push('ReLU');
      last.layers.push(node.name);
    } else if (section.length === 1) line.push(node);
    else if (split) {
      flush();
      const { main, shortcut, sum } = split;
      const before: Bar[] = [];
      for (let p = pieces.at(-1); p?.kind === 'bar' && p.bar.block && p.bar.block === sum.block; p = pieces.at(-1)) {
        before.unshift(p.bar);
        pieces.pop();
      }
      pieces.push({
        kind: 'residual',
        before,
        main: bars(main, 'branch'),
        shortcut: bars(shortcut, 'branch'),
        after: [],
        layers: [sum.name],
        shape: shapes[sum.outputs[0]],
        ...(sum.block === undefined ? {} : { block: sum.block }),
      });
    } else {
      flush();
      for (const bar of bars(section, 'tangle')) pieces.push({ kind: 'bar', bar });
    }
  }
  flush();
  return pieces;
}

/**
 * Makes bars of nodes that follow each other: on the network's one line, in a branch of a block, or in a tangle, where
 * nothing is folded. A bar that does not read from the one before it says from which.
 */
function barMaker(
  graph: Graph,
  shapes: readonly Shape[],
): (nodes: readonly Node[], where: 'line' | 'branch' | 'tangle') => Bar[] {
  const parameters = new Set(graph.parameters.map(({ value }) => value));
  const producers = new Map<number, string>(graph.inputs.map(({ value, name }) => [value, name]));
  const before = new Map<Node, number | undefined>();
  graph.nodes.forEach((node, i) => {
    before.set(node, i ? graph.nodes[i - 1].outputs[0] : graph.inputs[0]?.value);
    for (const value of node.outputs) producers.set(value, node.name);
  });

  const bar = (node: Node): Bar => {
    const shape = shapes[node.outputs[0]];
    const held = node.inputs.filter((value) => parameters.has(value));
    return {
      ...label(node, shape),
      layers: [node.name],
      shape,
      parameters: held.reduce((sum, value) => sum + sizeOf(shapes[value]), 0),
      ...(node.block === undefined ? {} : { block: node.block }),
    };
  };

  return (nodes, where) => {
    const bars: Bar[] = [];
    /** The node that the last bar is named after, while it can take more in. */
    let core: Node | undefined;
    for (const node of nodes) {
      const made = bar(node);
      const last = bars.at(-1);
      const sources = node.inputs.filter((value) => !parameters.has(value));
      if (where !== 'branch' && (sources.length > 1 || sources[0] !== before.get(node))) {
        made.from = sources.map((value) => producers.get(value) ?? '');
        core = undefined;
      }
      if (core && last && last.block === node.block && folds(node, core)) {
        last.marks.push(made.label);
        last.layers.push(node.name);
        last.shape = made.shape;
        last.parameters += made.parameters;
      } else {
        if (core && last && core.op === 'pad' && !widens(core) && isWindow(node.op)) {
          bars.pop();
          made.layers.unshift(...last.layers);
        }
        bars.push(made);
        core = where === 'tangle' ? undefined : node;
      }
    }
    return bars;
  };
}

/** Whether a bar that began with `core` takes in `node`: BatchNorm and ReLU, another shape, and the zeros of the paper's shortcut A. */
function folds(node: Node, core: Node): boolean {
  if (node.op === 'batchNorm') return core.op === 'conv2d' || core.op === 'dense';
  if (node.op === 'reshape') return true;
  if (node.op === 'relu' || node.op === 'sigmoid')
    return core.op === 'conv2d' || core.op === 'dense' || core.op === 'batchNorm';
  return node.op === 'pad' && widens(node) && core.op === 'avgPool' && core.attributes.kernel.every((k) => k === 1);
}

const isWindow = (op: OpName) => op === 'conv2d' || op === 'maxPool' || op === 'avgPool';

const widens = (node: Node) => node.op === 'pad' && node.attributes.channels.some((zeros) => zeros > 0);

const times = ([height, width]: Pair) => `${height}×${width}`;

const slash = ([height, width]: Pair) =>
  height === width ? (height > 1 ? `, /${height}` : '') : `, /${height}×${width}`;

function label(node: Node, shape: Shape): { label: string; marks: string[] } {
  const plain = (text: string, ...marks: string[]) => ({ label: text, marks });
  switch (node.op) {
    case 'conv2d': {
      const { kernel, stride, groups, dilation } = node.attributes;
      const marks = groups > 1 ? [`${groups} groups`] : [];
      if (Math.max(...dilation) > 1) marks.push(`dilated ${dilation[0]}`);
      return plain(`${times(kernel)}, ${shape[1]}${slash(stride)}`, ...marks);
    }
    case 'maxPool':
    case 'avgPool': {
      const { kernel, stride } = node.attributes;
      const subsamples = kernel[0] === 1 && kernel[1] === 1;
      return plain(
        subsamples
          ? `subsample${slash(stride)}`
          : `${times(kernel)} ${node.op === 'maxPool' ? 'max' : 'mean'}${slash(stride)}`,
      );
    }
    case 'pad': {
      const { channels } = node.attributes;
      return plain(channels[0] + channels[1] ? `zeros to ${shape[1]}` : 'zeros around');
    }
    case 'dense':
      return plain(`dense ${shape[1]}`);
    case 'dropout':
      return plain(`dropout ${node.attributes.rate}`);
    case 'batchNorm':
      return plain('BN');
    case 'relu':
      return plain('ReLU');
    case 'sigmoid':
      return plain('sigmoid');
    case 'blurPool': {
      const { kernel, stride } = node.attributes;
      return plain(`${times([kernel, kernel])} blur${slash([stride, stride])}`);
    }
    case 'resize':
      return plain(`resize, ${node.attributes.mode}`);
    case 'mul':
      return plain('product');
    case 'concat':
      return plain('joined');
    case 'globalAvgPool':
      return plain('global mean');
    case 'add':
      return plain('sum');
    case 'flatten':
      return plain('flatten');
    case 'reshape':
      return plain('reshape');
    case 'softmax':
      return plain('softmax');
    default:
      return node satisfies never;
  }
}

/** Cuts at the features that are still pictures; without features, where the size changes. */
function stagesOf(
  graph: Graph,
  pieces: readonly Piece[],
  shapes: readonly Shape[],
): { name?: string; members: Piece[] }[] {
  const ends = new Map<string, string>();
  for (const [feature, value] of Object.entries(graph.features)) {
    const node = graph.nodes.find((n) => n.outputs.includes(value));
    if (node && shapes[value].length === 4) ends.set(node.name, feature);
  }
  const stages: { name?: string; members: Piece[] }[] = [];
  let members: Piece[] = [];
  const close = (name?: string) => {
    if (members.length) stages.push(name === undefined ? { members } : { name, members });
    members = [];
  };
  for (const piece of pieces) {
    const last = members.at(-1);
    const same = last && String(shapeOf(last)) === String(shapeOf(piece));
    if (!ends.size && !same && shapeOf(piece).length === 4) close();
    members.push(piece);
    const end = layersOf(piece).find((layer) => ends.has(layer));
    if (end !== undefined) close(ends.get(end));
  }
  close();
  return stages;
}

/** Joins equal neighbours: same labels, same shapes, same parameters. */
function collapse(pieces: readonly Piece[]): Piece[][] {
  const look = (bars: readonly Bar[]) =>
    bars.map(({ label, marks, shape, parameters, from }) => [label, marks, shape, parameters, from]);
  const key = (piece: Piece) =>
    JSON.stringify(
      piece.kind === 'bar'
        ? look([piece.bar])
        : [look(piece.before), look(piece.main), look(piece.shortcut), piece.after, piece.shape],
    );
  const groups: Piece[][] = [];
  let previous: string | undefined;
  for (const piece of pieces) {
    const mine = key(piece);
    if (mine === previous) groups.at(-1)?.push(piece);
    else groups.push([piece]);
    previous = mine;
  }
  return groups;
}
