// What users import. Every name here is meant for them; the rest of the library is free to change.

export { type EngineFacts, type EngineName, engineReport } from './engines/index.js';
export { type ErrorCode, errorTable, ResidualError } from './errors.js';
export {
  add,
  avgPool,
  batchNorm,
  blurPool,
  concat,
  conv2d,
  dense,
  dropout,
  flatten,
  globalAvgPool,
  inBlock,
  input,
  maxPool,
  mul,
  network,
  relu,
  reshape,
  resize as resizeLayer,
  sigmoid,
  softmax,
  type Value,
  zeroPad,
} from './graph/build.js';
export { drawing } from './graph/drawing.js';
export { type Graph, inferShapes } from './graph/graph.js';
export { foldBatchNorm } from './graph/passes.js';
export type { ActivationScale, Quantisation } from './graph/quantisation.js';
export { type Summary, summary } from './graph/summary.js';
export {
  bareName,
  type Collection,
  catalogue,
  defaultModel,
  findEntry,
  type HubEntry,
  isNonCommercial,
  type Metric,
} from './hub/catalogue.js';
export { pruneCache, readCache } from './hub/hub.js';
export type { CachedFile, CacheReport, HubOptions, HubProgress, Prune, Pruned } from './hub/options.js';
export { parseNpy } from './image/npy.js';
export type { PictureInput, Pixels } from './image/pixels.js';
export type { Decoding, Filter, Plan, Step } from './image/plan.js';
export { preset, presetNames } from './image/presets.js';
export { resize } from './image/resize.js';
export { type BlockOptions, basicBlock, bottleneck, convBlock, identityBlock, type Shortcut } from './models/blocks.js';
export { bundled } from './models/bundled.js';
export { classesOfFolders, matchClasses } from './models/class-map.js';
export { type ClassLabel, cifar10Classes, imagenetClasses, parseClasses } from './models/classes.js';
export { initialise } from './models/initialise.js';
export {
  build,
  type FamilyName,
  family,
  type ResNetConfig,
  type ResNetOptions,
  resnet,
  resnet18,
  resnet34,
  resnet50,
  resnet101,
  resnet152,
} from './models/resnet.js';
export { type BenchOptions, type BenchReport, type BenchRow, bench } from './tasks/bench.js';
export { type ClassifyOptions, classify, type Prediction, type Row } from './tasks/classify.js';
export {
  type Cause,
  type ComparedSide,
  type CompareOptions,
  type Comparison,
  compare,
  defaultTolerance,
  type Station,
} from './tasks/compare.js';
export { isRecording } from './tasks/compare-recorded.js';
export { type Converted, convert } from './tasks/convert.js';
export { type ConvertOptions, spellings } from './tasks/convert-options.js';
export { type Exported, type ExportOptions, exportOnnx } from './tasks/export.js';
export { exportTrainingStep, type TrainingStepOptions } from './tasks/export-training.js';
export { type Inspection, type InspectOptions, inspect } from './tasks/inspect.js';
export { classesOf } from './tasks/labels.js';
export { type LoadOptions, load } from './tasks/load.js';
export { createModel, type EngineOptions, type Model, type ModelRecord } from './tasks/model.js';
export { explainPreprocessing, type PreprocessingExplained } from './tasks/preprocessing.js';
export { type QuantizeOptions, type QuantizeReport, quantize } from './tasks/quantize.js';
export type { Sample } from './tasks/quantize-batches.js';
export type { Agreement, LayerLoss } from './tasks/quantize-judge.js';
export { type RangeMethod, rangeMethods } from './tasks/quantize-ranges.js';
export type { Savable, Watched } from './tasks/savable.js';
export { type SavedFormat, save, savedFormat } from './tasks/save.js';
export { type FamilyKernels, familyKernels } from './tasks/slow-layers.js';
export { decodePredictions, expandDims, imageToArray, loadImage, preprocessInput } from './tasks/tutorial.js';
export { type Shape, type Tensor, tensor, type Weights } from './tensor.js';
export type { LoadReport } from './weights/assign.js';
export type { TargetFormat } from './weights/write.js';
