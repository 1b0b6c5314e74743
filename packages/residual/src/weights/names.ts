import type { Arrangement } from '../models/onnx-network.js';
import type { Shape } from '../tensor.js';

/** Who wrote a weight file, as far as its names tell. */
export type DialectName = 'torchvision' | 'keras' | 'keras2015';

/** How a file lays out its kernels: PyTorch `[out, in, kh, kw]`, Keras `[kh, kw, in, out]`. */
export type Layout = 'pytorch' | 'keras';

/** One way of spelling tensor names. */
interface Dialect {
  readonly layout: Layout;
  /** A tensor that every file of this dialect has; the first group is what stands before the names. */
  readonly sign: RegExp;
  readonly because: string;
  /** Names of a network's trunk. A tensor of such a name that has no place belongs to another network. */
  readonly trunk: RegExp;
  /** The parameter a tensor is (`layer1.0.conv1.weight`), `'ignored'` for what inference does not need, else undefined. */
  parameter(name: string): string | undefined;
}

/** The last word of a Keras weight's name: the parameter it is. `running_std` is the variance, in spite of its name. */
const kerasRoles: Record<string, string> = {
  W: 'weight',
  kernel: 'weight',
  b: 'bias',
  bias: 'bias',
  gamma: 'weight',
  beta: 'bias',
  running_mean: 'running_mean',
  moving_mean: 'running_mean',
  running_std: 'running_var',
  moving_variance: 'running_var',
};

/** `conv1/conv1_W_1:0`, `conv1/conv1_W:0`, `conv1_conv/conv1_conv/kernel:0`, `conv1_conv/kernel`: layer first, role last. */
const kerasName = new RegExp(`^([^/]+)/(?:.*[/_])?(${Object.keys(kerasRoles).join('|')})(?:_\\d+)?(?::0)?$`);

export function kerasParameter(name: string): string | undefined {
  const match = kerasName.exec(name);
  return match ? `${match[1]}.${kerasRoles[match[2]]}` : undefined;
}

/** The dialects, tried in order. A new one is a row. */
export const dialects: Record<DialectName, Dialect> = {
  torchvision: {
    layout: 'pytorch',
    sign: /^(.*?)layer1\.0\.conv1\.weight$/,
    because: 'it has layer1.0.conv1.weight',
    trunk: /^(conv|bn|layer)\d/,
    parameter(name) {
      if (name.endsWith('.num_batches_tracked')) return 'ignored';
      // CIFAR code (akamaster/pytorch_resnet_cifar10) calls the classifier `linear`.
      return /\.(weight|bias|running_mean|running_var)$/.test(name) ? name.replace(/^linear\./, 'fc.') : undefined;
    },
  },
  keras: {
    layout: 'keras',
    sign: /^()conv2_block1_1_conv\//,
    because: 'it has the layer conv2_block1_1_conv',
    trunk: /^(conv\d|post_bn)/,
    parameter: kerasParameter,
  },
  keras2015: {
    layout: 'keras',
    sign: /^()res2a_branch2a\//,
    because: 'it has the layer res2a_branch2a',
    trunk: /^(conv1|bn_conv1|(res|bn)\d)/,
    parameter: kerasParameter,
  },
};

/** A weight file's names, understood. */
export interface Naming {
  readonly dialect: DialectName;
  readonly reason: string;
  readonly layout: Layout;
  /** What stood before every name and was taken off: `state_dict.module.`. */
  readonly prefix: string;
  /** Parameter → the file's tensor. */
  readonly tensors: ReadonlyMap<string, string>;
  /** Parameters that are laid out otherwise than `layout` says. */
  readonly arrange?: ReadonlyMap<string, Arrangement>;
  /** Tensors that are of no use for inference, such as `num_batches_tracked`. */
  readonly ignored: readonly string[];
  /** Tensors outside the prefix or with a name that no rule knows. */
  readonly foreign: readonly string[];
}

/** Which dialect these names are written in; undefined when none fits. */
export function recogniseNames(names: readonly string[]): Naming | undefined {
  for (const [dialect, row] of Object.entries(dialects) as [DialectName, Dialect][]) {
    const sign = names.find((name) => row.sign.test(name));
    if (sign === undefined) continue;
    const prefix = row.sign.exec(sign)?.[1] ?? '';
    const naming = applyNames(names, prefix, row.parameter);
    const stripped = prefix ? ` below "${prefix}"` : '';
    return { dialect, reason: `${row.because}${stripped}`, layout: row.layout, prefix, ...naming };
  }
  return undefined;
}

/** Sorts names by what `parameter` says of each, `prefix` taken off. */
export function applyNames(names: readonly string[], prefix: string, parameter: (name: string) => string | undefined) {
  const tensors = new Map<string, string>();
  const ignored: string[] = [];
  const foreign: string[] = [];
  for (const name of names) {
    const found = name.startsWith(prefix) ? parameter(name.slice(prefix.length)) : undefined;
    if (found === 'ignored') ignored.push(name);
    else if (found === undefined || tensors.has(found)) foreign.push(name);
    else tensors.set(found, name);
  }
  return { tensors, ignored, foreign };
}

/** The shape that a tensor of this layout has as a parameter of ours. */
export function parameterShape(shape: Shape, layout: Layout): Shape {
  if (layout === 'pytorch') return shape;
  if (shape.length === 4) return [shape[3], shape[2], shape[0], shape[1]];
  return shape.length === 2 ? [shape[1], shape[0]] : shape;
}
