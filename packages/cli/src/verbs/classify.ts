import {
  classify,
  defaultModel,
  explainPreprocessing,
  load,
  type Model,
  type Prediction,
  parseClasses,
  ResidualError,
} from 'residual';
import { bars } from '../bars.js';
import type { Context } from '../context.js';
import { fetching } from '../fetching.js';
import { readText, writeWhole } from '../files.js';
import type { classifyFlags, OptionsOf } from '../flags.js';
import { expandInputs } from '../inputs.js';
import { startProgress } from '../progress.js';
import { print, printable, wantsColor, widthOf } from '../terminal.js';

type Options = OptionsOf<typeof classifyFlags>;

/** From so many pictures on, some are computed together: decoding and computing then overlap better. */
const many = 16;

/** `residual classify`: exit status 1 when some picture could not be done; the others are done nevertheless. */
export async function run(args: readonly string[], options: Options, context: Context) {
  const { signal, report, note } = context;
  const { files, errors } = await expandInputs(args);
  for (const error of errors) report(error);
  if (files.length === 0) return 1;
  if (options.saveInput !== undefined && files.length > 1)
    throw new ResidualError('ARGUMENT', `--save-input takes one picture but received ${files.length}`);

  classify.warm();
  await using model = await open(options, context);
  for (const text of model.notes) note(text);
  if (options.json && model.record.about !== undefined) note(aboutModel(model));
  const write = options.json ? json : chart(model);
  const progress = await startProgress(files.length);
  let failed = errors.length;
  try {
    for await (const { file, predictions, error } of classify.each(model, files, {
      batch: files.length < many ? 1 : 4,
      ...options,
      signal,
    })) {
      progress.done();
      progress.hide();
      if (error) {
        failed++;
        report(error);
      } else await print(write(file, predictions, await preprocessing(file, model, options)));
    }
  } finally {
    progress.stop();
  }
  return failed === 0 ? 0 : 1;
}

/**
 * The model that --model and --weights name; without them torchvision's ResNet-50, out of the cache or from the hub.
 * Where that cannot be had, no other is taken for it: the classes would change without a word.
 */
async function open({ model, weights, labels, ...options }: Options, context: Context): Promise<Model> {
  const classes = labels === undefined ? {} : { labels: parseClasses(await readText(labels), labels) };
  if (weights !== undefined)
    return load(weights, { ...options, ...classes, ...(model === undefined ? {} : { architecture: model }) });
  const { stop, ...hub } = await fetching(options, context);
  try {
    return await load(model ?? defaultModel, { ...options, ...hub, ...classes });
  } catch (error) {
    if (model !== undefined || !(error instanceof ResidualError && error.code === 'DOWNLOAD')) throw error;
    throw new ResidualError(
      'DOWNLOAD',
      `no weights were given, and ${defaultModel} cannot be had (${error.message}); pass --weights FILE (.pth, .safetensors, .h5), or --model resnet8-cifar10, the bundled model with its ten classes`,
      error.details,
      { cause: error },
    );
  } finally {
    stop();
  }
}

/** The plan's steps with this picture's sizes where they are asked for; writes what the network saw where that is. */
async function preprocessing(
  file: string,
  { record }: Model,
  options: Options,
): Promise<readonly string[] | undefined> {
  if (!options.explainPreprocessing && options.saveInput === undefined) return undefined;
  const { steps, png } = await explainPreprocessing(file, record.plan);
  if (options.saveInput !== undefined) await writeWhole(options.saveInput, await png());
  return options.explainPreprocessing ? steps : undefined;
}

type Write = (file: string, predictions: readonly Prediction[], steps: readonly string[] | undefined) => string;

/** One line of JSON a picture, best class first. */
const json: Write = (file, predictions, preprocessing) => {
  const rows = predictions.map(({ index, label, wnid, probability }) => ({ index, label, wnid, probability }));
  return `${JSON.stringify({ file, predictions: rows, preprocessing })}\n`;
};

/** Bars for each picture, headed once by what the model is. */
function chart(model: Model): Write {
  const look = { width: widthOf(process.stdout), color: wantsColor(process.stdout) };
  let heading = `${printable(aboutModel(model))}\n\n`;
  return (file, predictions, steps = []) => {
    const drawn = [heading, bars(file, predictions, look), ...steps.map((step) => `  ${printable(step)}\n`)];
    heading = '\n';
    return drawn.join('');
  };
}

function aboutModel({ name, record }: Model): string {
  if (record.about !== undefined) return `${name}: ${record.about}`;
  return `${name}: ${record.architecture}, ${record.classes?.length ?? 'unnamed'} classes, preprocessing ${record.preprocess}`;
}
