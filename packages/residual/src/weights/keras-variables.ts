import type { TensorInfo } from './checkpoint.js';
import { damaged, type Named } from './source.js';

/*
 * Keras 3 (keras/src/saving/saving_lib.py, `_save_state` and `_save_container_state`) stores the variables of a model's
 * layers in folders `layers/CLASS_N/vars`, by their numbers: CLASS is the class in snake case, N counts the layers of
 * that class in the model and is left out for the first. The variables of a layer are its trainable ones, then the
 * others, each in the order of their making. Nested models have `layers` of their own. Keras 2.12 to 2.15 call the
 * folder `_layer_checkpoint_dependencies` and count some layers twice.
 */

interface Variable extends TensorInfo {
  readonly name: string;
  readonly path: string;
}

/** Where the layers of a model stand, newest spelling first. */
export const containers = ['layers', '_layer_checkpoint_dependencies'];

/**
 * Names the variables `layer/kernel`, `layer/moving_mean` …, in the order of the layers.
 * @param noted the folders of variables, with the name of the layer where the file notes it.
 * @param modelConfig the model's description; without it layers are called as noted, else by their folders, and a
 * variable's part is read off its shape.
 * @throws WEIGHTS_FORMAT when description and variables contradict each other.
 */
export function nameVariables(
  source: Named,
  variables: readonly Variable[],
  noted: ReadonlyMap<string, string | undefined>,
  modelConfig?: unknown,
): Variable[] {
  const folders = new Map<string, Variable[]>();
  for (const variable of [...variables].sort((a, b) => numberOf(a.path) - numberOf(b.path))) {
    const folder = variable.path.replace(/\/[^/]*$/, '');
    const found = folders.get(folder);
    if (found) found.push(variable);
    else folders.set(folder, [variable]);
  }
  const named: Variable[] = [];
  const take = (folder: string, layer: string, roles: readonly string[]) => {
    for (const [i, variable] of (folders.get(folder) ?? []).entries())
      named.push({ ...variable, name: `${layer}/${roles[i] ?? `vars/${i}`}` });
    folders.delete(folder);
  };
  for (const { name, folder, roles } of isModel(modelConfig)
    ? layersOf(source, modelConfig, '', indexFolders(folders.keys()))
    : []) {
    const found = folders.get(folder)?.length ?? 0;
    if (roles && found !== roles.length)
      throw damaged(
        source,
        `layer ${name} should have ${roles.length} variables (${roles.join(', ')}) in ${folder}, which has ${found}`,
      );
    const note = noted.get(folder);
    if (note !== undefined && note !== name)
      throw damaged(source, `${folder} holds the variables of layer ${note}, not of ${name} as its config says`);
    take(folder, name, roles ?? []);
  }
  const names = [...folders.keys()].map((folder) => noted.get(folder) ?? plainName(folder));
  const unique = new Set(names).size === names.length;
  const rest = [...folders].map(([folder, found], i) => ({
    folder,
    found,
    layer: unique ? names[i] : plainName(folder),
  }));
  for (const { folder, found, layer } of rest.sort((a, b) => byNumber(a.folder, b.folder)))
    take(folder, layer, rolesByShape(found));
  const twice = firstTwice(named.map(({ name }) => name));
  if (twice !== undefined)
    throw damaged(source, `two of its layers are called ${twice.replace(/\/.*/, '')}, which cannot be told apart`);
  return named;
}

const numberOf = (path: string): number => Number(path.slice(path.lastIndexOf('/') + 1));

/** `/layers/functional/layers/conv2d_1/vars` as `functional/conv2d_1`. */
const plainName = (folder: string): string =>
  folder
    .split('/')
    .filter((part, i, parts) => part !== '' && !containers.includes(part) && (part !== 'vars' || i < parts.length - 1))
    .join('/') || 'model';

/** `conv2d_2` before `conv2d_10`. */
function byNumber(a: string, b: string): number {
  const [x, y] = [a, b].map((folder) => /^(.*?)(?:_(\d+))?\/vars$/.exec(folder) ?? ['', folder, '']);
  return x[1] === y[1] ? Number(x[2] ?? 0) - Number(y[2] ?? 0) : x[1] < y[1] ? -1 : 1;
}

function firstTwice(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return names.find((name) => seen.size === seen.add(name).size);
}

