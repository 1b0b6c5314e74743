import { closeSync, existsSync, fsyncSync, openSync, readdirSync, writeSync } from 'node:fs';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ResidualError } from '../errors.js';
import { asRecord, flag, list, oneOf, text, whole } from '../graph/checks.js';
import { inShell } from '../printable.js';
import { isPartial, writeError, writeFileAtomic } from '../weights/file.js';
import { readCheckpoint } from './checkpoint.js';
import { checkSettings, presets, type Recipe } from './settings.js';

/*
 * A run is a folder: config.json, metrics.jsonl, events.out.tfevents.*, checkpoints/last.safetensors and
 * best.safetensors, report.html.
 */

/** What a run was begun with; `config.json`. */
export interface RunConfig {
  readonly format: 1;
  /** The recipe's name or file, where it has one, and every value of it. */
  readonly name: string;
  readonly recipe: Recipe;
  readonly seed: number;
  readonly model: { readonly name: string; readonly architecture: string; readonly parameters: number };
  readonly data: {
    readonly classes: readonly string[];
    readonly labels: 'one' | 'several' | 'soft';
    readonly train: number;
    readonly validation: number;
  };
  readonly engine: string;
  readonly threads: number;
  /** Whether a new classifier learns alone before the first update. */
  readonly headFirst?: boolean;
  /** How to open model and data again, for the program that began the run. */
  readonly origin: Readonly<Record<string, unknown>>;
  readonly versions: { readonly residual: string; readonly node: string };
  readonly begun: string;
}

/** What was measured of one update. Times are in seconds. */
export interface StepRow {
  readonly kind: 'step';
  /** Counted from 1. */
  readonly epoch: number;
  readonly update: number;
  /** Of the last step. */
  readonly loss: number;
  readonly rate: number;
  /** Where gradients are clipped. */
  readonly gradientNorm?: number;
  readonly imagesPerSecond: number;
  /** Share of the time that the step took; the rest waited for pictures. */
  readonly busy: number;
}

/** What was measured of an epoch. */
export interface EpochRow {
  readonly kind: 'epoch';
  readonly epoch: number;
  readonly update: number;
  readonly train: { readonly loss: number; readonly top1: number };
  readonly validation?: {
    readonly pictures: number;
    readonly loss: number;
    readonly top1: number;
    readonly top5: number;
    readonly calibration: number;
  };
  readonly rate: number;
  readonly seconds: number;
  readonly imagesPerSecond: number;
  readonly busy: number;
}

/** A picture that could not be read. */
export interface SkippedRow {
  readonly kind: 'skipped';
  readonly epoch: number;
  readonly update: number;
  readonly id: string;
  readonly reason: string;
}

export type MetricsRow = StepRow | EpochRow | SkippedRow;

const files = {
  config: 'config.json',
  metrics: 'metrics.jsonl',
  last: 'checkpoints/last.safetensors',
  best: 'checkpoints/best.safetensors',
  report: 'report.html',
} as const;

/** Where a file of a run is. */
export const fileOf = (folder: string, which: keyof typeof files): string => join(folder, files[which]);

/**
 * A folder may hold what a beginning left that was killed: no `config.json` yet, and no update in its checkpoint.
 * @throws FILE for a folder that holds something already, or cannot be looked into.
 */
export async function checkFree(folder: string): Promise<void> {
  const there = contentOf(folder).filter((name) => name !== 'checkpoints');
  if (there.length > 0)
    throw new ResidualError(
      'FILE',
      there.includes(files.config)
        ? `${folder}: a run is there already; go on with it (resume, --resume ${inShell(folder)}), or name another folder`
        : `${folder}: the folder is not empty (${there.slice(0, 3).join(', ')}${there.length > 3 ? ', …' : ''}); name another for the run`,
      { file: folder },
    );
  const inside = contentOf(join(folder, 'checkpoints'));
  const last = fileOf(folder, 'last');
  const isLeft = async (name: string) =>
    name === basename(last) &&
    (await readCheckpoint(last).then(
      ({ updates }) => updates === 0,
      () => false,
    ));
  for (const name of inside)
    if (!(await isLeft(name)))
      throw new ResidualError(
        'FILE',
        `${folder}: checkpoints/${name} is there already and stays; name another folder for the run`,
        { file: join(folder, 'checkpoints', name) },
      );
}

/** What a folder holds, without what a process left that was killed while it wrote. */
function contentOf(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => !isPartial(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw writeError(folder, error);
  }
}

/**
 * Begins a run's folder: the checkpoint it begins with, then `config.json`, which makes it a run.
 * @throws FILE when it cannot be made or written to, or holds something already.
 */
export async function createRun(
  folder: string,
  config: RunConfig,
  saveBeginning: (path: string) => Promise<void>,
): Promise<void> {
  try {
    await mkdir(join(folder, 'checkpoints'), { recursive: true });
  } catch (error) {
    // Node says so of a disk that is read-only, too: missing folders above it would have been made.
    const { code } = error as NodeJS.ErrnoException;
    throw writeError(folder, code === 'ENOENT' ? Object.assign(new Error('read-only?'), { code: 'EROFS' }) : error);
  }
  await checkFree(folder);
  await saveBeginning(fileOf(folder, 'last'));
  await writeText(fileOf(folder, 'config'), `${JSON.stringify(config, null, 2)}\n`);
}

/** Removes what a process left that was killed while it wrote. @throws FILE */
export async function removeRemains(folder: string): Promise<void> {
  for (const place of [folder, join(folder, 'checkpoints')])
    try {
      for (const name of await readdir(place)) if (isPartial(name)) await rm(join(place, name), { force: true });
    } catch (error) {
      throw writeError(place, error);
    }
}

