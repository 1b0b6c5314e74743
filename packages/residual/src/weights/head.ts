import type { Shape } from '../tensor.js';
import type { Naming } from './names.js';

// Who fine-tunes often sets a Sequential in the classifier's place; its layers are then called fc.0, fc.1 and so on.

/** Takes the one Linear below `fc.`, where nothing else there has tensors (dropout, activations), for the classifier. */
export function withSequentialHead(naming: Naming, shapeOf: (parameter: string) => Shape | undefined): Naming {
  const below = [...naming.tensors.keys()].filter((name) => name.startsWith('fc.'));
  const [matrix, ...others] = below.filter((name) => name.endsWith('.weight') && shapeOf(name)?.length === 2);
  const layer = matrix?.replace(/\.weight$/, '');
  if (layer === undefined || layer === 'fc' || others.length) return naming;
  if (below.some((name) => name !== matrix && name !== `${layer}.bias`)) return naming;
  const renamed = ([name, tensor]: [string, string]): [string, string] => [name.replace(`${layer}.`, 'fc.'), tensor];
  return { ...naming, tensors: new Map([...naming.tensors].map(renamed)) };
}

/** The weights among these tensors that look like a head: `fc.0.weight`, `module.classifier.3.weight`. */
export const headWeights = (names: readonly string[]): string[] =>
  names.filter((name) => /(^|\.)(fc|classifier|head|linear)\.(.*\.)?weight$/.test(name));
