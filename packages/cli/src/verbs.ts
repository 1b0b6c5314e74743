import type { Context } from './context.js';
import {
  augmentFlags,
  benchFlags,
  cacheFlags,
  classifyFlags,
  compareFlags,
  convertFlags,
  evaluateFlags,
  type Flags,
  inspectFlags,
  json,
  lrFindFlags,
  modelsFlags,
  type OptionsOf,
  quantizeFlags,
  runsFlags,
  shells,
  summaryFlags,
  trainFlags,
} from './flags.js';

/** A verb's module exports `run`, which answers with the exit status. */
type Run<Options> = (args: readonly string[], options: Options, context: Context) => Promise<number>;

/** A verb as data: all that `--help` needs. Its module, and whatever that imports, is loaded when the verb is used. */
export interface Verb {
  readonly name: string;
  /** In commander's spelling: `<must>`, `[may]`, `<several...>`. */
  readonly args: string;
  /** Words that its arguments may be, for completion. */
  readonly words?: readonly string[];
  readonly summary: string;
  readonly flags: Flags;
  readonly examples: readonly string[];
  readonly load: () => Promise<{ readonly run: Run<never> }>;
}

/** Sees to it that a verb's module takes the very options that its flags give. */
const verb = <const F extends Flags>(
  row: Verb & { readonly flags: F; readonly load: () => Promise<{ readonly run: Run<OptionsOf<F>> }> },
): Verb => row;

