import { nearest, ResidualError, unknownName } from '../errors.js';
import { catalogue, collections, findEntry, type HubEntry, planOf } from '../hub/catalogue.js';
import type { HubOptions } from '../hub/options.js';
import type { Plan } from '../image/plan.js';
import { type BundledModel, bundled } from '../models/bundled.js';
import { type FamilyName, family } from '../models/resnet.js';
import type { CheckpointInput } from '../weights/open.js';

/** Weights that a name stands for, bundled or published, and what their file does not say. */
export interface Origin {
  readonly name: string;
  readonly weights: CheckpointInput;
  /** The network to build for them, where the file does not describe it, and for pictures of which size. */
  readonly network?: { readonly architecture: FamilyName | (string & {}); readonly size: number };
  /** A preset's name, or the plan for a size of picture; absent where the file has its record. */
  readonly preprocess?: string | ((size: { readonly height: number; readonly width: number }) => Plan);
  readonly licence: string;
  readonly source: string;
  readonly about: string;
}

/**
 * What a name stands for; undefined when it is a path.
 * @throws UNKNOWN_NAME for a misspelt name, ARGUMENT for an architecture that nobody publishes weights for; DOWNLOAD,
 * LICENCE, FILE, ABORTED when published weights cannot be had.
 */
export async function originOf(name: string, options: HubOptions): Promise<Origin | undefined> {
  if (Object.hasOwn(bundled, name)) return { name, ...(bundled as Record<string, BundledModel>)[name] };
  const entry = await findEntry(name);
  if (entry === undefined) return undefined;
  const { id, architecture, size, preprocess, licence, url } = entry;
  return {
    name: id,
    weights: await (await import('#hub')).obtain(entry, options),
    network: { architecture, size },
    preprocess: typeof preprocess === 'string' ? preprocess : (sides) => planOf(entry, sides),
    licence,
    source: url,
    about: about(entry),
  };
}

/** For people: `resnet50 by torchvision, 1000 classes, top-1 80.858 % at 224; BSD-3-Clause`. */
function about({ architecture, collection, classes, metrics: [metric], licence }: HubEntry): string {
  const known =
    classes === 0 ? 'features, no classes' : classes === 1000 ? "ImageNet's 1000 classes" : `${classes} classes`;
  const accuracy = metric ? `, top-1 ${metric.top1} % at ${metric.size}` : '';
  return `${architecture} by ${collection}, ${known}${accuracy}; licence ${licence}`;
}

/**
 * The error for a path that does not exist, where it was meant for a name: an architecture, or a misspelt model.
 * Undefined where it looks like a path.
 */
export async function misspelt(name: string): Promise<ResidualError | undefined> {
  const entries = await catalogue();
  const [model] = Object.keys(bundled);
  if (Object.hasOwn(family, name)) {
    const published = entries.filter(({ architecture }) => architecture === name).map(({ id }) => id);
    const advice = published.length
      ? `published weights for it: ${published.slice(0, 3).join(', ')}`
      : `pass a weight file (${name}.pth), or "${model}", the bundled model`;
    return new ResidualError('ARGUMENT', `${name} is an architecture and has no weights by itself; ${advice}`, {
      name,
    });
  }
  const isId = collections.some((collection) => name.startsWith(`${collection}/`)) && name.split('/').length === 2;
  if (!isId && /[./\\:]/.test(name)) return undefined;
  const known = [model, ...Object.keys(family), ...entries.map(({ id }) => id)];
  return isId || nearest(name, known) ? unknownName('model', name, known) : undefined;
}
