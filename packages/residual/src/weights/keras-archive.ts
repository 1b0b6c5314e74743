import type { Checkpoint } from './checkpoint.js';
import { parseJson } from './json.js';
import { type KerasArchive, openKeras } from './keras.js';
import { type ByteSource, damaged, unsupported } from './source.js';
import { memberSource, readMember, type ZipMembers } from './zip.js';

const [configName, metadataName, weightsName] = ['config.json', 'metadata.json', 'model.weights.h5'];

/** The description of ResNet-152 takes half a megabyte. */
const maxConfigBytes = 2 ** 25;

/** Whether these are the members of a `.keras` archive. */
export const isKerasArchive = (members: ZipMembers): boolean =>
  members.has(weightsName) || (members.has(configName) && members.has(metadataName));

/**
 * Opens a `.keras` archive: a zip of the model's description, a few words about it and its weights as HDF5. What the
 * description asks for is not run and not even looked at here: `kerasGraph` builds it, or refuses it by name.
 * @throws WEIGHTS_FORMAT; MISSING_PACKAGE when h5wasm is not installed.
 */
export async function openKerasArchive(source: ByteSource, members: ZipMembers): Promise<Checkpoint> {
  const { weights, archive } = await readArchive(source, members);
  return openKeras(weights, undefined, archive);
}

/**
 * What an archive says, and the HDF5 file in it.
 * @throws WEIGHTS_FORMAT
 */
export async function readArchive(
  source: ByteSource,
  members: ZipMembers,
): Promise<{ weights: ByteSource; archive: KerasArchive }> {
  for (const name of members.keys())
    if (/(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[a-z]:/i.test(name))
      throw damaged(source, `its member ${name} points outside the archive`);
  const config = await jsonMember(source, members, configName);
  if (config === undefined) throw damaged(source, `it is a Keras archive without ${configName}`);
  const about = await jsonMember(source, members, metadataName);
  const weights = members.get(weightsName);
  if (!weights && members.has('model.weights.npz'))
    throw unsupported(
      source,
      'its weights are a NumPy archive (model.weights.npz), which is not read; save the model again with Keras 3',
    );
  if (!weights) throw damaged(source, `it is a Keras archive without ${weightsName}`);
  return {
    weights: await memberSource(source, weights),
    archive: {
      reason: `a zip with ${configName} and ${weightsName}`,
      metadata: { ...(isRecord(about) ? about : {}), model_config: config },
    },
  };
}

async function jsonMember(source: ByteSource, members: ZipMembers, name: string): Promise<unknown> {
  const member = members.get(name);
  if (!member) return undefined;
  return parseJson(source, `its ${name}`, new TextDecoder().decode(await readMember(source, member, maxConfigBytes)));
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
