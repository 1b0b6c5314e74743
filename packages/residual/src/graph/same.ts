import type { Shape } from '../tensor.js';
import { type Graph, inferShapes, type Node } from './graph.js';
import { type Pair, resolvePadding } from './ops.js';
import { prune } from './passes.js';

/** What a parameter is called where two networks are compared; its own name when left out. */
export type Called = (parameter: string) => string | undefined;

/**
 * Whether two networks compute the same of the same tensors, for pictures of the size they are built for: the main output
 * of each. Names of layers are nothing; nor is how a thing is written down: zeros before a convolution or in it, "same"
 * or its numbers, a mean over the picture with or without a flatten behind it, epsilon in 32 or 64 bits. Networks that
 * are the same in some deeper way count as different.
 *
 * @param calledA what each parameter of `a` is called, where the two spell the same tensors differently.
 */
export function sameNetwork(a: Graph, b: Graph, calledA: Called = itself, calledB: Called = itself): boolean {
  const known = new Map<string, number>();
  return formOf(a, calledA, known).result === formOf(b, calledB, known).result;
}

/**
 * The first layer with parameters that `b` has otherwise than `a`, in words: `layer2.0.conv1 would have stride 1,1, and
 * it has 2,2`; undefined where these are alike.
 */
export function otherLayer(a: Graph, b: Graph, calledA: Called = itself, calledB: Called = itself): string | undefined {
  const known = new Map<string, number>();
  const would = formOf(b, calledB, known).layers;
  for (const [parameter, { name, op, settings }] of formOf(a, calledA, known).layers) {
    const other = would.get(parameter);
    if (other?.op !== op) continue;
    const key = Object.keys(settings).find((one) => `${settings[one]}` !== `${other.settings[one]}`);
    if (key !== undefined) return `${name} would have ${key} ${other.settings[key]}, and it has ${settings[key]}`;
  }
  return undefined;
}

const itself: Called = (parameter) => parameter;

/** A node in one of the ways to write it. */
interface Plain {
  readonly op: string;
  readonly settings: Readonly<Record<string, unknown>>;
}

interface Form {
  /** The number of the main output's expression. */
  readonly result: number;
  /** Layers by what their first parameter is called. */
  readonly layers: ReadonlyMap<string, Plain & { readonly name: string }>;
}

/** An expression's number, and what it is the zero padding of. */
interface Term {
  readonly id: number;
  readonly inside?: { readonly id: number; readonly padding: readonly number[] };
}

/** Numbers each expression of a network; equal ones, of several networks too, have the same number in `known`. */
function formOf(whole: Graph, called: Called, known: Map<string, number>): Form {
  const graph = prune(whole, [whole.outputs[0].name]);
  const shapes = inferShapes(graph);
  const numbered = (text: string): Term => {
    const id = known.get(text) ?? known.size;
    known.set(text, id);
    return { id };
  };
  const terms = new Map<number, Term>();
  const layers = new Map<string, Plain & { name: string }>();
  for (const [i, { value, shape }] of graph.inputs.entries()) terms.set(value, numbered(`input ${i} [${shape}]`));
  const names = new Map(graph.parameters.map(({ value, name }) => [value, called(name) ?? `nothing: ${name}`]));
  for (const { value, shape } of graph.parameters)
    terms.set(value, numbered(`parameter ${names.get(value)} [${shape}]`));
  for (const node of graph.nodes) {
    const [x, ...others] = node.inputs.map((value) => terms.get(value) as Term);
    const [output] = node.outputs;
    if (changesNothing(node, shapes)) {
      terms.set(output, x);
      continue;
    }
    const takesIn = node.op === 'conv2d' && x.inside ? x.inside : undefined;
    const form = plain(node, shapes, takesIn?.padding ?? [0, 0, 0, 0]);
    const first = names.get(node.inputs[1]);
    if (first !== undefined) layers.set(first, { ...form, name: node.name });
    const inputs = [takesIn?.id ?? x.id, ...others.map(({ id }) => id)];
    if (node.op === 'add' || node.op === 'mul') inputs.sort((a, b) => a - b);
    const term = numbered(`${form.op} of ${inputs}: ${JSON.stringify(form.settings)}`);
    const lays = node.op === 'pad' && !x.inside && node.attributes.channels.every((n) => n === 0);
    const inside = lays ? { id: x.id, padding: node.attributes.spatial } : undefined;
    terms.set(output, { ...term, ...(inside && { inside }) });
  }
  return { result: (terms.get(graph.outputs[0].value) as Term).id, layers };
}

/** A flatten or reshape that leaves one number a channel, as the mean over the picture does without one. */
function changesNothing({ op, inputs, outputs }: Node, shapes: readonly Shape[]): boolean {
  if (op !== 'flatten' && op !== 'reshape') return false;
  const [from, to] = [shapes[inputs[0]], shapes[outputs[0]]].map((shape) => shape.join().replace(/(,1)+$/, ''));
  return from === to;
}

/**
 * The settings of a node that make a difference. Of the zeros around a picture those above and left are compared, and
 * how large the result is: not all windows reach what lies below and right.
 */
function plain(node: Node, shapes: readonly Shape[], around: readonly number[]): Plain {
  const [input, output] = [shapes[node.inputs[0]], shapes[node.outputs[0]]];
  const size = output.slice(2);
  switch (node.op) {
    case 'conv2d': {
      const { kernel, stride, dilation, groups, padding } = node.attributes;
      const [top, left] = resolvePadding(padding, pictureOf(input), kernel, stride, dilation);
      const settings = {
        stride: size.map((n, i) => (n > 1 ? stride[i] : 1)),
        padding: [top + around[0], left + around[1]],
        dilation: kernel.map((n, i) => (n > 1 ? dilation[i] : 1)),
        groups,
        size,
      };
      return { op: 'conv2d', settings };
    }
    case 'batchNorm':
      return { op: 'batchNorm', settings: { epsilon: Number(Math.fround(node.attributes.epsilon).toPrecision(6)) } };
    case 'maxPool':
    case 'avgPool': {
      const { kernel, stride } = node.attributes;
      const padding = resolvePadding(node.attributes.padding, pictureOf(input), kernel, stride);
      const padded = padding.some((n) => n > 0);
      if (!padded && kernel.every((n) => n === 1)) return { op: 'subsample', settings: { stride, size } };
      const [top, left] = padding;
      if (node.op === 'maxPool') return { op: 'maxPool', settings: { kernel, stride, padding: [top, left], size } };
      if (!padded && kernel.every((n, i) => n === input[2 + i])) return { op: 'globalAvgPool', settings: {} };
      const counts = padded && node.attributes.countPadding;
      return { op: 'avgPool', settings: { kernel, stride, padding: counts ? padding : [top, left], counts, size } };
    }
    case 'globalAvgPool':
      return { op: 'globalAvgPool', settings: {} };
    default:
      return { op: node.op, settings: Object.fromEntries(Object.entries(node.attributes).sort()) };
  }
}

const pictureOf = (shape: Shape): Pair => [shape[2], shape[3]];
