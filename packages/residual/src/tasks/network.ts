import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { inferShapes } from '../graph/graph.js';
import type { PictureChannels } from '../image/apply.js';
import { build, type FamilyName, family, type ResNetConfig, type ResNetOptions, resnet } from '../models/resnet.js';
import { formatShape } from '../tensor.js';
import type { LoadReport } from '../weights/assign.js';
import type { Checkpoint } from '../weights/checkpoint.js';
import { numberedNaming } from '../weights/keras-numbered.js';
import {
  applyNames,
  type DialectName,
  dialects,
  kerasParameter,
  type Naming,
  parameterShape,
} from '../weights/names.js';
import { onnxNetwork } from './onnx.js';
import { described, type Understanding } from './understand.js';

/** Which network weights are put into, where it is not the one they look like. */
export interface NetworkOptions {
  /** A member of the family, or a network of one's own, to put the weights into; otherwise what the file looks like. */
  architecture?: FamilyName | (string & {}) | Graph | undefined;
  /** Number of classes; another than the file's needs `newHead`. */
  classes?: number | undefined;
  /** Set a new, random classifier instead of the file's: the start of fine-tuning. */
  newHead?: boolean | undefined;
  /** Size of picture the network is built for, side or [height, width]. */
  size?: number | readonly [height: number, width: number] | undefined;
}

/** A network chosen for a weight file, and how the file's names map to it. */
export interface Network {
  readonly graph: Graph;
  readonly naming: Omit<Naming, 'dialect' | 'reason'> & { readonly dialect?: DialectName };
  /** The family's name, or a description. */
  readonly architecture: string;
  /** Absent for networks that are not of the family. */
  readonly config?: ResNetConfig;
  /** The program that wrote the file, where it says so: `pytorch`. */
  readonly producer?: string;
}

/** The network to fill: the user's, else the one the file describes, else the one its shapes speak of. */
export function chooseNetwork(
  checkpoint: Checkpoint,
  found: Understanding,
  options: NetworkOptions,
  file: string,
): Network {
  const { architecture, size } = options;
  const names = [...checkpoint.tensors.keys()];
  const keras = checkpoint.format.startsWith('keras');
  const { prefix = '' } = found;
  const naming: Network['naming'] = found.naming ?? {
    layout: keras ? 'keras' : 'pytorch',
    prefix,
    ...applyNames(names, prefix, keras ? kerasParameter : (name) => name),
  };
  if (typeof architecture === 'object') {
    // What the file looks like tells how its pictures are customarily prepared, whoever wrote the network down.
    const config = found.architecture && { config: found.architecture.config };
    refuseChanges(architecture, options, file);
    const own = checkpoint.numbered ? numberedNaming(architecture, names, false) : asNamed(naming, architecture, names);
    return { graph: architecture, naming: own, architecture: architecture.name, ...config };
  }
  // Without a classifier in the file the network ends with its features, unless a new classifier is asked for.
  const classes = options.newHead ? options.classes : (found.architecture?.config.classes ?? options.classes);
  const changes: ResNetOptions = { ...(size && { size }), ...(classes !== undefined && { classes }) };
  if (architecture !== undefined) {
    const graph = build(architecture, changes);
    const { spelling } = family[architecture as FamilyName];
    const own = checkpoint.numbered
      ? { ...numberedNaming(graph, names, spelling === 'keras'), dialect: spelling }
      : naming;
    return { graph, naming: own, architecture, config: { ...family[architecture as FamilyName], ...changes } };
  }
  if (checkpoint.network) {
    const { network: model } = checkpoint;
    const network = described(() => onnxNetwork(model, naming, found.architecture, size), file);
    refuseChanges(network.graph, options, file);
    return network;
  }
  if (found.described) {
    const graph = described(found.described, file);
    const config = found.architecture && { config: found.architecture.config };
    refuseChanges(graph, options, file);
    return { graph, naming, architecture: graph.name, ...config };
  }
  if (found.architecture) {
    const config = { ...found.architecture.config, ...changes };
    if (config.shortcut === 'pad' && config.stem !== 'cifar' && !found.record) throw bareShortcuts(config, file);
    return { graph: resnet(config, found.architecture.name), naming, architecture: found.architecture.name, config };
  }
  throw new ResidualError(
    'WEIGHTS_MISMATCH',
    `${file}: no ResNet is known by these ${names.length} tensors (${list(names)}); build the network and pass it as architecture`,
    { file, tensors: names.length },
  );
}

/**
 * Nobody publishes a network for large pictures whose shortcuts have no weights: rather, they are missing. The paper has
 * two that have such tensors, which must be asked for.
 */
function bareShortcuts({ depths, block }: ResNetConfig, file: string): ResidualError {
  const plain = (['plain18', 'plain34'] as const).find((name) => `${family[name].depths}` === `${depths}`);
  const without = block === 'basic' && plain ? `architecture ${plain}` : 'a network without them';
  return new ResidualError(
    'WEIGHTS_MISMATCH',
    `${file}: no shortcut has weights (layer2.0.downsample.0.weight, …); if they were lost, fetch the file again; if it has no shortcuts, pass ${without}; if its shortcuts pad with zeros (option A), build it with shortcut "pad" and pass it as architecture`,
    { file, missing: ['layer2.0.downsample.0.weight'] },
  );
}

/** A network without a layer `fc` may call its head's layers as the file does: `fc.0`, `fc.1`. */
function asNamed(naming: Network['naming'], { parameters }: Graph, names: readonly string[]): Network['naming'] {
  if (!naming.dialect || parameters.some(({ name }) => name === 'fc.weight')) return naming;
  return { ...naming, ...applyNames(names, naming.prefix, dialects[naming.dialect].parameter) };
}

