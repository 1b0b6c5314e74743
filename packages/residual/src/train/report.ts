import { availableParallelism } from 'node:os';
import type { Dataset } from '../data/dataset.js';
import { pixelsOf } from '../data/open-source.js';
import { chooseEngine } from '../engines/index.js';
import { conv2d, input, network } from '../graph/build.js';
import { type Graph, inferShapes, rows as ops } from '../graph/graph.js';
import { encodePng } from '../image/decode.js';
import { resize } from '../image/resize.js';
import { initialise } from '../models/initialise.js';
import { load } from '../tasks/load.js';
import type { EngineOptions } from '../tasks/model.js';
import { sharedFloats } from '../tensor.js';
import { type Evaluation, evaluate } from './evaluate.js';
import { headBehind } from './features-once.js';
import { chart, escaped } from './report-chart.js';
import {
  type EpochRow,
  fileOf,
  type MetricsRow,
  type RunConfig,
  readConfig,
  readMetrics,
  writeText,
} from './run-folder.js';
import type { Recipe } from './settings.js';
import { stepOf } from './step.js';

const blue = 'var(--blue)';
const orange = 'var(--orange)';
const green = 'var(--green)';

/**
 * Writes a run's `report.html`: one file without anything from elsewhere. Curves; and of the best checkpoint on the
 * validation pictures the confusion, a table by class and the pictures it is most wrong about.
 *
 * @returns the path
 * @throws FILE; what `evaluate` throws.
 * @example await writeReport('runs/1', data);
 */
