import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { DType, Shape } from '../tensor.js';
import { sizeOf } from '../tensor.js';
import type { Metadata, WeightFormat } from '../weights/checkpoint.js';
import { type CheckpointInput, openCheckpoint } from '../weights/open.js';
import { choosePart, type Part } from '../weights/parts.js';
import { readSideFiles } from '../weights/side-files.js';
import { outputsOf } from './network.js';
import { understand, withSideFiles } from './understand.js';

/** What is in a weight file, without reading its tensors. */
export interface Inspection {
  readonly format: WeightFormat;
  /** Why the format was recognised. */
  readonly formatReason: string;
  /** Whose spelling the names are in; absent when no rule fits. */
  readonly dialect?: string;
  readonly dialectReason?: string;
  /** The set of weights that loading takes, where the file holds more than that; then the others, and what is no weights. */
  readonly part?: string;
  readonly otherParts?: readonly Part[];
  readonly leftOut?: readonly Part[];
  /** What stands before every name and is taken off when loading. */
  readonly prefix: string;
  /** The network these tensors were made for; absent when it is none we know. */
  readonly architecture?: string;
  readonly classes?: number;
  /** The files beside the weights that were heard on the network: `config.json of timm`. */
  readonly beside?: string;
  /** Why the network that the file describes cannot be built, or its weights in other files cannot be read. */
  readonly trouble?: string;
  /** Numbers that are learnt: the elements of all tensors that become parameters, running statistics left out. */
  readonly parameters: number;
  /** Numbers that are measured: BatchNorm's running means and variances. */
  readonly statistics: number;
  /** In the file's order; `parameter` is the name inside the network. */
  readonly tensors: readonly {
    readonly name: string;
    readonly dtype: DType;
    readonly shape: Shape;
    readonly parameter?: string;
  }[];
  /** What stands in the file beside tensors. */
  readonly metadata: Metadata;
}

/** What is looked at. */
export interface InspectOptions {
  /** Which set of weights of a training checkpoint: `model`, `model_ema`; where there is an average, it is the default. */
  readonly part?: string | undefined;
}

/**
 * Reads the table of contents of a weight file and says what it looks like.
 * @throws UNKNOWN_NAME when it has no such part; FILE, WEIGHTS_FORMAT, WEIGHTS_UNSAFE, MISSING_PACKAGE.
 */
export async function inspect(from: CheckpointInput, options: InspectOptions = {}): Promise<Inspection> {
  const checkpoint = await openCheckpoint(from);
  try {
    const { checkpoint: taken, part, others, leftOut } = choosePart(checkpoint, options.part);
    const { naming, architecture, described, record, beside } = withSideFiles(
      understand(taken, undefined, part),
      await readSideFiles(from),
    );
    const { network } = checkpoint;
    // An ONNX model may name its weights as torchvision does and be no network of the family.
    const spelled = network && !architecture ? undefined : naming;
    const unread = await checkpoint.check?.().catch(troubleOf);
    const graph = architecture && !network ? undefined : described && attempt(described);
    const parameterOf = new Map([...(naming?.tensors ?? [])].map(([parameter, name]) => [name, parameter]));
    const tensors = [...checkpoint.tensors].map(([name, { dtype, shape }]) => {
      const parameter = parameterOf.get(name);
      return { name, dtype, shape, ...(parameter === undefined ? {} : { parameter }) };
    });
    const built = graph instanceof ResidualError ? undefined : graph;
    const trouble = graph instanceof ResidualError ? graph : unread;
    const counted =
      network && built
        ? built.parameters.map(({ role, shape }) => ({ shape, measured: role === 'mean' || role === 'variance' }))
        : tensors
            .filter((t) => (naming ? t.parameter !== undefined : taken.tensors.has(t.name)))
            .map(({ name, parameter, shape }) => ({ shape, measured: isStatistic.test(parameter ?? name) }));
    const count = (measured: boolean) =>
      counted.filter((one) => one.measured === measured).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    const classes = network && built ? outputsOf(built) : architecture?.config.classes;
    const name = architecture?.name ?? record?.architecture ?? built?.name;
    return {
      format: checkpoint.format,
      formatReason: checkpoint.reason,
      ...(spelled ? { dialect: spelled.dialect, dialectReason: spelled.reason } : {}),
      ...(record && !spelled ? { dialect: record.dialect, dialectReason: 'its record says so' } : {}),
      ...(described && !spelled && !record
        ? network
          ? { dialect: 'onnx model', dialectReason: 'it holds its own graph' }
          : { dialect: 'keras model', dialectReason: 'it has a model_config' }
        : {}),
      ...(trouble ? { trouble: trouble.message } : {}),
      ...(part === undefined ? {} : { part, otherParts: others, leftOut }),
      prefix: network ? '' : (naming?.prefix ?? ''),
      ...(name === undefined ? {} : { architecture: name }),
      ...(beside && { beside: beside.from }),
      ...(classes === undefined ? {} : { classes }),
      parameters: count(false),
      statistics: count(true),
      tensors,
      metadata: checkpoint.metadata,
    };
  } finally {
    await checkpoint.close();
  }
}

/** Running statistics by their names in PyTorch, Keras and Keras' files of 2015; a count of batches is one, too. */
const isStatistic = /(^|[._/])(running_(mean|var|std)|moving_(mean|variance)|num_batches_tracked)(_\d+)?(:0)?$/;

/** What is described, or why it cannot be built: a look into a file does not fail for that. */
function attempt(described: () => Graph): Graph | ResidualError {
  try {
    return described();
  } catch (error) {
    return troubleOf(error);
  }
}

/** Only a bug is thrown on. */
function troubleOf(error: unknown): ResidualError {
  if (error instanceof ResidualError) return error;
  throw error;
}
