import { checkTarget, writeFileAtomic } from '#file';
import { aborted, ResidualError, unknownName } from '../errors.js';
import { type AnyTensor, toBfloat16 } from '../tensor.js';
import { byteLength, type Checkpoint, type Metadata } from '../weights/checkpoint.js';
import type { KerasContent } from '../weights/hdf5-write.js';
import { type DialectName, dialects } from '../weights/names.js';
import { choosePart, partNotes } from '../weights/parts.js';
import { ownSpelling, recordKey, recordText } from '../weights/record.js';
import { readSideFiles } from '../weights/side-files.js';
import { type ContainerName, containers, endingNote, formatOfEnding, type TargetFormat } from '../weights/write.js';
import { asItStands, type Content, cannot, kerasContent, native, spelled } from './contents.js';
import { type ConvertOptions, checkOptions, loading } from './convert-options.js';
import { exportOnnx } from './export.js';
import { exportTrainingStep } from './export-training.js';
import { load, nameOf, openSource } from './load.js';
import type { ModelRecord } from './model.js';
import type { Network } from './network.js';
import { type File, type Misread, misread, readAs, readBack, settingsOf } from './read-back.js';
import { type Beside, labelsNote, misprepared, otherPreparation, preparedNote, publishedPlan } from './readers.js';
import { recordOf, watch } from './savable.js';
import { type Understanding, understand, withSideFiles } from './understand.js';

/** What was written. */
export interface Converted {
  readonly file: string;
  readonly format: TargetFormat;
  /** Absent where nothing says whose names they are, and for ONNX. */
  readonly dialect?: string;
  readonly tensors: number;
  /** Of all values. */
  readonly bytes: number;
  /** Tensors of the source that are not in the file. */
  readonly dropped: readonly string[];
  /** What was decided for the user, or lost, one line each. */
  readonly notes: readonly string[];
}

/**
 * Writes weights in another format or spelling. Where both files spell the tensors alike, each tensor keeps its name,
 * element type and bits; otherwise they go through the network, as float32. What the new file cannot say is refused or
 * told. The file appears whole or not at all.
 *
 * @param from a weight file, or the name of a bundled or a published model.
 * @param to a path; its ending chooses the format: `.residual` `.safetensors` `.pth` `.h5` `.onnx`.
 * @throws ARGUMENT for an ending that is unknown, or a file that has no place for a model of 8 bits; FILE when the target
 * is there already, is the source or cannot be written; WEIGHTS_MISMATCH when the spelling has no names for the network, or would have it taken for another; NUMERICS
 * when a weight is not a finite number; ABORTED; and what `load` throws.
 * @example await convert('resnet50.pth', 'resnet50.residual');
 */
export async function convert(
  from: string | URL | Uint8Array | Blob,
  to: string,
  options: ConvertOptions = {},
): Promise<Converted> {
  const format = options.to ?? formatOfEnding(to);
  if (format !== 'onnx' && !Object.hasOwn(containers, format))
    throw unknownName('format', format, [...Object.keys(containers), 'onnx']);
  checkOptions(format, options);
  const ending = endingNote(to, format) ?? [];
  const source = typeof from === 'string' || from instanceof URL ? { from } : {};
  await checkTarget(to, { ...source, ...(options.force && { force: true }) });

  if (format === 'onnx') {
    await using model = await load(from, loading(options));
    const dropped = model.report?.unexpected ?? [];
    const notes = model.notes.concat(ending);
    if (!options.trainingStep) return { file: to, format, ...(await exportOnnx(model, to, options)), dropped, notes };
    const written = await exportTrainingStep(model, to, options);
    return { file: to, format, ...written, dropped, notes: [...notes, withoutNumbers(from)] };
  }
  // Readers look at what stands beside the new file, too, and at nothing else if that cannot be read.
  const there = await attempt(() => readSideFiles(to));
  const read = await throughFile(from, format, options, there);
  const content = options.bf16 ? { ...read, tensors: inBf16(read.tensors) } : read;
  if (options.signal?.aborted) throw aborted();
  await writeFileAtomic(to, watch([...(await containers[format].bytes(content))], options));
  const { size, bytes } = sizeOfAll(content.tensors.values());
  const { dialect, dropped } = content;
  const notes = content.notes.concat(ending);
  return { file: to, format, ...(dialect !== undefined && { dialect }), tensors: size, bytes, dropped, notes };
}

