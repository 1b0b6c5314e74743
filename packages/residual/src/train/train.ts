import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { Batch, Dataset } from '../data/dataset.js';
import { ResidualError } from '../errors.js';
import { sizeOfPlan } from '../image/plan.js';
import { outputKind } from '../tasks/classify.js';
import { load } from '../tasks/load.js';
import type { EngineOptions, Model } from '../tasks/model.js';
import { outputsOf } from '../tasks/network.js';
import { recordOf } from '../tasks/savable.js';
import { sizeOf, type Weights } from '../tensor.js';
import { channelsOf, withChannels } from './channels.js';
import { checkShapes, type RunCheckpoint, readCheckpoint, writeCheckpoint } from './checkpoint.js';
import { courseOf } from './course.js';
import { featureFeed } from './features-once.js';
import { type Feed, type Fetching, pictureFeed } from './feed.js';
import { withTrainedHead } from './head-first.js';
import { judgeModel, momentary } from './judging.js';
import { beginning, type Lesson, learn, type Outcome, type StepsDone } from './loop.js';
import { type RecipeInput, resolveRecipe } from './recipes.js';
import { writeReport } from './report.js';
import {
  append,
  checkFree,
  createRun,
  type EpochRow,
  fileOf,
  type MetricsRow,
  type RunConfig,
  readConfig,
  readMetrics,
  removeRemains,
  rewindMetrics,
} from './run-folder.js';
import type { Recipe } from './settings.js';
import { phasesOf } from './stages.js';
import { stepOf } from './step.js';
import {
  checkData,
  checkSameClasses,
  checkSameLabels,
  checkSeed,
  fingerprint,
  fitting,
  otherPictures,
} from './subject.js';
import { openEvents, type Scalars } from './tensorboard.js';
import { type Student, testedAt, testedBy, withNewHead, withoutSoftmax } from './transfer.js';

/** What both a new run and one that goes on take. */
export interface RunOptions extends EngineOptions, Fetching {
  /** Ends the run after the update that is being made, with a checkpoint. */
  readonly signal?: AbortSignal | undefined;
  /** Seconds between checkpoints within an epoch; 300 when left out. There is one after every epoch, too. */
  readonly saveEvery?: number | undefined;
  /** Told after every step. */
  readonly onStep?: ((done: StepsDone) => void) | undefined;
  /** Told of every line of metrics.jsonl. */
  readonly onRow?: ((row: MetricsRow) => void) | undefined;
  /** Told of every checkpoint that was written. */
  readonly onSaved?: ((path: string) => void) | undefined;
  /** Told what was decided for the user, one sentence each. */
  readonly onNote?: ((text: string) => void) | undefined;
  /** Stops, with a checkpoint, after so many updates. */
  readonly most?: number | undefined;
}

export interface TrainOptions extends RunOptions {
  /** `finetune` when left out. */
  readonly recipe?: RecipeInput | undefined;
  /** Values that go before the recipe's. */
  readonly set?: Partial<Recipe> | undefined;
  /** Folder of the run, which must not be there or be empty. */
  readonly out: string;
  /** Of order, augmentation and masks; 0 when left out. */
  readonly seed?: number | undefined;
  /** Channels that the network is to take; with 1, pictures are made grey. As the network has them when left out. */
  readonly channels?: 1 | 3 | undefined;
  /** How to open model and data again, kept in config.json for the program that began the run. */
  readonly origin?: Readonly<Record<string, unknown>> | undefined;
}

/** A run that is done. */
export interface Run {
  readonly folder: string;
  /** Lines of its epochs. */
  readonly epochs: readonly EpochRow[];
  /** The model as it was at its best validation, or at the end. */
  best(options?: EngineOptions): Promise<Model>;
  last(options?: EngineOptions): Promise<Model>;
}

