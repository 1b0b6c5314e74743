import { ResidualError } from '../errors.js';
import { asRecord } from '../graph/checks.js';
import type { Graph } from '../graph/graph.js';
import type { AnyTensor, Weights } from '../tensor.js';
import { formatShape, toFloat32 } from '../tensor.js';
import type { Checkpoint } from '../weights/checkpoint.js';
import { writeFileAtomic } from '../weights/file.js';
import { parseJson } from '../weights/json.js';
import { openCheckpoint } from '../weights/open.js';
import { readRecord, recordKey, recordText, type StoredRecord } from '../weights/record.js';
import { safetensorsBytes } from '../weights/safetensors.js';

/*
 * A checkpoint of a run is a safetensors file. Tensors: `model.conv1.weight` for the weights and running statistics,
 * `model_ema.conv1.weight` for their average, `optimizer.momentum.conv1.weight` for each array of the optimiser. The
 * header has the model's record, as every `.residual` file has, and under `training` where the run stands. So `load`
 * takes it as the checkpoint of a training run, which it is.
 */

/** The key of the header under which stands, as JSON, how far a run is. */
export const trainingKey = 'training';

/** The newest format that is written and read. */
const trainingFormat = 1;

/** What a run has learnt, by parameter name. */
export interface Learnt {
  readonly weights: Weights;
  readonly average?: Weights;
  /** The optimiser's arrays. */
  readonly optimizer: ReadonlyMap<string, Weights>;
  readonly updates: number;
}

/** Sums over the part of an epoch that is done. */
export interface Sums {
  readonly loss: number;
  readonly right: number;
  readonly pictures: number;
  readonly steps: number;
}

/** How far a run is: with the recipe and the seed, all that fixes what comes next. */
export interface Progress {
  readonly seed: number;
  /** Of the current epoch, from 0, and the steps of it that are done. */
  readonly epoch: number;
  readonly step: number;
  readonly updates: number;
  readonly sums: Sums;
  /** Losses of the validations, or of the epochs where there is nothing to validate with: what the schedule "plateau" looks at. */
  readonly losses: readonly number[];
  /** The best validation so far: share of right answers, or the loss with its sign turned, and the epoch. */
  readonly best: { readonly score: number; readonly epoch: number } | null;
  /** Tells other data from those the run began with. */
  readonly data: string;
  /** The class list. */
  readonly classes: readonly string[];
}

/** A checkpoint, read back. */
export interface RunCheckpoint extends Learnt {
  readonly progress: Progress;
  readonly record: StoredRecord;
}

/** What stands before a parameter's name. */
const prefixes = { weights: 'model.', average: 'model_ema.', optimizer: 'optimizer.' } as const;

/**
 * Writes a checkpoint so that it is there whole or not at all: a temporary file, flushed to the disk, then renamed.
 * @throws FILE, and the older checkpoint stays.
 */
export async function writeCheckpoint(
  path: string,
  { weights, average, optimizer, updates }: Learnt,
  progress: Omit<Progress, 'updates'>,
  record: StoredRecord,
): Promise<void> {
  const tensors: [string, AnyTensor][] = [];
  const put = (prefix: string, from: Weights) => {
    for (const [name, tensor] of from) tensors.push([`${prefix}${name}`, tensor]);
  };
  put(prefixes.weights, weights);
  if (average) put(prefixes.average, average);
  for (const [array, values] of optimizer) put(`${prefixes.optimizer}${array}.`, values);
  const training = JSON.stringify({ format: trainingFormat, ...progress, updates });
  await writeFileAtomic(
    path,
    safetensorsBytes(tensors, { format: 'pt', [recordKey]: recordText(record), [trainingKey]: training }),
  );
}

/**
 * Reads a checkpoint of a run.
 * @throws FILE; WEIGHTS_FORMAT when it is damaged, of a later format, or no checkpoint of a run.
 */
