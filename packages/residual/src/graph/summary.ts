import { ResidualError } from '../errors.js';
import { printable } from '../printable.js';
import { formatShape, type Shape, sizeOf } from '../tensor.js';
import { frozenUpTo } from './frozen.js';
import { type Graph, inferShapes, isTrainable } from './graph.js';
import { ops } from './ops.js';

/** One layer of a summary. Shapes, multiply-adds and bytes are those of one picture (batch 1). */
export interface SummaryRow {
  layer: string;
  /** As Keras spells it: `Conv2D`, `BatchNormalization`, `Add`. */
  type: string;
  /** `[1, C, H, W]` or `[1, features]`. */
  outputShape: Shape;
  /** Numbers the layer holds, running statistics included, as Keras counts. */
  parameters: number;
  /** The layers it reads from. */
  connectedTo: string[];
  /** The residual block it belongs to. */
  block?: string;
  /** Nothing of it learns where the network is frozen up to a point behind it; a BatchNorm keeps its statistics. */
  frozen?: true;
  macs: number;
}

export interface SummaryTotals {
  /** `trainable + nonTrainable`: Keras' "Total params". Torchvision publishes `trainable` alone. */
  parameters: number;
  trainable: number;
  /** Running means and variances, and what is frozen. */
  nonTrainable: number;
  /** Multiply-adds of convolutions and dense layers: what papers call FLOPs. */
  macs: number;
  /** Most bytes of float32 activations alive at one time: each lives from the layer that makes it to its last reader. */
  activationBytes: number;
  /** All parameters as float32. */
  parameterBytes: number;
}

export interface SummaryData {
  name: string;
  rows: SummaryRow[];
  totals: SummaryTotals;
}

export interface Summary extends SummaryData {
  /** The table that Keras' `model.summary()` prints, with shapes as `[N, C, H, W]`. */
  toString(): string;
  toJSON(): SummaryData;
}

/**
 * What a network consists of and costs, layer by layer.
 *
 * @param options.size side, or height and width, of the picture; the size the network was built for when left out.
 * @param options.freeze the point up to which nothing learns, such as `layer3`
 * @throws ARGUMENT for a size that is no size; GRAPH with the layer's name when the network cannot take it; UNKNOWN_NAME
 * for a point that is none.
 * @example console.log(summary(resnet50()).toString());
 */
export function summary(
  graph: Graph,
  options: { size?: number | readonly [height: number, width: number]; freeze?: string | undefined } = {},
): Summary {
  const frozen = frozenUpTo(graph, options.freeze ?? '');
  const stays = new Set(graph.parameters.filter(({ name }) => frozen.has(name)).map(({ value }) => value));
  const shapes = inferShapes(graph, inputShapes(graph, options.size));
  const parameters = new Set(graph.parameters.map((p) => p.value));
  const producers = new Map<number, string>();

  const rows: SummaryRow[] = graph.inputs.map(({ value, name }) => {
    producers.set(value, name);
    return { layer: name, type: 'InputLayer', outputShape: shapes[value], parameters: 0, connectedTo: [], macs: 0 };
  });
  for (const node of graph.nodes) {
    for (const value of node.outputs) producers.set(value, node.name);
    const of = (values: readonly number[]) => values.map((value) => shapes[value]);
    const held = node.inputs.filter((value) => parameters.has(value));
    rows.push({
      layer: node.name,
      type: ops[node.op].layer,
      outputShape: shapes[node.outputs[0]],
      parameters: of(held).reduce((sum, shape) => sum + sizeOf(shape), 0),
      connectedTo: node.inputs.filter((value) => !parameters.has(value)).map((value) => producers.get(value) ?? ''),
      ...(node.block === undefined ? {} : { block: node.block }),
      ...(held.length > 0 && held.every((value) => stays.has(value)) && { frozen: true }),
      macs: ops[node.op].macs(of(node.inputs), of(node.outputs)),
    });
  }

  const count = (trainable: boolean) =>
    graph.parameters
      .filter((p) => (isTrainable(p) && !frozen.has(p.name)) === trainable)
      .reduce((sum, p) => sum + sizeOf(p.shape), 0);
  const [trainable, nonTrainable] = [count(true), count(false)];
  const totals: SummaryTotals = {
    parameters: trainable + nonTrainable,
    trainable,
    nonTrainable,
    macs: rows.reduce((sum, row) => sum + row.macs, 0),
    activationBytes: 4 * peakActivations(graph, shapes),
    parameterBytes: 4 * (trainable + nonTrainable),
  };
  const data: SummaryData = { name: graph.name, rows, totals };
  return { ...data, toString: () => table(data), toJSON: () => data };
}

