import { stat } from 'node:fs/promises';
import {
  type ClassLabel,
  classesOf,
  classesOfFolders,
  classify,
  defaultModel,
  explainPreprocessing,
  load,
  type Model,
  matchClasses,
  type Prediction,
  parseClasses,
  ResidualError,
} from 'residual/classify';
import { bars } from '../bars.js';
import type { Context } from '../context.js';
import { fetching } from '../fetching.js';
import { checkWritable, readText, writeWhole } from '../files.js';
import type { classifyFlags, OptionsOf } from '../flags.js';
import { expandInputs } from '../inputs.js';
import { startProgress } from '../progress.js';
import { isArray, rowsOf } from '../rows.js';
import { print, printable, wantsColor, widthOf } from '../terminal.js';

type Options = OptionsOf<typeof classifyFlags>;

/** `residual classify`: exit status 1 when some picture could not be done; the others are done nevertheless. */
export async function run(args: readonly string[], options: Options, context: Context) {
  const { signal, report, note } = context;
  const { files, errors } = await expandInputs(args);
  for (const error of errors) report(error);
  if (files.length === 0) return 1;
  if (options.saveInput !== undefined) await checkSaveInput(options.saveInput, files.length);
  checkArrays(files, options, note);

  classify.warm();
  // To choose kernels by the clock takes longer than one picture.
  await using model = await open(files.length === 1 ? { ...options, deterministic: true } : options, context);
  for (const text of model.notes) note(text);
  if (options.json && model.record.about !== undefined) note(aboutModel(model));
  const classes = classesOf(model);
  const only = options.classes === undefined ? undefined : await choice(options.classes, classes);
  const expected = options.score ? expectedOf(files, classes, only) : undefined;
  const write = options.json ? json : chart(model);
  const progress = await startProgress(files.length);
  let failed = errors.length;
  let [done, answered, right] = [-1, 0, 0];
  try {
    for await (const { place, row } of rowsOf(model, files, { ...options, only, signal })) {
      const { file, predictions, error } = row;
      const shown = expected && { ...classes[expected[place]], index: expected[place] };
      if (place !== done) progress.done();
      done = place;
      progress.hide();
      if (error) {
        failed++;
        report(error);
      } else {
        const answer = { file, predictions, expected: shown, steps: await preprocessing(file, model, options) };
        answered++;
        if (isRight(answer)) right++;
        await print(write(answer));
      }
    }
  } finally {
    progress.stop();
  }
  if (expected !== undefined) await print(score(right, answered, options.json === true));
  return failed === 0 ? 0 : 1;
}

/** Arrays are taken as they are, which is said; there is no plan to explain. @throws ARGUMENT */
function checkArrays(files: readonly string[], options: Options, note: Context['note']): void {
  const first = files.find(isArray);
  if (first === undefined) return;
  const asked =
    options.saveInput !== undefined ? '--save-input' : options.explainPreprocessing && '--explain-preprocessing';
  if (asked)
    throw new ResidualError('ARGUMENT', `${asked} takes pictures, but ${first} is an array that no plan is applied to`);
  note(`${first}: arrays are taken as preprocessed already; no plan is applied to them`);
}

/** The classes that --classes names: a file of them where it looks like a path, else names with commas between. */
async function choice(given: string, classes: readonly ClassLabel[]): Promise<number[]> {
  if (/[/\\]|\.(txt|json)$/i.test(given)) {
    const names = parseClasses(await readText(given), given).map(({ wnid, label }) => wnid ?? label);
    return matchClasses(names, classes, given);
  }
  const names = given.split(',').map((name) => name.trim());
  try {
    return matchClasses(names, classes, '--classes');
  } catch (error) {
    // A class may be called like a file beside it: only what is no class may be meant as one.
    const isFile = (await stat(given).catch(() => undefined))?.isFile();
    if (!isFile || !(error instanceof ResidualError)) throw error;
    throw new ResidualError(error.code, `${error.message}; there is a file ${given}: write ./${given}`, error.details);
  }
}

/** What the pictures show, by their folders. @throws CLASSES, also for a class that --classes leaves out. */
function expectedOf(
  files: readonly string[],
  classes: readonly ClassLabel[],
  only: readonly number[] | undefined,
): number[] {
  const expected = classesOfFolders(files, classes);
  const out = expected.findIndex((index) => only?.includes(index) === false);
  if (out < 0) return expected;
  const { label } = classes[expected[out]];
  throw new ResidualError('CLASSES', `${files[out]}: its folder says ${label}, which --classes leaves out`, { label });
}

