import { existsSync } from 'node:fs';
import { join } from 'node:path';
import pc from 'picocolors';
import { classesOf, load, type Model, parseClasses } from 'residual';
import { type Dataset, type Evaluation, evaluate, groundTruth, readConfig } from 'residual/train';
import type { Context } from '../context.js';
import { fetching } from '../fetching.js';
import { readText } from '../files.js';
import type { evaluateFlags, OptionsOf } from '../flags.js';
import { startProgress } from '../progress.js';
import { print, printable, wantsColor } from '../terminal.js';
import { openData } from '../training-subject.js';

type Options = OptionsOf<typeof evaluateFlags>;

/** `residual evaluate`: how well a model knows pictures. */
export async function run([path]: readonly string[], options: Options, context: Context): Promise<number> {
  const { truth, on, views, testSize, among, workers, strict, json, validation } = options;
  const seed = options.seed ?? (options.weights === undefined ? 0 : await seedOf(options.weights));
  await using model = await open(options, context);
  for (const note of model.notes) context.note(note);
  const data: Dataset =
    truth === undefined
      ? await openData({ data: path, validation, seed })
      : await groundTruth(path, truth, classesOf(model));
  for (const note of data.notes) context.note(note);
  const bar = await startProgress(total(data, on));
  let before = 0;
  try {
    const found = await evaluate(model, data, {
      part: on,
      views,
      size: testSize,
      among,
      workers,
      strict,
      signal: context.signal,
      onProgress(done) {
        bar.done(done - before);
        before = done;
      },
    });
    bar.stop();
    for (const { reason } of found.skipped) context.note(`skipped ${reason}`);
    await print(json ? `${JSON.stringify(plain(model, found))}\n` : describe(model, found));
    return 0;
  } finally {
    bar.stop();
  }
}

/** A run's, whose folder or checkpoint this is: it sets the same pictures aside. */
async function seedOf(weights: string): Promise<number> {
  for (const folder of [weights, join(weights, '..', '..')])
    if (existsSync(join(folder, 'checkpoints')) && existsSync(join(folder, 'config.json')))
      return (await readConfig(folder)).seed;
  return 0;
}

const total = (data: Dataset, on: Options['on']): number =>
  (on ? data[on] : (data.test ?? data.validation ?? data.train))?.length ?? 0;

async function open(
  { weights, model, part, preprocess, labels, ...options }: Options,
  context: Context,
): Promise<Model> {
  const { engine, precision, threads } = options;
  const given = {
    engine,
    precision,
    threads,
    preprocess,
    part,
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

/** What JSON has: the confusion as lists, of the classes that appear in it. */
function plain({ name }: Model, { confusion, classes, ...found }: Evaluation) {
  const seen = classes.flatMap(({ pictures, answered }, index) => (pictures > 0 || answered > 0 ? [index] : []));
  return {
    model: name,
    ...found,
    classes: seen.map((index) => ({ index, ...classes[index] })),
    confusion: confusion.length > 0 ? seen.map((row) => seen.map((column) => confusion[row][column])) : [],
  };
}

/** Rows of the tables for people; JSON has all. */
const listed = 20;
/** Classes of a confusion matrix that fits a terminal. */
const square = 12;

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

function describe(model: Model, found: Evaluation): string {
  const { bold, dim } = pc.createColors(wantsColor(process.stdout));
  const { pictures, top1, top5, loss, calibration, classes, confusion, part, views, size, skipped } = found;
  const shown = classes.filter((one) => one.pictures > 0);
  const way = views === 'one' ? '' : `, ${views}`;
  const lines = [
    `${bold(printable(model.name))}  ${dim(`${pictures} pictures (${part})${skipped.length > 0 ? `, ${skipped.length} skipped` : ''}, ${size.join('×')}${way}`)}`,
    '',
    `  top-1              ${bold(percent(top1))}`,
    `  top-5              ${percent(top5)}`,
    `  loss               ${loss.toFixed(4)}`,
    `  calibration error  ${percent(calibration)}`,
    '',
  ];
  const rows = shown
    .map(({ label, pictures: of, right, answered }) => ({ label, of, recall: right / of, precision: right / answered }))
    .toSorted((a, b) => a.recall - b.recall);
  const width = Math.max(5, ...rows.slice(0, listed).map(({ label }) => label.length));
  lines.push(dim(`  ${'class'.padEnd(width)}  pictures   found   right of those named so`));
  for (const { label, of, recall, precision } of rows.slice(0, listed))
    lines.push(
      `  ${printable(label).padEnd(width)}  ${String(of).padStart(8)}  ${percent(recall).padStart(8)}  ${Number.isNaN(precision) ? '–'.padStart(8) : percent(precision).padStart(8)}`,
    );
  if (rows.length > listed) lines.push(dim(`  … and ${rows.length - listed} more, better known; --json has all`));
  const seen = classes.flatMap((one, index) => (one.pictures > 0 || one.answered > 0 ? [index] : []));
  if (confusion.length > 0 && seen.length <= square) {
    const labels = seen.map((index) => printable(classes[index].label).slice(0, 10));
    const first = Math.max(...labels.map((label) => label.length));
    lines.push('', dim(`  ${''.padEnd(first)}  ${labels.map((label) => label.padStart(10)).join(' ')}`));
    seen.forEach((row, i) => {
      const cells = seen.map((column) => String(confusion[row][column]).padStart(10));
      lines.push(`  ${labels[i].padEnd(first)}  ${cells.join(' ')}`);
    });
  }
  return `${lines.join('\n')}\n`;
}