/**
 * Trains a model on pictures, by a recipe, into a folder. Where its classes are not the data's, it gets a new
 * classifier. The model itself stays as it is.
 *
 * @throws CLASSES for data that cannot be learnt from; UNKNOWN_NAME, ARGUMENT for the recipe; GRAPH when the network
 * cannot learn this; NUMERICS when the loss is no number; FILE when the folder cannot be written; ABORTED after a
 * checkpoint, which the message names; IMAGE with `strict`.
 * @example
 * const data = await folder('flowers/', { validation: 0.2, seed: 1 });
 * const run = await train(model, data, { recipe: 'finetune', set: { freeze: 'layer2' }, out: 'runs/1' });
 * await save(await run.best(), 'flowers.residual');
 */
export async function train(model: Model, data: Dataset, options: TrainOptions): Promise<Run> {
  const { out, recipe: wanted = 'finetune', onNote } = options;
  await checkFree(out);
  const { lesson, headFirst, notes } = await prepare(model, data, options);
  const { student, recipe, seed } = lesson;
  for (const note of notes) onNote?.(note);
  const config: RunConfig = {
    format: 1,
    name: typeof wanted === 'string' ? wanted : 'custom',
    recipe,
    seed,
    model: {
      name: model.name,
      architecture: student.record.architecture,
      parameters: student.graph.parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    },
    data: {
      classes: data.classes,
      labels: data.labels,
      train: data.train.length,
      validation: data.validation?.length ?? 0,
    },
    engine: options.engine ?? 'auto',
    threads: options.threads ?? availableParallelism(),
    ...(headFirst && { headFirst }),
    origin: options.origin ?? {},
    versions: { residual: version(), node: process.version },
    begun: new Date().toISOString(),
  };
  await createRun(out, config, (path) => {
    const { weights, record, graph } = lesson.whole ?? student;
    const learnt = { weights, optimizer: new Map(), updates: 0 };
    return writeCheckpoint(path, learnt, beginning(lesson), recordOf({ graph, record }));
  });
  await begin(lesson, headFirst, data, options);
  await report(out, data, options);
  return runOf(out);
}

/** From the first update on. */
async function begin(lesson: Lesson, headFirst: boolean, data: Dataset, options: RunOptions): Promise<void> {
  const student = headFirst ? await withTrainedHead(lesson, data, options) : lesson.student;
  await go({ ...lesson, student }, undefined, options);
}

/**
 * All that a run is made of, before anything is written; notes say what was decided, `headFirst` whether a new classifier
 * is to learn alone before. @throws as `train`
 */
export async function prepare(
  model: Model,
  data: Dataset,
  options: TrainOptions,
): Promise<{ lesson: Lesson; headFirst: boolean; notes: readonly string[] }> {
  const { out, seed = 0, channels, recipe: wanted = 'finetune' } = options;
  const asked = await resolveRecipe(wanted, options.set);
  checkSeed(seed);
  checkData(data);
  const notes: string[] = [];
  const recipe = fitting(asked, data, notes);
  const { student, isNew } = await studentOf(model, data, recipe, { channels, notes });
  const lesson = await lessonOf(student, data, recipe, seed, out, options);
  const headFirst = isNew && recipe.headFirst > 0 && !recipe.featuresOnce;
  if (headFirst) notes.push(`the new classifier first learns alone, for ${recipe.headFirst} epochs`);
  return { lesson, headFirst, notes };
}

/**
 * Goes on with a run from its last checkpoint, as if it had never stopped: the weights it ends with are the same to the
 * bit on the same machine with as many threads.
 *
 * @throws FILE when there is no run; WEIGHTS_FORMAT for a damaged checkpoint; CLASSES when the data's classes are not
 * those it began with; whatever `train` throws.
 * @example const run = await resume('runs/1', await folder('flowers/', { validation: 0.2, seed: 1 }));
 */