export const verbs: readonly Verb[] = [
  verb({
    name: 'classify',
    args: '<pictures...>',
    summary: 'say what photographs show: files, folders or globs',
    flags: classifyFlags,
    examples: [
      "residual classify photo.jpg                              torchvision's ResNet-50, fetched on first use",
      'residual classify --model timm/resnet18.a1_in1k photo.jpg',
      'residual classify --weights resnet50.pth photo.jpg       weights of your own',
      'residual classify --model resnet16-cifar10 photo.jpg     the bundled model: ten classes',
      'residual classify -w resnet50.pth --json photos/ > results.jsonl',
      "residual classify -w flowers.safetensors --labels flowers.txt 'new/**/*.png'",
      'residual classify -w resnet50.pth --classes n02504458,tusker photos/',
      'residual classify -w resnet50.pth --score --top 1 val/      val/tench/1.jpg, val/n01443537/2.jpg …',
      'residual classify -w resnet50.pth input.npy              an array [N, 3, H, W], preprocessed already',
      'residual classify -w resnet50.pth --explain-preprocessing --save-input seen.png photo.jpg',
    ],
    load: () => import('./verbs/classify.js'),
  }),
  verb({
    name: 'summary',
    args: '<model>',
    summary: 'list the layers of a network with their shapes and costs',
    flags: summaryFlags,
    examples: [
      'residual summary resnet50',
      'residual summary resnet50.pth',
      'residual summary resnet18 --classes 5 --size 192x256',
      'residual summary resnet50 --freeze layer3          what learns in a fine-tuning, and what stays',
      'residual summary resnet50 --svg resnet50.svg',
    ],
    load: () => import('./verbs/summary.js'),
  }),
  verb({
    name: 'models',
    args: '[name]',
    summary: 'list the models that can be had by name, or those whose name has a word in it',
    flags: modelsFlags,
    examples: [
      'residual models',
      'residual models resnet50',
      'residual models timm --licence apache',
      'residual models --cached',
      'residual models --architectures',
    ],
    load: () => import('./verbs/models.js'),
  }),
  verb({
    name: 'cache',
    args: '[action]',
    words: ['prune'],
    summary: 'show what published models are kept on this machine, or prune them',
    flags: cacheFlags,
    examples: [
      'residual cache',
      'residual cache prune --older-than 30',
      'residual cache prune --to 2GB',
      'residual cache prune --all',
    ],
    load: () => import('./verbs/cache.js'),
  }),
  verb({
    name: 'inspect',
    args: '<weights...>',
    summary: 'say what is in a weight file and which network it looks like',
    flags: inspectFlags,
    examples: [
      'residual inspect resnet50.pth',
      'residual inspect --tensors weights.h5',
      'residual inspect --json *.pth',
    ],
    load: () => import('./verbs/inspect.js'),
  }),
  verb({
    name: 'convert',
    args: '<from> <to>',
    summary: 'write weights in another format: .residual .safetensors .pth .h5 .onnx',
    flags: convertFlags,
    examples: [
      'residual convert resnet50.pth resnet50.safetensors    every tensor as it is',
      'residual convert resnet50.pth resnet50.residual --preprocess torchvision-v2 --labels classes.txt',
      'residual convert resnet50 resnet50.onnx               a published model, to run it anywhere',
      'residual convert keras-resnet50.residual weights.h5   for model.load_weights in Keras',
      'residual convert resnet18 step.onnx --training-step --batch 32',
    ],
    load: () => import('./verbs/convert.js'),
  }),
  verb({
    name: 'quantize',
    args: '',
    summary: 'make a model of 8 bits: faster and a quarter the size, with what that costs',
    flags: quantizeFlags,
    examples: [
      'residual quantize --weights resnet50.pth --data photos/ --out resnet50-int8.residual',
      'residual quantize --model resnet18 --data val/ --out small.onnx     val/tench/1.jpg …: accuracy too',
      'residual quantize -w flowers.safetensors --data new/ -o q.residual --float first,last',
    ],
    load: () => import('./verbs/quantize.js'),
  }),
  verb({
    name: 'compare',
    args: '[picture]',
    summary: 'say where two models or programs part on a photograph, and why',
    flags: compareFlags,
    examples: [
      'residual compare -w resnet50.pth --against resnet50.h5 photo.jpg',
      'residual compare -w resnet50.pth --against-preprocess caffe photo.jpg',
      'residual compare -w resnet50.pth --against-engine reference photo.jpg',
      'residual compare -w resnet50.pth --against recorded.safetensors photo.jpg    what PyTorch or Keras computed',
    ],
    load: () => import('./verbs/compare.js'),
  }),
  verb({
    name: 'evaluate',
    args: '<data>',
    summary: 'count how well a model knows pictures: by class, confusion, calibration',
    flags: evaluateFlags,
    examples: [
      'residual evaluate flowers/ -w runs/1                        the best checkpoint of a run',
      'residual evaluate val/ --model resnet50                     folders named by WordNet id, label or index',
      'residual evaluate val/ --model resnet50 --truth val.txt     a flat folder',
      'residual evaluate val/ --model resnet50 --views ten-crop --test-size 288',
      'residual evaluate val/ -w resnet18.pth --among data --json',
    ],
    load: () => import('./verbs/evaluate.js'),
  }),
  verb({
    name: 'runs',
    args: '[folders...]',
    summary: 'compare runs: what they reached, and in which settings they differ',
    flags: runsFlags,
    examples: ['residual runs', 'residual runs runs/ other/7', 'residual runs runs/1 --report', 'residual runs --json'],
    load: () => import('./verbs/runs.js'),
  }),
  verb({
    name: 'lr-find',
    args: '<data>',
    summary: 'find a learning rate: raise it step by step until the loss runs away',
    flags: lrFindFlags,
    examples: [
      'residual lr-find flowers/ --from resnet18',
      'residual lr-find cifar/ --model resnet20 --recipe he2015-cifar --svg rates.svg',
    ],
    load: () => import('./verbs/lr-find.js'),
  }),
  verb({
    name: 'augment',
    args: '<data...>',
    summary: 'show what a training sees of its pictures, epoch by epoch',
    flags: augmentFlags,
    examples: [
      'residual augment flowers/ --preview sheet.png                    by the recipe finetune',
      'residual augment flowers/ --preview sheet.png --recipe torchvision-v2',
      'residual augment photo.jpg --preview sheet.jpg --augment "random-resized-crop 0.3 1, flip, jitter 0.4"',
    ],
    load: () => import('./verbs/augment.js'),
  }),
  verb({
    name: 'bench',
    args: '',
    summary: 'measure how fast a network is on this machine, by engine, precision and batch',
    flags: benchFlags,
    examples: [
      'residual bench                                           ResNet-50, one picture at a time',
      'residual bench --model resnet18 --batch 1,8 --engine onnx,onednn',
      'residual bench -w resnet50.pth --precision f32,bf16,int8 --engine onednn --csv speed.csv',
      'residual bench --model resnext50_32x4d --size 288 --threads 1 --json',
    ],
    load: () => import('./verbs/bench.js'),
  }),
  verb({
    name: 'train',
    args: '[data]',
    summary: 'train a network, or fine-tune one, on pictures of your own',
    flags: trainFlags,
    examples: [
      'residual train flowers/ --from resnet18 --validation 0.2    flowers/rose/1.jpg, flowers/tulip/2.jpg …',
      'residual train flowers/ --from resnet50.pth --set freeze=layer3 --set epochs=5',
      'residual train flowers/ --from resnet18 --recipe linear-probe    a new classifier in seconds',
      'residual train cifar/ --model resnet20 --recipe he2015-cifar --set precision=bf16',
      'residual train cifar/ --model resnet20 --plan               what it will do, and how long it takes',
      'residual train --resume runs/1',
    ],
    load: () => import('./verbs/train.js'),
  }),
  verb({
    name: 'doctor',
    args: '',
    summary: 'say what this machine can use and what is missing',
    flags: { json },
    examples: ['residual doctor', 'residual doctor --json'],
    load: () => import('./verbs/doctor.js'),
  }),
  verb({
    name: 'completion',
    args: '<shell>',
    words: shells,
    summary: 'print a script with which bash, zsh or fish completes words after `residual`',
    flags: {},
    examples: [
      'residual completion fish > ~/.config/fish/completions/residual.fish',
      'eval "$(residual completion bash)"      a line for ~/.bashrc',
      'eval "$(residual completion zsh)"       a line for ~/.zshrc, after compinit',
    ],
    load: () => import('./verbs/completion.js'),
  }),
];