function inputShapes(graph: Graph, size: number | readonly [number, number] | undefined): Record<string, Shape> {
  if (size === undefined) return {};
  const [height, width] = typeof size === 'number' ? [size, size] : size;
  for (const side of [height, width])
    if (!Number.isInteger(side) || side < 1)
      throw new ResidualError('ARGUMENT', `expected positive integers for size but received ${size}`);
  return Object.fromEntries(graph.inputs.map(({ name, shape }) => [name, [...shape.slice(0, 2), height, width]]));
}

/** Elements alive at the fullest moment: while a layer runs, its inputs, its outputs and all that later layers read. */
function peakActivations(graph: Graph, shapes: readonly Shape[]): number {
  const lastReader = new Map<number, number>();
  graph.nodes.forEach((node, i) => {
    for (const value of node.inputs) lastReader.set(value, i);
  });
  for (const { value } of graph.outputs) lastReader.set(value, graph.nodes.length);

  let live = graph.inputs.reduce((sum, { value }) => sum + sizeOf(shapes[value]), 0);
  let peak = live;
  const activations = new Set(graph.inputs.map(({ value }) => value));
  graph.nodes.forEach((node, i) => {
    for (const value of node.outputs) {
      activations.add(value);
      live += sizeOf(shapes[value]);
    }
    peak = Math.max(peak, live);
    for (const value of new Set([...node.inputs, ...node.outputs]))
      if (activations.has(value) && (lastReader.get(value) ?? i) === i) live -= sizeOf(shapes[value]);
  });
  return peak;
}

/** Width beyond which the names in the last column go on a line of their own. */
const connectedWidth = 34;

function table({ name, rows, totals }: SummaryData): string {
  const cells = rows.map((row) => ({
    first: [
      `${printable(row.layer)} (${row.type}${row.frozen ? ', frozen' : ''})`,
      formatShape(row.outputShape, true),
      row.parameters.toLocaleString('en-US'),
    ],
    connected: wrap(row.connectedTo.map(printable)),
  }));
  const heads = ['Layer (type)', 'Output Shape', 'Param #'];
  const widths = heads.map((head, c) => Math.max(head.length, ...cells.map(({ first }) => first[c].length)));
  const last = Math.max('Connected to'.length, ...cells.flatMap(({ connected }) => connected.map((s) => s.length)));
  const total = widths.reduce((sum, width) => sum + width + 2, 0) + last;
  const line = (texts: readonly string[]) =>
    texts
      .map((text, c) => (c === 2 ? text.padStart(widths[c]) : text.padEnd(widths[c] ?? 0)))
      .join('  ')
      .trimEnd();

  return [
    `Model: "${printable(name)}"`,
    '_'.repeat(total),
    line([...heads, 'Connected to']),
    '='.repeat(total),
    ...cells.flatMap(({ first, connected }) => [
      line([...first, connected[0] ?? '']),
      ...connected.slice(1).map((more) => line(['', '', '', more])),
    ]),
    '='.repeat(total),
    `Total params: ${amount(totals.parameters)} (${bytes(totals.parameterBytes)})`,
    `Trainable params: ${amount(totals.trainable)} (${bytes(4 * totals.trainable)})`,
    `Non-trainable params: ${amount(totals.nonTrainable)} (${bytes(4 * totals.nonTrainable)})`,
    `Multiply-adds: ${amount(totals.macs)} (${compact(totals.macs)})`,
    `Activation memory: ${bytes(totals.activationBytes)} at its fullest (one picture, float32)`,
    '_'.repeat(total),
  ].join('\n');
}

/** Names joined by commas, in lines of about `connectedWidth` characters. */
function wrap(names: readonly string[]): string[] {
  const lines: string[] = [];
  names.forEach((name, i) => {
    const text = i < names.length - 1 ? `${name},` : name;
    const before = lines.at(-1);
    if (before !== undefined && before.length + 1 + text.length <= connectedWidth)
      lines[lines.length - 1] += ` ${text}`;
    else lines.push(text);
  });
  return lines;
}

const amount = (n: number): string => n.toLocaleString('en-US');

/** `4.089 G`, `40.55 M`. */
export const compact = (n: number): string =>
  n >= 1e9 ? `${(n / 1e9).toFixed(3)} G` : n >= 1e6 ? `${(n / 1e6).toFixed(2)} M` : amount(n);

function bytes(n: number): string {
  if (n < 1024) return `${n} B`;
  return n < 1024 ** 2 ? `${(n / 1024).toFixed(2)} KiB` : `${(n / 1024 ** 2).toFixed(2)} MiB`;
}
