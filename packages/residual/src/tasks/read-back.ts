import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { type Called, otherLayer, sameNetwork } from '../graph/same.js';
import { type ResNetConfig, resnet } from '../models/resnet.js';
import type { Shape } from '../tensor.js';
import { planAssignment } from '../weights/assign.js';
import type { Checkpoint, Metadata } from '../weights/checkpoint.js';
import { differingSettings } from '../weights/recognise.js';
import { chooseNetwork, mismatch, type Network, type NetworkOptions, refuseStrayTrunk } from './network.js';
import type { Beside } from './readers.js';
import { type Understanding, understand, withSideFiles } from './understand.js';

// A spelling says more than names: who reads a file that has nothing else takes for granted what its names do not tell.

/** A network and what the new file calls its parameters. */
export interface Written {
  readonly graph: Graph;
  readonly called: Called;
  /** Where the network is built from settings, for words. */
  readonly config?: ResNetConfig | undefined;
}

/** A file to be: what a reader would find in it. */
export interface File {
  readonly tensors: ReadonlyMap<string, { readonly shape: Shape }>;
  readonly metadata: Metadata;
  readonly isKeras?: boolean;
  /** What stands beside it where it is going to be, which readers look at; or why they could not. */
  readonly beside?: Beside;
}

/** Why a file would not be read back as the network that was written. */
export interface Misread {
  /** `it would be read with strideOn 3x3, and it has 1x1` */
  readonly why: string;
  /** It would be refused: nobody gets a wrong answer. */
  readonly refused: boolean;
}

/**
 * The network that a file would be read as, all its parameters in their places.
 * @throws WEIGHTS_MISMATCH and what else `load` throws before it reads a tensor.
 */
export function readAs(
  checkpoint: Checkpoint,
  found: Understanding,
  options: Pick<NetworkOptions, 'architecture' | 'size'>,
  file: string,
): Network {
  const network = chooseNetwork(checkpoint, found, options, file);
  const report = planAssignment(network.graph, checkpoint, network.naming, new Set());
  if (report.missing.length || report.misshapen.length) throw mismatch(file, network.graph, report, found);
  refuseStrayTrunk(network, report, file);
  return network;
}

/** What these tensors, written as a file, would be read as for pictures of this size; or why they would be refused. */
export function readBack(
  { tensors, metadata, isKeras = false, beside }: File,
  [, , ...size]: Shape,
): Network | ResidualError {
  const checkpoint: Checkpoint = {
    format: isKeras ? 'keras-h5' : 'safetensors',
    reason: '',
    tensors: new Map([...tensors].map(([name, { shape }]) => [name, { dtype: 'float32', shape }])),
    metadata,
    read: (name) => Promise.reject(new ResidualError('UNKNOWN_NAME', name)),
    close: () => Promise.resolve(),
  };
  try {
    if (beside instanceof ResidualError) throw beside;
    return readAs(
      checkpoint,
      withSideFiles(understand(checkpoint), beside),
      { size: size as [number, number] },
      'the new file',
    );
  } catch (error) {
    if (error instanceof ResidualError) return error;
    throw error;
  }
}

/**
 * Whether a file would be read back as this very network: undefined when it would. A softmax at the end is no difference:
 * files of weights do not tell, and the answers are the same.
 */
export function misread(file: File, { graph, called, config }: Written): Misread | undefined {
  const read = readBack(file, graph.inputs[0].shape);
  if (read instanceof ResidualError) return { why: `it could not be read back (${read.message})`, refused: true };
  const theirs: Called = (parameter) => read.naming.tensors.get(parameter);
  const [has, would] = [withoutSoftmax(graph), withoutSoftmax(read.graph)];
  if (sameNetwork(has, would, called, theirs)) return undefined;
  const { beside } = file;
  const where = beside && !(beside instanceof ResidualError) ? `with ${beside.from} in the folder it goes to ` : '';
  const setting = config && read.config && differingSettings(read.config, config)[0];
  if (setting)
    return {
      why: `${where}it would be read with ${setting} ${read.config?.[setting]}, and it has ${config[setting]}`,
      refused: false,
    };
  const layer = otherLayer(has, would, called, theirs) ?? 'its layers would be joined otherwise';
  return { why: `${where}it would be read as ${read.architecture}: ${layer}`, refused: false };
}

/** The settings that give a network, where it is a member of the family: those it has, or those its names speak of. */
export function settingsOf(graph: Graph, config: ResNetConfig | undefined): ResNetConfig | undefined {
  if (!config) return undefined;
  const [, , height, width] = graph.inputs[0].shape;
  const same = sameNetwork(withoutSoftmax(graph), withoutSoftmax(resnet({ ...config, size: [height, width] })));
  return same ? config : undefined;
}

function withoutSoftmax(graph: Graph): Graph {
  const [{ name, value }, ...others] = graph.outputs;
  const last = graph.nodes.find(({ outputs }) => outputs[0] === value);
  return last?.op === 'softmax' ? { ...graph, outputs: [{ name, value: last.inputs[0] }, ...others] } : graph;
}
