import {
  add,
  avgPool,
  batchNorm,
  blurPool,
  conv2d,
  inBlock,
  maxPool,
  relu,
  type Value,
  zeroPad,
} from '../graph/build.js';
import { channelAttention, squeezeExcite } from './attention.js';
import { layerNames, type Spelling } from './layer-names.js';

/**
 * How the input reaches the sum when the block changes its shape (He et al. 2015a, section 3.3 and table 3).
 * `projection`: a 1×1 convolution where the shape changes (option B). `projectAll`: in every block (C). `pad`: every
 * second pixel and zeros for the new channels, no parameters (A). `none`: no sum at all, the paper's plain network.
 * `identity`: always the input itself, which is refused where the shapes differ.
 */
export type Shortcut = 'projection' | 'projectAll' | 'pad' | 'none' | 'identity';

/** What a block can be told. The defaults are torchvision's. */
export interface BlockOptions {
  /** The block's name, such as `layer3.2`. */
  name: string;
  stride?: number;
  shortcut?: Shortcut | ((x: Value) => Value);
  /** Which convolution of a bottleneck strides: He and Keras the first 1×1, torchvision ("v1.5") the 3×3. */
  strideOn?: '1x1' | '3x3';
  groups?: number;
  /** A bottleneck's first convolution has its width divided by this. */
  reduceFirst?: number;
  dilation?: number;
  /** What strides in place of the convolution, behind it: a mean of 2×2 or a blur. */
  antiAlias?: 'none' | 'mean' | 'blur';
  /** How a projection strides: its 1×1, a mean of 2×2 before that, or a 3×3 in its place. */
  projection?: 'strided' | 'averaged' | '3x3';
  attention?: 'none' | 'se' | 'eca';
  seRatio?: number;
  convBias?: boolean;
  epsilon?: number;
  /** Start the last BatchNorm's scale at 0. */
  zeroInitLast?: boolean;
  spelling?: Spelling;
}

/** One convolution of a block's main branch. */
interface Unit {
  filters: number;
  kernel: number;
  stride?: number;
  groups?: number;
  dilation?: number;
}

/** Two 3×3 convolutions (He et al. 2015a, figure 5 left). `[N, C, H, W]` → `[N, filters, H/stride, W/stride]`. */
export function basicBlock(x: Value, filters: number, options: BlockOptions): Value {
  const { stride = 1, dilation = 1 } = options;
  const second = { filters, kernel: 3, dilation };
  return residual(x, [{ ...second, stride }, second], options);
}

/**
 * 1×1 down to `width`, 3×3, 1×1 up to `filters`, which defaults to 4 · width (He et al. 2015a, figure 5 right).
 * With `groups` it is ResNeXt's block (Xie et al. 2016, figure 3c).
 */
export function bottleneck(x: Value, width: number, options: BlockOptions & { filters?: number }): Value {
  const { stride = 1, strideOn = '3x3', groups = 1, dilation = 1, reduceFirst = 1, filters = 4 * width } = options;
  return residual(
    x,
    [
      { filters: width / reduceFirst, kernel: 1, stride: strideOn === '1x1' ? stride : 1 },
      { filters: width, kernel: 3, stride: strideOn === '3x3' ? stride : 1, groups, dilation },
      { filters, kernel: 1 },
    ],
    options,
  );
}

/**
 * The tutorials' block whose shortcut is the input itself; `stage` and `block` give the layers their names
 * (`res2b_branch2a`). `filters` are those of its three convolutions.
 *
 * @example x = identityBlock(x, 3, [64, 64, 256], 2, 'b');
 */
export function identityBlock(
  x: Value,
  kernel: number,
  filters: readonly [number, number, number],
  stage: number,
  block: string,
): Value {
  return residual(x, tutorialUnits(kernel, filters, 1), {
    ...keras2015,
    name: `${stage}${block}`,
    shortcut: 'identity',
  });
}

/**
 * The tutorials' block with a convolution on the shortcut, which changes channels and (from stage 3) size.
 *
 * @example x = convBlock(x, 3, [64, 64, 256], 2, 'a', 1);
 */
export function convBlock(
  x: Value,
  kernel: number,
  filters: readonly [number, number, number],
  stage: number,
  block: string,
  strides = 2,
): Value {
  return residual(x, tutorialUnits(kernel, filters, strides), {
    ...keras2015,
    name: `${stage}${block}`,
    stride: strides,
    shortcut: 'projectAll',
  });
}

/**
 * Keras' pre-activation bottleneck (ResNetV2: He et al. 2016, figure 4e): BatchNorm and ReLU come before the
 * convolutions, the sum has nothing behind it. With `project` the shortcut is a convolution of the activated input;
 * otherwise the input, max-pooled 1×1 where the block strides.
 */
