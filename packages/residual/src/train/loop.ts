import type { Dataset } from '../data/dataset.js';
import { type StepResult, startTrainer, type Trainer, type TrainerState } from '../engines/trainer.js';
import { ResidualError } from '../errors.js';
import type { TrainingStep } from '../graph/training-step.js';
import { inShell } from '../printable.js';
import type { EngineOptions } from '../tasks/model.js';
import { recordOf } from '../tasks/savable.js';
import type { Tensor, Weights } from '../tensor.js';
import { type Learnt, type Progress, type RunCheckpoint, type Sums, writeCheckpoint } from './checkpoint.js';
import { type Course, updateAt } from './course.js';
import { divergence, firstBadIn, overflow } from './diagnose.js';
import type { Feed } from './feed.js';
import { masksOf } from './masks.js';
import { type EpochRow, fileOf, type MetricsRow, type StepRow } from './run-folder.js';
import type { Scores } from './scores.js';
import type { Recipe } from './settings.js';
import { type Phase, phaseAt } from './stages.js';
import { stepOf, trainerOptions } from './step.js';
import { stopwatch } from './stopwatch.js';
import { merged, type Student } from './transfer.js';

/** Everything a run is made of. */
export interface Lesson {
  /** The network that learns: the whole one, or what is behind features that were computed once. */
  readonly student: Student;
  /** The whole network, for the checkpoints; the student's own when left out. */
  readonly whole?: Student;
  readonly recipe: Recipe;
  readonly course: Course;
  readonly phases: readonly Phase[];
  readonly seed: number;
  readonly feed: Feed;
  readonly engine: EngineOptions;
  readonly folder: string;
  /** Tells other data from these. */
  readonly fingerprint: string;
  readonly classes: readonly string[];
  readonly labels: Dataset['labels'];
  /** Judges the network with the weights of the moment; absent where there is nothing to judge by. */
  readonly validate?: (weights: Weights, signal?: AbortSignal) => Promise<Scores>;
  /** Seconds from one checkpoint to the next within an epoch. */
  readonly saveEvery: number;
  /** Told of everything that is measured. */
  readonly write: (row: MetricsRow) => void;
  /** Told of every step, and of every checkpoint. */
  readonly onStep?: (done: StepsDone) => void;
  readonly onSaved?: (path: string) => void;
  readonly signal?: AbortSignal | undefined;
  /** Stops after so many updates more, as Ctrl-C would: for trials. */
  readonly most?: number | undefined;
}

/** How far a run is, told after every step. */
export interface StepsDone {
  /** From 1. */
  readonly epoch: number;
  readonly step: number;
  /** Of the epoch. */
  readonly steps: number;
  readonly epochs: number;
  readonly loss: number;
  readonly pictures: number;
}

/** What a run ends with. */
export interface Outcome {
  readonly learnt: Learnt;
  readonly progress: Omit<Progress, 'updates'>;
  readonly last?: EpochRow;
  readonly scores?: Scores;
}

/** Epochs of fewer seconds share a checkpoint: to bring it onto the disk may take longer than to learn. */
const shortEpochs = 10;

const noSums: Sums = { loss: 0, right: 0, pictures: 0, steps: 0 };

/** Where a run stands before its first step. */
export const beginning = ({
  seed,
  fingerprint,
  classes,
}: Pick<Lesson, 'seed' | 'fingerprint' | 'classes'>): Omit<Progress, 'updates'> => ({
  seed,
  epoch: 0,
  step: 0,
  sums: noSums,
  losses: [],
  best: null,
  data: fingerprint,
  classes,
});

/** A phase of a run: what learns, and its trainer. */
interface Running {
  readonly phase: Phase;
  readonly step: TrainingStep;
  readonly trainer: Trainer;
}

/**
 * Learns until the recipe is done, saving as it goes. The result depends on the lesson alone, not on where it was
 * interrupted: order, augmentation and masks come from the seed and the step's number.
 *
 * @param from a checkpoint to go on from
 * @throws NUMERICS when the loss is no number; ABORTED after saving; FILE when a checkpoint cannot be written; whatever
 * feed and trainer throw.
 */
