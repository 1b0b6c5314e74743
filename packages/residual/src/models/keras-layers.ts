import { ResidualError } from '../errors.js';

/** A layer of a Keras model, with the layers that it takes. */
export interface Layer {
  name: string;
  class_name: string;
  config: Record<string, unknown>;
  /** Names of the layers it takes. */
  from: string[];
}

interface Model {
  readonly name: string;
  readonly layers: readonly Layer[];
  /** The layer whose result is the model's. */
  readonly output: string;
}

/** A layer, or a model that stands where a layer may, as the file has it. */
interface Entry extends Layer {
  readonly raw: Record<string, unknown>;
}

/** Characters of a layer's name; messages and comparisons of names stay short. */
const longestName = 256;
/** Models within models. */
const deepest = 8;

const modelClasses = ['Functional', 'Model', 'Sequential'];

/** Where Keras' own classes live: Keras 3, and the paths by which Keras 2 and TensorFlow export theirs. */
const ownModule = /^(keras|keras_core|tf_keras|tensorflow\.keras|tensorflow\.python\.keras)(\.|$)/;

/**
 * The layers of a `model_config` in order; those of models within it stand in their place.
 * @throws WEIGHTS_FORMAT, GRAPH, WEIGHTS_UNSAFE: see `kerasGraph`.
 */
export function readLayers(modelConfig: unknown): Model {
  const model = record(modelConfig);
  if (model) checkOwn('its model', model);
  return readModel(model, undefined, 0);
}

/** @param taken the layer outside that a model within another takes. */
function readModel(model: Record<string, unknown> | undefined, taken: string | undefined, depth: number): Model {
  const config = record(model?.config);
  if (!config || !Array.isArray(config.layers) || !config.layers.length)
    throw new ResidualError(
      'WEIGHTS_FORMAT',
      'model_config holds no list of layers; save the whole model with Keras again',
    );
  const { name = 'model' } = config;
  if (typeof name !== 'string')
    throw new ResidualError('WEIGHTS_FORMAT', `model_config has the name ${show(name)}; expected text`);
  const sequential = model?.class_name === 'Sequential';
  const entries = config.layers.map(readEntry);
  if (sequential) chain(entries, config, model, taken);
  else {
    const nested = new Set(entries.filter(isModel).map((entry) => entry.name));
    for (const entry of entries) entry.from = inbound(entry, entry.raw.inbound_nodes ?? [], nested);
  }
  const last = sequential ? entries[entries.length - 1].name : outputLayer(name, config.output_layers, entries);

  /** What stands for a layer outside its model: an input is the layer taken, a model is its output. */
  const standsFor = new Map<string, string>();
  const layers: Layer[] = [];
  for (const entry of entries) {
    const from = entry.from.map((other) => standsFor.get(other) ?? other);
    if (isModel(entry)) {
      if (depth === deepest) refuse(entry, `stands more than ${deepest} models deep`);
      if (from.length !== 1) refuse(entry, `is a model that takes ${from.length} inputs; only one is supported`);
      const inner = readModel(entry.raw, from[0], depth + 1);
      for (const layer of inner.layers) layers.push(layer);
      standsFor.set(entry.name, inner.output);
    } else if (entry.class_name === 'InputLayer' && taken !== undefined) {
      if ([...standsFor.values()].includes(taken))
        refuse(entry, `is another input of the model "${name}"; only one is supported`);
      standsFor.set(entry.name, taken);
    } else layers.push({ name: entry.name, class_name: entry.class_name, config: entry.config, from });
  }
  return { name, layers, output: standsFor.get(last) ?? last };
}

const isModel = ({ class_name, config }: Layer): boolean =>
  modelClasses.includes(class_name) && Array.isArray(config.layers);

/** A sequential model may leave its input to the shape that its first layer, or the model itself, was built for. */
function chain(
  entries: Entry[],
  config: Record<string, unknown>,
  model: Record<string, unknown> | undefined,
  taken: string | undefined,
): void {
  const [first] = entries;
  const shape = first.config.batch_input_shape ?? config.build_input_shape ?? record(model?.build_config)?.input_shape;
  if (first.class_name !== 'InputLayer' && taken === undefined && Array.isArray(shape))
    entries.unshift({
      name: `${first.name}_input`,
      class_name: 'InputLayer',
      config: { batch_shape: shape },
      from: [],
      raw: {},
    });
  for (const [i, entry] of entries.entries()) entry.from = i ? [entries[i - 1].name] : [];
  if (entries[0].class_name !== 'InputLayer' && taken !== undefined) entries[0].from = [taken];
}

function readEntry(entry: unknown, index: number): Entry {
  const raw = record(entry);
  const config = record(raw?.config);
  const name = raw?.name ?? config?.name;
  const class_name = raw?.class_name;
  if (!raw || !config || typeof name !== 'string' || !name || typeof class_name !== 'string')
    throw new ResidualError(
      'WEIGHTS_FORMAT',
      `layer ${index}${typeof name === 'string' ? ` ("${name}")` : ''} of model_config is ${show(entry)}; expected a class_name, a name and a config`,
      { layer: typeof name === 'string' ? name : index },
    );
  if (name.length > longestName)
    throw new ResidualError(
      'WEIGHTS_FORMAT',
      `layer ${index} of model_config has a name of ${name.length} characters; at most ${longestName} are supported`,
      { layer: index },
    );
  const layer = { name, class_name, config, from: [], raw };
  checkCode(layer);
  checkOwn(`Keras layer "${name}"`, raw, name);
  const policy = record(config.dtype);
  if (policy?.class_name === 'QuantizedDTypePolicy' || /^(int|float)[48]/.test(String(record(policy?.config)?.name)))
    refuse(layer, `has quantised weights (${show(policy?.config ?? policy)}), which are not read`);
  return layer;
}

