import { chooseEngine } from '../engines/index.js';
import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { defaultModel } from '../hub/catalogue.js';
import type { HubOptions } from '../hub/options.js';
import type { Decoding, Plan } from '../image/plan.js';
import type { ClassLabel } from '../models/classes.js';
import { kerasGraph } from '../models/keras-config.js';
import { onnxGraph } from '../models/onnx-graph.js';
import { build, type FamilyName, family, type ResNetOptions, resnet } from '../models/resnet.js';
import { formatShape } from '../tensor.js';
import { type LoadReport, planAssignment, readWeights } from '../weights/assign.js';
import type { Checkpoint } from '../weights/checkpoint.js';
import { numberedNaming } from '../weights/keras-numbered.js';
import { applyNames, dialects, kerasParameter, type Naming, parameterShape, recogniseNames } from '../weights/names.js';
import { type CheckpointInput, openCheckpoint } from '../weights/open.js';
import { choosePart, partNotes } from '../weights/parts.js';
import { type Architecture, nameOf as architectureName, recogniseArchitecture } from '../weights/recognise.js';
import { ownSpelling, readRecord, type StoredRecord } from '../weights/record.js';
import { readSideFiles, type SideFiles } from '../weights/side-files.js';
import { choosePlan, customaryDoubts, customaryLabels, type Network, outputsOf } from './custom.js';
import { settleLabels } from './labels.js';
import { createModel, type EngineOptions, type Model } from './model.js';
import { onnxNetwork } from './onnx.js';
import { misspelt, type Origin, originOf } from './origin.js';

export interface LoadOptions extends EngineOptions, HubOptions {
  /** A member of the family, or a network of one's own, to put the weights into; otherwise what the file looks like. */
  architecture?: FamilyName | (string & {}) | Graph | undefined;
  /** Number of classes; another than the file's needs `newHead`. */
  classes?: number | undefined;
  /** Set a new, random classifier instead of the file's: the start of fine-tuning. */
  newHead?: boolean | undefined;
  /** Labels of the classes, in the order of the outputs. */
  labels?: readonly ClassLabel[] | undefined;
  /** Name of a preprocessing preset, or a plan. */
  preprocess?: string | Plan | undefined;
  decode?: Decoding | undefined;
  /** Size of picture the network is built for, side or [height, width]. */
  size?: number | readonly [height: number, width: number] | undefined;
  /** Seed of a new classifier. */
  seed?: number | undefined;
  /** Told once when a ready-made input does not look as the plan makes it; `console.warn` when left out. */
  warn?: ((text: string) => void) | undefined;
  /** Which set of weights of a training checkpoint: `model`, `model_ema`; where there is an average, it is the default. */
  part?: string | undefined;
}

/** What is known of a weight file before its tensors are read. */
export interface Understanding {
  readonly naming: Naming | undefined;
  readonly architecture: Architecture | undefined;
  /** Builds the network that the file itself describes (a whole Keras model, ONNX). Throws what `kerasGraph`, `onnxGraph` throw. */
  readonly described: (() => Graph) | undefined;
  /** What the file's own record says; it goes before anything that is read off names and shapes. */
  readonly record: StoredRecord | undefined;
  /** The files beside it that had a say in this. */
  readonly beside?: SideFiles;
}

/**
 * Loads a model: a bundled or a published model's name (`resnet50`, `keras/resnet50`, `timm/resnet50.a1_in1k`; fetched
 * once, then out of the cache), or a weight file as path, URL, Blob or bytes (PyTorch .pth, safetensors, Keras .h5 and
 * .keras, ONNX), an index of shards, or the folder of either. Format, dialect and architecture of a file are read off the
 * content.
 *
 * @param from `resnet50`, torchvision's best, when left out.
 * @throws FILE, WEIGHTS_FORMAT, WEIGHTS_UNSAFE, WEIGHTS_MISMATCH, NUMERICS, CLASSES, UNKNOWN_NAME, MISSING_PACKAGE; for
 * published models DOWNLOAD, LICENCE, ABORTED too.
 * @example await using model = await load('resnet50.pth');
 */
export async function load(from: CheckpointInput = defaultModel, options: LoadOptions = {}): Promise<Model> {
  // The engine's thread starts while the weights are read here; whether it can run is asked again when it must.
  void chooseEngine(options.engine).available();
  const { origin, checkpoint } = await openSource(from, options);
  try {
    const beside = origin ? undefined : await readSideFiles(from);
    const { network } = origin ?? {};
    const changes = network && options.architecture === undefined ? { ...network, ...given(options) } : options;
    return await fill(checkpoint, origin?.name ?? nameOf(from), changes, origin, beside);
  } finally {
    await checkpoint.close();
  }
}