/** What the variables of a layer of unknown class are: four vectors are a normalisation, a kernel may have a bias. */
function rolesByShape(variables: readonly Variable[]): readonly string[] {
  const ranks = variables.map(({ shape }) => shape.length);
  if (ranks.join() === '1,1,1,1') return normalisation(true, true);
  if (ranks[0] >= 2 && (ranks.length === 1 || ranks.slice(1).join() === '1'))
    return ['kernel', 'bias'].slice(0, ranks.length);
  return [];
}

const normalisation = (scale: boolean, center: boolean): string[] => [
  ...(scale ? ['gamma'] : []),
  ...(center ? ['beta'] : []),
  'moving_mean',
  'moving_variance',
];

/** The variables of a layer by its class; undefined for classes that are not known here. */
function rolesOf({ class_name, config }: Model): readonly string[] | undefined {
  if (class_name === 'BatchNormalization') return normalisation(config.scale !== false, config.center !== false);
  if (['Conv2D', 'Dense'].includes(class_name)) return config.use_bias === false ? ['kernel'] : ['kernel', 'bias'];
  return undefined;
}

interface Model {
  readonly class_name: string;
  readonly config: Record<string, unknown>;
}

interface Placed {
  readonly name: string;
  readonly folder: string;
  readonly roles: readonly string[] | undefined;
}

/** By container: for each class the numbers of its folders that hold variables, rising. */
type Folders = ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>;

function indexFolders(paths: Iterable<string>): Folders {
  const found = new Map<string, Map<string, Set<number>>>();
  for (const path of paths) {
    const parts = path.split('/');
    for (let i = 1; i + 1 < parts.length; i++) {
      if (!containers.includes(parts[i])) continue;
      const place = parts.slice(0, i + 1).join('/');
      const classes = found.get(place) ?? new Map<string, Set<number>>();
      found.set(place, classes);
      const numbered = /^(.*)_(\d{1,6})$/.exec(parts[i + 1]);
      for (const [snake, number] of [
        [parts[i + 1], 0] as const,
        ...(numbered ? [[numbered[1], Number(numbered[2])] as const] : []),
      ])
        classes.set(snake, (classes.get(snake) ?? new Set()).add(number));
    }
  }
  const rising = (numbers: Set<number>) => [...numbers].sort((a, b) => a - b);
  return new Map(
    [...found].map(([place, classes]) => [place, new Map([...classes].map(([name, set]) => [name, rising(set)]))]),
  );
}

/** The layers of a model and of the models in it, in order, each with the folder of its variables. */
function layersOf(source: Named, { class_name, config }: Model, above: string, folders: Folders): Placed[] {
  const [usual, legacy] = containers.map((name) => `${above}/${name}`);
  const place = folders.has(usual) || !folders.has(legacy) ? usual : legacy;
  const counts = new Map<string, number>();
  const found: Placed[] = [];
  for (const [i, entry] of (Array.isArray(config.layers) ? config.layers : []).entries()) {
    if (!isModel(entry)) throw damaged(source, `layer ${i} of its config is no layer`);
    // A sequential model does not count the input that it begins with.
    if (i === 0 && class_name === 'Sequential' && entry.class_name === 'InputLayer') continue;
    const snake = snakeCase(entry.class_name);
    const roles = rolesOf(entry);
    const nested = Array.isArray(entry.config.layers);
    const count = counts.get(snake) ?? 0;
    // Keras 2 leaves gaps: there the layers of a class take its folders in their order.
    const number = place === usual ? count : (folders.get(legacy)?.get(snake)?.[count] ?? count);
    const folder = `${place}/${number ? `${snake}_${number}` : snake}`;
    if (place === usual || nested || roles?.length) counts.set(snake, count + 1);
    if (nested) for (const layer of layersOf(source, entry, folder, folders)) found.push(layer);
    else found.push({ name: String(entry.config.name ?? ''), folder: `${folder}/vars`, roles });
  }
  return found;
}

/** keras/src/utils/naming.py, `to_snake_case`: `ReLU` is `re_lu`, `Conv2D` is `conv2d`. */
const snakeCase = (name: string): string =>
  name
    .replace(/\W+/g, '')
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isModel = (value: unknown): value is Model =>
  isRecord(value) && typeof value.class_name === 'string' && isRecord(value.config);
