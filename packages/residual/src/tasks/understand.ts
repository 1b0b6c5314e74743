import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { kerasGraph } from '../models/keras-config.js';
import { onnxGraph } from '../models/onnx-graph.js';
import type { Checkpoint } from '../weights/checkpoint.js';
import { withSequentialHead } from '../weights/head.js';
import { type Naming, parameterShape, recogniseNames } from '../weights/names.js';
import { type Architecture, nameOf as architectureName, recogniseArchitecture } from '../weights/recognise.js';
import { ownSpelling, readRecord, type StoredRecord } from '../weights/record.js';
import type { SideFiles } from '../weights/side-files.js';

/** What is known of a weight file before its tensors are read. */
export interface Understanding {
  readonly naming: Naming | undefined;
  readonly architecture: Architecture | undefined;
  /** Builds the network that the file itself describes (a whole Keras model, ONNX). Throws what `kerasGraph`, `onnxGraph` throw. */
  readonly described: (() => Graph) | undefined;
  /** What the file's own record says; it goes before anything that is read off names and shapes. */
  readonly record: StoredRecord | undefined;
  /** What stands before the names of a network's own parameters: `model.` in the checkpoint of a run. */
  readonly prefix?: string;
  /** The files beside it that had a say in this. */
  readonly beside?: SideFiles;
}

/**
 * Which dialect and network a file's record, or else its names and shapes, speak of. Reads no tensor.
 * @param part the one that `checkpoint` was narrowed to
 */
export function understand(checkpoint: Checkpoint, file = 'weights', part?: string): Understanding {
  const record = readRecord(checkpoint.metadata, file);
  if (record?.config || record?.graph)
    return { ...recorded(checkpoint, record), ...(part !== undefined && { prefix: `${part}.` }) };
  const naming = namingOf(checkpoint);
  const architecture = naming && recogniseArchitecture(naming, (parameter) => shapeIn(checkpoint, naming, parameter));
  return { naming, architecture, described: describedBy(checkpoint), record };
}

/** Whose spelling the names are in; Detectron2's files say in `__author__` if the weights were torchvision's. */
function namingOf(checkpoint: Checkpoint): Naming | undefined {
  const { tensors, network, metadata } = checkpoint;
  const naming = recogniseNames([...tensors.keys()]);
  // An ONNX model says itself what its layers are.
  if (!naming || network) return naming;
  const { __author__: author } = metadata;
  if (naming.dialect === 'detectron2' && author === 'torchvision')
    return { ...naming, author, reason: `${naming.reason}; its __author__ is torchvision` };
  return withSequentialHead(naming, (parameter) => shapeIn(checkpoint, naming, parameter));
}

function describedBy({ network, metadata: { model_config: modelConfig } }: Checkpoint): (() => Graph) | undefined {
  if (network) return () => onnxGraph(network).graph;
  return modelConfig ? () => kerasGraph(modelConfig) : undefined;
}

/** The network is the record's. Names that are no dialect's are the network's own. */
function recorded(checkpoint: Checkpoint, record: StoredRecord): Understanding {
  const { config, graph, architecture: name } = record;
  return {
    naming: record.dialect === ownSpelling ? undefined : namingOf(checkpoint),
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

/** The network that a file describes; what is wrong with it is said of the file. */
export function described<T>(build: () => T, file: string): T {
  try {
    return build();
  } catch (error) {
    if (!(error instanceof ResidualError)) throw error;
    throw new ResidualError(error.code, `${file}: ${error.message}`, { ...error.details, file }, { cause: error });
  }
}