/** Opens a weight file, or the one that a name stands for. @throws as `load` */
export async function openSource(
  from: CheckpointInput,
  options: HubOptions,
): Promise<{ origin: Origin | undefined; checkpoint: Checkpoint }> {
  const origin = typeof from === 'string' ? await originOf(from, options) : undefined;
  const checkpoint = await openCheckpoint(origin ? origin.weights : from).catch(async (error: unknown) => {
    throw (!origin && typeof from === 'string' && isAbsent(error) && (await misspelt(from))) || error;
  });
  return { origin, checkpoint };
}

/** An option that is undefined is one that was not given. */
const given = (options: LoadOptions): LoadOptions =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

const isAbsent = (error: unknown): boolean => error instanceof ResidualError && error.details.reason === 'ENOENT';

/** Which dialect and network a file's record, or else its names and shapes, speak of. Reads no tensor. */
export function understand(checkpoint: Checkpoint, file = 'weights'): Understanding {
  const record = readRecord(checkpoint.metadata, file);
  if (record?.config || record?.graph) return recorded(checkpoint, record);
  const naming = recogniseNames([...checkpoint.tensors.keys()]);
  const architecture = naming && recogniseArchitecture(naming, (parameter) => shapeIn(checkpoint, naming, parameter));
  return { naming, architecture, described: describedBy(checkpoint), record };
}

function describedBy({ network, metadata: { model_config: modelConfig } }: Checkpoint): (() => Graph) | undefined {
  if (network) return () => onnxGraph(network).graph;
  return modelConfig ? () => kerasGraph(modelConfig) : undefined;
}

/** The network is the record's. Names that are no dialect's are the network's own. */
function recorded(checkpoint: Checkpoint, record: StoredRecord): Understanding {
  const { config, graph, architecture: name } = record;
  return {
    naming: record.dialect === ownSpelling ? undefined : recogniseNames([...checkpoint.tensors.keys()]),
    architecture: config && { name, config },
    described: graph && (() => graph),
    record,
  };
}

/** What stands beside a weight file goes before what its names and shapes look like, behind its own record. */
export function withSideFiles(found: Understanding, beside: SideFiles | undefined): Understanding {
  if (!beside || !found.architecture || found.record) return found;
  const { classes } = found.architecture.config;
  const config = { ...found.architecture.config, ...beside.network, classes };
  return { ...found, beside, architecture: { name: architectureName(config), config } };
}

function shapeIn(checkpoint: Checkpoint, naming: Naming, parameter: string) {
  const source = naming.tensors.get(parameter);
  const info = source === undefined ? undefined : checkpoint.tensors.get(source);
  return info && parameterShape(info.shape, naming.layout);
}

async function fill(
  opened: Checkpoint,
  file: string,
  options: LoadOptions,
  origin?: Origin,
  sideFiles?: SideFiles,
): Promise<Model> {
  const chosen = choosePart(opened, options.part);
  const { checkpoint } = chosen;
  const found = withSideFiles(understand(checkpoint, file), sideFiles);
  const stored = options.architecture === undefined ? found.record : undefined;
  const notes = partNotes(chosen, file);
  const { beside } = found;
  if (beside) notes.push(`${file}: read ${beside.from} beside it`);
  // A network that is given or described as it is keeps its size.
  const size = options.architecture === undefined && !found.described ? beside?.size : undefined;
  const network = chooseNetwork(checkpoint, found, { ...options, size: options.size ?? size }, file);
  const { naming } = network;
  const architecture = origin?.architecture ?? stored?.architecture ?? network.architecture;
  const graph = origin?.architecture ? { ...network.graph, name: architecture } : network.graph;
  if (naming.prefix) notes.push(`${file}: took "${naming.prefix}" off the names of its tensors`);

  const replace = newHead(graph, checkpoint, naming, options, file);
  const report = planAssignment(graph, checkpoint, naming, replace);
  if (report.missing.length || report.misshapen.length) throw mismatch(file, graph, report, found);
  refuseStrayTrunk(network, report, file);
  if (report.unexpected.length && !replace.size)
    notes.push(
      `${file}: ${report.unexpected.length} tensors have no place in ${architecture} and were left out: ${list(report.unexpected)}`,
    );

  if (!beside && !stored && options.architecture === undefined) notes.push(...customaryDoubts(network, file));

  const [, , height, width] = graph.inputs[0].shape;
  const { decode } = options;
  const published = origin?.preprocess;
  const planned = typeof published === 'function' ? published({ height, width }) : published;
  const preprocess = options.preprocess ?? planned ?? beside?.plan?.({ height, width, decode });
  const custom = choosePlan(network, { preprocess, decode, resized: options.size !== undefined }, file, notes, stored);
  // Where labels are given, a note on those that are customary would mislead.
  const spoken = options.labels ? [] : notes;
  const customary = async () => (stored ? stored.classes : await customaryLabels(network, file, spoken));
  const known = replace.size ? undefined : (origin?.classes ?? beside?.classes ?? (await customary()));
  const labels = settleLabels(options.labels, known, graph, file, notes);
  // What a file describes may differ from the member of the family that its names speak of.
  const given = typeof options.architecture === 'object' || (checkpoint.network && options.architecture === undefined);
  const { engine, device, threads, precision, warn } = options;
  const weights = await readWeights(graph, checkpoint, naming, { replace, seed: options.seed, file });
  return createModel(
    graph,
    {
      architecture,
      ...(network.config && !given ? { config: network.config } : {}),
      ...custom,
      ...(labels ? { classes: labels } : {}),
      ...source(origin ?? stored),
    },
    { engine, device, threads, precision, warn, name: file, weights, notes, report },
  );
}

