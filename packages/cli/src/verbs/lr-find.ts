import pc from 'picocolors';
import { ResidualError } from 'residual';
import { chart, findRate, parseSettings, type RateRange } from 'residual/train';
import type { Context } from '../context.js';
import { checkWritable, writeWhole } from '../files.js';
import type { lrFindFlags, OptionsOf } from '../flags.js';
import { print, wantsColor, widthOf } from '../terminal.js';
import { openData, openNetwork } from '../training-subject.js';

type Options = OptionsOf<typeof lrFindFlags>;

/** `residual lr-find`: an LR range test with its plot. */
export async function run([path]: readonly string[], options: Options, context: Context): Promise<number> {
  const { seed, svg, json, channels, least, most, steps, engine, threads, workers, from } = options;
  if (channels === 2) throw new ResidualError('ARGUMENT', 'Expected 1 or 3 for --channels but received 2');
  if (svg !== undefined) await checkWritable(svg);
  const data = await openData({ data: path, seed });
  for (const note of data.notes) context.note(note);
  await using model = await openNetwork(options, data.classes.length, context);
  const found = await findRate(model, data, {
    recipe: options.recipe ?? (from === undefined ? 'quick' : 'finetune'),
    set: parseSettings(options.set ?? []),
    seed,
    channels: channels as 1 | 3 | undefined,
    from: least,
    to: most,
    steps,
    engine,
    threads,
    workers,
    signal: context.signal,
  });
  if (svg !== undefined) await writeWhole(svg, drawing(found));
  await print(json ? `${JSON.stringify(found)}\n` : describe(found));
  return 0;
}

function drawing({ points }: RateRange): string {
  const series = [
    { name: 'loss', color: '#94a3b8', points: points.map(({ rate, loss }) => [rate, loss] as const) },
    { name: 'smooth', color: '#2563eb', points: points.map(({ rate, smooth }) => [rate, smooth] as const) },
  ];
  const svg = chart(series, { x: 'learning rate', y: 'loss', log: true });
  return svg
    .replace('<svg ', '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11" ')
    .replaceAll('class="grid"', 'stroke="#00000022"');
}

/** Lines of the plot. */
const plotRows = 24;

/** The smooth loss by the rate, one line each. */
function describe({ points, steepest, cautious }: RateRange): string {
  const { bold, cyan, dim } = pc.createColors(wantsColor(process.stdout));
  const shown = points.filter((_, i) => i % Math.ceil(points.length / plotRows) === 0);
  const [least, most] = shown.reduce(
    ([a, b], { smooth }) => [Math.min(a, smooth), Math.max(b, smooth)],
    [Number.POSITIVE_INFINITY, 0],
  );
  const columns = widthOf(process.stdout) - 24;
  const number = (x: number) => String(Number(x.toPrecision(2)));
  const rows = shown.map(({ rate, smooth }) => {
    const length = most > least ? Math.round(((smooth - least) / (most - least)) * columns) : 0;
    return `  ${dim(rate.toExponential(1).padStart(7))}  ${smooth.toFixed(3).padStart(8)}  ${cyan('█'.repeat(length))}`;
  });
  return `${[
    dim('     rate      loss'),
    ...rows,
    '',
    `the loss falls most steeply at ${bold(number(steepest))}: a highest rate for a schedule with a warm-up (--set rate=${number(steepest)})`,
    `a cautious one is ${bold(number(cautious))}: a tenth of where it is least after that, and no more than it`,
  ].join('\n')}\n`;
}
