import { ResidualError } from '../errors.js';
import { asRecord, between, type Check, flag, list, oneOf, show, text, whole } from '../graph/checks.js';
import { type Graph, mostNodes } from '../graph/graph.js';
import type { ActivationScale, Quantisation } from '../graph/quantisation.js';
import { readGraph } from '../graph/stored.js';
import { isPlan, type Plan } from '../image/plan.js';
import type { ClassLabel } from '../models/classes.js';
import { checkConfig, type ResNetConfig, torchvision } from '../models/config.js';
import type { Metadata } from './checkpoint.js';
import { parseJson } from './json.js';

/** The key of a safetensors header, and of an ONNX model's metadata, under which the record stands as JSON. */
export const recordKey = 'residual';

/** The newest format that is read. Format 2 has scales; what has none is written as format 1. */
const recordFormat = 2;

/** How the tensors beside a record are spelled: a dialect's name, or `residual`: as the network's own parameters. */
export const ownSpelling = 'residual';

/** What belongs to weights beside the numbers, as it stands in a file. */
export interface StoredRecord {
  readonly architecture: string;
  /** A member of the family. Of `config` and `graph` at most one is there; an ONNX model has neither. */
  readonly config?: ResNetConfig;
  /** Any other network. */
  readonly graph?: Graph;
  /** The preset's name, or `custom`. */
  readonly preprocess: string;
  readonly plan: Plan;
  readonly classes?: readonly ClassLabel[];
  /** Where the classes stand each for itself. */
  readonly labels?: 'several';
  readonly licence?: string;
  readonly source?: string;
  /** A network of 8 bits has its graph. */
  readonly quantisation?: Quantisation;
  readonly dialect: string;
}

/** The record as it is written: one line of JSON. */
export const recordText = (record: StoredRecord): string =>
  JSON.stringify({ format: record.quantisation ? 2 : 1, ...record });

/**
 * The record among a file's metadata; undefined where there is none.
 * @throws WEIGHTS_FORMAT when it is of a later format, damaged, or asks for what nothing here is; GRAPH when the layers
 * of its network do not fit together.
 */
export function readRecord(metadata: Metadata, file: string): StoredRecord | undefined {
  const stored = Object.hasOwn(metadata, recordKey) ? metadata[recordKey] : undefined;
  if (typeof stored !== 'string') return undefined;
  const json = asRecord(parseJson({ name: file }, 'its record', stored));
  const refuse = (what: string): never => {
    throw new ResidualError('WEIGHTS_FORMAT', `${file}: its record ${what}`, { file });
  };
  if (!json) return refuse('is no JSON object; the file is damaged, fetch it again');
  const { format } = json;
  if (!Number.isSafeInteger(format) || (format as number) < 1)
    return refuse(`has the format ${show(format)}, which is none; the file is damaged, fetch it again`);
  if ((format as number) > recordFormat)
    return refuse(
      `is of format ${format}, and this version of residual reads up to ${recordFormat}; install a later one: npm install residual@latest`,
    );
  const need = <T>(key: string, check: Check<T>): T => {
    const value = Object.hasOwn(json, key) ? json[key] : undefined;
    return check(value) ? value : refuse(`has ${show(value)} for ${key}; the file is damaged or was changed by hand`);
  };
  const may = <T>(key: string, check: Check<T>): T | undefined =>
    json[key] === undefined ? undefined : need(key, check);
  const config = json.config === undefined ? undefined : readConfig(json.config, refuse);
  const graph = json.graph === undefined || config ? undefined : readGraph(json.graph, file);
  const [classes, licence, source] = [may('classes', isClasses), may('licence', text), may('source', text)];
  const labels = may('labels', oneOf('several'));
  return {
    architecture: need('architecture', text),
    ...(config && { config }),
    ...(graph && { graph }),
    preprocess: need('preprocess', text),
    plan: need('plan', isPlan),
    ...(classes && { classes }),
    ...(labels && { labels }),
    ...(licence !== undefined && { licence }),
    ...(source !== undefined && { source }),
    ...(json.quantisation !== undefined && { quantisation: readQuantisation(json.quantisation, graph, refuse) }),
    dialect: need('dialect', text),
  };
}

/** A scale that 32 bits can say, and whose products they can. */
const isScale = between(1e-18, 1e18);

