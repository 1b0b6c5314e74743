import { nearest, ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { initialise } from '../models/initialise.js';
import {
  type AnyTensor,
  formatShape,
  magnitudesOf,
  type Shape,
  sameShape,
  sharedBytes,
  sharedFloats,
  type Tensor,
  toFloat32,
  type Weights,
} from '../tensor.js';
import { arranged } from './arrange.js';
import { byteLength, type Checkpoint, type Memory } from './checkpoint.js';
import { type Layout, type Naming, parameterShape } from './names.js';

/** What came of putting a file's tensors into a network. */
export interface LoadReport {
  /** How many of the network's parameters were filled. */
  readonly loaded: number;
  /** Parameters that the file lacks, the first few with the file's nearest unused name. */
  readonly missing: readonly { readonly name: string; readonly nearest?: string }[];
  /** Tensors of the file that the network has no place for. */
  readonly unexpected: readonly string[];
  readonly misshapen: readonly { readonly name: string; readonly expected: Shape; readonly received: Shape }[];
  /** Parameters that were set anew because another number of classes was asked for. */
  readonly newHead: readonly string[];
}

/**
 * A file of tens of thousands of other names would take hours if every missing name were compared with each of them;
 * the error shows the first only, and a few show a reader how the names differ.
 */
const namesCompared = 3;
const candidatesCompared = 1_000;

/** Compares a file's table of contents with a network; reads no tensor. `replace` names parameters to be set anew. */
export function planAssignment(
  graph: Graph,
  checkpoint: Checkpoint,
  naming: Pick<Naming, 'tensors' | 'layout' | 'arrange' | 'foreign'>,
  replace: ReadonlySet<string>,
): LoadReport {
  const wanted = new Map(graph.parameters.map((p) => [p.name, p]));
  const unused = [...naming.tensors].filter(([parameter]) => !wanted.has(parameter)).map(([, name]) => name);
  const unexpected = [...unused, ...naming.foreign];
  const missing: { name: string; nearest?: string }[] = [];
  const misshapen: { name: string; expected: Shape; received: Shape }[] = [];
  const candidates = unexpected.slice(0, candidatesCompared);
  let loaded = 0;
  for (const { name, shape } of graph.parameters) {
    if (replace.has(name)) continue;
    const source = naming.tensors.get(name);
    const stored = source === undefined ? undefined : checkpoint.tensors.get(source)?.shape;
    const received = stored && (naming.arrange?.get(name)?.shape ?? parameterShape(stored, naming.layout));
    if (received === undefined) {
      const near = missing.length < namesCompared ? nearest(name, candidates) : undefined;
      missing.push(near === undefined ? { name } : { name, nearest: near });
    } else if (!sameShape(received, shape)) misshapen.push({ name, expected: shape, received });
    else loaded++;
  }
  return { loaded, missing, misshapen, unexpected, newHead: [...replace] };
}

/**
 * Reads every parameter of `graph` from the file, turned to `[out, in, kh, kw]` and float32.
 * @throws WEIGHTS_FORMAT from the reader; NUMERICS when a weight is not a finite number, or a variance has no root.
 */
export async function readWeights(
  graph: Graph,
  checkpoint: Checkpoint,
  naming: Pick<Naming, 'tensors' | 'layout' | 'arrange'>,
  options: { replace: ReadonlySet<string>; seed?: number | undefined; file: string },
): Promise<Weights> {
  const weights = new Map(initialise(graph, { seed: options.seed ?? 0, only: (name) => options.replace.has(name) }));
  const wanted = graph.parameters.flatMap(({ name }) => {
    const source = naming.tensors.get(name);
    return source === undefined || weights.has(name) ? [] : [{ name, source }];
  });
  const straight = (name: string, source: string) =>
    naming.layout === 'pytorch' && !naming.arrange?.has(name) && checkpoint.tensors.get(source)?.dtype === 'float32';
  const sizes = wanted.map(({ name, source }) =>
    straight(name, source) ? byteLength(checkpoint.tensors.get(source)!) : 0,
  );
  const memory = oneBlock(sizes);
  // Some reads run ahead in other threads while the values before them are looked at here.
  const reads: Promise<AnyTensor>[] = [];
  for (const [i, { name }] of wanted.entries()) {
    for (const { name, source } of wanted.slice(reads.length, i + readsAhead)) {
      const read = checkpoint.read(source, straight(name, source) ? memory : undefined);
      read.catch(() => {}); // An error before it ends the loop; this one is then nobody's.
      reads.push(read);
    }
    const arrangement = naming.arrange?.get(name);
    const read = await reads[i];
    if (read.eightBits) {
      const { scales } = read.eightBits;
      checkFinite({ dtype: 'float32', shape: [scales.length], data: scales }, name, options.file);
      weights.set(name, read as Tensor);
      continue;
    }
    const values = arrangement ? arranged(toFloat32(read), arrangement) : toParameter(read, naming.layout);
    checkFinite(values, name, options.file);
    weights.set(name, values);
  }
  checkVariances(graph, weights, options.file);
  return weights;
}

const readsAhead = 4;

/**
 * Memory for values that stay as they are read, in one block: the system takes a large one back when it is let go,
 * many small ones leave holes.
 */
function oneBlock(sizes: readonly number[]): Memory {
  const aligned = (length: number) => Math.ceil(length / 64) * 64;
  const block = sharedBytes(sizes.reduce((sum, length) => sum + aligned(length), 0));
  let begin = 0;
  return (length) => {
    const part = block.subarray(begin, begin + length);
    begin += aligned(length);
    return part;
  };
}

/** A file's tensor as a parameter: float32, `[out, in, kh, kw]` or `[out, in]`. */
function toParameter(source: AnyTensor, layout: Layout): Tensor {
  const values = toFloat32(source);
  const { shape } = values;
  if (layout === 'pytorch') return { ...values, shape: parameterShape(shape, layout) };
  if (shape.length !== 4 && shape.length !== 2) return values;
  const out = shape[shape.length - 1];
  const channels = shape[shape.length - 2];
  const positions = values.data.length / (out * channels);
  const data = sharedFloats(values.data.length);
  for (let position = 0; position < positions; position++)
    for (let c = 0; c < channels; c++) {
      const from = (position * channels + c) * out;
      const to = c * positions + position;
      for (let o = 0; o < out; o++) data[o * channels * positions + to] = values.data[from + o];
    }
  return { dtype: 'float32', shape: parameterShape(shape, layout), data };
}

/**
 * BatchNorm divides by √(variance + epsilon). Averaging over a run may leave a variance a little below 0, which epsilon
 * makes good; one that stays at 0 or below makes every answer NaN or infinite.
 * @param where what messages call the weights.
 * @throws NUMERICS
 */
export function checkVariances(graph: Graph, weights: Weights, where: string): void {
  const names = new Map(graph.parameters.map(({ value, name }) => [value, name]));
  for (const node of graph.nodes) {
    if (node.op !== 'batchNorm') continue;
    const { epsilon } = node.attributes;
    const parameter = names.get(node.inputs[4]) ?? '';
    const { data = new Float32Array(0) } = weights.get(parameter) ?? {};
    const channel = data.findIndex((variance) => !(variance + epsilon > 0));
    if (channel < 0) continue;
    throw new ResidualError(
      'NUMERICS',
      `${where}: ${parameter}[${channel}] is the variance ${data[channel]}, which has no root even with the epsilon ${epsilon} of ${node.name}; the file is damaged or its training diverged`,
      { parameter, channel },
    );
  }
}

/** The sums find what is not finite, and an engine wants them. @throws NUMERICS */
function checkFinite({ data, shape }: Tensor, name: string, file: string): void {
  if (magnitudesOf({ data, shape }).every(Number.isFinite)) return;
  const bad = data.reduce((count, x) => count + (Number.isFinite(x) ? 0 : 1), 0);
  throw new ResidualError(
    'NUMERICS',
    `${file}: ${bad} of the ${data.length} values of ${name} ${formatShape(shape)} are not finite numbers; the file is damaged or its training diverged`,
    { file, parameter: name, count: bad },
  );
}
