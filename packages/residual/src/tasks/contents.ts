import { aborted, ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { type ResNetConfig, torchvision } from '../models/config.js';
import { resnet } from '../models/resnet.js';
import type { AnyTensor } from '../tensor.js';
import type { Checkpoint } from '../weights/checkpoint.js';
import type { KerasContent } from '../weights/hdf5-write.js';
import { kerasLayers } from '../weights/keras-order.js';
import { type Dialect, type DialectName, dialects, recogniseNames } from '../weights/names.js';
import { ownSpelling } from '../weights/record.js';
import { fileShape, fromParameter } from '../weights/spell.js';
import { type ContainerName, containers, type FileContent } from '../weights/write.js';
import { contentOf } from '../weights/write-keras.js';
import type { Model } from './model.js';
import type { Network } from './network.js';
import { misread, readBack, settingsOf, type Written } from './read-back.js';
import { storedTensors, type Watched } from './savable.js';
import type { Understanding } from './understand.js';

/** What goes into a file, and what did not. */
export interface Content extends FileContent {
  readonly dialect?: string;
  readonly dropped: readonly string[];
  readonly notes: readonly string[];
}

/**
 * The tensors of a file, each with its own name, element type and bits; what stood before every name is taken off, and
 * what stands beside the network (an optimiser's state) is left out.
 * @throws NUMERICS, ABORTED
 */
export async function asItStands(
  checkpoint: Checkpoint,
  { naming, record }: Understanding,
  { signal }: Watched,
): Promise<Content> {
  const prefix = naming?.prefix ?? '';
  const tensors = new Map<string, AnyTensor>();
  const dropped: string[] = [];
  for (const name of checkpoint.tensors.keys()) {
    if (signal?.aborted) throw aborted();
    if (!name.startsWith(prefix)) {
      dropped.push(name);
      continue;
    }
    const tensor = await checkpoint.read(name);
    checkFinite(name, tensor);
    tensors.set(name.slice(prefix.length), tensor);
  }
  const notes = prefix ? [`took "${prefix}" off the names of the tensors`] : [];
  if (dropped.length)
    notes.push(
      `left out ${dropped.length} tensors that stand beside the network: ${dropped.slice(0, 3).join(', ')}${dropped.length > 3 ? ', …' : ''}`,
    );
  // Where the sign of a dialect stood before the names, what is left is spelled as others spell it.
  const dialect = recogniseNames([...tensors.keys()])?.dialect ?? record?.dialect;
  return { tensors, metadata: {}, dropped, notes, ...(dialect !== undefined && { dialect }) };
}

/** Spellings of code bases whose networks are the family's, each with settings to begin with. */
const codeBases = [
  ['torchvision', 'torchvision'],
  ['timm', 'torchvision'],
  ['keras', 'keras'],
  ['keras2015', 'keras2015'],
] as const satisfies readonly (readonly [DialectName, ResNetConfig['spelling']])[];

/**
 * The spelling that a network's own code base uses: the first in which its names would be read as this network; and the
 * settings of the member of the family that it is, which a network out of ONNX or a whole Keras model may be too.
 */
export function native({ graph, record }: Pick<Model, 'graph' | 'record'>): {
  readonly dialect?: DialectName;
  readonly config?: ResNetConfig;
} {
  const config = settingsOf(graph, record.config);
  for (const [dialect, spelling] of codeBases) {
    if (config && config.spelling !== spelling) continue;
    const names = namesIn(dialect, graph, config ?? torchvision);
    if (typeof names === 'string') continue;
    const { layout } = dialects[dialect];
    const tensors = new Map(
      graph.parameters.map(({ name, shape }) => [names.get(name) as string, { shape: fileShape(shape, layout) }]),
    );
    const file = { tensors, metadata: {} };
    if (misread(file, { graph, called: (name) => names.get(name) })) continue;
    const read = readBack(file, graph.inputs[0].shape) as Network;
    return { dialect, ...(config ? { config } : read.config && { config: read.config }) };
  }
  return config ? { config } : {};
}

/** What each parameter is called; or the first that has no name. */
function namesIn(dialect: DialectName, graph: Graph, config: ResNetConfig): ReadonlyMap<string, string> | string {
  const names = new Map<string, string>();
  const { spell }: Dialect = dialects[dialect];
  for (const { name } of graph.parameters) {
    const found = spell(name, config);
    if (found === undefined) return name;
    names.set(name, found);
  }
  return names;
}

/** The parameters of a network in a dialect's names and layout, and what each is called. @throws WEIGHTS_MISMATCH */
export async function spelled(
  model: Model,
  config: ResNetConfig | undefined,
  dialect: DialectName | typeof ownSpelling,
  format: ContainerName,
  keepsRecord: boolean,
): Promise<Pick<Content, 'tensors' | 'keras'> & Pick<Written, 'called'>> {
  const { graph, record } = model;
  if (dialect === ownSpelling) {
    if (format === 'keras')
      throw cannot(
        model,
        'a Keras file',
        config ? 'its names would be no names of Keras; leave dialect out' : ownGraph,
      );
    const filled = { graph, record, weights: await model.weights() };
    return { tensors: keepsRecord ? storedTensors(filled) : filled.weights, called: (name) => name };
  }
  if (!config) throw cannot(model, `"${dialect}"`, ownGraph);
  const { layout } = dialects[dialect];
  if (format === 'keras' && layout !== 'keras') throw cannot(model, 'a Keras file', unlike(config));
  const names = namesIn(dialect, graph, config);
  if (typeof names === 'string') throw cannot(model, `"${dialect}"`, `it has no name for ${names}; ${unlike(config)}`);
  const weights = await model.weights();
  const byParameter = new Map<string, readonly [name: string, tensor: AnyTensor]>();
  for (const [parameter, name] of names)
    byParameter.set(parameter, [name, fromParameter(weights.get(parameter)!, layout, name)]);
  const tensors = new Map(byParameter.values());
  const called: Written['called'] = (name) => names.get(name);
  if (format !== 'keras') return { tensors, called };
  // Layers of a network out of another file may be called otherwise and stand in another order.
  const [, , height, width] = graph.inputs[0].shape;
  const family = resnet({ ...config, size: [height, width] });
  const layers = contentOf(kerasLayers(family, config.spelling === 'keras'), byParameter);
  return { tensors, called, keras: { layers, attributes: kerasAttributes(dialect) } };
}

/** The tensors of a file by Keras' layers: as the file has them, or as Keras orders those of its network. */
export function kerasContent(
  checkpoint: Checkpoint,
  { naming, architecture }: Understanding,
  { tensors }: Pick<Content, 'tensors'>,
): KerasContent {
  const { layer_names: names, model_config: config, backend, keras_version: version } = checkpoint.metadata;
  const layersOfFile =
    checkpoint.format === 'keras-h5' && Array.isArray(names) ? byOwnNames(names as string[], tensors) : undefined;
  if (layersOfFile) {
    const texts = { backend, keras_version: version, model_config: config && JSON.stringify(config) };
    return {
      layers: layersOfFile,
      attributes: Object.fromEntries(
        Object.entries(texts).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
      ),
    };
  }
  if (!naming || !architecture)
    throw new ResidualError(
      'WEIGHTS_MISMATCH',
      'these tensors have no layers that Keras would know; write .safetensors',
    );
  const { config: settings, name } = architecture;
  const byParameter = new Map(
    [...naming.tensors].map(([parameter, tensor]) => {
      const short = tensor.slice(naming.prefix.length);
      return [parameter, [short, tensors.get(short)!] as const];
    }),
  );
  const layers = contentOf(kerasLayers(resnet(settings, name), settings.spelling === 'keras'), byParameter);
  return { layers, attributes: kerasAttributes(naming.dialect) };
}

/** Layers in the file's own order, where each weight's name begins with its layer's: not so in models within models. */
function byOwnNames(
  names: readonly string[],
  tensors: ReadonlyMap<string, AnyTensor>,
): KerasContent['layers'] | undefined {
  const owned = new Map<string, { name: string; tensor: AnyTensor }[]>(names.map((name) => [name, []]));
  for (const [name, tensor] of tensors) {
    // A layer's name may begin another's: the longer one has it.
    let end = name.lastIndexOf('/');
    while (end > 0 && !owned.has(name.slice(0, end))) end = name.lastIndexOf('/', end - 1);
    const layer = owned.get(name.slice(0, end));
    if (!layer) return undefined;
    layer.push({ name: name.slice(end + 1), tensor });
  }
  return names.map((name) => ({ name, weights: owned.get(name) ?? [] }));
}

/** Files of today say which Keras laid them out; those of 2015 say nothing. */
const kerasAttributes = (dialect: DialectName): Record<string, string> =>
  dialect === 'keras2015' ? {} : { backend: 'tensorflow', keras_version: '2.4.0' };

/** Whatever such a network is called: BatchNorm may be folded into its weights, or a layer be another. */
const ownGraph = 'its network is a graph of its own and no member of the family';

/** What keeps one code base's layers from being another's. */
const unlike = ({ block, strideOn, stemPool, spelling }: ResNetConfig): string =>
  `its layers are those of ${spelling} (${block} blocks, stride on the ${strideOn}, stem pool ${stemPool})`;

export function cannot(
  { name, record }: { readonly name: string; readonly record: Pick<Model['record'], 'architecture'> },
  dialect: string,
  why: string,
): ResidualError {
  const others = [containers.residual.endings[0], '.onnx'].join(' or ');
  return new ResidualError(
    'WEIGHTS_MISMATCH',
    `${name}: ${record.architecture} cannot be written as ${dialect}: ${why}; write ${others}, which keep the network`,
    { file: name, dialect },
  );
}

/** Exponents of all ones are infinities and NaN. */
const finite: Partial<Record<AnyTensor['dtype'], (value: number) => boolean>> = {
  float64: Number.isFinite,
  float32: Number.isFinite,
  float16: (bits) => (bits & 0x7c00) !== 0x7c00,
  bfloat16: (bits) => (bits & 0x7f80) !== 0x7f80,
};

function checkFinite(name: string, { dtype, data }: AnyTensor): void {
  const holds = finite[dtype];
  if (!holds || (data as Float32Array).every(holds)) return;
  throw new ResidualError(
    'NUMERICS',
    `${name} holds values that are not finite numbers; the file is damaged or its training diverged, and nothing was written`,
    { tensor: name },
  );
}
