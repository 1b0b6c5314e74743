import { ResidualError } from '../errors.js';
import type { Metadata, TensorInfo } from './checkpoint.js';
import type { HdfFile, HdfValue } from './hdf5.js';

/** The table of contents of a Keras `.h5` file. */
export interface KerasListing {
  /** Why it was recognised. */
  readonly reason: string;
  /** Tensor by name, `layer/weight_name`, with its place in the file. */
  readonly tensors: readonly (TensorInfo & { readonly name: string; readonly path: string })[];
  readonly metadata: Metadata;
}

const mostDatasets = 20_000;

/**
 * Lists the weights in the order of the attributes `layer_names` and `weight_names`, which is the order Keras loads by
 * (HDF5 itself would list beta before gamma); below `/model_weights` when the file is a whole model, whose optimiser
 * state is left out. A file without those attributes lists its datasets by path.
 * @throws WEIGHTS_FORMAT when the attributes name what is not there.
 */
export function listKeras(file: HdfFile, fileName: string): KerasListing {
  const whole = file.isGroup('/model_weights');
  const root = whole ? '/model_weights' : '/';
  const layers = nameList(file, root, 'layer_names');
  const metadata = {
    keras_version: file.attribute('/', 'keras_version') ?? file.attribute(root, 'keras_version'),
    backend: file.attribute('/', 'backend') ?? file.attribute(root, 'backend'),
    layer_names: layers,
    model_config: parsed(file.attribute('/', 'model_config'), fileName),
  };
  return {
    reason: `HDF5 ${whole ? 'with /model_weights' : layers ? 'with layer_names' : 'without layer_names: datasets by path'}`,
    tensors: layers ? listed(file, root, layers, fileName) : byPath(file),
    metadata: Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== undefined)),
  };
}

function listed(file: HdfFile, root: string, layers: readonly string[], fileName: string): KerasListing['tensors'] {
  const tensors = new Map<string, KerasListing['tensors'][number]>();
  const refuse = (what: string) =>
    new ResidualError('WEIGHTS_FORMAT', `${fileName}: ${what}; the file is damaged, fetch it again`, {
      file: fileName,
    });
  for (const layer of layers) {
    const group = join(root, layer);
    if (!file.isGroup(group)) throw refuse(`its layer_names list ${layer}, which is not there`);
    for (const weight of nameList(file, group, 'weight_names') ?? []) {
      const name = `${layer}/${weight}`;
      const path = join(group, weight);
      const info = file.dataset(path);
      if (!info)
        throw refuse(`layer ${layer} lists the weight ${weight}, which is no dataset of numbers that are read here`);
      if (tensors.has(name)) throw refuse(`it lists the weight ${name} twice`);
      tensors.set(name, { name, path, ...info });
    }
  }
  return [...tensors.values()];
}

function byPath(file: HdfFile): KerasListing['tensors'] {
  return file
    .paths()
    .slice(0, mostDatasets)
    .filter((path) => !path.startsWith('/optimizer_weights'))
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
  if (whole !== undefined) return texts(whole);
  const parts: string[] = [];
  for (let n = 0; ; n++) {
    const part = file.attribute(path, `${name}${n}`);
    if (part === undefined) return n === 0 ? undefined : parts;
    for (const text of texts(part)) parts.push(text);
  }
}

const texts = (value: HdfValue): string[] =>
  (Array.isArray(value) ? value : [value])
    .filter((item): item is string => typeof item === 'string')
    .map((item) => item.replace(/\0+$/, ''));

const join = (group: string, name: string): string => `${group === '/' ? '' : group}/${name}`;

function parsed(value: HdfValue | undefined, fileName: string): unknown {
  if (typeof value !== 'string') return undefined;
  try {
    return JSON.parse(value);
  } catch (cause) {
    throw new ResidualError(
      'WEIGHTS_FORMAT',
      `${fileName}: its model_config is no JSON; the file is damaged`,
      { file: fileName },
      { cause },
    );
  }
}