/** Reads the source as it stands, and as a network only where that is needed. */
async function throughFile(
  from: string | URL | Uint8Array | Blob,
  format: ContainerName,
  options: ConvertOptions,
  there: Beside,
): Promise<Content> {
  const { origin, checkpoint: opened } = await openSource(from, loading(options));
  const file = origin?.name ?? nameOf(from);
  try {
    if (!opened.tensors.size)
      throw new ResidualError('WEIGHTS_FORMAT', `${file}: it holds no tensors; nothing was written`, { file });
    const chosen = choosePart(opened, options.part);
    const { checkpoint } = chosen;
    const beside = origin ? undefined : await readSideFiles(from);
    const seen = withSideFiles(understand(checkpoint, file, chosen.part), beside);
    // Its BatchNorms are folded, so that no network has names for what would be written.
    if (seen.record?.quantisation && format !== 'residual' && format !== 'safetensors')
      throw new ResidualError(
        'ARGUMENT',
        `${file}: a ${containers[format].endings[0]} file has no place for scales of 8 bits and a folded network; write .residual, .safetensors or .onnx, or convert the float model`,
        { format },
      );
    // A network that is given goes before the file's record, as in `load`.
    const { architecture } = options;
    const found = architecture === undefined ? seen : { ...seen, record: undefined };
    // An ONNX model is its own network, whatever its weights are called: BatchNorm may be folded into them.
    const own = !checkpoint.network && found.record?.dialect === ownSpelling;
    const spelling = own ? ownSpelling : checkpoint.network ? undefined : found.naming?.dialect;
    const family = found.architecture !== undefined || format === 'keras';
    const wanted = options.dialect ?? (own && format !== 'residual' && family ? undefined : spelling);
    // Names in the checkpoint of a run stand behind the part's.
    const bare = !checkpoint.network && found.prefix === undefined;
    // A whole Keras model whose names nobody knows is known by its network alone, which the record tells.
    const nameless =
      format === 'safetensors' &&
      found.described !== undefined &&
      !(
        found.naming ||
        found.record ||
        (await attempt(() => readAs(checkpoint, found, {}, file))) instanceof ResidualError
      );
    const alike = wanted === spelling && bare && !nameless && canStand(checkpoint, format, seen);
    if (!alike) {
      const notes = lost(checkpoint, found, format);
      return await throughModel(from, format, wanted, options, { checkpoint, found, notes, there });
    }
    const content = await asItStands(checkpoint, found, options);
    const keras = format === 'keras' ? kerasContent(checkpoint, found, content) : undefined;
    if (format === 'residual') {
      const { metadata, notes } = await recordFor(from, content.dialect ?? ownSpelling, options);
      // What loading has to say holds for the record; the rest of it is said of the tensors already.
      return { ...content, metadata, notes };
    }
    const { [recordKey]: record, ...texts } = headerTexts(checkpoint);
    const metadata = found.record && record !== undefined ? { ...texts, [recordKey]: record } : texts;
    const size = found.described ? undefined : beside?.size;
    const given = architecture === undefined ? (origin?.network ?? { size }) : { architecture };
    const truth = await attempt(() => readAs(checkpoint, found, given, file));
    if (truth instanceof ResidualError && architecture !== undefined) throw truth;
    const told = otherReading(
      { ...content, metadata: bareMetadata(format, metadata, keras), isKeras: format === 'keras', beside: there },
      truth,
      format,
      file,
      found.naming?.prefix ?? '',
    );
    const whole = () => recordFor(from, content.dialect ?? ownSpelling, options);
    // What is read by custom does not change with the file, unless something stands beside the new one.
    const guarded = there !== undefined && !(truth instanceof ResidualError);
    const stated =
      found.record ?? (await publishedPlan(from, origin, found)) ?? (guarded ? (await whole()).record : undefined);
    // A safetensors header keeps its record. What stands beside a file is not in the copy either.
    const kept = found.record !== undefined && format === 'safetensors';
    const other = kept ? undefined : otherPreparation(content.tensors, stated, there);
    const keepsRecord = format === 'safetensors' && !kept && content.dialect !== undefined && (told.misled || other);
    if (other?.wrong && guarded && !keepsRecord) throw misprepared(file, format, other);
    const recorded = keepsRecord ? await whole() : undefined;
    return {
      ...content,
      metadata: { ...metadata, ...recorded?.metadata },
      ...(keras && { keras }),
      notes: [
        ...partNotes(chosen, file),
        ...content.notes,
        ...(recorded ? [] : lost(checkpoint, found, format)),
        ...told.notes,
        ...(other ? [preparedNote(format, other, recorded !== undefined)] : []),
        ...(recorded || kept ? [] : labelsNote(there, (found.record ?? beside)?.classes)),
      ],
    };
  } finally {
    await opened.close();
  }
}