export async function learn(lesson: Lesson, from?: RunCheckpoint): Promise<Outcome> {
  const { student, recipe, course, phases, feed, signal } = lesson;
  let progress = from ? withoutUpdates(from.progress) : beginning(lesson);
  let weights: Weights = from ? merged(student.weights, from.weights) : student.weights;
  let state: TrainerState | undefined = from;
  let running: Running | undefined;
  let last: EpochRow | undefined;
  let scores: Scores | undefined;
  let updates = from?.updates ?? 0;
  let saved = performance.now();
  const begun = updates;
  let kept = from && fileOf(lesson.folder, 'last');
  const stops = () => signal?.aborted || (lesson.most !== undefined && updates - begun >= lesson.most);

  /** The trainer of this epoch: another one where something begins to learn. */
  async function ready(epoch: number): Promise<Running> {
    const phase = phaseAt(phases, epoch);
    if (running?.phase === phase) return running;
    if (running) {
      state = await running.trainer.save();
      weights = merged(weights, state.weights);
      await running.trainer.dispose();
    }
    running = await start(lesson, phase, weights, state);
    return running;
  }

  async function save(trainer: Trainer, which: 'last' | 'best'): Promise<Learnt> {
    const learnt = await trainer.save();
    const bad = firstBadIn(learnt);
    if (bad !== undefined) throw overflow(bad, { epoch: progress.epoch + 1, update: updates }, kept);
    const whole = lesson.whole ?? student;
    const full: Learnt = {
      ...learnt,
      weights: merged(merged(whole.weights, weights), learnt.weights),
      ...(learnt.average && { average: merged(merged(whole.weights, weights), learnt.average) }),
    };
    const path = fileOf(lesson.folder, which);
    await writeCheckpoint(path, full, progress, recordOf(whole));
    lesson.onSaved?.(path);
    if (which === 'last') {
      kept = path;
      saved = performance.now();
    }
    return full;
  }

  /** Pictures that cannot be had any more end the run as Ctrl-C does. Between updates there is nothing whole to save. */
  async function saveAfter(error: unknown, trainer: Trainer): Promise<never> {
    const between = updates > 0 && progress.step % course.accumulate === 0;
    if (!(error instanceof ResidualError) || !between) throw error;
    await save(trainer, 'last');
    const { code, message, details } = error;
    throw new ResidualError(code, `${message}; ${goOn(lesson, updates)}`, details, { cause: error });
  }

  try {
    for (let { epoch } = progress; epoch < course.epochs; epoch++) {
      const { trainer, step } = await ready(epoch);
      const clock = stopwatch();
      // Ctrl-C ends the run after an update, never within one.
      const batches = feed.train(epoch, progress.step, course.batch)[Symbol.asyncIterator]();
      const [{ name: examples }] = student.graph.inputs;
      try {
        for (let number = progress.step; number < course.steps; number++) {
          const { done, value: batch } = await batches.next().catch((error) => saveAfter(error, trainer));
          if (done)
            throw new ResidualError('ENGINE', `epoch ${epoch + 1} ended after ${number} of its ${course.steps} steps`);
          for (const { id, error } of batch.skipped)
            lesson.write({ kind: 'skipped', epoch: epoch + 1, update: updates + 1, id, reason: error.message });
          clock.got();
          const update = (number + 1) % course.accumulate === 0;
          const next = updateAt(course, recipe, updates, progress.losses);
          const { images, targets } = batch;
          const inputs = {
            [examples]: images,
            targets,
            ...masksOf(step.masks, lesson.seed, epoch, number),
          };
          const result = await trainer.step(inputs, update ? next : undefined);
          clock.stepped();
          if (!isNumber(result)) {
            const { weights: now } = await trainer.save();
            const at = { epoch: epoch + 1, update: updates + 1, loss: result.loss, rate: next.rate };
            const { graph, record } = student;
            throw await divergence(
              at,
              { graph, record, weights: merged(weights, now), images, engine: lesson.engine },
              kept,
            );
          }
          progress = { ...progress, step: number + 1, sums: added(progress.sums, result, targets) };
          lesson.onStep?.({
            epoch: epoch + 1,
            step: number + 1,
            steps: course.steps,
            epochs: course.epochs,
            loss: result.loss,
            pictures: course.batch,
          });
          if (!update) continue;
          updates++;
          if (isLogged(updates, course))
            lesson.write({
              kind: 'step',
              epoch: epoch + 1,
              update: updates,
              loss: result.loss,
              rate: next.rate,
              ...(result.gradientNorm !== undefined && { gradientNorm: result.gradientNorm }),
              ...clock.lap(course.batch),
            } satisfies StepRow);
          if (number + 1 === course.steps) break;
          const stop = stops();
          if (stop || performance.now() - saved >= lesson.saveEvery * 1000) await save(trainer, 'last');
          if (stop) throw stopped(lesson, updates);
        }
      } finally {
        await batches.return?.();
      }

      const { sums } = progress;
      const whole = (epoch + 1) % recipe.validateEvery === 0 || epoch + 1 === course.epochs;
      if (lesson.validate && whole) {
        const now = await trainer.save();
        try {
          scores = await lesson.validate(merged(weights, now.average ?? now.weights), signal);
        } catch (error) {
          if (!signal?.aborted) return await saveAfter(error, trainer);
          await save(trainer, 'last');
          throw stopped(lesson, updates);
        }
      }
      const { rate } = updateAt(course, recipe, updates - 1, progress.losses);
      last = {
        kind: 'epoch',
        epoch: epoch + 1,
        update: updates,
        train: { loss: sums.loss / sums.steps, top1: sums.right / sums.pictures },
        ...(lesson.validate && whole && scores && { validation: numbersOf(scores) }),
        rate,
        ...clock.whole(),
      };
      lesson.write(last);
      const { best } = progress;
      const score = scoreOf(last, lesson.labels);
      const better = (whole || !lesson.validate) && (best === null || score > best.score);
      progress = {
        ...progress,
        epoch: epoch + 1,
        step: 0,
        sums: noSums,
        losses: whole || !lesson.validate ? [...progress.losses, finite(judgedLoss(last))] : progress.losses,
        best: better ? { score, epoch: epoch + 1 } : best,
      };
      const ends = epoch + 1 === course.epochs;
      const stop = !ends && stops();
      const due = performance.now() - saved >= Math.min(lesson.saveEvery, shortEpochs) * 1000;
      if (better) await save(trainer, 'best');
      if (ends || stop || due || kept === undefined) await save(trainer, 'last');
      if (stop) throw stopped(lesson, updates);
    }
    const learnt = running ? await running.trainer.save() : (from as Learnt);
    return { learnt, progress, ...(last && { last }), ...(scores && { scores }) };
  } finally {
    await running?.trainer.dispose().catch(() => {});
  }
}

