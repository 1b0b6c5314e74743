import type { Metadata, TensorInfo } from './checkpoint.js';
import type { HdfFile } from './hdf5.js';
import { parseJson } from './json.js';
import { containers } from './keras-variables.js';
import { damaged, type Named, unsupported } from './source.js';

/** The table of contents of a Keras `.h5` file. */
export interface KerasListing {
  /** Why it was recognised. */
  readonly reason: string;
  /** Tensor by name, `layer/weight_name`, with its place in the file. */
  readonly tensors: readonly (TensorInfo & { readonly name: string; readonly path: string })[];
  readonly metadata: Metadata;
  /** A file of Keras 3, whose variables have numbers: the folders of variables, and the names that newer versions note there. */
  readonly variables?: ReadonlyMap<string, string | undefined>;
}

/**
 * Lists the weights in the order of the attributes `layer_names` and `weight_names`, which is the order Keras loads by
 * (HDF5 itself would list beta before gamma); below `/model_weights` when the file is a whole model, whose optimiser
 * state is left out. A file without those attributes lists its datasets by path.
 * @throws WEIGHTS_FORMAT when the attributes name what is not there, or one weight twice.
 */
export function listKeras(file: HdfFile, source: Named): KerasListing {
  const whole = file.kind('/model_weights') === 'group';
  const root = whole ? '/model_weights' : '/';
  const layers = nameList(file, root, 'layer_names');
  if (!whole && !layers && isNumbered(file)) return listVariables(file);
  const about = (name: string) => file.attribute('/', name) ?? (whole ? file.attribute(root, name) : undefined);
  const config = file.attribute('/', 'model_config');
  const metadata = {
    keras_version: about('keras_version'),
    backend: about('backend'),
    layer_names: layers,
    model_config: typeof config === 'string' ? parseJson(source, 'its model_config', config) : undefined,
  };
  return {
    reason: `HDF5 ${whole ? 'with /model_weights' : layers ? 'with layer_names' : 'without layer_names: datasets by path'}`,
    tensors: layers ? byLayer(file, root, layers, source, modelNames(metadata.model_config)) : byPath(file),
    metadata: Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== undefined)),
  };
}

/** Keras makes the folder of a model's own variables when there are any; those of its layers tell as much. */
const isNumbered = (file: HdfFile): boolean =>
  file.kind('/vars') === 'group' ||
  (containers.some((name) => file.kind(`/${name}`) === 'group') &&
    file.leaves().some((path) => /\/vars\/\d+$/.test(path) && containers.includes(path.split('/')[1])));

/** The layers of a model that are models themselves. */
function modelNames(config: unknown): ReadonlySet<unknown> {
  const layers = isRecord(config) && isRecord(config.config) ? config.config.layers : undefined;
  const models = (Array.isArray(layers) ? layers : []).filter(
    (layer) => isRecord(layer) && isRecord(layer.config) && Array.isArray(layer.config.layers),
  );
  return new Set(models.map(({ config }) => config.name));
}

/** @param models names of layers that are models: their group lists the weights of their layers, under those names. */
function byLayer(
  file: HdfFile,
  root: string,
  layers: readonly string[],
  source: Named,
  models: ReadonlySet<unknown>,
): KerasListing['tensors'] {
  const tensors = new Map<string, KerasListing['tensors'][number]>();
  for (const layer of layers) {
    const group = join(root, layer);
    const weights = nameList(file, group, 'weight_names');
    if (!weights && file.kind(group) !== 'group')
      throw damaged(source, `its layer_names list ${layer}, which is not there`);
    const owners = new Set(weights?.map((weight) => weight.split('/').at(-2)));
    const isModel = models.has(layer) || (owners.size > 1 && !owners.has(layer));
    for (const weight of weights ?? []) {
      const name = isModel && !owners.has(undefined) ? weight.split('/').slice(-2).join('/') : `${layer}/${weight}`;
      const path = join(group, weight);
      const info = file.dataset(path);
      if (!info && file.kind(path) === undefined)
        throw damaged(source, `layer ${layer} lists the weight ${weight}, which is not there`);
      if (!info)
        throw unsupported(
          source,
          `the weight ${name} is no dataset of numbers that are read here; expected floats, signed integers, bytes or booleans, in this very file`,
        );
      if (tensors.has(name)) throw damaged(source, `it lists the weight ${name} twice`);
      tensors.set(name, { name, path, ...info });
    }
  }
  return [...tensors.values()];
}

/** The file of Keras 3's `save_weights`: datasets `…/vars/0`, numbered in each folder. */
function listVariables(file: HdfFile): KerasListing {
  const tensors = byPath(file).filter(({ name }) => !/^(optimizer|metrics)\/|(^|\/)seed_generator\//.test(name));
  const folders = new Set(tensors.map(({ path }) => path.replace(/\/[^/]*$/, '')));
  const noted = (folder: string) => {
    const name = file.attribute(folder, 'name');
    return typeof name === 'string' && name !== '' ? name : undefined;
  };
  return {
    reason: 'HDF5 with vars: weights of Keras 3',
    tensors,
    metadata: {},
    variables: new Map([...folders].map((folder) => [folder, noted(folder)])),
  };
}

function byPath(file: HdfFile): KerasListing['tensors'] {
  return file
    .leaves()
    .filter((path) => !path.startsWith('/optimizer_weights/'))
    .flatMap((path) => {
      const info = file.dataset(path);
      return info ? [{ name: path.slice(1), path, ...info }] : [];
    });
}

/**
 * A list of texts. Keras cuts a list that is too long for an attribute (64 kB) into `name0`, `name1`, …; an empty one
 * is an empty array of numbers.
 */
function nameList(file: HdfFile, path: string, name: string): readonly string[] | undefined {
  const whole = file.attribute(path, name);
  if (whole !== undefined) return [whole].flat();
  const parts: string[] = [];
  for (let n = 0; ; n++) {
    const part = file.attribute(path, `${name}${n}`);
    if (part === undefined) return n === 0 ? undefined : parts;
    for (const text of [part].flat()) parts.push(text);
  }
}

const join = (group: string, name: string): string => `${group === '/' ? '' : group}/${name}`;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
