import { ResidualError } from '../errors.js';
import type { Filter, Plan } from '../image/plan.js';
import { type PresetName, preset } from '../image/presets.js';
import { family } from '../models/resnet.js';
import { timmLacks } from '../models/timm.js';

/** Who published a file. */
export const collections = ['torchvision', 'keras', 'microsoft', 'timm'] as const;
export type Collection = (typeof collections)[number];

/** Preprocessing that no preset has: short side to `size / crop`, centre crop, 0–1, statistics (timm). */
export interface CropPlan {
  /** Share of the resized picture that the crop keeps. */
  readonly crop: number;
  readonly filter: Filter;
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

/** A published accuracy on ImageNet's validation pictures, in per cent. */
export interface Metric {
  readonly top1: number;
  readonly top5?: number;
  /** Side of the picture that the network saw, and the share of the resized picture that it was; absent where the picture was squashed. */
  readonly size: number;
  readonly crop?: number;
}

/** A published weight file, and what the file does not say. */
export interface HubEntry {
  readonly id: string;
  readonly collection: Collection;
  /** The network it is for: a name of the family. */
  readonly architecture: string;
  readonly url: string;
  /** The SHA-256 that was published: all 64 digits, or the first as file names carry them. */
  readonly sha256?: string;
  readonly md5?: string;
  /** Size of the file; `exact` when a publisher or a download's log states it to the byte. Absent when unknown. */
  readonly bytes?: number;
  readonly exact?: boolean;
  /** SPDX name. */
  readonly licence: string;
  readonly parameters?: number;
  /** Outputs; 0 for a file without a classifier. 1000 are ImageNet's, in its order. */
  readonly classes: number;
  /** Side of the pictures it was made for. */
  readonly size: number;
  readonly preprocess: PresetName | CropPlan;
  readonly metrics: readonly Metric[];
}

/** What runs when nothing is named: ImageNet's thousand classes by torchvision's ResNet-50. */
export const defaultModel = 'resnet50';

/** Every entry whose network the family can build, in the order of `collections`. */
export async function catalogue(): Promise<readonly HubEntry[]> {
  return (await published()).filter(({ architecture }) => Object.hasOwn(family, architecture));
}

/** Every entry, whether or not the family has its network. */
export async function published(): Promise<readonly HubEntry[]> {
  const [{ torchvision }, { keras }, { microsoft }, { timm }] = await Promise.all([
    import('./torchvision.js'),
    import('./keras.js'),
    import('./microsoft.js'),
    import('./timm.js'),
  ]);
  return [...torchvision, ...keras, ...microsoft, ...timm];
}

/** torchvision's best file of an architecture: what its bare name means. */
const best = (architecture: string, entries: readonly HubEntry[]): HubEntry | undefined =>
  entries.findLast((entry) => entry.collection === 'torchvision' && entry.architecture === architecture);

/** The bare name that an entry has besides its id: `resnet50` is `resnet50-v2`. */
export const bareName = (entry: HubEntry, entries: readonly HubEntry[]): string | undefined =>
  best(entry.architecture, entries) === entry ? entry.architecture : undefined;

/**
 * The entry that a name means: an id, or an architecture of torchvision's, which means its best file.
 * Undefined when the name is none.
 * @throws UNKNOWN_NAME for a published file whose network the family lacks.
 */
export async function findEntry(name: string): Promise<HubEntry | undefined> {
  const word = name.split('/')[0] as Collection;
  if (!(name.includes('/') ? collections.includes(word) : /^[a-z]\w*\d+\w*(-v[12])?$/.test(name))) return undefined;
  const entries = await published();
  const entry = entries.find(({ id }) => id === name) ?? best(name, entries);
  if (entry === undefined) return undefined;
  if (Object.hasOwn(family, entry.architecture)) return entry;
  throw new ResidualError(
    'UNKNOWN_NAME',
    `${name} is published, but its network cannot be built here: the family lacks ${timmLacks[entry.architecture]}; \`residual models\` lists what can be loaded`,
    { name },
  );
}

/** Whether a licence forbids commercial use. */
export const isNonCommercial = (licence: string): boolean => /(^|-)nc(-|$)/i.test(licence);

/** @throws LICENCE when commercial use is forbidden and that was not accepted. */
export function checkLicence({ id, licence, url }: HubEntry, accepted: boolean | undefined): void {
  if (accepted || !isNonCommercial(licence)) return;
  throw new ResidualError(
    'LICENCE',
    `${id} is licensed ${licence}: no commercial use; accept that with --accept-license (in a program: acceptLicence)`,
    { id, licence, url },
  );
}

/** The plan that an entry's published accuracy holds for, at another size in proportion. */
export function planOf({ preprocess }: HubEntry, size: { readonly height: number; readonly width: number }): Plan {
  if (typeof preprocess === 'string') return preset(preprocess, size);
  const { crop, filter, mean, deviation } = preprocess;
  return [
    { step: 'decode', as: 'default' },
    // timm cuts to whole pixels (timm/data/transforms_factory.py).
    { step: 'resizeShortSide', size: Math.floor(Math.max(size.height, size.width) / crop), filter },
    { step: 'centerCrop', ...size },
    { step: 'scale', factor: 1 / 255, offset: 0 },
    { step: 'normalize', mean, deviation },
  ];
}
