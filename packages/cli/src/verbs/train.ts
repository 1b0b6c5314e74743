import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import pc from 'picocolors';
import { ResidualError } from 'residual';
import {
  type EpochRow,
  type MetricsRow,
  parseSettings,
  type Run,
  type RunOptions,
  type RunPlan,
  readConfig,
  resume,
  train,
} from 'residual/train';
import type { Context } from '../context.js';
import type { OptionsOf, trainFlags } from '../flags.js';
import { sizeOf } from '../sizes.js';
import { inShell, outliveOutput, print, printable, wantsColor } from '../terminal.js';
import { startTrainingBar, timeOf } from '../training-bar.js';
import { type Begun, lasting, openData, openNetwork } from '../training-subject.js';

type Options = OptionsOf<typeof trainFlags>;

/** `residual train`: a run into a folder, or on with one. */
export async function run([path]: readonly string[], options: Options, context: Context): Promise<number> {
  const { note, signal } = context;
  const { engine, threads, workers, cache, strict, saveEvery, stopAfter: most, json } = options;
  let unprinted: string | undefined;
  outliveOutput(({ code, message }) => {
    unprinted = code ?? message;
    note(`stdout takes no more (${unprinted}); the run goes on, and what it measures stands in its metrics.jsonl`);
  });
  const bar = await startTrainingBar({ plain: json !== true });
  const watched: RunOptions = {
    engine,
    threads,
    workers,
    cache,
    strict,
    saveEvery,
    most,
    signal,
    onStep: bar.show,
    onNote: note,
    onRow(row) {
      if (json || row.kind !== 'step') bar.hide();
      tell(row, json === true, note);
    },
  };
  try {
    const done =
      options.resume === undefined
        ? await begin(path, options, watched, context)
        : await goOn(path, { ...options, resume: options.resume }, watched, context);
    bar.stop();
    if (done) await print(json ? `${JSON.stringify({ kind: 'done', folder: done.folder })}\n` : describe(done));
    // A reader that closes the pipe has what it wanted; a log on a full disk is not whole.
    if (unprinted === undefined || unprinted === 'EPIPE') return 0;
    throw new ResidualError('FILE', `stdout could not be written to (${unprinted}); the run itself is done`);
  } catch (error) {
    bar.stop();
    // The command line says nothing of what Ctrl-C ended; here it says how to go on.
    if (error instanceof ResidualError && error.code === 'ABORTED' && error.details.folder !== undefined) {
      note(error.message);
      return most === undefined ? 130 : 0;
    }
    throw error;
  } finally {
    bar.stop();
  }
}

async function begin(
  path: string | undefined,
  options: Options,
  watched: RunOptions,
  context: Context,
): Promise<Run | undefined> {
  const { model: name, from, size, channels, preprocess, validation, seed } = options;
  if (path === undefined)
    throw new ResidualError('ARGUMENT', 'name the pictures to learn from: residual train flowers/ --from resnet18');
  if (channels === 2) throw new ResidualError('ARGUMENT', 'Expected 1 or 3 for --channels but received 2');
  const begun: Begun = { data: path, validation, seed };
  const set = parseSettings(options.set ?? []);
  const data = await openData(begun);
  for (const text of data.notes) context.note(text);
  await using model = await openNetwork(options, data.classes.length, context);
  const recipe = options.recipe ?? (from === undefined ? 'quick' : 'finetune');
  const out = options.out ?? nextFree('runs');
  const wanted = {
    ...watched,
    recipe,
    set,
    seed,
    channels: channels as 1 | 3 | undefined,
    origin: { ...lasting(begun), model: name, from, size, preprocess },
  };
  if (options.plan) {
    const { planRun } = await import('residual/train');
    const plan = await planRun(model, data, { ...wanted, out });
    await print(options.json ? `${JSON.stringify(plan)}\n` : describePlan(plan));
    return undefined;
  }
  if (!options.json) context.note(`the run's folder is ${out}`);
  return train(model, data, { ...wanted, out });
}

/** What a run is begun with, and keeps. */
const kept = ['model', 'from', 'recipe', 'set', 'out', 'validation', 'size', 'channels', 'preprocess', 'plan'] as const;

