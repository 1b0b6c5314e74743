import { ResidualError } from '../errors.js';
import type { Decoding, Filter, Plan, Step } from '../image/plan.js';
import { type ClassLabel, parseClasses } from '../models/classes.js';
import { type FamilyName, family, type ResNetConfig } from '../models/resnet.js';
import { timmLacks } from '../models/timm.js';
import { parseJson } from './json.js';
import { readBytes } from './source.js';

/** What the files beside a weight file say of it. */
export interface SideFiles {
  /** For a note: `config.json of timm`. */
  readonly from: string;
  /** What of the network's configuration they fix; all of it when they name a member of the family. */
  readonly network: Partial<ResNetConfig>;
  /** The size of picture it was trained for, or is said to be used at. */
  readonly size?: readonly [height: number, width: number];
  /** The preprocessing for pictures of a size. */
  readonly plan?: (size: { height: number; width: number; decode?: Decoding | undefined }) => Plan;
  readonly classes?: readonly ClassLabel[];
}

/** Names that Hugging Face's libraries give to weights. Beside other files, a config.json may be anybody's. */
const weightName = /(^|[/\\])(open_clip_)?(pytorch_)?model(-\d+-of-\d+)?\.(safetensors|bin|pth)(\.index\.json)?$/;

/**
 * Hugging Face's `config.json` and `preprocessor_config.json`, or timm's `config.json`, beside a weight file of a name
 * that these use (`model.safetensors`, `pytorch_model.bin`), or in a folder; undefined where there are none, or they
 * are of another kind of network.
 * @throws WEIGHTS_FORMAT when one is no JSON or says something impossible; GRAPH when it describes a ResNet that the
 * family lacks.
 */
