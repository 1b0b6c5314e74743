import pc from 'picocolors';
import { ResidualError } from 'residual';
import { compareRuns, type RunComparison, type RunSummary, writeReport } from 'residual/train';
import type { Context } from '../context.js';
import type { OptionsOf, runsFlags } from '../flags.js';
import { print, printable, wantsColor } from '../terminal.js';
import { timeOf } from '../training-bar.js';
import { type Begun, openData } from '../training-subject.js';

type Options = OptionsOf<typeof runsFlags>;

/** `residual runs`: runs side by side. One that cannot be read, or whose pictures are gone, does not hide the others. */
export async function run(folders: readonly string[], { json, report }: Options, context: Context): Promise<number> {
  const found = await compareRuns(folders.length > 0 ? folders : ['runs']);
  for (const { error } of found.unread) context.report(error);
  let failed = found.unread.length > 0;
  for (const one of report ? found.runs : [])
    try {
      await writeAgain(one, context);
    } catch (error) {
      if (!(error instanceof ResidualError) || context.signal.aborted) throw error;
      context.report(error);
      failed = true;
    }
  await print(json ? `${JSON.stringify(found)}\n` : describe(found));
  return failed ? 1 : 0;
}

async function writeAgain({ folder, config }: RunSummary, { note, signal }: Context): Promise<void> {
  const { data, validation, seed } = config.origin as Partial<Begun>;
  if (data === undefined) return note(`${folder}: its config.json names no pictures; its report stays as it is`);
  const dataset = await openData({ data, validation, seed: seed ?? 0 });
  note(`wrote ${await writeReport(folder, dataset, { signal })}`);
}

const percent = (share: number | undefined): string => (share === undefined ? '–' : `${(100 * share).toFixed(2)} %`);

function describe({ runs, differences }: RunComparison): string {
  const { bold, dim } = pc.createColors(wantsColor(process.stdout));
  if (runs.length === 0) return 'no runs\n';
  const cells = runs.map((one, i): string[] => [
    one.folder,
    one.config.model.architecture,
    one.config.name,
    `${one.epochs}/${one.config.recipe.epochs}`,
    percent(one.best?.validation?.top1),
    one.last === undefined ? '–' : one.last.train.loss.toFixed(4),
    speedOf(one),
    timeOf(one.seconds),
    ...differences.map(({ values }) => String(values[i])),
  ]);
  const titles = ['run', 'network', 'recipe', 'epochs', 'best', 'loss', 'images/s', 'time'].concat(
    differences.map(({ setting }) => setting),
  );
  const columns = titles.map((title, c) => Math.max(title.length, ...cells.map((row) => printable(row[c]).length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, c) => printable(cell).padEnd(columns[c]))
      .join('  ')
      .trimEnd();
  return `${[dim(line(titles)), ...cells.map((row, i) => (i === 0 ? bold(line(row)) : line(row)))].join('\n')}\n`;
}

const speedOf = ({ last }: RunSummary): string =>
  last === undefined ? '–' : last.imagesPerSecond.toFixed(last.imagesPerSecond < 10 ? 1 : 0);