/** The share of right answers among the pictures that could be classified. */
function score(right: number, pictures: number, json: boolean): string {
  const top1 = pictures === 0 ? null : right / pictures;
  if (json) return `${JSON.stringify({ score: { pictures, right, top1 } })}\n`;
  return `\n${right} of ${pictures} right${top1 === null ? '' : `: ${(100 * top1).toFixed(1)} % top-1`}\n`;
}

/** What would fail after the work fails before it. @throws ARGUMENT, FILE */
async function checkSaveInput(file: string, pictures: number): Promise<void> {
  if (pictures > 1) throw new ResidualError('ARGUMENT', `--save-input takes one picture but received ${pictures}`);
  if (!/\.png$/i.test(file))
    throw new ResidualError(
      'ARGUMENT',
      `--save-input writes a PNG: expected a name that ends in .png but received ${file}`,
    );
  await checkWritable(file);
}

/**
 * The model that --model and --weights name; without them torchvision's ResNet-50, out of the cache or from the hub.
 * Where that cannot be had, no other is taken for it: the classes would change without a word.
 */
async function open({ model, weights, labels, classes: _, ...options }: Options, context: Context): Promise<Model> {
  const given =
    labels === undefined
      ? { warn: context.note }
      : { warn: context.note, labels: parseClasses(await readText(labels), labels) };
  if (weights !== undefined)
    return load(weights, { ...options, ...given, ...(model === undefined ? {} : { architecture: model }) });
  const { stop, ...hub } = await fetching(options, context);
  try {
    return await load(model ?? defaultModel, { ...options, ...hub, ...given });
  } catch (error) {
    if (model !== undefined || !(error instanceof ResidualError && error.code === 'DOWNLOAD')) throw error;
    throw new ResidualError(
      'DOWNLOAD',
      `no weights were given, and ${defaultModel} cannot be had (${error.message}); pass --weights FILE (.pth, .safetensors, .h5, .onnx), or --model resnet16-cifar10, the bundled model with its ten classes`,
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
  { record, graph }: Model,
  options: Options,
): Promise<readonly string[] | undefined> {
  if (!options.explainPreprocessing && options.saveInput === undefined) return undefined;
  const { steps, png } = await explainPreprocessing(file, record.plan, graph.inputs[0].shape[1] === 1 ? 1 : 3);
  if (options.saveInput !== undefined) await writeWhole(options.saveInput, await png());
  return options.explainPreprocessing ? steps : undefined;
}

/** One picture's answer, and what was asked for beside it. */
interface Answer {
  readonly file: string;
  readonly predictions: readonly Prediction[];
  /** The class its folder is named after. */
  readonly expected?: (ClassLabel & { readonly index: number }) | undefined;
  readonly steps?: readonly string[] | undefined;
}

type Write = (answer: Answer) => string;

const isRight = ({ predictions, expected }: Answer): boolean =>
  expected !== undefined && predictions[0]?.index === expected.index;

/** One line of JSON a picture, best class first. */
const json: Write = (answer) => {
  const { file, expected, steps: preprocessing } = answer;
  const predictions = answer.predictions.map(({ index, label, wnid, probability }) => ({
    index,
    label,
    wnid,
    probability,
  }));
  const correct = expected && isRight(answer);
  return `${JSON.stringify({ file, predictions, expected, correct, preprocessing })}\n`;
};

/** Bars for each picture, headed once by what the model is. */
function chart(model: Model): Write {
  const look = { width: widthOf(process.stdout), color: wantsColor(process.stdout) };
  let heading = `${printable(aboutModel(model))}\n\n`;
  return (answer) => {
    const { file, predictions, expected, steps = [] } = answer;
    const verdict = expected === undefined ? '' : isRight(answer) ? '  ✓' : `  ✗ ${expected.label}`;
    const drawn = [
      heading,
      bars(`${file}${verdict}`, predictions, look),
      ...steps.map((step) => `  ${printable(step)}\n`),
    ];
    heading = '\n';
    return drawn.join('');
  };
}

function aboutModel({ name, record }: Model): string {
  if (record.about !== undefined) return `${name}: ${record.about}`;
  return `${name}: ${record.architecture}, ${record.classes?.length ?? 'unnamed'} classes, preprocessing ${record.preprocess}`;
}