export async function resume(out: string, data: Dataset, options: RunOptions = {}): Promise<Run> {
  const config = await readConfig(out);
  const { recipe, seed } = config;
  checkSameClasses(config.data.classes, data.classes, out);
  checkSameLabels(config.data.labels, data.labels, out);
  checkData(data);
  const path = fileOf(out, 'last');
  if (!existsSync(path))
    throw new ResidualError(
      'FILE',
      `${path}: the checkpoint to go on from is gone; put it back, or delete the folder and begin again`,
      { file: path },
    );
  const from = await readCheckpoint(path);
  checkSameClasses(from.progress.classes, data.classes, out);
  if (from.record.architecture !== config.model.architecture || from.progress.seed !== seed)
    throw new ResidualError(
      'WEIGHTS_MISMATCH',
      `${path}: is the checkpoint of another run: of ${from.record.architecture} with seed ${from.progress.seed}, where config.json says ${config.model.architecture} with seed ${seed}; put back the run's own`,
      { file: path },
    );
  const student = await studentFrom(from, path);
  checkShapes(student.graph, from, path);
  const lesson = await lessonOf(student, data, recipe, seed, out, {
    ...options,
    threads: options.threads ?? config.threads,
    engine: options.engine ?? (config.engine as EngineOptions['engine']),
  });
  for (const note of otherPictures(from.progress.data, lesson.fingerprint)) options.onNote?.(note);
  await removeRemains(out);
  await rewindMetrics(out, from.updates);
  if (from.updates === 0 && from.progress.step === 0) await begin(lesson, config.headFirst === true, data, options);
  else await go(lesson, from, options);
  await report(out, data, options);
  return runOf(out);
}

/** The network of a checkpoint, as it stands in it. */
async function studentFrom({ record, weights }: RunCheckpoint, path: string): Promise<Student> {
  await using model = await load(path, { part: 'model' });
  const { dialect: _, config, graph: __, ...rest } = record;
  return { graph: model.graph, weights, record: { ...rest, ...(config && { config }) } };
}

/** Carries a run out, and writes down what it measures. */
async function go(lesson: Lesson, from: RunCheckpoint | undefined, options: RunOptions): Promise<Outcome> {
  const metrics = append(fileOf(lesson.folder, 'metrics'));
  const events = openEvents(lesson.folder, (from?.updates ?? 0) + 1);
  try {
    return await learn(
      {
        ...lesson,
        write(row) {
          metrics.write(`${JSON.stringify(row)}\n`);
          const scalars = scalarsOf(row);
          if (scalars) events.write(row.update, scalars);
          options.onRow?.(row);
        },
      },
      from,
    );
  } finally {
    metrics.close();
    events.close();
  }
}

/** The run is done and saved: a report that cannot be made is told, and no more. */
async function report(
  folder: string,
  data: Dataset,
  { engine, threads, workers, signal, onNote }: RunOptions,
): Promise<void> {
  try {
    await writeReport(folder, data, { engine, threads, workers, signal });
  } catch (error) {
    onNote?.(`the run is done, but there is no report: ${(error as Error).message}`);
  }
}

/** What TensorBoard draws. */
function scalarsOf(row: MetricsRow): Scalars | undefined {
  if (row.kind === 'skipped') return undefined;
  if (row.kind === 'step') {
    const { loss, rate, imagesPerSecond, busy, gradientNorm } = row;
    return { 'loss/step': loss, rate, imagesPerSecond, busy, ...(gradientNorm !== undefined && { gradientNorm }) };
  }
  const { train, validation } = row;
  return {
    'loss/train': train.loss,
    'top1/train': train.top1,
    ...(validation && {
      'loss/validation': validation.loss,
      'top1/validation': validation.top1,
      'top5/validation': validation.top5,
      calibration: validation.calibration,
    }),
  };
}

async function runOf(folder: string): Promise<Run> {
  const rows = await readMetrics(folder);
  return {
    folder,
    epochs: rows.filter((row) => row.kind === 'epoch'),
    best: (options) => load(fileOf(folder, 'best'), options),
    last: (options) => load(fileOf(folder, 'last'), options),
  };
}