export async function writeReport(
  folder: string,
  data: Dataset,
  options: EngineOptions & { readonly workers?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<string> {
  const [config, rows] = [await readConfig(folder), await readMetrics(folder)];
  await using model = await load(fileOf(folder, 'best'), { ...options, warn: () => {} });
  const { workers, signal } = options;
  const flops = flopsOf(model.graph, config.recipe);
  const found = data.validation?.length
    ? await evaluate(model, data, { part: 'validation', workers, signal })
    : undefined;
  const most = await bestFlops(options, config.recipe.precision);
  const path = fileOf(folder, 'report');
  await writeText(path, page(folder, config, rows, found, await thumbnails(data, found), { flops, most }));
  return path;
}

/** Operations of a step, for each picture: multiply-adds count as two, and what is frozen costs no backward. */
export function flopsOf(whole: Graph, recipe: Recipe): number {
  const graph = recipe.featuresOnce ? headBehind(whole, recipe.freeze) : whole;
  const { graph: step } = stepOf(graph, recipe, 1, recipe.featuresOnce ? '' : recipe.freeze);
  const shapes = inferShapes(step);
  const of = (values: readonly number[]) => values.map((value) => shapes[value]);
  return step.nodes.reduce((sum, { op, inputs, outputs }) => sum + 2 * ops[op].macs(of(inputs), of(outputs)), 0);
}

/** A convolution that takes longer, in milliseconds, is timed once. */
const slow = 2000;

/**
 * The operations a second of a convolution that suits the engine, 256 channels to 256 by 3 × 3: what can be had here, and
 * a share of which a training gets. The best of several runs.
 */
async function bestFlops({ engine, threads }: EngineOptions, precision: 'f32' | 'bf16'): Promise<number | undefined> {
  // Plain loops reach nothing worth a share.
  if (engine === 'reference') return undefined;
  const x = input({ channels: 256, height: 28, width: 28 });
  const graph = network('one convolution', { y: conv2d(x, 256, { name: 'conv', kernel: 3, padding: 1, bias: false }) });
  const shape = [8, 256, 28, 28];
  const feed = { dtype: 'float32', shape, data: sharedFloats(8 * 256 * 28 * 28) } as const;
  try {
    const executable = await chooseEngine(engine).compile(graph, {
      weights: initialise(graph),
      threads,
      precision,
      shapes: { [graph.inputs[0].name]: shape },
    });
    try {
      const times: number[] = [];
      for (let i = 0; i < 5 && !(times[0] > slow); i++)
        times.push((await executable.measure({ [graph.inputs[0].name]: feed })).run);
      return (2 * 8 * 256 * 256 * 9 * 28 * 28 * 1000) / Math.min(...times);
    } finally {
      await executable.dispose();
    }
  } catch {
    // An engine that cannot do this precision alone has no share to tell of.
    return undefined;
  }
}

/** Side of the pictures that are shown. */
const thumbnail = 96;

async function thumbnails(data: Dataset, found: Evaluation | undefined): Promise<ReadonlyMap<string, string>> {
  const sources = new Map(data.validation?.map(({ id, source }) => [id, source]));
  const shown = new Map<string, string>();
  for (const { id } of found?.mistakes ?? []) {
    const source = sources.get(id);
    if (!source) continue;
    try {
      const pixels = await pixelsOf(source, 'default');
      const by = thumbnail / Math.max(pixels.width, pixels.height);
      const [width, height] = [pixels.width, pixels.height].map((side) => Math.max(1, Math.round(side * by)));
      const png = await encodePng(resize(pixels, { width, height }, by > 1 ? 'nearest' : 'bilinear'));
      shown.set(id, `data:image/png;base64,${Buffer.from(png).toString('base64')}`);
    } catch {
      // A picture that cannot be read any more is not shown.
    }
  }
  return shown;
}

const percent = (share: number): string => (Number.isNaN(share) ? '–' : `${(100 * share).toFixed(1)} %`);

function page(
  folder: string,
  config: RunConfig,
  rows: readonly MetricsRow[],
  found: Evaluation | undefined,
  pictures: ReadonlyMap<string, string>,
  { flops, most }: { flops: number; most: number | undefined },
): string {
  const epochs = rows.filter((row) => row.kind === 'epoch');
  const skipped = rows.filter((row) => row.kind === 'skipped');
  const name = folder.replace(/[/\\]+$/, '').replace(/^.*[/\\]/, '');
  const { recipe, model, data } = config;
  const speed = epochs.at(-1)?.imagesPerSecond ?? 0;
  const share = most ? (flops * speed) / most : undefined;
  const facts: [string, string][] = [
    ['network', `${model.architecture}, ${model.parameters.toLocaleString('en')} parameters`],
    ['begun with', model.name],
    ['recipe', config.name],
    ['data', `${data.train} pictures of ${data.classes.length} classes, ${data.validation} to judge by`],
    ['seed', String(config.seed)],
    ['engine', `${config.engine}, ${recipe.precision}, ${config.threads || availableParallelism()} threads`],
    ['throughput', `${speed.toFixed(speed < 10 ? 1 : 0)} images/s, ${((flops * speed) / 1e9).toFixed(1)} GFLOP/s`],
    ...(share === undefined
      ? []
      : ([
          [
            'model-FLOPs utilisation',
            // What the machine had for the trial was less than the run had.
            share > 1
              ? 'not known: the machine was busy with something else when its speed was measured'
              : `${percent(share)} of the ${((most ?? 0) / 1e9).toFixed(0)} GFLOP/s that one large convolution reaches here`,
          ],
        ] as [string, string][])),
    ...(found
      ? ([
          [
            'best checkpoint',
            `top-1 ${percent(found.top1)}, top-5 ${percent(found.top5)}, loss ${found.loss.toFixed(4)}`,
          ],
          ['calibration error', percent(found.calibration)],
        ] as [string, string][])
      : []),
    ...(skipped.length > 0 ? [['skipped', `${skipped.length} pictures that cannot be read`] as [string, string]] : []),
    ['versions', `residual ${config.versions.residual}, Node ${config.versions.node}`],
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${escaped(name)}: ${escaped(model.architecture)}</title><style>${style}</style></head><body>
<h1>${escaped(name)}: ${escaped(model.architecture)}</h1>
<table class="facts">${facts.map(([key, value]) => `<tr><th>${escaped(key)}</th><td>${escaped(value)}</td></tr>`).join('')}</table>
${curves(rows, epochs, config)}
${found ? judged(found, pictures) : ''}
<h2>Recipe</h2><table class="facts">${Object.entries(recipe)
    .map(([key, value]) => `<tr><th>${escaped(key)}</th><td>${escaped(String(value))}</td></tr>`)
    .join('')}</table>
</body></html>
`;
}

function curves(rows: readonly MetricsRow[], epochs: readonly EpochRow[], config: RunConfig): string {
  const steps = rows.filter((row) => row.kind === 'step');
  const by = (of: (row: EpochRow) => number | undefined) =>
    epochs.map((row) => [row.epoch, of(row) ?? Number.NaN] as const);
  const update = (of: (row: (typeof steps)[number]) => number) => steps.map((row) => [row.update, of(row)] as const);
  const figures: [string, string][] = [
    [
      'Loss',
      chart(
        [
          { name: 'training', color: blue, points: by((row) => row.train.loss) },
          { name: 'validation', color: orange, points: by((row) => row.validation?.loss) },
        ],
        { x: 'epoch', y: 'loss' },
      ),
    ],
    [
      'Right answers',
      chart(
        [
          { name: 'training', color: blue, points: by((row) => row.train.top1) },
          { name: 'validation', color: orange, points: by((row) => row.validation?.top1) },
        ],
        { x: 'epoch', y: 'top-1', percent: true },
      ),
    ],
    [
      'Loss, step by step',
      chart([{ name: 'training', color: blue, points: update((row) => row.loss) }], { x: 'update', y: 'loss' }),
    ],
    [
      `Learning rate (${config.recipe.schedule})`,
      chart([{ name: 'rate', color: green, points: update((row) => row.rate) }], { x: 'update', y: 'rate' }),
    ],
    [
      'Throughput',
      chart([{ name: 'images/s', color: green, points: update((row) => row.imagesPerSecond) }], {
        x: 'update',
        y: 'images a second',
      }),
    ],
    [
      'Time the step works, not waiting for pictures',
      chart([{ name: 'busy', color: green, points: update((row) => row.busy) }], {
        x: 'update',
        y: 'busy',
        percent: true,
      }),
    ],
  ];
  return `<div class="charts">${figures
    .filter(([, svg]) => svg !== '')
    .map(([title, svg]) => `<figure><figcaption>${escaped(title)}</figcaption>${svg}</figure>`)
    .join('')}</div>`;
}

/** Classes of a matrix that fits a page. */
const square = 40;

function judged({ classes, confusion, mistakes }: Evaluation, pictures: ReadonlyMap<string, string>): string {
  const seen = classes.flatMap(({ pictures: count, answered }, index) => (count > 0 || answered > 0 ? [index] : []));
  const shown = seen
    .toSorted((a, b) => classes[b].pictures - classes[a].pictures)
    .slice(0, square)
    .sort((a, b) => a - b);
  const matrix =
    confusion.length === 0
      ? ''
      : `<h2>Confusion</h2><p>Rows: what a picture shows. Columns: the answer.${shown.length < seen.length ? ` The ${shown.length} classes with the most pictures of ${seen.length}.` : ''}</p><div class="wide"><table class="matrix"><tr><th></th>${shown
          .map((column) => `<th class="tilted"><span>${escaped(classes[column].label)}</span></th>`)
          .join('')}</tr>${shown
          .map(
            (row) =>
              `<tr><th>${escaped(classes[row].label)}</th>${shown
                .map((column) => cell(confusion[row][column], classes[row].pictures, row === column))
                .join('')}</tr>`,
          )
          .join('')}</table></div>`;
  const table = seen
    .map((index) => classes[index])
    .toSorted((a, b) => a.right / a.pictures - b.right / b.pictures)
    .map(
      ({ label, pictures: count, right, answered }) =>
        `<tr><th>${escaped(label)}</th><td>${count}</td><td>${percent(right / count)}</td><td>${percent(right / answered)}</td></tr>`,
    );
  const wrong = mistakes
    .filter(({ id }) => pictures.has(id))
    .map(
      ({ id, expected, answer, probability, loss }) =>
        `<figure><img src="${pictures.get(id)}" alt="" title="${escaped(id)}"><figcaption><b>${escaped(expected)}</b><br>${escaped(answer)} ${percent(probability)}<br>loss ${loss.toFixed(2)}</figcaption></figure>`,
    );
  return `${matrix}<h2>Classes</h2><table><tr><th>class</th><td>pictures</td><td>found</td><td>right of those named so</td></tr>${table.join('')}</table>
${wrong.length > 0 ? `<h2>Largest losses</h2><p>What it shows, in bold; then the answer.</p><div class="pictures">${wrong.join('')}</div>` : ''}`;
}

function cell(count: number, all: number, right: boolean): string {
  const share = all > 0 ? count / all : 0;
  const color = right ? 'var(--green)' : 'var(--orange)';
  return `<td style="background:color-mix(in srgb, ${color} ${Math.round(80 * share)}%, transparent)">${count || ''}</td>`;
}

const style = `:root{color-scheme:light dark;--blue:#2563eb;--orange:#d97706;--green:#15803d}
@media(prefers-color-scheme:dark){:root{--blue:#7aa2ff;--orange:#f0a860;--green:#5fce85}}
body{font:15px/1.45 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em}table{border-collapse:collapse}
th{text-align:left;font-weight:500;padding:2px 12px 2px 0}td{text-align:right;padding:2px 8px;font-variant-numeric:tabular-nums}
.facts td{text-align:left}.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:1em}
figure{margin:0}figcaption{font-size:13px}svg{width:100%;font-size:11px;fill:currentColor}
.grid{stroke:currentColor;stroke-opacity:.15}.legend{font-size:12px}
.wide{overflow-x:auto}.matrix td{min-width:26px;text-align:center;font-size:12px}
.tilted{height:90px;vertical-align:bottom;padding:0}.tilted span{writing-mode:vertical-rl;transform:rotate(180deg);font-size:12px}
.pictures{display:flex;flex-wrap:wrap;gap:14px}.pictures figure{width:130px}.pictures img{max-width:96px;max-height:96px;image-rendering:auto}`;