async function goOn(
  path: string | undefined,
  options: Options & { readonly resume: string },
  watched: RunOptions,
  context: Context,
): Promise<Run> {
  const { resume: folder } = options;
  const { origin, engine, threads, seed } = await readConfig(folder);
  const given: string[] = kept.filter((name) => options[name] !== undefined);
  if (options.seed !== 0 && options.seed !== seed) given.push('seed');
  if (given.length > 0)
    throw new ResidualError(
      'ARGUMENT',
      `${folder}: a run goes on as it was begun; leave out ${given.map((name) => `--${name}`).join(', ')}, or begin another from its weights: --from ${inShell(folder)}`,
    );
  const known = origin as Partial<Begun>;
  const from = path ?? known.data;
  if (from === undefined)
    throw new ResidualError(
      'ARGUMENT',
      `${folder}: its config.json names no pictures; name them: residual train PICTURES --resume ${inShell(folder)}`,
    );
  const data = await openData({ data: from, validation: known.validation, seed: known.seed ?? 0 });
  for (const text of data.notes) context.note(text);
  // Another engine or number of threads would give other bits.
  const same = { ...watched, engine: engine as RunOptions['engine'], threads: watched.threads ?? threads };
  return resume(folder, data, same);
}

/** `runs/1`, or the first number that is not there. */
function nextFree(folder: string): string {
  const taken = existsSync(folder) ? readdirSync(folder).map(Number).filter(Number.isInteger) : [];
  return join(folder, String(Math.max(0, ...taken) + 1));
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** Epochs of fewer seconds have a line only where they were validated. */
const brief = 1;

/** One line of what was measured, on stdout: an epoch for people, every row for programs. */
function tell(row: MetricsRow, json: boolean, note: (text: string) => void): void {
  if (json) process.stdout.write(`${JSON.stringify(row)}\n`);
  else if (row.kind === 'epoch' && (row.validation || row.seconds >= brief)) process.stdout.write(`${lineOf(row)}\n`);
  else if (row.kind === 'skipped') note(`skipped ${row.reason}`);
}

function lineOf({ epoch, train: { loss, top1 }, validation, rate, imagesPerSecond, seconds, busy }: EpochRow): string {
  const { bold, dim } = pc.createColors(wantsColor(process.stdout));
  return [
    `epoch ${String(epoch).padStart(3)}`,
    `loss ${loss.toFixed(4)}`,
    `train ${percent(top1)}`,
    ...(validation ? [bold(`validation ${percent(validation.top1)}`)] : []),
    dim(
      `rate ${Number(rate.toPrecision(3))}, ${imagesPerSecond.toFixed(imagesPerSecond < 10 ? 1 : 0)} images/s, busy ${percent(busy)}, ${timeOf(seconds)}`,
    ),
  ].join('  ');
}

function describe({ folder, epochs }: Run): string {
  const { bold } = pc.createColors(wantsColor(process.stdout));
  const best = epochs.reduce<EpochRow | undefined>(
    (found, row) => ((row.validation?.top1 ?? -1) > (found?.validation?.top1 ?? -1) ? row : found),
    undefined,
  );
  const score = best?.validation ? `, best validation ${percent(best.validation.top1)} in epoch ${best.epoch}` : '';
  return `${bold(printable(join(folder, 'checkpoints', 'best.safetensors')))}  ${epochs.length} epochs${score}\n`;
}

function describePlan(plan: RunPlan): string {
  const { network, recipe, data, parameters, phases, rates, trial } = plan;
  const { bold } = pc.createColors(wantsColor(process.stdout));
  const count = (n: number) => n.toLocaleString('en');
  const rows: [string, string][] = [
    [
      'network',
      `${network}, ${count(parameters.trained)} numbers learn${parameters.frozen ? `, ${count(parameters.frozen)} stay` : ''}`,
    ],
    [
      'data',
      `${count(data.train)} pictures of ${data.classes} classes, ${data.validation ? `${count(data.validation)} to judge by` : 'none to judge by'}`,
    ],
    [
      'epochs',
      `${plan.epochs} of ${count(plan.steps)} steps of ${plan.batch} pictures, ${count(plan.updates)} updates each`,
    ],
    [
      'rate',
      `${recipe.optimizer}, ${recipe.schedule}: ${rates.map(({ epoch, rate }) => `${Number(rate.toPrecision(3))} (epoch ${epoch})`).join(', ')}`,
    ],
    ['augmentation', recipe.augment],
    ...(phases.length > 1 || phases[0].freeze
      ? [
          [
            'frozen',
            phases
              .map(({ epoch, freeze }) => `${freeze ? `up to ${freeze}` : 'nothing'} from epoch ${epoch + 1}`)
              .join(', '),
          ] as [string, string],
        ]
      : []),
    [
      'step',
      `${timeOf(trial.seconds)} on ${trial.engine} in ${recipe.precision}, ${trial.imagesPerSecond.toFixed(0)} images/s, busy ${percent(trial.busy)}`,
    ],
    ['memory', `${sizeOf(trial.peak)} at most so far`],
    ['time', `${timeOf(plan.expected)}, validation not counted`],
  ];
  return `${plan.notes.map((note) => `${printable(note)}\n`).join('')}${rows.map(([name, value]) => `${bold(name.padEnd(13))} ${printable(value)}\n`).join('')}`;
}