/** Tensors of one axis are norms and biases: few numbers, and the variances among them are divided by. */
const inBf16 = (tensors: ReadonlyMap<string, AnyTensor>): ReadonlyMap<string, AnyTensor> =>
  new Map(
    Array.from(tensors, ([name, tensor]): [string, AnyTensor] => [
      name,
      tensor.dtype === 'float32' && tensor.shape.length > 1 ? toBfloat16(tensor) : tensor,
    ]),
  );

/**
 * What becomes of tensors that keep their names where names alone do not tell the network: told, or refused where the
 * file cannot hold a record. A file that nobody can read misleads nobody.
 */
function otherReading(
  file: File,
  truth: Network | ResidualError,
  format: ContainerName,
  name: string,
  prefix: string,
): { readonly misled: boolean; readonly notes: readonly string[] } {
  if (truth instanceof ResidualError) {
    const read = readBack(file, [1, 3, 224, 224]);
    if (read instanceof ResidualError) return { misled: false, notes: [] };
    throw truth;
  }
  const { graph, naming, architecture, config } = truth;
  const called = (parameter: string) => naming.tensors.get(parameter)?.slice(prefix.length);
  const other = misread(file, { graph, called, config: settingsOf(graph, config) });
  if (!other) return { misled: false, notes: [] };
  if (other.refused) return { misled: false, notes: [file.beside ? other.why : unreadable(format)] };
  if (format === 'safetensors') return { misled: true, notes: [misledNote(other)] };
  throw cannot({ name, record: { architecture } }, endingOf(format), other.why);
}

/** Reads the network and spells its parameters; without a `wanted` spelling as its own code base does. */
async function throughModel(
  from: string | URL | Uint8Array | Blob,
  format: ContainerName,
  wanted: DialectName | typeof ownSpelling | undefined,
  options: ConvertOptions,
  source: { checkpoint: Checkpoint; found: Understanding; notes: readonly string[]; there: Beside },
): Promise<Content> {
  await using model = await load(from, loading(options));
  const { graph } = model;
  const usual = native(model);
  const dialect =
    wanted ?? (format === 'residual' ? ownSpelling : (usual.dialect ?? usual.config?.spelling ?? ownSpelling));
  // Whoever had the record, or said whose weights they were, keeps that in the other file that can hold it.
  const { record, naming } = source.found;
  const said = record !== undefined || naming?.author !== undefined || model.record.quantisation !== undefined;
  const bare = usual.dialect === undefined && dialect === ownSpelling;
  const hasRecord = containers[format].keepsRecord || (format === 'safetensors' && (said || bare));
  const { called, ...content } = await spelled(model, usual.config, dialect, format, hasRecord);
  const file = {
    ...content,
    metadata: bareMetadata(format, {}, content.keras),
    isKeras: format === 'keras',
    beside: source.there,
  };
  const wrong = hasRecord ? undefined : misread(file, { graph, called, config: usual.config });
  const isOwn = dialect === ownSpelling;
  if (wrong && !(isOwn && wrong.refused)) throw cannot(model, isOwn ? endingOf(format) : `"${dialect}"`, wrong.why);
  // What was guessed for a network that nobody knows is no reason.
  const stated = model.record.config || record ? model.record : undefined;
  const other = otherPreparation(content.tensors, stated, source.there);
  const keepsRecord = hasRecord || (format === 'safetensors' && other !== undefined);
  // Names that stay what they were are the user's own affair; those chosen here must not turn the answers wrong.
  const chosen =
    options.dialect !== undefined || naming?.author !== undefined || source.checkpoint.network || source.there;
  if (other?.wrong && chosen && !keepsRecord) throw misprepared(model.name, format, other);
  const told = other && !hasRecord ? [preparedNote(format, other, keepsRecord)] : [];
  const metadata = { format: 'pt', ...(keepsRecord && { [recordKey]: recordText(recordOf(model, dialect)) }) };
  const dropped = [...(model.report?.unexpected ?? []), ...(naming?.ignored ?? [])];
  const notes = [
    ...model.notes,
    ...(keepsRecord ? [] : source.notes),
    ...(wrong ? [unreadable(format)] : []),
    ...told,
    ...(keepsRecord ? [] : labelsNote(source.there, model.record.classes)),
  ];
  return { ...content, dialect, metadata, dropped, notes };
}

