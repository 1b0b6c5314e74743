import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { withDecoding } from '../image/apply.js';
import { checkPlan, type Decoding, type Plan } from '../image/plan.js';
import { preset, presetNames } from '../image/presets.js';
import { type ClassLabel, cifar10Classes, imagenetClasses } from '../models/classes.js';
import type { ResNetConfig } from '../models/resnet.js';
import { headWeights } from '../weights/head.js';
import type { Naming } from '../weights/names.js';
import { familyName, lookalikes } from '../weights/recognise.js';
import type { StoredRecord } from '../weights/record.js';
import type { ModelRecord } from './model.js';
import { endsInSigmoid, list, type Network, outputsOf } from './network.js';

// What a weight file does not say (preprocessing, what the classes are) is filled in by the custom of those who write
// such files, and told to the user.

/** The preprocessing: the user's, else the record's, else the dialect's custom, with a note where another would be as likely. */
export function choosePlan(
  { graph, config, naming, producer }: Network,
  options: { preprocess?: string | Plan | undefined; decode?: Decoding | undefined; resized?: boolean },
  file: string,
  notes: string[],
  stored?: StoredRecord,
): Pick<ModelRecord, 'plan' | 'preprocess'> {
  const [, , height, width] = graph.inputs[0].shape;
  const size = { height, width, ...(options.decode ? { decode: options.decode } : {}) };
  if (typeof options.preprocess === 'object') {
    const plan = options.decode ? withDecoding(options.preprocess, options.decode) : options.preprocess;
    checkPlan(plan);
    return { preprocess: 'custom', plan };
  }
  if (options.preprocess !== undefined)
    return { preprocess: options.preprocess, plan: preset(options.preprocess, size) };
  if (stored) {
    const { preprocess, plan } = stored;
    if (!options.resized) return { preprocess, plan: options.decode ? withDecoding(plan, options.decode) : plan };
    if (presetNames.some((name) => name === preprocess)) return { preprocess, plan: preset(preprocess, size) };
    throw new ResidualError(
      'ARGUMENT',
      `${file}: its preprocessing "${preprocess}" is no preset and cannot be changed to another size; pass a plan as preprocess`,
      { file },
    );
  }
  const sign = config || producer !== 'pytorch' ? undefined : torchvisionSign(graph);
  if (sign !== undefined) {
    const name = hasSmallStem(graph) ? 'cifar' : 'torchvision';
    notes.push(
      `${file}: nothing says how its pictures were prepared; as PyTorch wrote it ${sign}, torchvision's way is assumed (preset "${name}")`,
    );
    return { preprocess: name, plan: preset(name, size) };
  }
  if (!config || naming.dialect === undefined) {
    notes.push(`${file}: nothing says how its pictures were prepared; assuming plain pixels 0–255 (preset "raw255")`);
    return { preprocess: 'raw255', plan: preset('raw255', size) };
  }
  const name = customaryPreset(config, { ...naming, dialect: naming.dialect });
  if (name === 'torchvision-bicubic')
    notes.push(
      `${file}: prepared with resize 256 bicubic and crop 224; many of these weights want another crop, which their config.json says`,
    );
  if ((naming.author ?? naming.dialect) === 'torchvision' && name === 'torchvision')
    notes.push(
      `${file}: prepared as torchvision's V1 weights want it (resize 256); V2 weights want preset "torchvision-v2"`,
    );
  return { preprocess: name, plan: preset(name, size) };
}

/**
 * What tells that PyTorch's network is torchvision's or made after it, where BatchNorm is folded into nameless weights:
 * layers (`/layer1/layer1.0/conv1/Conv`) or parameters (`fc.weight`) that are called so, or ImageNet's classes.
 */
function torchvisionSign(graph: Graph): string | undefined {
  if ([...graph.nodes, ...graph.parameters].some(({ name }) => torchvisionName.test(name)))
    return "with torchvision's names";
  return outputsOf(graph) === 1000 ? 'for 1000 classes' : undefined;
}

/** Before PyTorch 1.13 layers were numbered, and only the classifier's weight kept its name. */
const torchvisionName = /(^|[/.])layer[1-4]\.\d+[/.]conv[12]\b|^fc\.weight$/;

/** Networks for CIFAR's pictures begin at full size; those for ImageNet's halve it at once. */
function hasSmallStem(graph: Graph): boolean {
  const first = graph.nodes.find((node) => node.op === 'conv2d');
  return first?.op === 'conv2d' && first.attributes.stride.join() === '1,1';
}

