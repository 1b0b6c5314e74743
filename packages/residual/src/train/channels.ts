import { ResidualError } from '../errors.js';
import type { Graph, Node, Parameter } from '../graph/graph.js';
import { valueTables } from '../image/apply.js';
import type { Plan } from '../image/plan.js';
import { sharedFloats, type Tensor } from '../tensor.js';
import type { Student } from './transfer.js';

/**
 * The first convolution for another number of channels. From three to one its three planes are added up, each times its
 * share of `scales`; for any other number the planes are repeated in turn, red, green, blue, red …, and scaled by the old
 * number over the new one, so that the sums keep their size (timm, `adapt_input_conv`).
 * @param weight `[out, in, kh, kw]`
 * @param scales how much larger a grey picture's values are in each channel than in the first; 1 when left out
 */
export function adaptedConvolution(
  { shape, data }: Tensor,
  channels: number,
  scales: readonly number[] = Array(shape[1]).fill(1),
): Tensor {
  const [out, before, height, width] = shape;
  const plane = height * width;
  const next = sharedFloats(out * channels * plane);
  for (let o = 0; o < out; o++)
    for (let c = 0; c < Math.max(channels, channels === 1 ? before : 0); c++) {
      const to = (o * channels + (channels === 1 ? 0 : c)) * plane;
      const from = (o * before + (c % before)) * plane;
      const scale = channels === 1 ? scales[c] : before / channels;
      for (let i = 0; i < plane; i++) next[to + i] += data[from + i] * scale;
    }
  return { dtype: 'float32', shape: [out, channels, height, width], data: next };
}

/** Channels of the pictures that a network takes. @throws GRAPH when it takes no pictures. */
export function channelsOf({ graph }: Student): 1 | 3 {
  const channels = graph.inputs[0].shape[1];
  if (channels === 1 || channels === 3) return channels;
  throw new ResidualError(
    'GRAPH',
    `${graph.name} takes ${channels} channels, and pictures have 1 or 3; pass channels to adapt it`,
  );
}

/**
 * The same network for pictures of another number of channels. With one it gives a grey picture the answer that it gave
 * it as three equal channels: a plan gives each channel a mean and a deviation of its own, so planes are scaled before
 * they are added, and what is left over, the same everywhere but at the border, goes into the running mean or the bias
 * behind the convolution.
 * Any other number is as `adaptedConvolution` says.
 *
 * @throws GRAPH when the picture goes into something else than one convolution without groups.
 * @example const { graph, weights } = withChannels({ graph, weights: await model.weights(), record }, 4);
 */
export function withChannels({ graph, weights, record }: Student, channels: number): Student {
  const [picture] = graph.inputs;
  const [, before, ...size] = picture.shape;
  if (before === channels) return { graph, weights, record };
  let value = picture.value;
  let readers = graph.nodes.filter((node) => node.inputs.includes(value));
  // Zeros around the picture change no channel.
  while (readers.length === 1 && readers[0].op === 'pad') {
    [value] = readers[0].outputs;
    readers = graph.nodes.filter((node) => node.inputs.includes(value));
  }
  const [first] = readers;
  const parameter = graph.parameters.find((one) => one.value === first?.inputs[1]);
  const tensor = parameter && weights.get(parameter.name);
  if (readers.length !== 1 || first.op !== 'conv2d' || !parameter || !tensor || parameter.shape[1] !== before)
    throw new ResidualError(
      'GRAPH',
      `${graph.name} takes ${before} channels and does not begin with one convolution over all of them; it cannot be changed to ${channels}`,
    );
  const lines = channels === 1 && before === 3 ? greyLines(record.plan) : undefined;
  const convolution = adaptedConvolution(
    tensor,
    channels,
    lines?.map(({ scale }) => scale),
  );
  const shape = [parameter.shape[0], channels, ...parameter.shape.slice(2)];
  const behind = lines && movable(graph, first);
  const held = behind && weights.get(behind.name);
  return {
    graph: {
      ...graph,
      inputs: [{ ...picture, shape: [1, channels, ...size] }, ...graph.inputs.slice(1)],
      parameters: graph.parameters.map((one) => (one === parameter ? { ...one, shape } : one)),
    },
    weights: new Map([
      ...weights,
      [parameter.name, convolution],
      ...(behind && held ? [[behind.name, moved(held, behind, tensor, lines)] as const] : []),
    ]),
    record: { ...record, ...(record.config && { config: { ...record.config, channels } }) },
  };
}

/** A channel's value of a grey picture by that of the first: `scale` times it, and `offset`. */
interface Line {
  readonly scale: number;
  readonly offset: number;
}

/** What a plan does to a byte is a straight line for each channel. */
function greyLines(plan: Plan): readonly Line[] {
  const ends = valueTables(plan).map(({ values }) => ({ at: values[0], slope: values[255] - values[0] }));
  const [first] = ends;
  return ends.map(({ at, slope }) => {
    const scale = first.slope === 0 ? 1 : slope / first.slope;
    return { scale, offset: at - scale * first.at };
  });
}

/** Behind a convolution, what can hold a constant: its bias, or the running mean of the BatchNorm that alone reads it. */
function movable({ nodes, parameters }: Graph, convolution: Node): Parameter | undefined {
  const bias = parameters.find(({ value }) => value === convolution.inputs[2]);
  if (bias) return bias;
  const [reader, ...others] = nodes.filter(({ inputs }) => inputs.includes(convolution.outputs[0]));
  if (reader?.op !== 'batchNorm' || others.length > 0) return undefined;
  return parameters.find(({ value, role }) => role === 'mean' && reader.inputs.includes(value));
}

/** The bias with the constant in it, or the running mean without it. */
function moved(held: Tensor, { role }: Parameter, convolution: Tensor, lines: readonly Line[]): Tensor {
  const [out, before, height, width] = convolution.shape;
  const plane = height * width;
  const data = sharedFloats(out);
  for (let o = 0; o < out; o++) {
    let constant = 0;
    for (let c = 0; c < before; c++)
      for (let i = 0; i < plane; i++) constant += convolution.data[(o * before + c) * plane + i] * lines[c].offset;
    data[o] = held.data[o] + (role === 'mean' ? -constant : constant);
  }
  return { dtype: 'float32', shape: held.shape, data };
}