export async function readCheckpoint(path: string): Promise<RunCheckpoint> {
  const file = await openCheckpoint(path);
  try {
    const record = readRecord(file.metadata, path);
    const progress = readProgress(file, path);
    if (record === undefined || progress === undefined)
      throw new ResidualError(
        'WEIGHTS_FORMAT',
        `${path}: is no checkpoint of a training run; load it with --from to begin a run with its weights`,
        { file: path },
      );
    const weights = new Map();
    const average = new Map();
    const optimizer = new Map<string, Map<string, ReturnType<typeof toFloat32>>>();
    for (const name of file.tensors.keys()) {
      const tensor = toFloat32(await file.read(name));
      if (name.startsWith(prefixes.weights)) weights.set(name.slice(prefixes.weights.length), tensor);
      else if (name.startsWith(prefixes.average)) average.set(name.slice(prefixes.average.length), tensor);
      else if (name.startsWith(prefixes.optimizer)) {
        const rest = name.slice(prefixes.optimizer.length);
        const dot = rest.indexOf('.');
        const array = optimizer.get(rest.slice(0, dot)) ?? new Map();
        optimizer.set(rest.slice(0, dot), array.set(rest.slice(dot + 1), tensor));
      }
    }
    return {
      weights,
      ...(average.size > 0 && { average }),
      optimizer,
      updates: progress.updates,
      progress,
      record,
    };
  } finally {
    await file.close();
  }
}

/**
 * Whether the average and the optimiser's arrays are of this network, as the weights are.
 * @throws WEIGHTS_MISMATCH naming the tensor
 */
export function checkShapes({ parameters }: Graph, { average, optimizer }: RunCheckpoint, path: string): void {
  const refuse = (name: string, what: string): never => {
    throw new ResidualError('WEIGHTS_MISMATCH', `${path}: ${name} ${what}; put back the checkpoint as it was written`, {
      file: path,
      tensor: name,
    });
  };
  const shapes = new Map(parameters.map(({ name, shape }) => [name, shape]));
  for (const name of average ? shapes.keys() : [])
    if (!average?.has(name)) refuse(`${prefixes.average}${name}`, 'is missing');
  const all = [
    [prefixes.average, average ?? new Map()] as const,
    ...Array.from(optimizer, ([array, values]) => [`${prefixes.optimizer}${array}.`, values] as const),
  ];
  for (const [prefix, values] of all)
    for (const [name, { shape }] of values) {
      const wanted = shapes.get(name);
      if (!wanted) refuse(`${prefix}${name}`, 'belongs to no weight of the network');
      else if (formatShape(wanted) !== formatShape(shape))
        refuse(`${prefix}${name}`, `has the shape ${formatShape(shape)} where the network has ${formatShape(wanted)}`);
    }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isNumber = (value: unknown): value is number => typeof value === 'number';
const isNames = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((one) => typeof one === 'string');

/** @throws WEIGHTS_FORMAT */
function readProgress({ metadata }: Checkpoint, path: string): Progress | undefined {
  const stored = Object.hasOwn(metadata, trainingKey) ? metadata[trainingKey] : undefined;
  if (typeof stored !== 'string') return undefined;
  const refuse = (what: string): never => {
    throw new ResidualError('WEIGHTS_FORMAT', `${path}: ${what}`, { file: path });
  };
  const damaged = () => refuse('what it says of its training run is damaged or was changed by hand');
  const json = asRecord(parseJson({ name: path }, 'its training record', stored)) ?? damaged();
  const { format, seed, epoch, step, updates, sums, losses, best, data, classes } = json;
  if (!isCount(format) || format < 1) return damaged();
  if (format > trainingFormat)
    return refuse(
      `is a checkpoint of format ${format}, and this version of residual reads up to ${trainingFormat}; install a later one: npm install residual@latest`,
    );
  const { loss, right, pictures, steps } = asRecord(sums) ?? {};
  const found = best === null ? null : asRecord(best);
  if (![seed, epoch, step, updates, right, pictures, steps].every(isCount) || !isNumber(loss)) return damaged();
  if (!Array.isArray(losses) || !losses.every(isNumber) || typeof data !== 'string' || !isNames(classes))
    return damaged();
  if (found === undefined || (found !== null && (!isNumber(found.score) || !isCount(found.epoch)))) return damaged();
  return {
    seed: seed as number,
    epoch: epoch as number,
    step: step as number,
    updates: updates as number,
    sums: { loss, right: right as number, pictures: pictures as number, steps: steps as number },
    losses,
    best: found && { score: found.score as number, epoch: found.epoch as number },
    data,
    classes,
  };
}