/** @throws FILE */
export const writeText = (path: string, text: string): Promise<void> =>
  writeFileAtomic(path, [new TextEncoder().encode(text)]);

/** @throws FILE when there is no run, or what it was begun with cannot be read. */
export async function readConfig(folder: string): Promise<RunConfig> {
  const path = fileOf(folder, 'config');
  const refuse = (why: string, cause?: unknown): never => {
    throw new ResidualError('FILE', `${folder}: ${why}`, { file: path }, { cause });
  };
  const content = await readFile(path, 'utf8').catch((error: unknown) =>
    refuse('is no folder of a run: it has no config.json', error),
  );
  let json: unknown;
  try {
    json = JSON.parse(content);
  } catch (error) {
    refuse('its config.json is no JSON; was it changed by hand?', error);
  }
  const config = asRecord(json) ?? refuse('its config.json is no JSON object; was it changed by hand?');
  if (typeof config.format === 'number' && config.format > 1)
    refuse(`its config.json is of format ${config.format}, and this version of residual reads 1; install a later one`);
  const { recipe, data, model } = {
    recipe: asRecord(config.recipe),
    data: asRecord(config.data),
    model: asRecord(config.model),
  };
  if (config.format !== 1 || !recipe || !data || !model)
    return refuse('its config.json is that of no run; was it changed by hand?');
  const wrong = [
    ...Object.entries(held).filter(([name, holds]) => !holds(config[name])),
    ...Object.entries(heldOfData).filter(([name, holds]) => !holds(data[name])),
    ...Object.entries(heldOfModel).filter(([name, holds]) => !holds(model[name])),
  ].map(([name]) => name);
  if (wrong.length > 0) refuse(`its config.json has no sound value for ${wrong.join(', ')}; was it changed by hand?`);
  // A setting that did not exist yet is as nobody says anything.
  return { ...config, recipe: { ...presets, ...checkSettings(recipe, path) } } as unknown as RunConfig;
}

const count = whole(0, Number.MAX_SAFE_INTEGER);
const isObject = (value: unknown): boolean => asRecord(value) !== undefined;

const held = {
  name: text,
  seed: count,
  engine: oneOf('auto', 'onnx', 'onednn', 'reference'),
  threads: whole(1),
  headFirst: (value: unknown) => value === undefined || flag(value),
  origin: isObject,
  versions: isObject,
  begun: text,
};
const heldOfData = {
  classes: list<readonly string[]>([1, 1_000_000], text),
  labels: oneOf('one', 'several', 'soft'),
  train: count,
  validation: count,
};
const heldOfModel = { name: text, architecture: text, parameters: count };

/**
 * What a run has measured. The last line may be cut off where a process was killed: it is left out.
 * @throws FILE
 */
export async function readMetrics(folder: string): Promise<MetricsRow[]> {
  const path = fileOf(folder, 'metrics');
  if (!existsSync(path)) return [];
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new ResidualError('FILE', `${path}: cannot be read (${(cause as Error).message})`, { file: path }, { cause });
  });
  return text.split('\n').flatMap((line) => {
    try {
      const row = JSON.parse(line) as MetricsRow;
      return isRow(row) ? [row] : [];
    } catch {
      return [];
    }
  });
}

/** A line that was changed by hand is left out as one that is cut off. */
function isRow(value: unknown): value is MetricsRow {
  const { kind, epoch, update, train, validation } = asRecord(value) ?? {};
  if (!count(epoch) || !count(update)) return false;
  const numbers = (from: unknown, ...names: string[]): boolean =>
    names.every((name) => typeof asRecord(from)?.[name] === 'number');
  if (kind === 'skipped') return true;
  const measured = numbers(value, 'rate', 'imagesPerSecond', 'busy');
  if (kind === 'step') return measured && numbers(value, 'loss');
  const judged = validation === undefined || numbers(validation, 'pictures', 'loss', 'top1', 'top5', 'calibration');
  return kind === 'epoch' && measured && judged && numbers(value, 'seconds') && numbers(train, 'loss', 'top1');
}

/** A file that grows line by line or record by record. */
export interface Appended {
  /** @throws FILE when the disk is full. */
  write(data: string | Uint8Array): void;
  /** Brings it onto the disk. */
  flush(): void;
  close(): void;
}

/** @throws FILE */
export function append(path: string): Appended {
  const tried = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw writeError(path, error);
    }
  };
  const file = tried(() => openSync(path, 'a'));
  return {
    write(data) {
      const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
      tried(() => {
        for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
      });
    },
    flush: () => tried(() => fsyncSync(file)),
    close: () => closeSync(file),
  };
}

/**
 * Takes out what was measured after a checkpoint: a resumed run measures it again.
 * @throws FILE
 */
export async function rewindMetrics(folder: string, updates: number): Promise<void> {
  const rows = (await readMetrics(folder)).filter(({ update }) => update <= updates);
  await writeText(fileOf(folder, 'metrics'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}

/** The runs below a folder, and the folder itself when it is one, by name. */
export function runsBelow(folder: string): string[] {
  if (existsSync(join(folder, files.config))) return [folder];
  if (!existsSync(folder))
    throw new ResidualError('FILE', `${folder}: there is no such folder; check the path`, { file: folder });
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(folder, entry.name, files.config)))
    .map(({ name }) => join(folder, name))
    .sort(new Intl.Collator('en', { numeric: true }).compare);
}
