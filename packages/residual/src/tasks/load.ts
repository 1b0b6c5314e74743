import { chooseEngine } from '../engines/index.js';
import { ResidualError } from '../errors.js';
import { defaultModel } from '../hub/catalogue.js';
import type { HubOptions } from '../hub/options.js';
import type { Decoding, Plan } from '../image/plan.js';
import type { ClassLabel } from '../models/classes.js';
import { readAgain } from '../weights/again.js';
import { planAssignment, readWeights } from '../weights/assign.js';
import type { Checkpoint } from '../weights/checkpoint.js';
import { type CheckpointInput, openCheckpoint } from '../weights/open.js';
import { unpacked } from '../weights/packed.js';
import { choosePart, partNotes } from '../weights/parts.js';
import { readSideFiles, type SideFiles } from '../weights/side-files.js';
import { choosePlan, customaryDoubts, customaryLabels } from './custom.js';
import { settleLabels } from './labels.js';
import { createModel, type EngineOptions, type Model } from './model.js';
import { chooseNetwork, list, mismatch, type NetworkOptions, newHead, refuseStrayTrunk } from './network.js';
import { misspelt, type Origin, originOf } from './origin.js';
import { understand, withSideFiles } from './understand.js';

export interface LoadOptions extends NetworkOptions, EngineOptions, HubOptions {
  /** Labels of the classes, in the order of the outputs. */
  labels?: readonly ClassLabel[] | undefined;
  /** Name of a preprocessing preset, or a plan. */
  preprocess?: string | Plan | undefined;
  decode?: Decoding | undefined;
  /** Seed of a new classifier. */
  seed?: number | undefined;
  /** Told once when a ready-made input does not look as the plan makes it; `console.warn` when left out. */
  warn?: ((text: string) => void) | undefined;
  /** Which set of weights of a training checkpoint: `model`, `model_ema`; where there is an average, it is the default. */
  part?: string | undefined;
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
    const reopen = () => openCheckpoint(origin?.weights ?? from);
    return await fill(checkpoint, reopen, origin?.name ?? nameOf(from), changes, origin, beside);
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
  if (!origin) refuseShard(from);
  const checkpoint = await openCheckpoint(origin ? origin.weights : from).catch(async (error: unknown) => {
    throw (!origin && typeof from === 'string' && isAbsent(error) && (await misspelt(from))) || error;
  });
  return { origin, checkpoint };
}

/** One of several files has a part of the tensors, which may look like a smaller network. @throws WEIGHTS_MISMATCH */
function refuseShard(from: CheckpointInput): void {
  const name = from instanceof Blob && 'name' in from ? String(from.name) : nameOf(from);
  const [, weights, number, of, ending] = /^(.*)-(\d{5})-of-(\d{5})(\.\w+)$/.exec(name) ?? [];
  if (number === undefined || Number(of) < 2) return;
  throw new ResidualError(
    'WEIGHTS_MISMATCH',
    `${name}: by its name it is file ${Number(number)} of ${Number(of)} that hold the weights together; give ${weights}${ending}.index.json beside it, or their folder`,
    { file: name },
  );
}

/** An option that is undefined is one that was not given. */
const given = (options: LoadOptions): LoadOptions =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

const isAbsent = (error: unknown): boolean => error instanceof ResidualError && error.details.reason === 'ENOENT';

async function fill(
  opened: Checkpoint,
  reopen: () => Promise<Checkpoint>,
  file: string,
  options: LoadOptions,
  origin?: Origin,
  sideFiles?: SideFiles,
): Promise<Model> {
  const chosen = choosePart(opened, options.part);
  const found = withSideFiles(understand(chosen.checkpoint, file, chosen.part), sideFiles);
  const readable = (from: Checkpoint) => (found.record?.quantisation ? unpacked(from, file) : from);
  const checkpoint = readable(chosen.checkpoint);
  const stored = options.architecture === undefined ? found.record : undefined;
  const notes = partNotes(chosen, file);
  const { beside } = found;
  if (beside) notes.push(`${file}: read ${beside.from} beside it`);
  // A network that is given or described as it is keeps its size.
  const size = options.architecture === undefined && !found.described ? beside?.size : undefined;
  const network = chooseNetwork(checkpoint, found, { ...options, size: options.size ?? size }, file);
  const { graph, naming } = network;
  const architecture = stored?.architecture ?? network.architecture;
  // What the part is called is told already.
  if (naming.prefix && naming.prefix !== found.prefix)
    notes.push(`${file}: took "${naming.prefix}" off the names of its tensors`);

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
  const known = replace.size ? undefined : (beside?.classes ?? (await customary()));
  const labels = settleLabels(options.labels, known, graph, file, notes);
  // What a file describes may differ from the member of the family that its names speak of.
  const given = typeof options.architecture === 'object' || (checkpoint.network && options.architecture === undefined);
  const { engine, device, threads, precision, deterministic, warn } = options;
  const reading = { replace, seed: options.seed, file };
  const weights = await readWeights(graph, checkpoint, naming, reading);
  const { versions } = opened;
  const again = async () => {
    const { checkUnchanged } = await import('#file');
    await checkUnchanged(versions ?? new Map());
    const reopened = await reopen();
    try {
      const part = readable(choosePart(reopened, options.part).checkpoint);
      const read = await readWeights(graph, part, naming, reading);
      await checkUnchanged(versions ?? new Map());
      return read;
    } finally {
      await reopened.close();
    }
  };
  return createModel(
    graph,
    {
      architecture,
      ...(network.config && !given ? { config: network.config } : {}),
      ...custom,
      ...(labels ? { classes: labels } : {}),
      ...(stored?.labels && !replace.size && { labels: stored.labels }),
      ...source(origin ?? stored),
      ...(stored?.quantisation && { quantisation: stored.quantisation }),
    },
    {
      engine,
      device,
      threads,
      precision,
      deterministic,
      warn,
      name: file,
      weights: versions ? readAgain(weights, again) : weights,
      notes,
      report,
    },
  );
}

/** Where weights come from and what may be done with them, as far as it is known. */
const source = (from: Partial<Pick<Origin, 'licence' | 'source' | 'about'>> = {}) => ({
  ...(from.licence !== undefined && { licence: from.licence }),
  ...(from.source !== undefined && { source: from.source }),
  ...(from.about !== undefined && { about: from.about }),
});

/** What messages call a file. */
export const nameOf = (from: CheckpointInput): string =>
  typeof from === 'string'
    ? from.replace(/[/\\]+$/, '').replace(/^.*[/\\]/, '')
    : from instanceof URL
      ? from.pathname.replace(/^.*\//, '')
      : 'weights';