const endingOf = (format: ContainerName): string => `a ${containers[format].endings[0]} file`;

/** What the new file says beside its tensors; a record that it keeps is part of a header's texts. */
function bareMetadata(format: ContainerName, header: Metadata, keras?: KerasContent): Metadata {
  const { model_config: config } = keras?.attributes ?? {};
  if (format === 'safetensors') return header;
  return config === undefined ? {} : { model_config: JSON.parse(config) };
}

const misledNote = ({ why }: Misread): string =>
  `whoever has the names alone would read another network: ${why}; its header has the network, which residual reads`;

const unreadable = (format: ContainerName): string =>
  `no ResNet is known by the names of its tensors: to load ${endingOf(format)} with them, pass the network as architecture`;

async function attempt<T>(work: () => T | Promise<T>): Promise<T | ResidualError> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ResidualError) return error;
    throw error;
  }
}

/** Whether the format holds the tensors as they are; a record needs a network, and Keras' files its layers. */
function canStand(
  checkpoint: Checkpoint,
  format: ContainerName,
  { naming, architecture, record }: Understanding,
): boolean {
  if (record?.quantisation) return false;
  if (format === 'residual') return naming !== undefined;
  // The names alone would be taken for another's weights.
  if (naming?.author !== undefined) return false;
  if (format !== 'keras' || checkpoint.format === 'keras-h5') return true;
  return naming !== undefined && dialects[naming.dialect].layout === 'keras' && architecture !== undefined;
}

/** The record for tensors that stay as they are: the whole file is read once as `load` reads it. */
async function recordFor(
  from: string | URL | Uint8Array | Blob,
  dialect: string,
  options: ConvertOptions,
): Promise<{ metadata: Record<string, string>; record: ModelRecord; notes: readonly string[] }> {
  await using model = await load(from, loading(options));
  const { record, notes } = model;
  return { metadata: { format: 'pt', [recordKey]: recordText(recordOf(model, dialect)) }, record, notes };
}

/** A header's texts stay with their tensors: the record and whatever else others wrote there. */
function headerTexts({ format, metadata }: Checkpoint): Record<string, string> {
  if (format !== 'safetensors') return { format: 'pt' };
  return Object.fromEntries(
    Object.entries(metadata).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

/** What the source says and the new file cannot. */
function lost(checkpoint: Checkpoint, { record, described }: Understanding, format: ContainerName): string[] {
  const notes: string[] = [];
  if (checkpoint.network && format !== 'residual')
    notes.push(
      `a ${containers[format].endings[0]} file has no place for the network of the ONNX model; .residual keeps it`,
    );
  if (record && format !== 'residual' && format !== 'safetensors')
    notes.push(
      `a ${containers[format].endings[0]} file has no place for preprocessing, classes and licence; they were left out`,
    );
  if (described && !record && checkpoint.metadata.model_config && format !== 'keras' && format !== 'residual')
    notes.push(
      `a ${containers[format].endings[0]} file has no place for the network that the source describes; .residual keeps it`,
    );
  return notes;
}

/** A step of training holds no weights: where they are to be had. */
const withoutNumbers = (from: string | URL | Uint8Array | Blob): string =>
  `the step takes weights as inputs and holds none; to begin with those of ${nameOf(from)}, write them by the names of the inputs: residual convert ${nameOf(from)} weights.safetensors --dialect ${ownSpelling}`;

function sizeOfAll(tensors: Iterable<Parameters<typeof byteLength>[0]>): { size: number; bytes: number } {
  let [size, bytes] = [0, 0];
  for (const tensor of tensors) {
    size++;
    bytes += byteLength(tensor);
  }
  return { size, bytes };
}
