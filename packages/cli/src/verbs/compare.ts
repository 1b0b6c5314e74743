import pc from 'picocolors';
import {
  bundled,
  type ComparedSide,
  type Comparison,
  compare,
  isRecording,
  type LoadOptions,
  load,
  type Model,
  type Prediction,
  preset,
  ResidualError,
  type Station,
} from 'residual';
import type { Context } from '../context.js';
import type { compareFlags, OptionsOf } from '../flags.js';
import { print, printable, wantsColor } from '../terminal.js';

type Options = OptionsOf<typeof compareFlags>;

/** `residual compare`: exit status as of diff(1), 0 when the two agree, 1 when they part, 2 in trouble. */
export async function run([picture]: readonly string[], options: Options, context: Context): Promise<number> {
  try {
    return await compareSides(picture, options, context);
  } catch (error) {
    if (context.signal.aborted || !(error instanceof ResidualError)) throw error;
    context.report(error);
    return 2;
  }
}

async function compareSides(picture: string | undefined, options: Options, { signal, note }: Context) {
  const { model, weights, against, preprocess, decode, tolerance, engine } = options;
  const { againstModel, againstPreprocess, againstDecode, againstEngine = engine } = options;
  if (weights === undefined && model === undefined)
    throw new ResidualError('ARGUMENT', 'no weights were given; pass --weights FILE, or --model and a bundled model');
  const settings = [against, againstModel, againstPreprocess, againstDecode, options.againstEngine];
  if (settings.every((given) => given === undefined))
    throw new ResidualError(
      'ARGUMENT',
      'nothing to compare with; pass --against FILE, --against-preprocess, --against-decode, --against-engine or --against-model',
    );
  const models: Model[] = [];
  try {
    const open = async (from: string, wanted: LoadOptions): Promise<Model> => {
      const opened = await load(from, wanted);
      models.push(opened);
      for (const line of opened.notes) note(line);
      return opened;
    };
    const architecture = weights === undefined ? undefined : model;
    const from = weights ?? (model as string);
    const a = await open(from, { architecture, preprocess, decode, engine });
    const sideA: ComparedSide = { model: a, engine };
    const other = await (async (): Promise<{ side: ComparedSide; name: string }> => {
      if (against !== undefined && (await recorded(against))) {
        const given = [againstModel, againstPreprocess, againstDecode, options.againstEngine];
        if (given.some((flag) => flag !== undefined))
          throw new ResidualError(
            'ARGUMENT',
            `${against} holds recorded activations, which no --against-… option changes`,
          );
        return { side: { recorded: against }, name: against };
      }
      if (against !== undefined || againstModel !== undefined) {
        const wanted = { architecture: againstModel ?? (against === undefined ? architecture : undefined) };
        const plan = { preprocess: againstPreprocess ?? (against === undefined ? preprocess : undefined) };
        const b = await open(against ?? from, {
          ...wanted,
          ...plan,
          decode: againstDecode ?? (against === undefined ? decode : undefined),
          engine: againstEngine,
        });
        return { side: { model: b, engine: againstEngine }, name: b.name };
      }
      const [, , height, width] = a.graph.inputs[0].shape;
      const plan = againstPreprocess === undefined ? undefined : preset(againstPreprocess, { height, width });
      const wanted = againstDecode ?? decode;
      return { side: { model: a, plan, decode: wanted, engine: againstEngine }, name: a.name };
    })();
    const comparison = await compare(sideA, other.side, picture, { tolerance, signal });
    const names = { a: describe(sideA, a.name, preprocess), b: describe(other.side, other.name, againstPreprocess) };
    await print(options.json ? `${JSON.stringify({ picture, ...names, ...comparison })}\n` : table(names, comparison));
    return comparison.parts === undefined ? 0 : 1;
  } finally {
    await Promise.all(models.map((opened) => opened.dispose()));
  }
}

/** A bundled model's name is no file; what cannot be opened is left to `load`, which says why. */
async function recorded(against: string): Promise<boolean> {
  if (Object.hasOwn(bundled, against)) return false;
  return isRecording(against).catch(() => false);
}

