import pc from 'picocolors';
import { type BenchReport, type BenchRow, bench, load } from 'residual';
import type { Context } from '../context.js';
import { checkWritable, writeWhole } from '../files.js';
import type { benchFlags, OptionsOf } from '../flags.js';
import { graphOf } from '../networks.js';
import { print, printable, wantsColor } from '../terminal.js';

type Options = OptionsOf<typeof benchFlags>;

/** `residual bench`: exit status 0 when something could be measured; what an engine cannot do is told on stderr. */
export async function run(_args: readonly string[], options: Options, { signal, note }: Context): Promise<number> {
  const { model: name = 'resnet50', weights, batch, engine, precision, csv, json, size, threads, rounds } = options;
  if (csv !== undefined) await checkWritable(csv);
  // A model that was quantised is timed in 8 bits, by its own scales, unless told otherwise.
  await using loaded = weights === undefined ? null : await load(weights, { architecture: options.model, size });
  const quantisation = loaded?.record.quantisation;
  const progress = watched();
  try {
    const report = await bench(loaded ?? { graph: await graphOf(name, size === undefined ? {} : { size }) }, {
      ...{ batches: batch, engines: engine, size, threads, rounds, signal },
      precisions: precision ?? (quantisation && ['int8']),
      quantisation,
      onProgress: progress.show,
    });
    progress.stop();
    for (const { engine, precision, reason } of report.left) note(`${engine} in ${precision} was left out: ${reason}`);
    for (const line of slowLayers(report)) note(line);
    if (csv !== undefined) await writeWhole(csv, csvOf(report));
    await print(json ? `${JSON.stringify(report)}\n` : table(report));
    return 0;
  } finally {
    progress.stop();
  }
}

function slowLayers({ rows }: BenchReport): string[] {
  const found = rows.flatMap(({ engine, precision, batch, slow = [] }) =>
    slow.length ? [`${engine} in ${precision}, batch ${batch}: no fast kernel for ${slow.join(', ')}`] : [],
  );
  return [...new Set(found)];
}

/** The columns of the table that are numbers: their heads, and how a row shows them. */
const columns: readonly (readonly [string, (row: BenchRow) => string])[] = [
  ['batch', ({ batch }) => String(batch)],
  ['median ms', ({ median }) => milliseconds(median)],
  ['least', ({ least }) => milliseconds(least)],
  ['p90', ({ p90 }) => milliseconds(p90)],
  ['pictures/s', ({ picturesPerSecond }) => significant(picturesPerSecond)],
  ['GMAC/s', ({ macsPerSecond }) => significant(macsPerSecond / 1e9)],
  ['of peak', ({ shareOfPeak }) => (shareOfPeak === undefined ? '–' : `${(100 * shareOfPeak).toFixed(0)} %`)],
  ['over convs', ({ overConvolutions }) => overConvolutions?.toFixed(2) ?? '–'],
];

function table({ network, size, macs, processor, threads, rows, peaks }: BenchReport): string {
  const { bold, dim } = pc.createColors(wantsColor(process.stdout));
  const head = ['engine', 'precision', ...columns.map(([title]) => title)];
  const cells = rows.map((row) => [row.engine, row.precision, ...columns.map(([, show]) => show(row))]);
  const widths = head.map((title, i) => Math.max(title.length, ...cells.map((line) => line[i].length)));
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ');
  const peak = peaks.map(
    ({ precision, engine, macsPerSecond }) => `${significant(macsPerSecond / 1e9)} GMAC/s in ${precision} (${engine})`,
  );
  const runtimes = new Map(rows.map(({ engine, runtime }) => [engine, runtime]));
  return [
    `${bold(printable(network))}  ${size.join('×')}, ${(macs / 1e9).toPrecision(3)} GMAC a picture; ${threads} threads, ${processor}`,
    '',
    dim(line(head)),
    ...cells.map(line),
    '',
    ...(peak.length ? [dim(`peak measured here: ${peak.join(', ')}`)] : []),
    dim([...runtimes].map(([engine, runtime]) => `${engine}: ${runtime}`).join('; ')),
    '',
  ].join('\n');
}

const milliseconds = (ms: number): string => ms.toFixed(ms < 10 ? 3 : ms < 100 ? 2 : 1);
const significant = (value: number): string => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);

/** One line a row, times in milliseconds, everything that was measured. */
export function csvOf({ network, size, threads, processor, rows }: BenchReport): string {
  const lines = rows.map((row) => ({
    network,
    size: size.join('x'),
    threads,
    processor,
    engine: row.engine,
    runtime: row.runtime,
    precision: row.precision,
    batch: row.batch,
    runs: row.runs,
    median_ms: row.median,
    least_ms: row.least,
    p90_ms: row.p90,
    inside_ms: row.inside,
    convolutions_ms: row.convolutions,
    over_convolutions: row.overConvolutions,
    pictures_per_second: row.picturesPerSecond,
    macs_per_second: row.macsPerSecond,
    share_of_peak: row.shareOfPeak,
    slow_layers: row.slow?.length,
  }));
  const cell = (value: string | number | undefined): string => {
    const text = String(value ?? '');
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [Object.keys(lines[0]), ...lines.map((line) => Object.values(line))]
    .map((row) => `${row.map(cell).join(',')}\n`)
    .join('');
}

/** Says on a terminal how far it is. */
function watched() {
  const stream = process.stderr;
  let shown = false;
  return {
    show(done: number, total: number) {
      if (!stream.isTTY) return;
      shown = true;
      stream.write(`\rmeasuring: ${done} of ${total}`);
    },
    stop() {
      if (shown) stream.write('\r\u001b[K');
      shown = false;
    },
  };
}
