import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { DType, Shape } from '../tensor.js';
import { sizeOf } from '../tensor.js';
import type { Metadata, WeightFormat } from '../weights/checkpoint.js';
import { type CheckpointInput, openCheckpoint } from '../weights/open.js';
import { readSideFiles } from '../weights/side-files.js';
import { understand, withSideFiles } from './load.js';

/** What is in a weight file, without reading its tensors. */
export interface Inspection {
  readonly format: WeightFormat;
  /** Why the format was recognised. */
  readonly formatReason: string;
  /** Whose spelling the names are in; absent when no rule fits. */
  readonly dialect?: string;
  readonly dialectReason?: string;
  /** What stands before every name and is taken off when loading. */
  readonly prefix: string;
  /** The network these tensors were made for; absent when it is none we know. */
  readonly architecture?: string;
  readonly classes?: number;
  /** The files beside the weights that were heard on the network: `config.json of timm`. */
  readonly beside?: string;
  /** Why the network that the file describes cannot be built. */
  readonly trouble?: string;
  /** Elements of all tensors that become parameters. */
  readonly parameters: number;
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

/**
 * Reads the table of contents of a weight file and says what it looks like.
 * @throws FILE, WEIGHTS_FORMAT, WEIGHTS_UNSAFE, MISSING_PACKAGE.
 */
export async function inspect(from: CheckpointInput): Promise<Inspection> {
  const checkpoint = await openCheckpoint(from);
  try {
    const beside = typeof from === 'string' ? await readSideFiles(from) : undefined;
    const { naming, architecture, described } = withSideFiles(understand(checkpoint), beside);
    const graph = architecture ? undefined : described && attempt(described);
    const parameterOf = new Map([...(naming?.tensors ?? [])].map(([parameter, name]) => [name, parameter]));
    const tensors = [...checkpoint.tensors].map(([name, { dtype, shape }]) => {
      const parameter = parameterOf.get(name);
      return { name, dtype, shape, ...(parameter === undefined ? {} : { parameter }) };
    });
    const counted = naming ? tensors.filter((t) => t.parameter !== undefined) : tensors;
    const name = architecture?.name ?? (graph instanceof ResidualError ? undefined : graph?.name);
    return {
      format: checkpoint.format,
      formatReason: checkpoint.reason,
      ...(naming ? { dialect: naming.dialect, dialectReason: naming.reason } : {}),
      ...(described && !naming ? { dialect: 'keras model', dialectReason: 'it has a model_config' } : {}),
      ...(graph instanceof ResidualError ? { trouble: graph.message } : {}),
      prefix: naming?.prefix ?? '',
      ...(name === undefined ? {} : { architecture: name }),
      ...(beside && { beside: beside.from }),
      ...(architecture ? { classes: architecture.config.classes } : {}),
      parameters: counted.reduce((sum, t) => sum + sizeOf(t.shape), 0),
      tensors,
      metadata: checkpoint.metadata,
    };
  } finally {
    await checkpoint.close();
  }
}

/** What is described, or why it cannot be built: a look into a file does not fail for that. */
function attempt(described: () => Graph): Graph | ResidualError {
  try {
    return described();
  } catch (error) {
    if (error instanceof ResidualError) return error;
    throw error;
  }
}
