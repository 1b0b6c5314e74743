import pc from 'picocolors';
import { build, bundled, family, summary } from 'residual';
import type { OptionsOf } from '../flags.js';
import { print, wantsColor } from '../terminal.js';

/** `residual models`: the bundled models, then the architectures with what they weigh and cost at their own size. */
export async function run(_args: readonly string[], options: OptionsOf<{ json: object }>): Promise<number> {
  const models = Object.entries(bundled).map(([name, { about, licence }]) => ({ name, about, licence }));
  const architectures = Object.keys(family).map((name) => {
    const { rows, totals } = summary(build(name));
    return { name, input: rows[0].outputShape, parameters: totals.trainable, macs: totals.macs };
  });
  if (options.json) {
    await print(`${JSON.stringify({ models, architectures })}\n`);
    return 0;
  }
  const { bold, dim } = pc.createColors(wantsColor(process.stdout));
  const columns = Math.max(...architectures.map(({ name }) => name.length));
  const head = `${'architecture'.padEnd(columns)}  ${'parameters'.padStart(11)}  ${'GMACs'.padStart(6)}  input`;
  const lines = architectures.map(({ name, input, parameters, macs }) =>
    [
      name.padEnd(columns),
      parameters.toLocaleString('en-US').padStart(11),
      (macs / 1e9).toFixed(2).padStart(6),
      dim(input.slice(1).join('×')),
    ].join('  '),
  );
  await print(
    [
      bold('Bundled models, ready to use:'),
      ...models.map(({ name, about, licence }) => `${name}  ${dim(`${about}; ${licence}`)}`),
      '',
      bold('Architectures, for weights of your own (residual classify --weights FILE):'),
      head,
      ...lines,
      '',
    ].join('\n'),
  );
  return 0;
}
