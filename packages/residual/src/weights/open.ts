import type { Checkpoint } from './checkpoint.js';
import { type ByteSource, blobSource, bytesSource, readBytes, unsupported } from './source.js';

/** A path of a file or folder (in a page: a URL), a URL, bytes, a Blob, or anything that reads at any place. */
export type CheckpointInput = string | URL | Uint8Array | Blob | ByteSource;

/**
 * Opens a weight file of any known format, told apart by its content, never by its name. Readers are imported when
 * their format turns up. A folder stands for the one weight file in it, an index of shards for its files.
 * @param input a source given here is closed with the
 * checkpoint, or at once when it is refused.
 * @throws FILE when it cannot be read; WEIGHTS_FORMAT when it is damaged or something else, saying what it looks like;
 * WEIGHTS_UNSAFE when its pickle names anything but tensors.
 */
export async function openCheckpoint(input: CheckpointInput): Promise<Checkpoint> {
  const source = await sourceOf(input);
  try {
    const checkpoint = await openByContent(source);
    const { versions } = source;
    return versions ? { ...checkpoint, versions } : checkpoint;
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** A file that an index names; another index would lead on, perhaps in a circle. */
async function openShard(source: ByteSource): Promise<Checkpoint> {
  try {
    return await openByContent(source, true);
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function sourceOf(input: CheckpointInput): Promise<ByteSource> {
  if (typeof input === 'string' || input instanceof URL) {
    const { openFile, openFolder } = await import('#file');
    const folder = await openFolder(input);
    if (!folder) return openFile(input);
    return folder.open((await import('./folder.js')).weightFileOf(String(input), folder.names));
  }
  if (input instanceof Uint8Array) return bytesSource(input);
  if (input instanceof Blob) return blobSource(input, 'name' in input ? String(input.name) : 'blob');
  return input;
}

async function openByContent(source: ByteSource, isShard = false): Promise<Checkpoint> {
  if (source.size === 0) throw unsupported(source, 'the file is empty; fetch it again');
  const head = await readBytes(source, 0, Math.min(4096, source.size));
  if (begins(head, 'PK\x03\x04') || begins(head, 'PK\x05\x06')) return openZipped(source);
  if (begins(head, '\x89HDF\r\n\x1a\n')) return (await import('./keras.js')).openKeras(source);
  if (head[0] === 0x80 && [2, 11].some((at) => begins(head, legacyMagic, at)))
    return (await import('./torch-legacy.js')).openTorchLegacy(source);
  if (begins(head, 'ustar', 257)) return openTarred(source);
  if (looksLikeOnnx(head)) return (await import('./onnx.js')).openOnnx(source);
  const text = String.fromCharCode(...head.subarray(0, 512));
  // The length that begins a safetensors file has zeros among its eight bytes.
  if (/^\s*\{/.test(text) && !head.subarray(0, 8).includes(0)) {
    if (isShard) throw unsupported(source, 'it is an index or another JSON file where an index names a weight file');
    return (await import('./sharded.js')).openSharded(source, openShard);
  }
  const other = others.find(({ is }) => is(head, text));
  if (other) throw unsupported(source, other.say);
  if (head[8] === 0x7b) return (await import('./safetensors.js')).openSafetensors(source);
  if (head[0] === 0x80 || 'c(]}'.includes(String.fromCharCode(head[0]))) {
    const checkpoint = await (await import('./numpy-pickle.js')).openNumpyPickle(source);
    if (checkpoint) return checkpoint;
  }
  const hex = [...head.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
  throw unsupported(
    source,
    `it begins with ${hex}, which is no weight file known here; expected PyTorch (.pth), safetensors, Keras (.h5, .keras) or ONNX`,
  );
}

/** The long 0x1950a86a20f9469cfc6c, first value of PyTorch's legacy container, behind the protocol and perhaps a frame. */
const legacyMagic = '\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19';

const begins = (head: Uint8Array, magic: string, at = 0): boolean =>
  at + magic.length <= head.length && [...magic].every((letter, i) => head[at + i] === letter.charCodeAt(0));

/**
 * A protocol buffer whose first field is a small number (ir_version), then one of ModelProto's fields 2 to 8 or 14; a
 * safetensors file of such a length goes on with its header.
 */
const looksLikeOnnx = (head: Uint8Array): boolean =>
  head[0] === 0x08 &&
  head[1] < 32 &&
  [0x12, 0x1a, 0x22, 0x28, 0x32, 0x3a, 0x42, 0x72].includes(head[2]) &&
  !begins(head, '{"', 8);

/** Files that people mistake for weights, and what to do about each. */
const others: readonly { readonly is: (head: Uint8Array, text: string) => boolean; readonly say: string }[] = [
  {
    is: (head) => head.every((byte) => byte === 0),
    say: 'it begins with nothing but zeros; its download did not finish, fetch it again',
  },
  {
    is: (_, text) => text.startsWith('version https://git-lfs'),
    say: 'it is a git-lfs pointer, not the file itself; run "git lfs pull" where it was cloned',
  },
  {
    is: (_, text) => /^\s*<(!doctype|html|\?xml|head|script)/i.test(text),
    say: 'it is a web page, not weights; the address leads to a page or a login, open it in a browser',
  },
  { is: (head) => begins(head, '\x1f\x8b'), say: 'it is packed with gzip; unpack it first (gunzip)' },
  { is: (head) => begins(head, 'BZh'), say: 'it is packed with bzip2; unpack it first (bunzip2)' },
  { is: (head) => begins(head, '\xfd7zXZ'), say: 'it is packed with xz; unpack it first (unxz)' },
  { is: (head) => begins(head, '\x28\xb5\x2f\xfd'), say: 'it is packed with zstd; unpack it first (unzstd)' },
  {
    is: (head) => begins(head, '\x89PNG'),
    say: 'it is a PNG picture, not weights; was the picture given in place of the weights?',
  },
  {
    is: (head) => begins(head, '\xff\xd8\xff'),
    say: 'it is a JPEG picture, not weights; was the picture given in place of the weights?',
  },
  {
    is: (head) => begins(head, 'GIF8'),
    say: 'it is a GIF picture, not weights; was the picture given in place of the weights?',
  },
  {
    is: (head) => begins(head, 'RIFF') && begins(head, 'WEBP', 8),
    say: 'it is a WebP picture, not weights; was the picture given in place of the weights?',
  },
  { is: (head) => begins(head, '\x93NUMPY'), say: 'it is a single NumPy array; save named weights as safetensors' },
  { is: (head) => begins(head, 'TFL3', 4), say: 'it is a TensorFlow Lite model, which is not supported' },
];

/** A zip is a PyTorch file, or one of the things that are zips too. */
async function openZipped(source: ByteSource): Promise<Checkpoint> {
  const members = await (await import('./zip.js')).openZip(source);
  const { isKerasArchive, openKerasArchive } = await import('./keras-archive.js');
  if (isKerasArchive(members)) return openKerasArchive(source, members);
  const names = [...members.keys()];
  if (names.length > 0 && names.every((name) => name.endsWith('.npy')))
    throw unsupported(source, 'it is a NumPy archive (.npz), which is not supported; save the weights as safetensors');
  return (await import('./torch-zip.js')).openTorchZip(source, members);
}

/** A tar is PyTorch's container of 2016/17, or an archive that somebody packed weights into. */
async function openTarred(source: ByteSource): Promise<Checkpoint> {
  const [{ readTar }, { missingMembers, openTorchTar }] = await Promise.all([
    import('./tar.js'),
    import('./torch-tar.js'),
  ]);
  const members = await readTar(source);
  if (missingMembers(members).length < 4) return openTorchTar(source, members);
  const names = [...members.keys()].slice(0, 5).join(', ');
  throw unsupported(
    source,
    `it is a tar archive, but not of PyTorch's sys_info, pickle, tensors and storages (it holds ${names || 'no file'}); unpack it and give the weight file in it`,
  );
}
