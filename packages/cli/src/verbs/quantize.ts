import { stat } from 'node:fs/promises';
import pc from 'picocolors';
import {
  classesOf,
  classesOfFolders,
  load,
  type Model,
  parseClasses,
  type QuantizeReport,
  quantize,
  ResidualError,
  save,
  savedFormat,
} from 'residual';
import type { Context } from '../context.js';
import { fetching } from '../fetching.js';
import { checkWritable, readText } from '../files.js';
import type { OptionsOf, quantizeFlags } from '../flags.js';
import { expandInputs } from '../inputs.js';
import { startProgress } from '../progress.js';
import { sizeOf } from '../sizes.js';
import { print, printable, wantsColor } from '../terminal.js';

type Options = OptionsOf<typeof quantizeFlags>;

/** `residual quantize`: a float model into one of 8 bits, and what that costs. */
export async function run(_: readonly string[], options: Options, context: Context): Promise<number> {
  const { data, out, method, threads, engine, float, json } = options;
  const { signal, note } = context;
  if (options.weights === undefined && options.model === undefined) throw missing('--weights FILE or --model NAME');
  if (data === undefined) throw missing('--data FOLDER, pictures to calibrate with');
  if (out === undefined) throw missing('--out FILE, such as small.residual');
  await checkOut(out, options.force === true);
  const { files, errors } = await expandInputs([data]);
  if (errors.length > 0) throw errors[0];
  const calibration = spread(files, options.calibrate);
  const others = files.filter((file) => !calibration.includes(file));
  const judge = spread(others.length > 0 ? others : files, options.judge);
  if (others.length === 0)
    note(`${data}: all pictures are calibrated with, and compared on too; --calibrate leaves some over`);

  await using model = await open(options, context);
  for (const text of model.notes) note(text);
  const total = calibration.length + judge.length;
  const progress = await startProgress(total);
  try {
    let before = 0;
    const { model: small, report } = await quantize(model, calibration, {
      method,
      engine,
      threads,
      signal,
      warn: note,
      onSkipped: (_, error) => note(`skipped: ${error.message}`),
      float: float?.split(',').map((name) => name.trim()),
      judge,
      expected: expectedOf(judge, model),
      onProgress(step, done) {
        const all = step === 'calibrate' ? done : calibration.length + done;
        progress.done(all - before);
        before = all;
      },
    });
    progress.stop();
    try {
      await save(small, out, { signal });
    } finally {
      await small.dispose();
    }
    const bytes = (await stat(out)).size;
    await print(
      json
        ? `${JSON.stringify({ from: model.name, file: out, bytes, ...report })}\n`
        : describe(model.name, out, bytes, report),
    );
    return 0;
  } finally {
    progress.stop();
  }
}

const missing = (what: string) =>
  new ResidualError('ARGUMENT', `nothing to do without ${what}; see residual help quantize`);

/** What would fail after the work fails before it. @throws ARGUMENT, FILE */
async function checkOut(file: string, force: boolean): Promise<void> {
  savedFormat(file);
  if (!force && (await stat(file).catch(() => undefined)))
    throw new ResidualError('FILE', `${file}: is there already; name another file, or pass --force`, { file });
  await checkWritable(file);
}

/** So many of a list, evenly spread over it. */
const spread = (list: readonly string[], count: number): string[] =>
  list.length <= count
    ? [...list]
    : Array.from({ length: count }, (_, i) => list[Math.floor((i * list.length) / count)]);

/** What the pictures show, where their folders are named after the model's classes. */
function expectedOf(files: readonly string[], model: Model): number[] | undefined {
  try {
    return classesOfFolders(files, classesOf(model));
  } catch (error) {
    if (error instanceof ResidualError && error.code === 'CLASSES') return undefined;
    throw error;
  }
}

async function open(options: Options, context: Context): Promise<Model> {
  const { model, weights, preprocess, threads, labels, engine } = options;
  const given = {
    preprocess,
    threads,
    engine,
    warn: context.note,
    ...(labels !== undefined && { labels: parseClasses(await readText(labels), labels) }),
  };
  if (weights !== undefined) return load(weights, { ...given, architecture: model });
  const { stop, ...hub } = await fetching(options, context);
  try {
    return await load(model, { ...given, ...hub });
  } finally {
    stop();
  }
}

/** Layers named in the text; JSON has all. */
const listed = 5;

function describe(from: string, file: string, bytes: number, report: QuantizeReport): string {
  const { bold, dim } = pc.createColors(wantsColor(process.stdout));
  const { layers, agreement, judgedOn, losses, method, calibrated } = report;
  const { pictures, right, top1, probabilities } = agreement;
  const share = (part: number) => `${((100 * part) / pictures).toFixed(1)} % (${part} of ${pictures})`;
  const facts = [
    sizeOf(bytes),
    `${layers.eightBits} layers in 8 bits`,
    `ranges by ${method} on ${calibrated} pictures`,
  ];
  const float = layers.float.length > 0 ? [`float: ${layers.float.join(', ')}`] : [];
  const worst = losses.toSorted((a, b) => b.lost - a.lost).slice(0, listed);
  const width = Math.max(...worst.map(({ name }) => name.length));
  return [
    `${printable(from)} → ${bold(printable(file))}  ${dim([...facts, ...float].join(', '))}`,
    '',
    ...(right ? [`right before           ${share(right.before)}`, `right after            ${share(right.after)}`] : []),
    `same answer            ${share(Math.round(top1 * pictures))}${judgedOn === 'calibration' ? ', on the pictures of the calibration' : ''}`,
    `a probability moves by ${Number((100 * probabilities).toPrecision(2))} points on average`,
    '',
    'Layers that lose most:',
    ...worst.map(
      ({ name, signalToNoise, lost }) =>
        `  ${printable(name).padEnd(width)}  ${signalToNoise.toFixed(1)} dB, ${lost.toFixed(1)} below what it was given`,
    ),
    '',
  ].join('\n');
}