export function preActivationBlock(
  x: Value,
  width: number,
  { name, stride = 1, project, epsilon = 1e-5 }: { name: string; stride?: number; project: boolean; epsilon?: number },
): Value {
  const names = layerNames.keras;
  return inBlock(x, name, () => {
    const active = relu(batchNorm(x, { name: `${name}_preact_bn`, epsilon }), { name: `${name}_preact_relu` });
    const unit = (from: Value, index: number, kernel: number, options: { stride?: number; padding?: number } = {}) => {
      const y = conv2d(from, width, { name: names.conv(name, index), kernel, bias: false, ...options });
      return relu(batchNorm(y, { name: names.norm(name, index), epsilon }), { name: names.relu(name, index) });
    };
    const reduced = unit(active, 1, 1);
    const main = unit(zeroPad(reduced, 1, { name: `${name}_2_pad` }), 2, 3, { stride });
    const expanded = conv2d(main, 4 * width, { name: names.conv(name, 3) });
    const shortcut = project
      ? conv2d(active, 4 * width, { name: names.conv(name, 0), stride })
      : stride > 1
        ? maxPool(x, { kernel: 1, stride, name: `${name}_pool` })
        : x;
    return add(expanded, shortcut, { name: names.out(name) });
  });
}

/** What the Keras code of 2015 sets in every block. */
const keras2015 = { strideOn: '1x1', convBias: true, epsilon: 1e-3, spelling: 'keras2015' } as const;

const tutorialUnits = (kernel: number, [f1, f2, f3]: readonly [number, number, number], stride: number): Unit[] => [
  { filters: f1, kernel: 1, stride },
  { filters: f2, kernel },
  { filters: f3, kernel: 1 },
];

/** ReLU(F(x) + shortcut(x)), F being the units with BatchNorm behind each and ReLU between them. */
function residual(x: Value, units: readonly Unit[], options: BlockOptions): Value {
  const { name, convBias = false, epsilon = 1e-5, zeroInitLast = false, spelling = 'torchvision' } = options;
  const { antiAlias = 'none', attention = 'none', seRatio = 1 / 16 } = options;
  const names = layerNames[spelling];
  return inBlock(x, name, () => {
    let main = x;
    units.forEach(({ filters, kernel, stride = 1, groups = 1, dilation = 1 }, i) => {
      const last = i === units.length - 1;
      const padding = ((kernel - 1) / 2) * dilation;
      const thins = stride > 1 && antiAlias !== 'none';
      main = conv2d(main, filters, {
        name: names.conv(name, i + 1),
        kernel,
        stride: thins ? 1 : stride,
        padding,
        dilation,
        groups,
        bias: convBias,
      });
      main = batchNorm(main, { name: names.norm(name, i + 1), epsilon, zeroGamma: last && zeroInitLast });
      if (!last) main = relu(main, { name: names.relu(name, i + 1) });
      if (thins)
        main =
          antiAlias === 'blur'
            ? blurPool(main, { name: `${name}.aa`, stride })
            : avgPool(main, { name: `${name}.aa`, kernel: stride });
    });
    if (attention === 'se') main = squeezeExcite(main, `${name}.se`, seRatio);
    if (attention === 'eca') main = channelAttention(main, `${name}.se`);
    const aside = shortcut(x, main.shape[1], options);
    return relu(aside ? add(main, aside, { name: names.add(name) }) : main, { name: names.out(name) });
  });
}

function shortcut(x: Value, filters: number, options: BlockOptions): Value | undefined {
  const {
    name,
    stride = 1,
    shortcut: kind = 'projection',
    projection = 'strided',
    convBias = false,
    epsilon = 1e-5,
    spelling = 'torchvision',
  } = options;
  if (typeof kind === 'function') return kind(x);
  const changes = stride !== 1 || x.shape[1] !== filters;
  const project = () => {
    const names = layerNames[spelling];
    if (projection === 'averaged') {
      // timm counts the mean as the first of three, also where it strides by nothing and is left out.
      const [pool, conv, norm] = [0, 1, 2].map((i) => `${name}.downsample.${i}`);
      const thinned = stride > 1 ? avgPool(x, { name: pool, kernel: 2, stride, padding: 'same' }) : x;
      return batchNorm(conv2d(thinned, filters, { name: conv, bias: convBias }), { name: norm, epsilon });
    }
    const kernel = projection === '3x3' && stride > 1 ? 3 : 1;
    const window = { kernel, stride, padding: (kernel - 1) / 2 };
    return batchNorm(conv2d(x, filters, { ...window, name: names.conv(name, 0), bias: convBias }), {
      name: names.norm(name, 0),
      epsilon,
    });
  };
  switch (kind) {
    case 'none':
      return undefined;
    case 'identity':
      return x;
    case 'projectAll':
      return project();
    case 'projection':
      return changes ? project() : x;
    case 'pad': {
      if (!changes) return x;
      const before = (filters - x.shape[1]) >> 1;
      const thinned = stride > 1 ? avgPool(x, { kernel: 1, stride, name: `${name}.subsample` }) : x;
      return zeroPad(thinned, 0, { name: `${name}.pad`, channels: [before, filters - x.shape[1] - before] });
    }
  }
}
