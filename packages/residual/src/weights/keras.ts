import { unknownName } from '../errors.js';
import { type Checkpoint, checkTotal, type TensorInfo, tensorOver } from './checkpoint.js';
import { type HdfFile, type HdfObject, hdfErrors, openHdf5 } from './hdf5.js';
import type { HdfValue } from './hdf5-values.js';
import { parseJson } from './json.js';
import { type ByteSource, damaged, unsupported } from './source.js';

interface Entry {
  readonly info: TensorInfo;
  readonly object: HdfObject;
}

const maxDatasets = 20_000;
const maxPathLength = 1000;

/**
 * Opens a Keras `.h5` file. Its tensors are named `layer/weight_name` in the order of the attributes `layer_names`
 * and `weight_names`, which is the order Keras loads by (HDF5 itself would list beta before gamma); below
 * `/model_weights` when the file is a whole model, whose optimiser state is left out. A file without those attributes
 * lists its datasets by path. Metadata: `keras_version`, `backend`, `layer_names`, `model_config` (parsed).
 * @throws WEIGHTS_FORMAT
 */
export function openKeras(source: ByteSource): Promise<Checkpoint> {
  return hdfErrors(source, async () => {
    const file = await openHdf5(source);
    const whole = await child(file, file.root, 'model_weights');
    const group = whole ?? file.root;
    const layers = await nameList(file, group, 'layer_names');
    const tensors = layers ? await listedWeights(source, file, group, layers) : await allDatasets(source, file, group);
    const infos = new Map([...tensors].map(([name, { info }]) => [name, info]));
    checkTotal(source, infos.values());
    const metadata: Record<string, unknown> = {};
    for (const name of ['keras_version', 'backend'])
      metadata[name] = (await file.attribute(file.root, name)) ?? (await file.attribute(group, name));
    metadata.layer_names = layers;
    const config = await file.attribute(file.root, 'model_config');
    if (typeof config === 'string') metadata.model_config = parseJson(source, 'its model_config', config);
    return {
      format: 'keras-h5',
      reason: `HDF5 ${whole ? 'with /model_weights' : layers ? 'with layer_names' : 'without layer_names: datasets by path'}`,
      tensors: infos,
      metadata: Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== undefined)),
      async read(name) {
        const entry = tensors.get(name);
        if (!entry) throw unknownName('tensor', name, tensors.keys());
        return tensorOver(entry.info, await hdfErrors(source, () => file.read(entry.object, entry.info)));
      },
      close: () => source.close(),
    };
  });
}

/** The weights of each layer, as the attributes say. */
async function listedWeights(
  source: ByteSource,
  file: HdfFile,
  group: HdfObject,
  layers: readonly string[],
): Promise<Map<string, Entry>> {
  const tensors = new Map<string, Entry>();
  for (const layer of layers) {
    const place = await child(file, group, layer);
    if (!place) throw damaged(source, `its layer_names list ${layer}, which is not there`);
    for (const weight of (await nameList(file, place, 'weight_names')) ?? []) {
      const name = `${layer}/${weight}`;
      const object = await child(file, place, weight);
      if (!object) throw damaged(source, `layer ${layer} lists the weight ${weight}, which is not there`);
      const info = file.dataset(object);
      if (!info) throw unsupported(source, `weight ${name} is no dataset of little-endian numbers that are read here`);
      if (tensors.has(name)) throw damaged(source, `it lists the weight ${name} twice`);
      tensors.set(name, { info, object });
    }
  }
  return tensors;
}

/** Every dataset of numbers below a group by its path; each object once, so that links in a circle end. */
async function allDatasets(source: ByteSource, file: HdfFile, root: HdfObject): Promise<Map<string, Entry>> {
  const tensors = new Map<string, Entry>();
  const seen = new Set<number>([root.address]);
  const pending: { path: string; object: HdfObject }[] = [{ path: '', object: root }];
  for (let next = pending.pop(); next && tensors.size < maxDatasets; next = pending.pop()) {
    const { path, object } = next;
    if (path.length > maxPathLength) throw damaged(source, `it has a path of more than ${maxPathLength} characters`);
    const info = file.dataset(object);
    if (info) tensors.set(path, { info, object });
    const children: typeof pending = [];
    for (const [name, address] of await file.links(object)) {
      if (seen.has(address) || (path === '' && name === 'optimizer_weights')) continue;
      seen.add(address);
      children.push({ path: path === '' ? name : `${path}/${name}`, object: await file.object(address) });
    }
    pending.push(...children.reverse());
  }
  return tensors;
}

/** Follows a path of group names such as `conv1/kernel:0`. */
async function child(file: HdfFile, from: HdfObject, path: string): Promise<HdfObject | undefined> {
  let object = from;
  for (const name of path.split('/')) {
    if (name === '') continue;
    const address = (await file.links(object)).get(name);
    if (address === undefined) return undefined;
    object = await file.object(address);
  }
  return object;
}

/**
 * A list of texts. Keras cuts a list that is too long for an attribute (64 kB) into `name0`, `name1`, …; an empty one
 * is an empty array of numbers.
 */
async function nameList(file: HdfFile, object: HdfObject, name: string): Promise<readonly string[] | undefined> {
  const whole = await file.attribute(object, name);
  if (whole !== undefined) return texts(whole);
  const parts: string[] = [];
  for (let n = 0; ; n++) {
    const part = await file.attribute(object, `${name}${n}`);
    if (part === undefined) return n === 0 ? undefined : parts;
    for (const text of texts(part)) parts.push(text);
  }
}

const texts = (value: HdfValue): string[] =>
  (Array.isArray(value) ? value : [value]).filter((item): item is string => typeof item === 'string');