/** The network that learns: the model's, with a classifier for these classes. */
async function studentOf(
  model: Model,
  { classes, labels }: Dataset,
  recipe: Recipe,
  { channels, notes }: { channels: 1 | 3 | undefined; notes: string[] },
): Promise<{ student: Student; isNew: boolean }> {
  if (model.record.quantisation)
    throw new ResidualError('ARGUMENT', `${model.name} is quantised to 8 bits; train the float model it was made from`);
  let isNew = false;
  let student: Student = { graph: model.graph, weights: await model.weights(), record: model.record };
  const known = model.record.classes?.map(({ label }) => label);
  const same = known?.length === classes.length && known.every((label, i) => label === classes[i]);
  if (!same && known === undefined && outputsOf(model.graph) === classes.length)
    student = { ...student, record: { ...student.record, classes: classes.map((label) => ({ label })) } };
  else if (!same) {
    student = withNewHead(student, classes);
    isNew = true;
    notes.push(`${model.name}: a new classifier for ${classes.length} classes`);
  }
  const { labels: _, ...record } = student.record;
  student = { ...student, record: { ...record, ...(labels === 'several' && { labels }) } };
  if (labels === 'several') student = withoutSoftmax(student);
  if (channels !== undefined) student = withChannels(student, channels);
  student = testedBy(student, recipe);
  return { student, isNew };
}

async function lessonOf(
  whole: Student,
  data: Dataset,
  recipe: Recipe,
  seed: number,
  folder: string,
  options: RunOptions,
): Promise<Lesson> {
  const { record } = whole;
  const channels = channelsOf(whole);
  const { workers, cache, strict, saveEvery = 300, signal, most, onStep, onSaved, onNote } = options;
  const engine: EngineOptions = {
    engine: options.engine,
    threads: options.threads,
    device: options.device,
  };
  const [, , height, width] = whole.graph.inputs[0].shape;
  const tested = sizeOfPlan(record.plan);
  const isOwn = tested?.height === height && tested.width === width;
  // Tests may be at another size than the network learns at, which a number cannot say of pictures that are not square.
  const plan = isOwn || height === width ? record.plan : testedAt(record.plan, [height, width], 1);
  const size = recipe.size || (height === width ? height : undefined);
  // What does not fit is told before the folder is made.
  const phases = recipe.featuresOnce ? [{ epoch: 0, freeze: '' }] : phasesOf(whole.graph, recipe);
  const course = courseOf(recipe, data.train.length);
  const fetching = { seed, channels, workers, strict } as const;
  const { feed, head } = recipe.featuresOnce
    ? await featureFeed(whole, data, recipe, { ...fetching, engine, signal, onNote })
    : { feed: pictureFeed(data, recipe, { ...fetching, plan, tested: record.plan, cache, size }), head: undefined };
  const student: Student = head ? { ...whole, graph: head } : whole;
  stepOf(student.graph, recipe, course.batch, phases[0].freeze);
  const { validation } = feed;
  const told = new Set<string>();
  const kind = outputKind(whole.graph, data.labels);
  const validate = async (weights: Weights, stop?: AbortSignal) => {
    const model = momentary(student.graph, record, weights, engine);
    try {
      const { examples, open } = validation as NonNullable<Feed['validation']>;
      const each = (_: number, bad: Batch['skipped']) => {
        for (const { id, error } of bad) if (!told.has(id) && told.add(id)) onNote?.(`skipped ${error.message}`);
      };
      return await judgeModel(model, open(stop), { labels: data.classes, examples, kind, signal: stop, each });
    } finally {
      await model.dispose();
    }
  };
  return {
    student,
    whole,
    recipe,
    course: head ? courseOf(recipe, feed.pictures) : course,
    phases,
    seed,
    feed,
    engine,
    folder,
    fingerprint: fingerprint(data),
    classes: data.classes,
    labels: data.labels,
    ...(validation && { validate }),
    saveEvery,
    write: () => {},
    ...(onStep && { onStep }),
    ...(onSaved && { onSaved }),
    signal,
    most,
  };
}

const version = (): string =>
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version as string;

export type { RunConfig };