function describe(side: ComparedSide, name: string, preprocess: string | undefined): string {
  if ('recorded' in side) return `${name.replace(/^.*[/\\]/, '')} (recorded)`;
  const { record } = side.model;
  const plan = side.plan ? (preprocess ?? 'its own plan') : record.preprocess;
  return `${name} (${record.architecture}, preprocessing ${plan}, engine ${side.engine ?? 'auto'})`;
}

/** One line a station, then in sentences where they part and why. */
function table({ a, b }: { a: string; b: string }, comparison: Comparison): string {
  const { bold, dim, red } = pc.createColors(wantsColor(process.stdout));
  const { stations, parts, tolerance } = comparison;
  const rows = stations.map((one) => [one.name, shapeOf(one), number(one.maxAbs), number(one.relative)]);
  const head = ['station', 'shape', 'largest |a − b|', 'relative'];
  const widths = head.map((word, i) => Math.max(word.length, ...rows.map((row) => row[i].length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => printable(cell).padEnd(widths[i]))
      .join('  ')
      .trimEnd();
  return [
    `${bold('a')}  ${printable(a)}`,
    `${bold('b')}  ${printable(b)}`,
    '',
    dim(`  ${line(head)}`),
    ...rows.map((row, i) => `${i === parts ? red('> ') : '  '}${stations[i].parts ? line(row) : dim(line(row))}`),
    '',
    ...sentences(comparison, tolerance).map(printable),
    '',
  ].join('\n');
}

function sentences({ stations, parts, sameInput, causes, answers, leftOut }: Comparison, tolerance: number): string[] {
  const rest = Object.entries(leftOut ?? {}).flatMap(([side, names]) =>
    names.length ? `Not compared, for want of a station of that name: ${some(names)} of ${side}.` : [],
  );
  if (parts === undefined)
    return [`They agree: no station differs by more than ${number(tolerance)} of its largest value.`, ...rest];
  const at = stations[parts];
  const worst = at.worst
    ? `; most at [${at.worst.at.join(', ')}]: ${value(at.worst.a)} against ${value(at.worst.b)}`
    : '';
  const lines = [
    `They part at ${at.name}: ${at.relative === null ? immeasurable(at) : `${number(at.relative)} of the largest value`}${worst}.`,
  ];
  for (const cause of causes) lines.push(`Cause: ${cause.what}.`, `  ${cause.evidence}.`);
  if (causes.length === 0) lines.push('No known cause explains it.');
  const still = sameInput?.find((one) => one.parts);
  if (sameInput?.length)
    lines.push(
      still
        ? `Given one and the same input, the networks part at ${still.name}: ${still.relative === null ? immeasurable(still) : number(still.relative)}.`
        : `Given one and the same input, the networks agree (${number(most(sameInput))}).`,
    );
  if (answers) lines.push(`a says ${answer(answers.a)}, b says ${answer(answers.b)}.`);
  return [...lines, ...rest];
}

/** Why a difference is no number. */
const immeasurable = ({ shapes: { a, b } }: Station): string =>
  String(a) === String(b) ? 'a value is NaN or infinite on one side' : 'other shapes';

/** The first few of many names. */
const some = (names: readonly string[]): string =>
  `${names.slice(0, 5).join(', ')}${names.length > 5 ? ` and ${names.length - 5} more` : ''}`;
const most = (stations: readonly Station[]): number => Math.max(...stations.map(({ relative }) => relative ?? 0));
const answer = ({ label, probability }: Prediction): string => `${label} (${(100 * probability).toFixed(1)} %)`;
const value = (given: number | null): string => (given === null ? 'no number' : String(Number(given.toPrecision(4))));

function shapeOf({ shapes: { a, b } }: Station): string {
  const [first, second] = [a, b].map((shape) => `[${shape.join(', ')}]`);
  return first === second ? first : `${first} ${second}`;
}

/** `0`, `4.1e-7`, `0.083`; a dash where the shapes differ or a value is no number. */
function number(given: number | null): string {
  if (given === null) return '–';
  const rounded = Number(given.toPrecision(2));
  return rounded > 0 && rounded < 1e-3 ? rounded.toExponential() : String(rounded);
}
