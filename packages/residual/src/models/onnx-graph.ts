import { ResidualError } from '../errors.js';
import type { Graph, Input } from '../graph/graph.js';
import type { Pair } from '../graph/ops.js';
import { sizeOf } from '../tensor.js';
import { endingOf } from './ending.js';
import { callOf } from './onnx-call.js';
import { fold, isFolded } from './onnx-constants.js';
import { type Activation, type Draft, draftOf, short } from './onnx-draft.js';
import type { Arrangement, OnnxInput, OnnxNetwork, OnnxNode } from './onnx-network.js';
import { operators } from './onnx-operators.js';

/** A network from an ONNX model, and how the model's tensors become its parameters. */
export interface OnnxGraph {
  readonly graph: Graph;
  /** Parameter → the file's tensor. */
  readonly tensors: ReadonlyMap<string, string>;
  /** Parameters that are not their tensors as they stand: transposed, reshaped, scaled. */
  readonly arrange: ReadonlyMap<string, Arrangement>;
}

const [oldestOpset, newestOpset] = [1, 21];
/** Height and width where the file leaves them open; channels. */
const usualSize = 224;
const usualChannels = 3;
const largestSize = 65_536;

/**
 * The network of an ONNX model, opset 1 to 21. Layers are called as their weights are (`layer1.0.conv1.weight`), else as
 * the model's nodes; parameters keep their tensors' names. Pictures are `[N, C, H, W]` whatever the model takes: where it
 * takes `[N, H, W, C]` and turns them at once, as Keras' exporters write it, that turn is left out. When the network
 * ends in a softmax, the softmax's input is the feature `logits`; where no layer makes scores at its end, its output is
 * called `features`.
 *
 * @param size height and width, where the file leaves them open.
 * @throws GRAPH with the node's name when it cannot be expressed; with all their names when operators are not known.
 */
export function onnxGraph(network: OnnxNetwork, size: Pair = [usualSize, usualSize]): OnnxGraph {
  if (!(network.opset >= oldestOpset && network.opset <= newestOpset))
    throw new ResidualError(
      'GRAPH',
      `ONNX model "${short(network.name)}" is of opset ${network.opset}; ${oldestOpset} to ${newestOpset} are supported: export it again as opset 17`,
    );
  const { live, readers } = liveNodes(network);
  checkOperators(network, live);
  refuseNormalisation(network, live);
  const draft = draftOf(network, readers);
  const needed = network.inputs.filter(({ name }) => readers.has(name));
  const inputs = needed.map((input) => addInput(draft, input, live, size));
  for (const node of live) {
    const call = callOf(draft, node);
    const found = fold(call) ?? (isOperator(node.type) ? operators[node.type](call) : undefined);
    if (found === undefined) return call.refuse('is supported for constants only');
    const [name] = node.outputs;
    const alone = found.kind === 'activation' && found.alone && readers.get(name) === 1;
    draft.known.set(name, found.kind === 'activation' ? { ...found, alone } : found);
  }
  return {
    graph: { name: short(network.name), inputs, parameters: draft.parameters, nodes: draft.nodes, ...resultsOf(draft) },
    tensors: draft.tensors,
    arrange: draft.arrange,
  };
}

const isOperator = (type: string): boolean => Object.hasOwn(operators, type);

/** @throws GRAPH with all the operators that are not known. */
function checkOperators(network: OnnxNetwork, nodes: readonly OnnxNode[]): void {
  const unknown = [...new Set(nodes.map(({ type }) => type).filter((type) => !isOperator(type) && !isFolded(type)))];
  if (unknown.length === 0) return;
  const shown = `${unknown.slice(0, 30).map(short).join(', ')}${unknown.length > 30 ? ', …' : ''}`;
  throw new ResidualError(
    'GRAPH',
    `ONNX model "${short(network.name)}" has operators that are not supported: ${shown}; supported are ${Object.keys(operators).join(', ')}`,
    { operators: unknown.slice(0, 30).map(short) },
  );
}

/** Sub and Div are supported for constants only, Add and Mul as joins and biases. */
const arithmetic: readonly string[] = ['Sub', 'Div', 'Mul', 'Add'];

/** @throws GRAPH with all the operators that normalise the picture before the first layer. */
function refuseNormalisation({ inputs, tensors }: OnnxNetwork, live: readonly OnnxNode[]): void {
  const pictures = new Set(inputs.map(({ name }) => name));
  const constants = new Set(tensors.keys());
  const found: OnnxNode[] = [];
  for (const node of live) {
    const [output] = node.outputs;
    const given = node.inputs.filter((name) => name !== '');
    const others = given.filter((name) => !pictures.has(name));
    if (!others.every((name) => constants.has(name))) continue;
    if (others.length === given.length) constants.add(output);
    else if (arithmetic.includes(node.type) && others.length === 1) {
      found.push(node);
      pictures.add(output);
    } else if (['Identity', 'Cast', 'Transpose'].includes(node.type)) pictures.add(output);
  }
  if (found.length === 0) return;
  const list = found.slice(0, 8).map(({ name, type, outputs }) => `"${short(name || outputs[0])}" (${short(type)})`);
  throw new ResidualError(
    'GRAPH',
    `ONNX nodes ${list.join(', ')}${found.length > 8 ? ', …' : ''} normalise the picture inside the network, which is not supported: export the network without them and say what they do as the plan (preprocess, --preprocess)`,
    { layers: found.slice(0, 8).map(({ name }) => short(name)) },
  );
}