/** Where weights come from and what may be done with them, as far as it is known. */
const source = (from: Partial<Pick<Origin, 'licence' | 'source' | 'about'>> = {}) => ({
  ...(from.licence !== undefined && { licence: from.licence }),
  ...(from.source !== undefined && { source: from.source }),
  ...(from.about !== undefined && { about: from.about }),
});

/** The network to fill: the user's, else the one the file describes, else the one its shapes speak of. */
function chooseNetwork(checkpoint: Checkpoint, found: Understanding, options: LoadOptions, file: string): Network {
  const { architecture, size } = options;
  const names = [...checkpoint.tensors.keys()];
  const keras = checkpoint.format.startsWith('keras');
  const naming: Network['naming'] = found.naming ?? {
    layout: keras ? 'keras' : 'pytorch',
    prefix: '',
    ...applyNames(names, '', keras ? kerasParameter : (name) => name),
  };
  if (typeof architecture === 'object') {
    // What the file looks like tells how its pictures are customarily prepared, whoever wrote the network down.
    const config = found.architecture && { config: found.architecture.config };
    refuseChanges(architecture, options, file);
    const own = checkpoint.numbered ? numberedNaming(architecture, names, false) : naming;
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
    return { graph: resnet(config, found.architecture.name), naming, architecture: found.architecture.name, config };
  }
  throw new ResidualError(
    'WEIGHTS_MISMATCH',
    `${file}: no ResNet is known by these ${names.length} tensors (${list(names)}); build the network and pass it as architecture`,
    { file, tensors: names.length },
  );
}

/** The network that a file describes; what is wrong with it is said of the file. */
function described<T>(build: () => T, file: string): T {
  try {
    return build();
  } catch (error) {
    if (!(error instanceof ResidualError)) throw error;
    throw new ResidualError(error.code, `${file}: ${error.message}`, { ...error.details, file }, { cause: error });
  }
}

/** A network that is given as it is cannot be changed while its weights are loaded. */
function refuseChanges(graph: Graph, { classes, size }: LoadOptions, file: string): void {
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

/** @throws WEIGHTS_MISMATCH when tensors of the trunk have no place: the answers would be another network's. */
function refuseStrayTrunk({ naming, architecture }: Network, { unexpected }: LoadReport, file: string): void {
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
function newHead(
  graph: Graph,
  checkpoint: Checkpoint,
  naming: Network['naming'],
  options: LoadOptions,
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

function mismatch(file: string, graph: Graph, report: LoadReport, { architecture }: Understanding): ResidualError {
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
  if (architecture && architecture.name !== graph.name)
    parts.push(`these weights look like ${architecture.name}: load them as that`);
  return new ResidualError('WEIGHTS_MISMATCH', parts.join('; '), {
    file,
    missing: missing.map((m) => m.name),
    misshapen: misshapen.map((m) => m.name),
    unexpected: report.unexpected,
    looksLike: architecture?.name ?? null,
  });
}

/** What messages call a file. */
export const nameOf = (from: CheckpointInput): string =>
  typeof from === 'string'
    ? from.replace(/[/\\]+$/, '').replace(/^.*[/\\]/, '')
    : from instanceof URL
      ? from.pathname.replace(/^.*\//, '')
      : 'weights';

const list = (names: readonly string[]): string => `${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}`;