const withoutUpdates = ({ updates: _, ...progress }: Progress): Omit<Progress, 'updates'> => progress;

/** JSON has no infinity. */
const finite = (x: number): number => (Number.isFinite(x) ? x : Number.MAX_VALUE);

const isNumber = ({ loss, gradientNorm }: StepResult): boolean =>
  Number.isFinite(loss) && (gradientNorm === undefined || Number.isFinite(gradientNorm));

/** A hundred lines an epoch at most. */
const isLogged = (update: number, { updates }: Course): boolean =>
  update % Math.ceil(updates / 100) === 0 || update % updates === 0;

const judgedLoss = ({ validation, train }: EpochRow): number => validation?.loss ?? train.loss;

/**
 * What the best checkpoint is chosen by: right answers in validation; without it the training loss. Of several labels one
 * is soon among the right ones, and the loss of validation tells more.
 */
const scoreOf = (row: EpochRow, labels: Dataset['labels']): number =>
  row.validation && labels !== 'several' ? row.validation.top1 : -finite(judgedLoss(row));

const numbersOf = ({ pictures, loss, top1, top5, calibration }: Scores) => ({
  pictures,
  loss,
  top1,
  top5,
  calibration,
});

const goOn = ({ folder }: Lesson, updates: number): string =>
  `stopped after update ${updates}, and saved; go on with: residual train --resume ${inShell(folder)}`;

const stopped = (lesson: Lesson, updates: number): ResidualError =>
  new ResidualError('ABORTED', goOn(lesson, updates), { folder: lesson.folder, updates });

/** The step as a trainer, with all that was learnt before. */
export async function start(
  lesson: Pick<Lesson, 'student' | 'recipe' | 'course' | 'engine'>,
  phase: Phase,
  weights: Weights,
  state?: TrainerState,
): Promise<Running> {
  const { student, recipe, course, engine } = lesson;
  const step = stepOf(student.graph, recipe, course.batch, phase.freeze);
  const trainer = await startTrainer(engine.engine ?? 'auto', step, weights, trainerOptions(lesson, step));
  if (state) await trainer.restore(completed(step, weights, state));
  return { phase, step, trainer };
}

/** What begins to learn has its weights, an average that is the same, and no momentum yet. */
function completed({ trained, measured }: TrainingStep, weights: Weights, state: TrainerState): TrainerState {
  const names = [...trained.map(({ name }) => name), ...measured.flatMap(({ mean, variance }) => [mean, variance])];
  const from = (learnt: Weights | undefined): Weights =>
    new Map(names.map((name) => [name, (learnt?.get(name) ?? weights.get(name)) as Tensor]));
  const zeros = ({ shape, data }: Tensor): Tensor => ({ dtype: 'float32', shape, data: new Float32Array(data.length) });
  const optimizer = new Map(
    Array.from(state.optimizer, ([array, values]): [string, Weights] => [
      array,
      new Map(trained.map(({ name }) => [name, values.get(name) ?? zeros(weights.get(name) as Tensor)])),
    ]),
  );
  return {
    weights: from(state.weights),
    ...(state.average && { average: from(state.average) }),
    optimizer,
    updates: state.updates,
  };
}

/** Sums over an epoch: losses, and answers that are right by the largest target. */
function added(sums: Sums, { loss, logits }: StepResult, { data: targets }: Tensor): Sums {
  const [pictures, classes] = logits.shape;
  const placeOfLargest = (of: Float32Array, row: number): number => {
    let best = row * classes;
    for (let i = best + 1; i < (row + 1) * classes; i++) if (of[i] > of[best]) best = i;
    return best;
  };
  let right = 0;
  // Of several labels any is right.
  for (let row = 0; row < pictures; row++)
    if (targets[placeOfLargest(logits.data, row)] === targets[placeOfLargest(targets, row)]) right++;
  return {
    loss: sums.loss + loss,
    right: sums.right + right,
    pictures: sums.pictures + pictures,
    steps: sums.steps + 1,
  };
}