/** The nodes that the outputs need, and how many of them, and of the outputs, read each name. */
function liveNodes({ name, nodes, outputs, inputs, tensors }: OnnxNetwork): {
  live: OnnxNode[];
  readers: Map<string, number>;
} {
  const made = new Set([...inputs.map((input) => input.name), ...tensors.keys()]);
  for (const node of nodes)
    for (const output of node.outputs) {
      if (output !== '' && made.has(output))
        throw new ResidualError('GRAPH', `ONNX model "${short(name)}" makes "${short(output)}" twice`);
      made.add(output);
    }
  if (outputs.length === 0) throw new ResidualError('GRAPH', `ONNX model "${short(name)}" has no outputs`);
  const readers = new Map<string, number>();
  const read = (name: string) => readers.set(name, (readers.get(name) ?? 0) + 1);
  for (const output of outputs) read(output);
  const live: OnnxNode[] = [];
  for (const node of nodes.toReversed()) {
    if (!node.outputs.some((output) => readers.has(output))) continue;
    live.push(node);
    for (const input of node.inputs) if (input !== '') read(input);
  }
  return { live: live.reverse(), readers };
}

function addInput(draft: Draft, input: OnnxInput, live: readonly OnnxNode[], size: Pair): Input {
  const { name, shape } = input;
  const what = `input "${short(name)}" of ONNX model "${short(draft.network.name)}"`;
  const sizes = shape ?? [undefined, undefined, undefined, undefined];
  const channelsLast = sizes.length === 4 && isTurned(name, live);
  if (sizes.some((n) => n !== undefined && !(Number.isInteger(n) && n > 0 && n <= largestSize)) || sizes.length > 8)
    throw new ResidualError(
      'GRAPH',
      `${what} has the shape [${sizes.slice(0, 8).join(', ')}]; sizes from 1 to ${largestSize} are due`,
    );
  const [batch, ...rest] = sizes;
  if (rest.length !== 3 && rest.includes(undefined))
    throw new ResidualError('GRAPH', `${what} leaves a size open; only batch, height and width may vary`);
  draft.batch ??= batch;
  draft.channelsLast ||= channelsLast;
  const [c, h, w] = channelsLast ? [rest[2], rest[0], rest[1]] : rest;
  if (rest.length === 3 && (h === undefined || w === undefined)) draft.fixedSize = false;
  const own = rest.length === 3 ? [c ?? usualChannels, h ?? size[0], w ?? size[1]] : (rest as number[]);
  const built = sizes.length === 0 ? [] : [1, ...own];
  if (sizeOf(built) > 2 ** 31 - 1)
    throw new ResidualError('GRAPH', `${what} has ${sizeOf(built)} numbers, too many for memory`);
  const value = draft.shapes.push(built) - 1;
  draft.known.set(name, {
    kind: 'activation',
    value,
    shape: built,
    channelsLast,
    alone: draft.readers.get(name) === 1,
  });
  return { value, name, shape: built };
}

/** Operators that treat every number, or every place, alike. */
const placeless: readonly string[] = ['Identity', 'Cast', 'Pad', 'Dropout', 'Relu'];

/** Whether an input is turned from channels last to channels first before anything else is done with it. */
function isTurned(name: string, live: readonly OnnxNode[]): boolean {
  const same = new Set([name]);
  for (const node of live) {
    if (!same.has(node.inputs[0] ?? '')) continue;
    const order = node.attributes.get('perm');
    if (node.type === 'Transpose') return Array.isArray(order) && order.join() === '0,3,1,2';
    if (placeless.includes(node.type)) same.add(node.outputs[0]);
  }
  return false;
}

function resultsOf(draft: Draft): Pick<Graph, 'outputs' | 'features'> {
  const { network, nodes, known } = draft;
  const values = network.outputs.map((name): Activation => {
    const found = known.get(name);
    if (found?.kind === 'activation' && found.mirrored === undefined) return found;
    throw new ResidualError(
      'GRAPH',
      `ONNX model "${short(network.name)}" has the output "${short(name)}", ${found ? 'which is no result of a layer' : 'which nothing makes'}`,
    );
  });
  const [main, ...others] = values;
  const last = nodes[draft.makers.get(main.value) ?? -1];
  const name = endingOf(nodes, main.value, main.shape);
  const more = others.map(({ value }, i) => ({ name: network.outputs[i + 1], value }));
  return {
    outputs: [{ name, value: main.value }, ...more.filter((output) => output.name !== name)],
    features: name === 'probabilities' ? { logits: last.inputs[0] } : {},
  };
}
