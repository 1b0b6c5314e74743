import type { Arrangement } from '../models/onnx-network.js';
import type { Shape } from '../tensor.js';
import { type Dialect, type DialectName, dialectNames, dialects, type Layout } from './dialects.js';

/** A weight file's names, understood. */
export interface Naming {
  readonly dialect: DialectName;
  readonly reason: string;
  readonly layout: Layout;
  /** What stood before every name and was taken off: `state_dict.module.`. */
  readonly prefix: string;
  /** Parameter → the file's tensor. */
  readonly tensors: ReadonlyMap<string, string>;
  /** Whose weights the file says were spelled anew. Their customs are heard, not the dialect's. */
  readonly author?: 'torchvision';
  /** Parameters that are laid out otherwise than `layout` says. */
  readonly arrange?: ReadonlyMap<string, Arrangement>;
  /** Tensors that are of no use for inference, such as `num_batches_tracked`. */
  readonly ignored: readonly string[];
  /** Tensors outside the prefix or with a name that no rule knows. */
  readonly foreign: readonly string[];
}

/** Which dialect these names are written in; undefined when none fits. */
export function recogniseNames(names: readonly string[]): Naming | undefined {
  for (const dialect of dialectNames) {
    const row: Dialect = dialects[dialect];
    const sign = names.find((name) => row.sign.test(name));
    const other = row.also && names.find((name) => row.also?.test(name));
    if (sign === undefined || (row.also && other === undefined)) continue;
    const prefix = row.sign.exec(sign)?.[1] ?? '';
    const naming = applyNames(names, prefix, row.parameter);
    const stripped = prefix ? ` below "${prefix}"` : '';
    const and = other === undefined ? '' : ` and ${other.startsWith(prefix) ? other.slice(prefix.length) : other}`;
    return { dialect, reason: `${row.because}${and}${stripped}`, layout: row.layout, prefix, ...naming };
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

/** The shape that a tensor of this layout has as a parameter of ours; a convolution along one axis is one of width 1. */
export function parameterShape(shape: Shape, layout: Layout): Shape {
  if (layout === 'pytorch') return shape.length === 3 ? [...shape, 1] : shape;
  if (shape.length === 4) return [shape[3], shape[2], shape[0], shape[1]];
  return shape.length === 2 ? [shape[1], shape[0]] : shape;
}

export { type Dialect, type DialectName, dialectNames, dialects, kerasParameter, type Layout } from './dialects.js';
