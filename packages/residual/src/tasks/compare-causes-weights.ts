import type { Parameter } from '../graph/graph.js';
import { sharedFloats, type Tensor } from '../tensor.js';
import type { Finding } from './compare.js';
import type { Net } from './compare-network.js';

// The rows of the table of causes that change weights; those that change layers stand in compare-causes.ts.

/** One change of a network. */
export interface Experiment {
  /** `base` is the network as it is, `other` as it was changed. */
  readonly finding: Finding;
  readonly net: Net;
}

/** A row: all changes of its kind that alter `net` at all; `wanted` is the other side, where it is a network. */
export type Hypothesis = (net: Net, wanted: Net | undefined) => readonly (Experiment | undefined)[];

/** Weights seen through `change`; `read` gives any weight as it is. */
function reweigh(
  net: Net,
  change: (parameter: Parameter, read: (name: string) => Tensor) => Tensor | undefined,
  finding: Finding,
): Experiment | undefined {
  const named = new Map(net.graph.parameters.map((parameter) => [parameter.name, parameter]));
  const read = (name: string) => net.weight(named.get(name) as Parameter);
  return { finding, net: { ...net, weight: (parameter) => change(parameter, read) ?? net.weight(parameter) } };
}

/** Biases of convolutions, or of the classifier, counted as zero. */
export const biases: Hypothesis = (net) =>
  (['conv2d', 'dense'] as const).map((op) => {
    const owned = new Set(net.graph.nodes.filter((node) => node.op === op).flatMap(({ inputs }) => inputs.slice(1)));
    const has = net.graph.parameters.some(({ role, value }) => role === 'bias' && owned.has(value));
    if (!has) return undefined;
    const whose = op === 'conv2d' ? 'convolutions' : 'the classifier';
    return reweigh(
      net,
      ({ role, value, shape }) =>
        role === 'bias' && owned.has(value)
          ? mapped({ dtype: 'float32', shape, data: new Float32Array(shape[0]) }, () => 0)
          : undefined,
      { id: 'bias', subject: `biases of ${whose}`, base: 'added', other: 'dropped' },
    );
  });

/** The variance file's `running_std`, believed or not. */
export const variance: Hypothesis = (net) => [
  reweigh(
    net,
    (parameter, read) => (parameter.role === 'variance' ? mapped(read(parameter.name), (v) => v * v) : undefined),
    {
      id: 'variance',
      subject: 'running variance',
      base: 'as it is',
      other: 'taken for the deviation (running_std)',
    },
  ),
  reweigh(
    net,
    (parameter, read) => (parameter.role === 'variance' ? mapped(read(parameter.name), Math.sqrt) : undefined),
    {
      id: 'variance',
      subject: 'running variance',
      base: 'as it is',
      other: 'its square root',
    },
  ),
];

/** Gamma and beta in each other's place: HDF5 lists a group by name, beta before gamma. */
export const gammaBeta: Hypothesis = (net) => {
  const partner = new Map<string, string>();
  const names = new Map(net.graph.parameters.map(({ value, name }) => [value, name]));
  for (const node of net.graph.nodes) {
    if (node.op !== 'batchNorm') continue;
    const [, gamma, beta] = node.inputs.map((value) => names.get(value) as string);
    partner.set(gamma, beta).set(beta, gamma);
  }
  return [
    reweigh(net, ({ name }, read) => (partner.has(name) ? read(partner.get(name) as string) : undefined), {
      id: 'gamma-beta',
      subject: "BatchNorm's gamma and beta",
      base: 'each in its place',
      other: 'in the place of the other',
    }),
  ];
};

/** Kernels read with two of their axes in each other's place, or turned round (Theano's convolution). */
export const kernels: Hypothesis = (net) => {
  const turned = (
    other: string,
    shapeFits: (shape: readonly number[]) => boolean,
    from: (
      o: number,
      i: number,
      y: number,
      x: number,
      kh: number,
      kw: number,
    ) => readonly [number, number, number, number],
  ) =>
    reweigh(
      net,
      ({ role, name, shape }, read) => {
        if (role !== 'weight' || !shapeFits(shape)) return undefined;
        const source = read(name);
        const [out, channels, kh, kw] = [shape[0], shape[1], shape[2] ?? 1, shape[3] ?? 1];
        const data = sharedFloats(source.data.length);
        let at = 0;
        for (let o = 0; o < out; o++)
          for (let i = 0; i < channels; i++)
            for (let y = 0; y < kh; y++)
              for (let x = 0; x < kw; x++) {
                const [p, q, r, s] = from(o, i, y, x, kh, kw);
                data[at++] = source.data[((p * channels + q) * kh + r) * kw + s];
              }
        return { dtype: 'float32', shape, data };
      },
      { id: 'kernels', subject: 'kernels', base: 'as they are', other },
    );
  const square = (shape: readonly number[]) => shape.length === 4 && shape[2] === shape[3] && shape[2] > 1;
  return [
    turned("with height and width in each other's place", square, (o, i, y, x) => [o, i, x, y]),
    turned('turned by 180° (Theano)', square, (o, i, y, x, kh, kw) => [o, i, kh - 1 - y, kw - 1 - x]),
    turned(
      "with inputs and outputs in each other's place",
      (shape) => shape[0] === shape[1],
      (o, i, y, x) => [i, o, y, x],
    ),
  ];
};

const scratch = new DataView(new ArrayBuffer(4));

/** Rounded to the nearest value with so many bits of its mantissa fewer, ties to even. */
function shortened(value: number, bits: number): number {
  if (Number.isNaN(value)) return value;
  scratch.setFloat32(0, value);
  const all = scratch.getUint32(0);
  scratch.setUint32(0, (all + 2 ** (bits - 1) - 1 + ((all >>> bits) & 1)) & -(2 ** bits));
  return scratch.getFloat32(0);
}

const toBfloat16 = (value: number): number => shortened(value, 16);

/** Rounded to the nearest IEEE 754 half, ties to even. */
function toFloat16(value: number): number {
  const size = Math.abs(value);
  if (size >= 65520) return Math.sign(value) * Number.POSITIVE_INFINITY;
  // Halves below 2⁻¹⁴ are 2⁻²⁴ apart, as are float32 from 0.5 on.
  if (size < 2 ** -14) return Math.sign(value) * (Math.fround(size + 0.5) - 0.5);
  return shortened(value, 13);
}

export const rounded: Hypothesis = (net) =>
  (
    [
      ['float16', toFloat16],
      ['bfloat16', toBfloat16],
    ] as const
  ).map(([type, round]) =>
    reweigh(net, ({ name }, read) => mapped(read(name), round), {
      id: 'weight-precision',
      subject: 'weights',
      base: 'in float32',
      other: `rounded to ${type}`,
    }),
  );

function mapped({ shape, data }: Tensor, change: (value: number) => number): Tensor {
  const out = sharedFloats(data.length);
  for (let i = 0; i < data.length; i++) out[i] = change(data[i]);
  return { dtype: 'float32', shape, data: out };
}