/** Program code in the file: a Lambda layer holds Python bytecode, and so does a lambda among a layer's settings. */
function checkCode({ name, class_name, config }: Layer): void {
  const lambda = class_name === 'Lambda';
  if (!lambda && !(!Array.isArray(config.layers) && JSON.stringify(config).includes('"__lambda__"'))) return;
  throw new ResidualError(
    'WEIGHTS_UNSAFE',
    `Keras layer "${name}" ${lambda ? 'is a Lambda' : 'has a lambda among its settings'}: program code, which was not executed; build the network without it and pass it as architecture`,
    { layer: name },
  );
}

/** Classes of somebody's own code: what they compute is not in the file. */
function checkOwn(who: string, { class_name, module, registered_name }: Record<string, unknown>, layer?: string): void {
  const elsewhere = typeof module === 'string' && !ownModule.test(module);
  const registered = typeof registered_name === 'string' && registered_name !== class_name;
  if (!elsewhere && !registered) return;
  const name = `${elsewhere ? `${module}.` : ''}${String(class_name)}`.slice(0, 200);
  const as = registered ? `, registered as ${String(registered_name).slice(0, 200)}` : '';
  throw new ResidualError(
    'GRAPH',
    `${who} is of the custom class ${name}${as}, whose code is not in the file; build the network and pass it as architecture`,
    layer === undefined ? {} : { layer },
  );
}

/**
 * The layers that a layer takes. Keras 2 writes `[[["conv2d", 0, 0, {}], …]]`: for each call of the layer its inputs,
 * each as layer, call of that layer and output of that call; Keras 3 writes `[{args: [tensor or tensors], kwargs}]`.
 */
function inbound(layer: Layer, calls: unknown, nested: ReadonlySet<string>): string[] {
  if (!Array.isArray(calls)) return refuse(layer, `has the inbound_nodes ${show(calls)}; expected a list`);
  if (calls.length > 1) refuse(layer, `is shared: it is called ${calls.length} times; only one call is supported`);
  if (!calls.length) return [];
  const [call] = calls;
  if (Array.isArray(call)) return call.map((from) => source(layer, from, nested));
  const { args, kwargs } = record(call) ?? {};
  if (!Array.isArray(args)) return refuse(layer, `has the inbound node ${show(call)}; expected its inputs`);
  checkKeywords(layer, kwargs);
  return args.flat().map((tensor) => {
    const { class_name, config } = record(tensor) ?? {};
    if (class_name !== '__keras_tensor__') refuse(layer, `takes ${show(tensor)}; expected the output of a layer`);
    return source(layer, record(config)?.keras_history, nested);
  });
}

function source(layer: Layer, from: unknown, nested: ReadonlySet<string>): string {
  const [name, call, output, keywords] = Array.isArray(from) ? from : [];
  if (typeof name !== 'string') return refuse(layer, `takes ${show(from)}; expected [layer, 0, 0]`);
  if (!isFirst(call, nested.has(name)) || output !== 0)
    refuse(
      layer,
      `takes call ${show(call)}, output ${show(output)} of "${name}"; only the first of a layer is supported`,
    );
  checkKeywords(layer, keywords);
  return name;
}

/** A functional model counts the making of itself as its first call (`get_config` in keras/src/models/functional.py). */
const isFirst = (call: unknown, ofModel: boolean): boolean => call === 0 || (call === 1 && ofModel);

/** Keywords such as `training: false` change nothing here; a tensor among them would be an input left out. */
function checkKeywords(layer: Layer, keywords: unknown): void {
  for (const [key, value] of Object.entries(record(keywords) ?? {}))
    if (typeof value === 'object' && value !== null)
      refuse(layer, `is called with ${key} = ${show(value)}, which is not supported`);
}

/** `["dense", 0, 0]`, or a list of such, of which the first is the main output. */
function outputLayer(model: string, outputs: unknown, entries: readonly Entry[]): string {
  const first = Array.isArray(outputs) && Array.isArray(outputs[0]) ? outputs[0] : outputs;
  const [name, call, output] = Array.isArray(first) ? first : [];
  if (typeof name !== 'string')
    throw new ResidualError('WEIGHTS_FORMAT', `model_config of "${model}" names no output layer`);
  const ofModel = entries.some((entry) => entry.name === name && isModel(entry));
  if (!isFirst(call, ofModel) || output !== 0)
    throw new ResidualError(
      'GRAPH',
      `Keras layer "${name}" gives the network's output by call ${show(call)}, output ${show(output)}; only the first of a layer is supported`,
      { layer: name },
    );
  return name;
}

const record = (value: unknown): Record<string, unknown> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;

/** A piece of the file for a message. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

export function refuse(layer: Pick<Layer, 'name'>, why: string): never {
  throw new ResidualError('GRAPH', `Keras layer "${layer.name}" ${why}`, { layer: layer.name });
}
