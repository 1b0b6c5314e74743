import { ResidualError, unknownName } from '../errors.js';
import type { Checkpoint, TensorInfo } from './checkpoint.js';
import { parseJson } from './json.js';
import { type ByteSource, damaged, readBytes, unsupported } from './source.js';

/*
 * Weights in several files beside an index (`model.safetensors.index.json`, `pytorch_model.bin.index.json`), as Hugging
 * Face's libraries write them: `{"metadata": {…}, "weight_map": {tensor: file}}`.
 */

/** The index of the largest published models takes some megabytes. */
const maxIndexBytes = 2 ** 24;
const mostShards = 256;
/** Characters of a file's name; file systems have 255. */
const longestName = 255;

/**
 * Opens the files that an index names, which must lie beside it. Their tables of contents are read at once, their
 * tensors on demand. The checkpoint's format is that of the files.
 * @param openShard reads one file, which must not be an index itself; it closes what it refuses.
 * @throws WEIGHTS_FORMAT when the JSON is no index, or names files elsewhere, too many, or tensors that they lack; FILE
 * when one is missing.
 */
export async function openSharded(
  source: ByteSource,
  openShard: (source: ByteSource) => Promise<Checkpoint>,
): Promise<Checkpoint> {
  if (source.size > maxIndexBytes)
    throw unsupported(source, `it is JSON of ${source.size} bytes; an index of shards has at most ${maxIndexBytes}`);
  const text = new TextDecoder().decode(await readBytes(source, 0, source.size));
  const { files, metadata } = readIndex(source, parseJson(source, 'its index', text));
  const { beside } = source;
  if (!beside)
    throw unsupported(source, 'it is an index of shards, whose files cannot be found from here; give its path or URL');
  const shards = new Map<string, Checkpoint>();
  try {
    const places = new Map<string, { shard: Checkpoint; info: TensorInfo }>();
    for (const [file, names] of files) {
      const shard = await openNamed(source, file, () => beside(file), openShard);
      shards.set(file, shard);
      for (const name of names) {
        const info = shard.tensors.get(name);
        if (!info) throw damaged(source, `it says that ${name} lies in ${file}, which has no such tensor`);
        places.set(name, { shard, info });
      }
    }
    const [first] = shards.values();
    const mixed = [...shards].find(([, shard]) => shard.format !== first.format);
    if (mixed) throw unsupported(source, `its files are of several formats: ${first.format}, ${mixed[1].format}`);
    return {
      format: first.format,
      reason: `an index of ${shards.size} file${shards.size === 1 ? '' : 's'}: ${first.reason}`,
      tensors: new Map([...places].map(([name, { info }]) => [name, info])),
      metadata,
      async read(name, memory) {
        const place = places.get(name);
        if (!place) throw unknownName('tensor', name, places.keys());
        return place.shard.read(name, memory);
      },
      close: () => closeAll(source, shards.values()),
    };
  } catch (error) {
    // The index itself is closed by who opened it.
    for (const shard of shards.values()) await shard.close();
    throw error;
  }
}

async function closeAll(source: ByteSource, shards: Iterable<Checkpoint>): Promise<void> {
  for (const shard of shards) await shard.close();
  await source.close();
}

/** Tensor names by file, in the order of the index. */
function readIndex(source: ByteSource, index: unknown) {
  if (!isRecord(index) || !isRecord(index.weight_map))
    throw unsupported(
      source,
      'it is JSON without a weight_map, no index of shards; give the weight file itself (model.safetensors) or its folder',
    );
  const files = new Map<string, string[]>();
  for (const [name, file] of Object.entries(index.weight_map)) {
    if (Array.isArray(file))
      throw unsupported(
        source,
        'it is the index of Keras weights in several files, which is not read; save them again as one: model.save_weights("model.weights.h5")',
      );
    if (typeof file !== 'string' || !isPlain(file))
      throw unsupported(
        source,
        `it says that ${name} lies in ${JSON.stringify(file)}; only files beside the index are opened, by their plain names`,
      );
    const names = files.get(file);
    if (names) names.push(name);
    else if (files.size < mostShards) files.set(file, [name]);
    else throw unsupported(source, `it names more than ${mostShards} files`);
  }
  if (!files.size) throw unsupported(source, 'its weight_map is empty');
  return { files, metadata: isRecord(index.metadata) ? index.metadata : {} };
}

/** A name in the index's own folder: no path, no drive, no device. */
const isPlain = (file: string): boolean =>
  file.length > 0 && file.length <= longestName && !/[/\\:\p{Cc}]/u.test(file) && !/^\.\.?$/.test(file);

async function openNamed(
  source: ByteSource,
  file: string,
  open: () => Promise<ByteSource>,
  read: (source: ByteSource) => Promise<Checkpoint>,
): Promise<Checkpoint> {
  try {
    return await read(await open());
  } catch (error) {
    if (!(error instanceof ResidualError) || error.code !== 'FILE') throw error;
    throw new ResidualError(
      'FILE',
      `${source.name}: it names ${file}, which cannot be read (${error.message}); fetch all files of the index into one folder`,
      { ...error.details, index: source.name },
      { cause: error },
    );
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