/** The scales, each of which must be of a value that the network has. */
function readQuantisation(json: unknown, graph: Graph | undefined, refuse: (what: string) => never): Quantisation {
  const { activations, float, ...more } = asRecord(json) ?? { more: true };
  const scales = asRecord(activations);
  const isNames = list<readonly string[]>([0, mostNodes], text);
  if (!scales || !isNames(float) || Object.keys(more).length)
    return refuse('has a quantisation that is none; the file is damaged or was changed by hand');
  if (!graph)
    return refuse('has scales and no graph that they could be of; the file is damaged or was changed by hand');
  const names = new Set([...graph.inputs, ...graph.nodes].map(({ name }) => name));
  const stray = [...Object.keys(scales), ...float].find((name) => !names.has(name));
  if (stray !== undefined)
    refuse(
      `has a scale for "${stray.slice(0, 60)}", which its network has not; the file is damaged or was changed by hand`,
    );
  const entries = Object.entries(scales).map(([name, value]): [string, ActivationScale] => {
    const { scale, dtype, ...rest } = asRecord(value) ?? {};
    if (!isScale(scale) || !isScaleType(dtype) || Object.keys(rest).length)
      return refuse(
        `has ${show(value)} as the scale of "${name.slice(0, 60)}"; the file is damaged or was changed by hand`,
      );
    return [name, { scale, dtype }];
  });
  return { activations: Object.fromEntries(entries), float };
}

const isScaleType = oneOf<ActivationScale['dtype']>('u8', 's8');

const whole16 = whole(1);
const imageSize = (value: unknown): value is ResNetConfig['size'] =>
  whole16(value) || list<readonly [number, number]>(2, whole16)(value);

/** What each setting of a member of the family must be. */
const settings: { readonly [K in keyof ResNetConfig]-?: Check<ResNetConfig[K]> } = {
  block: oneOf('basic', 'bottleneck', 'preActivation'),
  depths: list([1, 8], whole(1, 1000)),
  width: whole16,
  groups: whole16,
  widthPerGroup: whole16,
  reduceFirst: (value): value is 1 | 2 => value === 1 || value === 2,
  stem: oneOf('imagenet', 'deep', 'deepTiered', 'cifar'),
  stemWidth: whole16,
  stemPool: oneOf('padded', 'zeroPadded', 'unpadded', 'ceil', 'conv'),
  strideOn: oneOf('1x1', '3x3'),
  antiAlias: oneOf('none', 'mean', 'blur'),
  shortcut: oneOf('projection', 'projectAll', 'pad', 'none'),
  projection: oneOf('strided', 'averaged', '3x3'),
  attention: oneOf('none', 'se', 'eca'),
  seRatio: between(1e-6, 1 + 1e-9),
  convBias: (value): value is boolean | 'stem' => flag(value) || value === 'stem',
  epsilon: between(0, 1),
  dropout: between(0, 1),
  classes: whole(0, 1_000_000),
  softmax: flag,
  channels: whole16,
  size: imageSize,
  outputStride: (value): value is 32 | 16 | 8 => value === 32 || value === 16 || value === 8,
  zeroInitLast: flag,
  spelling: oneOf('torchvision', 'keras', 'keras2015'),
};

/** A setting that is not there is one that did not exist when the file was written: it is as torchvision has it. */
function readConfig(json: unknown, refuse: (what: string) => never): ResNetConfig {
  const found = asRecord(json) ?? refuse('has a config that is no object; the file is damaged, fetch it again');
  const odd = Object.keys(found).find((key) => !Object.hasOwn(settings, key));
  if (odd !== undefined)
    refuse(`has the setting "${odd.slice(0, 60)}", which is not known; install a later version of residual`);
  for (const [key, check] of Object.entries(settings))
    if (found[key] !== undefined && !check(found[key]))
      refuse(`has ${show(found[key])} for ${key}; the file is damaged or was changed by hand`);
  const config: ResNetConfig = { ...torchvision, ...found };
  try {
    checkConfig(config);
  } catch (error) {
    if (error instanceof ResidualError) refuse(`has a config that contradicts itself: ${error.message}`);
    throw error;
  }
  return config;
}

const isClass: Check<ClassLabel> = (value): value is ClassLabel => {
  const { label, wnid, ...more } = asRecord(value) ?? {};
  return text(label) && (wnid === undefined || text(wnid)) && !Object.keys(more).length;
};

const isClasses = list<readonly ClassLabel[]>([1, 1_000_000], isClass);