/** What pictures are customarily prepared with, by who writes such files. */
export function customaryPreset(config: ResNetConfig, { dialect, author }: Pick<Naming, 'dialect' | 'author'>): string {
  const custom = author ?? dialect;
  switch (custom) {
    case 'keras':
    case 'keras2015':
      return config.block === 'preActivation' ? 'tf' : 'caffe';
    case 'caffe':
      return 'msra';
    case 'detectron2':
      return config.groups > 1 ? 'fair' : 'msra';
    case 'timm':
    case 'huggingface':
      return 'torchvision-bicubic';
    case 'torchvision':
    case 'mmpretrain':
    case 'moco':
    case 'dino':
      return config.stem === 'cifar' ? 'cifar' : 'torchvision';
    default:
      return custom satisfies never;
  }
}

/** What the user should know where names and shapes leave a choice open. */
export function customaryDoubts({ config, graph, naming }: Network, file: string): string[] {
  const doubts: string[] = [];
  const [, channels] = graph.inputs[0].shape;
  if (channels === 1)
    doubts.push(
      `${file}: its network takes grey pictures: colours are made grey, with the mean and deviation of the first channel`,
    );
  else if (channels !== 3)
    doubts.push(
      `${file}: its network takes pictures of ${channels} channels: photographs, which are prepared as three or as one, do not fit; pass arrays`,
    );
  if (outputsOf(graph) === undefined) {
    const head = headWeights([...naming.tensors.values(), ...naming.foreign]);
    const own = head.length ? `; ${list(head)} may be a head of its own, which was left out` : '';
    doubts.push(
      endsInSigmoid(graph)
        ? `${file}: its outputs stand each for itself (sigmoid); they are no probabilities of one class among many`
        : `${file}: it has no classifier; the network ends with its features${own}`,
    );
  }
  if (config && naming.dialect === 'detectron2' && !naming.author) doubts.push(`${file}: ${detectronDoubt(config)}`);
  const own = naming.author ?? naming.dialect;
  const same = config && (own === 'timm' || own === 'torchvision') ? lookalikes(config) : [];
  if (same.length)
    doubts.push(
      `${file}: ${same.join(' and ')} of timm ${same.length > 1 ? 'have' : 'has'} the same tensors; if it is ${same.length > 1 ? 'one of them' : 'that one'}, pass it as architecture`,
    );
  if (config?.stem === 'cifar' && !familyName(config))
    doubts.push(
      `${file}: its first convolution, a 3×3, is taken for one of stride 1 without a pool behind it, as for CIFAR; one that strides or is pooled (as for Tiny-ImageNet) has the same tensors: build such a network and pass it as architecture`,
    );
  if (config?.shortcut === 'pad' && !familyName(config))
    doubts.push(
      `${file}: no shortcut has weights: taken for every second pixel and zeros for new channels, as in the paper's networks for CIFAR; a network without shortcuts has the same tensors: build it and pass it as architecture`,
    );
  return doubts;
}

/** Detectron2 takes MSRA's ResNets and FAIR's ResNeXts, each with their own stride and values, and copies of torchvision's. */
function detectronDoubt({ groups, strideOn }: ResNetConfig): string {
  if (groups > 1)
    return "taken for FAIR's ResNeXt (stride on the 3×3, BGR pictures of unit deviation); for a copy of torchvision's pass preprocess torchvision";
  const late = strideOn === '1x1' ? 'architecture resnet50 (or the like) and ' : '';
  return `taken for MSRA's weights (${late && 'stride on the first 1×1, '}BGR pictures); for Detectron2's copies of torchvision's pass ${late}preprocess torchvision`;
}

/** ImageNet's labels for 1000 classes, CIFAR-10's for ten classes behind the paper's CIFAR stem; else none. */
export async function customaryLabels(
  { config, graph }: Network,
  file: string,
  notes: string[],
): Promise<readonly ClassLabel[] | undefined> {
  const classes = outputsOf(graph);
  if (classes === 1000) return imagenetClasses();
  if (classes === 10 && config?.stem === 'cifar') {
    notes.push(`${file}: its ten classes are taken for CIFAR-10's; labels of your own say otherwise`);
    return cifar10Classes;
  }
  return undefined;
}
