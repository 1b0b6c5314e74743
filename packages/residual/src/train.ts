// What users import to train, in Node: `residual/train`. Every name here is meant for them.

export { tar } from './data/archive.js';
export { cifar } from './data/cifar.js';
export type { Batch, BatchOptions, Dataset, Example, Mix, Source, Target } from './data/dataset.js';
export { folder } from './data/folder.js';
export { idx } from './data/idx.js';
export { batches } from './data/loader.js';
export { manifest } from './data/manifest.js';
export { open } from './data/open.js';
export { epochOrder, inOrder, type OrderOptions } from './data/order.js';
export { contactSheet, type SheetOptions } from './data/preview.js';
export type { Some, SplitOptions } from './data/split.js';
export { classWeights, countClasses } from './data/targets.js';
export {
  type StepResult,
  startTrainer,
  type Trainer,
  type TrainerOptions,
  type TrainerState,
  type Update,
} from './engines/trainer.js';
export { type Loss, type TrainingStep, trainingStep } from './graph/training-step.js';
export {
  type Augment,
  type AugmentName,
  type AugmentStep,
  augmentNames,
  augmentText,
  parseAugment,
} from './image/augment.js';
export { adaptedConvolution, withChannels } from './train/channels.js';
export { type RunCheckpoint, readCheckpoint } from './train/checkpoint.js';
export { type EvaluateOptions, type Evaluation, evaluate } from './train/evaluate.js';
export { groundTruth } from './train/ground-truth.js';
export type { StepsDone } from './train/loop.js';
export { findRate, type RateOptions, type RatePoint, type RateRange } from './train/lr-find.js';
export { planRun, type RunPlan } from './train/plan.js';
export { type RecipeInput, type RecipeName, recipes, resolveRecipe } from './train/recipes.js';
export { writeReport } from './train/report.js';
export { chart, type Series } from './train/report-chart.js';
export {
  type EpochRow,
  type MetricsRow,
  type RunConfig,
  readConfig,
  readMetrics,
  type SkippedRow,
  type StepRow,
} from './train/run-folder.js';
export { compareRuns, type RunComparison, type RunSummary } from './train/runs.js';
export { momentumAt, rateAt, type Schedule, type WarmUp } from './train/schedules.js';
export { type ClassScore, type Judge, judge, type Mistake, type Scores } from './train/scores.js';
export { parseSettings, type Recipe, type SettingName, settings } from './train/settings.js';
export { type Run, type RunOptions, resume, type TrainOptions, train } from './train/train.js';
export type { Student } from './train/transfer.js';
export { type Views, viewNames } from './train/views.js';
export { type Group, type Optimizer, optimizers } from './updates/optimizers.js';
