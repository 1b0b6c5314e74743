import { bytes, integer, list, number, oneOf, size, text } from './flag-values.js';

/** One option of a verb. Without `parse` it is a switch; with it, `value` names the argument in the help. */
export interface Flag {
  readonly help: string;
  readonly short?: string;
  readonly value?: string;
  readonly preset?: string | number;
  /** It may be given several times: a list. */
  readonly several?: true;
  readonly parse?: ((text: string, flag: string) => unknown) & {
    /** All that it takes, where these are a few words. */
    readonly words?: readonly string[];
  };
}

/** The options of a verb by their name in camel case: `minProbability` is `--min-probability`. */
export type Flags = Readonly<Record<string, Flag>>;

type ValueOf<F> = F extends { parse: (text: string, flag: string) => infer Value }
  ? F extends { several: true }
    ? readonly Value[]
    : Value
  : true;

/** What a verb receives for its flags: those with a preset always, the others when they were given. */
export type OptionsOf<F> = {
  readonly [K in keyof F as F[K] extends { preset: unknown } ? K : never]: ValueOf<F[K]>;
} & {
  readonly [K in keyof F as F[K] extends { preset: unknown } ? never : K]?: ValueOf<F[K]>;
};

/** `minProbability` as it is typed: `--min-probability`. */
export const flagName = (key: string): string => `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

const precision = oneOf('f32', 'f32-bf16', 'bf16', 'int8');

/** `--json`, the same for every verb that has it. */
export const json = { help: 'print JSON for programs; errors too, on stderr' } as const satisfies Flag;

const part = {
  value: 'name',
  help: 'set of weights in a training checkpoint, as model or model_ema',
  parse: text,
} as const satisfies Flag;

export const classifyFlags = {
  model: {
    value: 'name',
    short: 'm',
    help: 'published or bundled model (resnet50), or with -w an architecture',
    parse: text,
  },
  weights: {
    value: 'file',
    short: 'w',
    help: 'weight file, or its folder: .pth .safetensors .h5 .keras .onnx',
    parse: text,
  },
  part,
  top: { value: 'n', short: 'k', help: 'classes to list for each picture', parse: integer(1, 1000), preset: 5 },
  minProbability: { value: 'p', help: 'list only classes at least this likely, 0 to 1', parse: number(0, 1) },
  batch: {
    value: 'n',
    short: 'b',
    help: 'pictures computed together; 8 where there are so many, else 1',
    parse: integer(1, 1024),
  },
  engine: {
    value: 'name',
    help: 'auto, onnx, onednn or reference',
    parse: oneOf('auto', 'onnx', 'onednn', 'reference'),
    preset: 'auto',
  },
  device: {
    value: 'name',
    help: 'for the engine onnx: cpu, webgpu, coreml, dml or cuda',
    parse: oneOf('cpu', 'webgpu', 'coreml', 'dml', 'cuda'),
  },
  precision: {
    value: 'type',
    help: 'numbers the engine computes with: f32, bf16, f32-bf16 (kept in f32, multiplied in bf16), or int8 of a quantised model',
    parse: precision,
  },
  deterministic: { help: 'choose kernels by a fixed table, never by the clock: the same bits in every run' },
  threads: { value: 'n', help: 'threads of the engine; every core when left out', parse: integer(1, 256) },
  preprocess: { value: 'preset', help: 'preprocessing, where not the one of the weights', parse: text },
  decode: { value: 'how', help: 'default, or pillow: exactly its pixels', parse: oneOf('default', 'pillow') },
  labels: { value: 'file', help: 'class names, one a line or a JSON list', parse: text },
  classes: { value: 'names', help: 'choose among these of its classes: a file, or names with commas', parse: text },
  score: { help: 'the folders of the pictures are named after their classes: count the right answers' },
  size: { value: 'pixels', help: 'build the network for another size, as 64 or 192x256', parse: size },
  offline: { help: 'never use the network: published models out of the cache only' },
  acceptLicense: { help: 'accept a licence that forbids commercial use' },
  explainPreprocessing: { help: 'print each step with its sizes for each picture' },
  saveInput: { value: 'file', help: 'write what the network saw of the picture as a PNG', parse: text },
  json,
} as const satisfies Flags;

const engineNames = oneOf('auto', 'onnx', 'onednn', 'reference');
const decodings = oneOf('default', 'pillow');

export const compareFlags = {
  model: { value: 'name', short: 'm', help: 'architecture or bundled model of the first side, a', parse: text },
  weights: { value: 'file', short: 'w', help: 'weight file of a', parse: text },
  against: { value: 'file', help: 'weights, or recorded activations, of the other side, b; those of a', parse: text },
  againstModel: { value: 'name', help: 'architecture to put the weights of b into', parse: text },
  preprocess: { value: 'preset', help: 'preprocessing of a, where not the one of its weights', parse: text },
  againstPreprocess: { value: 'preset', help: 'preprocessing of b', parse: text },
  decode: { value: 'how', help: 'default, or pillow: exactly its pixels', parse: decodings },
  againstDecode: { value: 'how', help: 'the same for b', parse: decodings },
  engine: { value: 'name', help: 'auto, onnx, onednn or reference', parse: engineNames, preset: 'auto' },
  againstEngine: { value: 'name', help: 'engine of b; that of a when left out', parse: engineNames },
  tolerance: { value: 't', help: 'relative difference that counts as none', parse: number(0, 0.999), preset: 1e-4 },
  json,
} as const satisfies Flags;

export const benchFlags = {
  model: { value: 'name', short: 'm', help: 'network by name (resnet50); its weights are random', parse: text },
  weights: { value: 'file', short: 'w', help: 'weight file; with -m, an architecture to put it into', parse: text },
  batch: {
    value: 'n',
    short: 'b',
    help: 'pictures computed together, as 1,8; 1 when left out',
    parse: list(integer(1, 1024)),
  },
  size: { value: 'pixels', help: 'side of the pictures, or height and width as 192x256', parse: size },
  engine: {
    value: 'engines',
    help: 'auto, onnx, onednn or reference, or several: onnx,onednn',
    parse: list(engineNames),
  },
  precision: {
    value: 'types',
    help: 'f32, f32-bf16, bf16 or int8, or several: f32,int8; f32 when left out',
    parse: list(precision),
  },
  threads: { value: 'n', help: 'threads of each engine; every core when left out', parse: integer(1, 256) },
  rounds: { value: 'n', help: 'turns of each combination', parse: integer(1, 1000), preset: 8 },
  csv: { value: 'file', help: 'write the table as comma-separated values too', parse: text },
  json,
} as const satisfies Flags;

export const quantizeFlags = {
  model: { value: 'name', short: 'm', help: 'published model, or with -w an architecture', parse: text },
  weights: { value: 'file', short: 'w', help: 'weight file of the float model', parse: text },
  data: {
    value: 'folder',
    help: 'pictures to calibrate with; of a folder for each class accuracy is counted',
    parse: text,
  },
  out: { value: 'file', short: 'o', help: 'file to write: .residual, or .onnx', parse: text },
  method: {
    value: 'name',
    help: 'how ranges are chosen: minmax, percentile or mse',
    parse: oneOf('minmax', 'percentile', 'mse'),
    preset: 'mse',
  },
  float: { value: 'layers', help: 'layers that stay float: first, last, or names with commas', parse: text },
  calibrate: { value: 'n', help: 'pictures to calibrate with', parse: integer(1, 100_000), preset: 100 },
  judge: {
    value: 'n',
    help: 'pictures to compare on, others where there are',
    parse: integer(1, 1_000_000),
    preset: 500,
  },
  preprocess: { value: 'preset', help: 'preprocessing, where not the one of the weights', parse: text },
  labels: { value: 'file', help: 'class names, one a line or a JSON list', parse: text },
  engine: { value: 'name', help: 'auto, onnx, onednn or reference', parse: engineNames, preset: 'auto' },
  threads: { value: 'n', help: 'threads of the engine; every core when left out', parse: integer(1, 256) },
  force: { help: 'replace a file that is there' },
  offline: { help: 'never use the network: published models out of the cache only' },
  acceptLicense: { help: 'accept a licence that forbids commercial use' },
  json,
} as const satisfies Flags;

/** Written out: help does not wait for what trains. */
export const recipeNames = [
  'finetune',
  'linear-probe',
  'quick',
  'he2015-cifar',
  'airbench',
  'torchvision-v1',
  'torchvision-v2',
  'rsb-a1',
  'rsb-a2',
  'rsb-a3',
] as const;

export const trainFlags = {
  model: { value: 'name', short: 'm', help: 'network by name, its weights random: resnet20, resnet18', parse: text },
  from: {
    value: 'weights',
    help: 'begin with these weights: a published or bundled model, a file, a run',
    parse: text,
  },
  recipe: {
    value: 'name',
    short: 'r',
    help: `${recipeNames.join(', ')}, or a .json of your own; with --from finetune, else quick`,
    parse: text,
  },
  set: {
    value: 'name=value',
    several: true,
    help: "another value than the recipe's, as epochs=30; may be repeated; docs/training.md has all names",
    parse: text,
  },
  out: { value: 'folder', short: 'o', help: 'folder of the run; the next free number below runs/', parse: text },
  resume: { value: 'folder', help: 'go on with a run', parse: text },
  validation: {
    value: 'share',
    help: 'judge by this share of the pictures (0.1), by so many, by those in a file of paths, or by test',
    parse: text,
  },
  seed: { value: 'n', help: 'of all that is drawn', parse: integer(0, 2 ** 31 - 1), preset: 0 },
  size: { value: 'pixels', help: 'build the network for another size, as 64 or 192x256', parse: size },
  channels: { value: 'n', help: '1 for grey pictures; the first convolution is adapted', parse: integer(1, 3) },
  preprocess: { value: 'preset', help: 'preprocessing, where not the one of the weights', parse: text },
  engine: { value: 'name', help: 'auto, onnx, onednn or reference', parse: engineNames, preset: 'auto' },
  threads: { value: 'n', help: 'threads of the engine; every core when left out', parse: integer(1, 256) },
  workers: { value: 'n', help: 'threads that decode and augment; one a core', parse: integer(1, 256) },
  cache: { value: 'where', help: 'ram: keep decoded pictures in memory', parse: oneOf('ram') },
  strict: { help: 'stop at a picture that cannot be read; else it is skipped and reported' },
  saveEvery: { value: 'seconds', help: 'between checkpoints within an epoch', parse: number(0, 1e6), preset: 300 },
  stopAfter: { value: 'n', help: 'stop, with a checkpoint, after so many updates', parse: integer(1, 1e9) },
  plan: { help: 'print what the run will do, after a trial of ten steps, and do nothing' },
  offline: { help: 'never use the network: published models out of the cache only' },
  acceptLicense: { help: 'accept a licence that forbids commercial use' },
  json,
} as const satisfies Flags;

/** The same for every verb that begins to learn. */
const beginning = {
  model: trainFlags.model,
  from: trainFlags.from,
  recipe: trainFlags.recipe,
  set: trainFlags.set,
  seed: trainFlags.seed,
  size: trainFlags.size,
  channels: trainFlags.channels,
  preprocess: trainFlags.preprocess,
  engine: trainFlags.engine,
  threads: trainFlags.threads,
  workers: trainFlags.workers,
  offline: trainFlags.offline,
  acceptLicense: trainFlags.acceptLicense,
} as const satisfies Flags;

export const lrFindFlags = {
  ...beginning,
  least: { value: 'rate', help: 'where it begins', parse: number(1e-12, 1e3), preset: 1e-5 },
  most: { value: 'rate', help: 'where it ends, if the loss lets it', parse: number(1e-12, 1e6), preset: 10 },
  steps: { value: 'n', help: 'steps from the one to the other', parse: integer(10, 100_000), preset: 100 },
  svg: { value: 'file', help: 'draw the losses into a file', parse: text },
  json,
} as const satisfies Flags;

export const runsFlags = {
  report: { help: 'write the report.html of each again, of the data it was begun with' },
  json,
} as const satisfies Flags;

export const evaluateFlags = {
  model: { value: 'name', short: 'm', help: 'published or bundled model, or with -w an architecture', parse: text },
  weights: { value: 'file', short: 'w', help: 'weight file, or the folder of a run: its best checkpoint', parse: text },
  part,
  truth: {
    value: 'file',
    help: 'of a flat folder: lines with a picture and its class, or the class alone',
    parse: text,
  },
  on: {
    value: 'part',
    help: 'train, validation or test; test when left out, else validation, else all',
    parse: oneOf('train', 'validation', 'test'),
  },
  validation: { value: 'share', help: 'set aside as the run did: a share, or a file of paths', parse: text },
  seed: { value: 'n', help: "of that share; a run's own, else 0", parse: integer(0, 2 ** 31 - 1) },
  views: {
    value: 'which',
    help: 'one, flip, or ten-crop: the mean over several looks',
    parse: oneOf('one', 'flip', 'ten-crop'),
    preset: 'one',
  },
  testSize: {
    value: 'pixels',
    help: "side of the network's input, with all sizes in proportion",
    parse: integer(1, 8192),
  },
  among: {
    value: 'which',
    help: 'all classes of the model, or those of the data only',
    parse: oneOf('all', 'data'),
    preset: 'all',
  },
  preprocess: { value: 'preset', help: 'preprocessing, where not the one of the weights', parse: text },
  labels: { value: 'file', help: 'class names, one a line or a JSON list', parse: text },
  engine: { value: 'name', help: 'auto, onnx, onednn or reference', parse: engineNames, preset: 'auto' },
  precision: { value: 'type', help: 'f32, bf16, or int8 of a quantised model', parse: precision },
  threads: { value: 'n', help: 'threads of the engine; every core when left out', parse: integer(1, 256) },
  workers: { value: 'n', help: 'threads that decode; one a core', parse: integer(1, 256) },
  strict: { help: 'stop at a picture that cannot be read; else it is skipped and reported' },
  offline: { help: 'never use the network: published models out of the cache only' },
  acceptLicense: { help: 'accept a licence that forbids commercial use' },
  json,
} as const satisfies Flags;

export const augmentFlags = {
  preview: { value: 'file', short: 'o', help: 'contact sheet to write, .png or .jpg', parse: text },
  augment: { value: 'steps', help: 'steps with their numbers, as "flip, rotate 15"', parse: text },
  recipe: { value: 'name', help: 'the steps of a recipe, as rsb-a2', parse: text, preset: 'finetune' },
  size: { value: 'pixels', help: "side of the network's input; that of the recipe, or 224", parse: integer(1, 2048) },
  seed: { value: 'n', help: 'what is drawn: that of the training', parse: integer(0, 4_294_967_295), preset: 0 },
  pictures: { value: 'n', help: 'rows of the sheet', parse: integer(1, 100), preset: 8 },
  epochs: { value: 'n', help: 'columns of the sheet', parse: integer(1, 100), preset: 8 },
} as const satisfies Flags;

export const summaryFlags = {
  classes: { value: 'n', help: 'outputs of the classifier', parse: integer(1, 1_000_000) },
  size: { value: 'pixels', help: 'side of the picture, or height and width as 192x256', parse: size },
  freeze: { value: 'layer', help: 'show what stays when it is frozen up to there, as layer3', parse: text },
  svg: { value: 'file', help: 'draw the blocks into a file', parse: text },
  json,
} as const satisfies Flags;

/** Shells that `residual completion` writes a script for. */
export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

export const inspectFlags = {
  part,
  tensors: { help: 'list every tensor' },
  json,
} as const satisfies Flags;

export const modelsFlags = {
  cached: { help: 'only those that are on this machine' },
  licence: { value: 'name', help: 'only those whose licence has this in its name, as bsd or cc-by-nc', parse: text },
  architectures: { help: 'the networks that weights of your own can be for, with their costs' },
  json,
} as const satisfies Flags;

export const cacheFlags = {
  all: { help: 'prune: every file' },
  olderThan: { value: 'days', help: 'prune: files not used for so long', parse: number(0, 36_500) },
  to: { value: 'size', help: 'prune: the least recently used, until this much is left (500MB, 2GB)', parse: bytes },
  json,
} as const satisfies Flags;

export const convertFlags = {
  model: {
    value: 'name',
    short: 'm',
    help: 'architecture to put the weights into, where not the one they look like',
    parse: text,
  },
  to: {
    value: 'format',
    help: 'residual, safetensors, pytorch, keras or onnx, where the ending does not say it',
    parse: oneOf('residual', 'safetensors', 'pytorch', 'keras', 'onnx'),
  },
  dialect: { value: 'dialect', help: 'spelling of the tensors; that of the source when left out', parse: text },
  part,
  labels: { value: 'file', help: 'class names for .residual and .onnx, one a line or a JSON list', parse: text },
  preprocess: {
    value: 'preset',
    help: 'preprocessing for .residual and .onnx, where not the one guessed',
    parse: text,
  },
  bf16: { help: 'round convolutions and dense layers to bf16, which halves the file' },
  fold: { help: 'for .onnx: join each BatchNorm with the convolution before it' },
  trainingStep: { help: 'for .onnx: write a step of training, which any ONNX Runtime can run (docs/training-step.md)' },
  batch: { value: 'n', help: 'pictures in a step of training; 16 when left out', parse: integer(1, 65536) },
  force: { help: 'replace a file that is there' },
  offline: { help: 'never use the network: published models out of the cache only' },
  acceptLicense: { help: 'accept a licence that forbids commercial use' },
  json,
} as const satisfies Flags;
