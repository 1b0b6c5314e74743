import pc from 'picocolors';
import { type Inspection, inspect, ResidualError } from 'residual';
import type { Context } from '../context.js';
import type { inspectFlags, OptionsOf } from '../flags.js';
import { print, printable, wantsColor } from '../terminal.js';

type Options = OptionsOf<typeof inspectFlags>;

/** Tensors shown without --tensors. */
const few = 8;

/** `residual inspect`: exit status 1 when some file could not be read; the others are shown nevertheless. */
export async function run(files: readonly string[], options: Options, { report, signal }: Context): Promise<number> {
  let failed = 0;
  for (const file of files) {
    signal.throwIfAborted();
    try {
      const found = await inspect(file, { part: options.part });
      await print(
        options.json ? `${JSON.stringify({ file, ...found })}\n` : describe(file, found, options.tensors === true),
      );
    } catch (error) {
      if (!(error instanceof ResidualError)) throw error; // a bug: no fault of this file
      failed++;
      report(error);
    }
  }
  return failed === 0 ? 0 : 1;
}

function describe(file: string, found: Inspection, all: boolean): string {
  const { bold, dim } = pc.createColors(wantsColor(process.stdout));
  const unknown = 'unknown: no rule fits its names';
  const facts: [string, string][] = [
    ['format', `${found.format} (${found.formatReason})`],
    ['dialect', found.dialect === undefined ? unknown : `${found.dialect} (${found.dialectReason})`],
    ...(found.part === undefined ? [] : [['weights', partsOf(found)] as [string, string]]),
    ...(found.prefix ? [['prefix', `"${found.prefix}", taken off when loading`] as [string, string]] : []),
    ['network', found.architecture ?? found.trouble ?? 'none that is known'],
    ...(found.architecture && found.trouble ? [['trouble', found.trouble] as [string, string]] : []),
    ...(found.beside ? [['beside', `${found.beside}, which the network is read off too`] as [string, string]] : []),
    ...(found.classes === undefined ? [] : [['classes', `${found.classes}`] as [string, string]]),
    ['parameters', counts(found)],
    ['tensors', `${found.tensors.length}`],
  ];
  const shown = all ? found.tensors : found.tensors.slice(0, few);
  const columns = Math.min(60, Math.max(0, ...shown.map(({ name }) => name.length)));
  return [
    bold(printable(file)),
    ...facts.map(([name, value]) => `  ${dim(name.padEnd(10))}  ${printable(value)}`),
    ...shown.map(
      ({ name, dtype, shape }) => `    ${printable(name).padEnd(columns)}  ${dim(`${dtype} [${shape.join(', ')}]`)}`,
    ),
    ...(shown.length < found.tensors.length
      ? [dim(`    … and ${found.tensors.length - shown.length} more; --tensors lists all`)]
      : []),
    '',
  ].join('\n');
}

/** `model_ema; model (122 tensors) by --part model; left out: optimizer (161 tensors)` */
function partsOf({ part, otherParts = [], leftOut = [] }: Inspection): string {
  const list = (parts: typeof leftOut) => parts.map(({ name, tensors }) => `${name} (${tensors} tensors)`).join(', ');
  const others = otherParts.length ? [`other sets, taken by --part: ${list(otherParts)}`] : [];
  return [`below "${part}"`, ...others, ...(leftOut.length ? [`left out: ${list(leftOut)}`] : [])].join('; ');
}

/** `25,557,032, and 53,120 running statistics`: counted as PyTorch does, which calls the latter buffers. */
function counts({ parameters, statistics }: Inspection): string {
  const [learnt, measured] = [parameters, statistics].map((count) => count.toLocaleString('en-US'));
  return statistics === 0 ? learnt : `${learnt}, and ${measured} running statistics`;
}
