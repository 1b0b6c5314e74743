import type { Parameter } from '../graph/graph.js';
import type { ParameterRole } from '../graph/ops.js';
import type { ResNetConfig } from '../models/resnet.js';
import { sharedFloats, type Tensor } from '../tensor.js';
import { type DialectName, dialects, type Layout, parameterShape, recogniseNames } from './names.js';
import { differingSettings, recogniseArchitecture } from './recognise.js';

/** What Keras calls a parameter, today and in 2015, when the variance was called the deviation. */
const kerasWords: Record<ParameterRole, readonly [now: string, then: string]> = {
  weight: ['kernel', 'W'],
  bias: ['bias', 'b'],
  gamma: ['gamma', 'gamma'],
  beta: ['beta', 'beta'],
  mean: ['moving_mean', 'running_mean'],
  variance: ['moving_variance', 'running_std'],
};

/**
 * A parameter of a network of that `config` as `dialect` spells it; undefined where the network is not of the code base
 * that the dialect is of.
 */
export function spell(dialect: DialectName, { name, role }: Parameter, config: ResNetConfig): string | undefined {
  if (config.spelling !== dialect) return undefined;
  if (dialect === 'torchvision') return name;
  const layer = name.slice(0, name.lastIndexOf('.'));
  const [now, then] = kerasWords[role];
  return dialect === 'keras' ? `${layer}/${layer}/${now}:0` : `${layer}/${layer}_${then}_1:0`;
}

/** A parameter laid out as a file of that layout has it: the inverse of `toParameter`. */
export function fromParameter(tensor: Tensor, layout: Layout): Tensor {
  const { shape, data: from } = tensor;
  if (layout === 'pytorch' || (shape.length !== 4 && shape.length !== 2)) return tensor;
  const [out, channels, ...window] = shape;
  const positions = window.reduce((product, n) => product * n, 1);
  const data = sharedFloats(from.length);
  for (let o = 0; o < out; o++)
    for (let c = 0; c < channels; c++)
      for (let position = 0; position < positions; position++)
        data[(position * channels + c) * out + o] = from[(o * channels + c) * positions + position];
  return { dtype: 'float32', shape: [...window, channels, out], data };
}

/**
 * What a reader of these names, who has nothing but names and shapes, would take for granted of the network and be
 * wrong: `strideOn 3x3 instead of 1x1`. Undefined when it would be read right.
 */
export function misreading(
  dialect: DialectName,
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
  config: ResNetConfig,
): string | undefined {
  const naming = recogniseNames([...tensors.keys()]);
  if (naming?.dialect !== dialect) return `its names would be taken for ${naming?.dialect ?? 'no'} names`;
  const shapeOf = (parameter: string) => {
    const name = naming.tensors.get(parameter);
    const found = name === undefined ? undefined : tensors.get(name);
    return found && parameterShape(found.shape, naming.layout);
  };
  const read = recogniseArchitecture(naming, shapeOf);
  if (!read) return 'no network would be known by its names';
  const [setting] = differingSettings(read.config, config);
  return setting && `it would be read with ${setting} ${read.config[setting]}, and it has ${config[setting]}`;
}

/** How tensors are laid out in a dialect. */
export const layoutOf = (dialect: DialectName): Layout => dialects[dialect].layout;