export async function readSideFiles(path: unknown): Promise<SideFiles | undefined> {
  if (typeof path !== 'string' || /^[a-z]+:\/\//i.test(path)) return undefined;
  const isFolder = (await (await import('#file')).openFolder(path)) !== undefined;
  if (!isFolder && !weightName.test(path)) return undefined;
  const folder = isFolder ? path.replace(/[/\\]*$/, '/') : path.replace(/[^/\\]*$/, '');
  const config = await readJson(`${folder}config.json`);
  return config === undefined
    ? undefined
    : understandSideFiles(config, await readJson(`${folder}preprocessor_config.json`), folder);
}

/** Far more than a class list of tens of thousands. */
const largest = 2 ** 24;

async function readJson(path: string): Promise<unknown> {
  const { openFile } = await import('#file');
  let source: Awaited<ReturnType<typeof openFile>>;
  try {
    source = await openFile(path);
  } catch (error) {
    if (error instanceof ResidualError && error.code === 'FILE') return undefined;
    throw error;
  }
  try {
    if (source.size > largest) throw wrong(path, `has ${source.size} bytes; a description of a model has fewer`);
    return parseJson(source, 'it', new TextDecoder().decode(await readBytes(source, 0, source.size)));
  } finally {
    await source.close();
  }
}

/**
 * What these two documents say, the second of which may be absent.
 * @param folder for messages: where they stand, with a slash at the end.
 * @throws as `readSideFiles`.
 */
export function understandSideFiles(config: unknown, preprocessor: unknown, folder = ''): SideFiles | undefined {
  const main = fields(config, `${folder}config.json`);
  if (main.has('pretrained_cfg') || main.has('architecture')) return timm(main);
  if (main.text('model_type') !== 'resnet') return undefined;
  return {
    from: preprocessor === undefined ? 'config.json of Hugging Face' : 'config.json and preprocessor_config.json',
    network: huggingFaceNetwork(main),
    ...(main.has('id2label') && {
      classes: parseClasses(JSON.stringify(main.value('id2label')), `${folder}config.json`),
    }),
    ...(preprocessor !== undefined && huggingFacePlan(fields(preprocessor, `${folder}preprocessor_config.json`))),
  };
}

/** Hugging Face's ResNetConfig (transformers, models/resnet/configuration_resnet.py) with its defaults. */
function huggingFaceNetwork(config: Fields): Partial<ResNetConfig> {
  const block = config.text('layer_type') ?? 'bottleneck';
  const depths = config.numbers('depths') ?? [3, 4, 6, 3];
  const hidden = config.numbers('hidden_sizes') ?? [256, 512, 1024, 2048];
  if (block !== 'basic' && block !== 'bottleneck') throw config.lacks(`layer_type ${block}`);
  const width = hidden[0] / (block === 'bottleneck' ? 4 : 1);
  if ((config.text('hidden_act') ?? 'relu') !== 'relu') throw config.lacks(`hidden_act ${config.text('hidden_act')}`);
  if (config.flag('downsample_in_first_stage')) throw config.lacks('downsample_in_first_stage');
  if (hidden.some((size, i) => size !== hidden[0] * 2 ** i) || (config.number('embedding_size') ?? 64) !== width)
    throw config.lacks(`hidden_sizes [${hidden}] behind embedding_size ${config.number('embedding_size') ?? 64}`);
  const strideOn = block === 'bottleneck' && config.flag('downsample_in_bottleneck') ? '1x1' : '3x3';
  return { block, depths, width, widthPerGroup: width, strideOn };
}

/** Pillow's numbers of its filters. */
const filters: readonly Filter[] = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'];

/** How a processor makes a picture of the size it is asked for. */
type Geometry = (size: { height: number; width: number }) => readonly Step[];

/**
 * transformers' image processors (models/…/image_processing_….py) that are found beside ResNets: their geometry, and the
 * size they make. ConvNext's, which Microsoft's ResNets use: below 384 the short side becomes int(size / crop_pct) and
 * the middle is cut out, from there on both sides become `size`. ViT's and DeiT's: both sides become `size`, and DeiT's
 * cuts. CLIP's and Bit's: the short side becomes `size` and the middle is cut out.
 */
function huggingFaceGeometry(processor: Fields, filter: Filter): { size: readonly [number, number]; steps: Geometry } {
  const name =
    processor.text('image_processor_type') ?? processor.text('feature_extractor_type') ?? 'ConvNextImageProcessor';
  const kind = /^(ConvNext|ViT|DeiT|CLIP|Bit)(ImageProcessor|ImageProcessorFast|FeatureExtractor)$/.exec(name)?.[1];
  if (kind === undefined)
    throw processor.wrong(`the processor ${name}, which is not known here: its steps are not in the file`);
  const sizes = fields(processor.value('size') ?? {}, processor.file, 'size');
  const cut = fields(processor.value('crop_size') ?? {}, processor.file, 'crop_size');
  const side = processor.number('size') ?? sizes.number('shortest_edge');
  const [height, width] = [sizes.number('height') ?? side ?? 224, sizes.number('width') ?? side ?? 224];
  const cropped = [
    cut.number('height') ?? processor.number('crop_size') ?? (kind === 'DeiT' ? 224 : height),
    cut.number('width') ?? processor.number('crop_size') ?? (kind === 'DeiT' ? 224 : width),
  ] as const;
  const share = processor.number('crop_pct') ?? 224 / 256;
  if (![height, width, ...cropped].every((n) => Number.isInteger(n) && n > 0) || !(share > 0 && share <= 1))
    throw processor.wrong(`size ${height}×${width}, crop_size ${cropped.join('×')} or crop_pct ${share}`);

  const resizes = processor.flag('do_resize') ?? true;
  const squash: Geometry = (size) => (resizes ? [{ step: 'resize', ...size, filter }] : []);
  if (kind === 'ConvNext') {
    const cuts: Geometry = ({ height, width }) => (resizes ? shortSideThenCrop(height, width, share, filter) : []);
    return { size: [height, width], steps: Math.max(height, width) < 384 ? cuts : squash };
  }
  const crops = processor.flag('do_center_crop') ?? kind !== 'ViT';
  if (!crops && (kind === 'CLIP' || kind === 'Bit'))
    throw processor.wrong(`do_center_crop false with ${name}: pictures would keep different shapes`);
  if (!crops) return { size: [height, width], steps: squash };
  const scale = (side: number, i: 0 | 1) => Math.round((side * [height, width][i]) / cropped[i]);
  return {
    size: cropped,
    steps: ({ height: h, width: w }) => [
      ...(kind === 'DeiT'
        ? squash({ height: scale(h, 0), width: scale(w, 1) })
        : resizes
          ? [{ step: 'resizeShortSide', size: scale(Math.max(h, w), 0), filter } as const]
          : []),
      { step: 'centerCrop', height: h, width: w },
    ],
  };
}

/** Hugging Face's `preprocessor_config.json`. */
function huggingFacePlan(processor: Fields): Pick<SideFiles, 'plan' | 'size'> {
  const filter = filters[processor.number('resample') ?? 3];
  if (!filter) throw processor.wrong(`resample ${processor.number('resample')}`);
  const { size, steps } = huggingFaceGeometry(processor, filter);
  const values: Step[] = [];
  if (processor.flag('do_rescale') ?? true)
    values.push({ step: 'scale', factor: processor.number('rescale_factor') ?? 1 / 255, offset: 0 });
  if (processor.flag('do_normalize') ?? true) values.push(normalize(processor, 'image_mean', 'image_std', 0.5));
  return {
    size,
    plan: ({ height, width, decode = 'default' }) => [
      { step: 'decode', as: decode },
      ...steps({ height, width }),
      ...values,
    ],
  };
}

const shortSideThenCrop = (height: number, width: number, share: number, filter: Filter): Step[] => [
  { step: 'resizeShortSide', size: Math.floor(Math.max(height, width) / share), filter },
  { step: 'centerCrop', height, width },
];

function normalize(from: Fields, mean: string, deviation: string, usual: number): Step {
  const [means, deviations] = [mean, deviation].map((name) => from.numbers(name) ?? [usual, usual, usual]);
  if (means.length !== 3 || deviations.length !== 3 || deviations.includes(0))
    throw from.wrong(`${mean} [${means}] or ${deviation} [${deviations}]`);
  return { step: 'normalize', mean: means, deviation: deviations };
}

/** Of timm's `model_args`: classes and channels show in the tensors, the rest is for training or is looked at. */
const harmless = new Set([
  'num_classes',
  'in_chans',
  'global_pool',
  'pretrained',
  'drop_rate',
  'drop_path_rate',
  'drop_block_rate',
  'zero_init_last',
]);

/** timm's model configuration (timm/models/_hub.py) and evaluation transform (timm/data/transforms_factory.py). */
function timm(config: Fields): SideFiles | undefined {
  const name = config.text('architecture') ?? '';
  if (Object.hasOwn(timmLacks, name)) throw config.lacks(`${name}: ${timmLacks[name]}`);
  if (!Object.hasOwn(family, name)) return undefined;
  // What `create_model` was told beyond the name; some of it changes nothing at inference, or shows in the tensors.
  const told = fields(config.value('model_args') ?? {}, config.file);
  const odd = told.names().find((key) => !harmless.has(key) && told.has(key));
  if (odd !== undefined) throw config.lacks(`${name} with model_args ${odd} ${short(told.value(odd))}`);
  for (const from of [config, told])
    if ((from.text('global_pool') ?? 'avg') !== 'avg') throw config.lacks(`global_pool ${from.text('global_pool')}`);
  // Older files hold one dictionary.
  const trained = config.has('pretrained_cfg') ? fields(config.value('pretrained_cfg'), config.file) : config;
  const [channels, height, width] = trained.numbers('input_size') ?? [3, 224, 224];
  const share = trained.number('crop_pct') ?? 0.875;
  const mode = trained.text('crop_mode') ?? 'center';
  const filter = filters.find((name) => name === (trained.text('interpolation') ?? 'bilinear'));
  const sides = [channels, height, width];
  if (!filter || !(share > 0 && share <= 1) || sides.some((n) => !Number.isInteger(n) || n < 1 || n > 2 ** 16))
    throw trained.wrong(`input_size [${sides}], crop_pct ${share} or interpolation ${trained.text('interpolation')}`);
  if (mode !== 'center' && mode !== 'squash')
    throw new ResidualError(
      'WEIGHTS_FORMAT',
      `${trained.file} asks for crop_mode ${mode}, which is not done here; pass the preprocessing and take the file away from beside the weights`,
      {
        file: trained.file,
      },
    );
  const values: Step[] = [{ step: 'scale', factor: 1 / 255, offset: 0 }, normalize(trained, 'mean', 'std', Number.NaN)];
  const labels = labelsOf(config, trained);
  return {
    from: 'config.json of timm',
    network: { ...(family[name as FamilyName] as ResNetConfig), channels },
    size: [height, width],
    plan: (size) => [
      { step: 'decode', as: size.decode ?? 'default' },
      ...(mode === 'center'
        ? shortSideThenCrop(size.height, size.width, share, filter)
        : [
            {
              step: 'resize',
              height: Math.floor(size.height / share),
              width: Math.floor(size.width / share),
              filter,
            } as const,
            { step: 'centerCrop', height: size.height, width: size.width } as const,
          ]),
      ...values,
    ],
    ...(labels && { classes: labels }),
  };
}

/** `label_names`, a list or by index, and what `label_descriptions` calls them. */
function labelsOf(config: Fields, trained: Fields): readonly ClassLabel[] | undefined {
  const holder = [config, trained].find((from) => from.has('label_names'));
  if (!holder) return undefined;
  const names = parseClasses(JSON.stringify(holder.value('label_names')), holder.file);
  const described = [config, trained].find((from) => from.has('label_descriptions'));
  const descriptions = described && fields(described.value('label_descriptions'), described.file);
  return names.map((entry) => {
    const label = descriptions?.text(entry.label);
    if (label === undefined) return entry;
    return /^n\d{8}$/.test(entry.label) ? { label, wnid: entry.label } : { label };
  });
}

/** Typed access to a JSON object; what is there in another type is an error, `null` is nothing. */
interface Fields {
  readonly file: string;
  names(): readonly string[];
  has(name: string): boolean;
  value(name: string): unknown;
  text(name: string): string | undefined;
  number(name: string): number | undefined;
  numbers(name: string): readonly number[] | undefined;
  flag(name: string): boolean | undefined;
  wrong(what: string): ResidualError;
  lacks(what: string): ResidualError;
}

/** @param of the field that holds it, which may be a bare number instead: then it has none of its own. */
function fields(json: unknown, file: string, of?: string): Fields {
  if (of !== undefined && typeof json === 'number') return fields({}, file);
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw wrong(file, 'holds no JSON object');
  const value = (name: string): unknown =>
    Object.hasOwn(json, name) ? ((json as Record<string, unknown>)[name] ?? undefined) : undefined;
  const typed = <T>(name: string, is: (value: unknown) => value is T, what: string): T | undefined => {
    const found = value(name);
    if (found === undefined || is(found)) return found;
    throw wrong(file, `has ${short(found)} for ${name}; expected ${what}`);
  };
  const isNumber = (x: unknown): x is number => typeof x === 'number' && Number.isFinite(x);
  return {
    file,
    names: () => Object.keys(json),
    has: (name) => value(name) !== undefined,
    value,
    text: (name) => typed(name, (x) => typeof x === 'string', 'text'),
    // Hugging Face's sizes are numbers in older files and objects in newer ones.
    number: (name) =>
      /^(crop_)?size$/.test(name) && typeof value(name) === 'object' ? undefined : typed(name, isNumber, 'a number'),
    numbers: (name) =>
      typed(
        name,
        (x): x is number[] => Array.isArray(x) && x.length > 0 && x.length < 100 && x.every(isNumber),
        'numbers',
      ),
    flag: (name) => typed(name, (x) => typeof x === 'boolean', 'true or false'),
    wrong: (what) => wrong(file, `has a value that cannot be: ${what}`),
    lacks: (what) =>
      new ResidualError('GRAPH', `${file} describes a ResNet that cannot be built here: ${what}`, { file }),
  };
}

const wrong = (file: string, what: string) =>
  new ResidualError('WEIGHTS_FORMAT', `${file} ${what}; mend it, or take it away from beside the weights`, { file });

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