/** A network that is given as it is cannot be changed while its weights are loaded. */
function refuseChanges(graph: Graph, { classes, size }: NetworkOptions, file: string): void {
  const has = outputsOf(graph);
  const side = typeof size === 'number' ? [size, size] : size;
  const resized = side !== undefined && String(side) !== String(graph.inputs[0].shape.slice(2));
  if (resized || (classes !== undefined && classes !== has))
    throw new ResidualError(
      'ARGUMENT',
      `${file}: its network ${graph.name} is given as it is, with ${has ?? 'no'} classes; build one of another size or number of classes and pass it as architecture`,
      { file },
    );
}

/** LoRA's factors (Hu et al. 2021) as Keras and PEFT call them: their product is to be added to a weight. */
const adapter = /lora_(kernel_|embeddings_)?[ab](\b|_)/i;

/** @throws WEIGHTS_MISMATCH when tensors that matter have no place: the answers would be another network's. */
export function refuseStrayTrunk({ naming, architecture }: Network, { unexpected }: LoadReport, file: string): void {
  const added = unexpected.find((name) => adapter.test(name));
  if (added !== undefined)
    throw new ResidualError(
      'WEIGHTS_MISMATCH',
      `${file}: "${added}" is a LoRA factor, to be added to a weight, which is not done here; save the merged weights (Keras: a .keras file; PEFT: merge_and_unload)`,
      { file, unexpected: [added] },
    );
  const trunk = naming.dialect && dialects[naming.dialect].trunk;
  const stray = unexpected.filter(
    (name) => name.startsWith(naming.prefix) && trunk?.test(name.slice(naming.prefix.length)),
  );
  if (!stray.length) return;
  throw new ResidualError(
    'WEIGHTS_MISMATCH',
    `${file}: ${stray.length} tensors of its trunk have no place in ${architecture} (${list(stray)}): it is another network; build that one and pass it as architecture`,
    { file, unexpected: stray },
  );
}

/** The classifier's parameters, when another number of classes is asked for than the file has. */
export function newHead(
  graph: Graph,
  checkpoint: Checkpoint,
  naming: Network['naming'],
  options: NetworkOptions,
  file: string,
): ReadonlySet<string> {
  const none: ReadonlySet<string> = new Set();
  if (options.classes === undefined && !options.newHead) return none;
  const head = graph.nodes.findLast((node) => node.op === 'dense');
  const parameters = graph.parameters.filter((p) => head?.inputs.includes(p.value));
  if (options.newHead) return new Set(parameters.map((p) => p.name));
  const source = naming.tensors.get(parameters[0]?.name ?? '');
  const shape = source === undefined ? undefined : checkpoint.tensors.get(source)?.shape;
  const inFile = shape && (naming.arrange?.get(parameters[0].name)?.shape ?? parameterShape(shape, naming.layout))[0];
  if (inFile === options.classes) return none;
  throw new ResidualError(
    'CLASSES',
    `${file}: its classifier has ${inFile ?? 'no'} classes but ${options.classes} were asked for; pass newHead to set a new classifier`,
    { file, expected: options.classes ?? 0, received: inFile ?? 0 },
  );
}

export function mismatch(
  file: string,
  graph: Graph,
  report: LoadReport,
  { architecture, record }: Understanding,
): ResidualError {
  const { missing, misshapen } = report;
  const parts = [`${file}: does not fit ${graph.name}, which has ${graph.parameters.length} parameters`];
  if (missing.length) {
    const [first] = missing;
    parts.push(
      `${missing.length} are missing (${first.name}${first.nearest ? `; the file has ${first.nearest}` : ''}${missing.length > 1 ? ', …' : ''})`,
    );
  }
  if (misshapen.length) {
    const [{ name, expected, received }] = misshapen;
    parts.push(
      `${misshapen.length} have another shape (${name}: expected ${formatShape(expected)}, received ${formatShape(received)})`,
    );
  }
  if (record?.quantisation)
    parts.push('the file holds a model of 8 bits, which is a network of its own: leave the architecture (--model) out');
  else if (record && record.architecture !== graph.name)
    parts.push(`it says that it holds ${record.architecture}: leave the architecture (--model) out`);
  else if (architecture && architecture.name !== graph.name)
    parts.push(`these weights look like ${architecture.name}: load them as that`);
  return new ResidualError('WEIGHTS_MISMATCH', parts.join('; '), {
    file,
    missing: missing.map((m) => m.name),
    misshapen: misshapen.map((m) => m.name),
    unexpected: report.unexpected,
    looksLike: architecture?.name ?? null,
  });
}

export const list = (names: readonly string[]): string =>
  `${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}`;

/** The number of a classifier's outputs; undefined for a network that ends in features. */
export function outputsOf(graph: Graph): number | undefined {
  const [output] = graph.outputs;
  return output.name === 'features' ? undefined : inferShapes(graph)[output.value].at(-1);
}

/**
 * How many channels a network takes of a picture: red, green and blue, or grey alone.
 * @throws GRAPH where it takes another number.
 */
export function pictureChannels({ name, graph }: { readonly name: string; readonly graph: Graph }): PictureChannels {
  const [, channels, height, width] = graph.inputs[0].shape;
  if (channels === 1 || channels === 3) return channels;
  throw new ResidualError(
    'GRAPH',
    `${name} takes pictures of ${channels} channels, and a photograph is prepared as three, or as one of grey; prepare them yourself and pass arrays [N, ${channels}, ${height}, ${width}] (.npy, or tensors)`,
    { model: name, channels },
  );
}

/** Whether the outputs are scores that stand each for itself, as those of labels that may hold together. */
export const endsInSigmoid = ({ nodes, outputs: [{ value }] }: Graph): boolean =>
  nodes.some(({ op, outputs }) => op === 'sigmoid' && outputs.includes(value));
