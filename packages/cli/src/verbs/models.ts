import pc from 'picocolors';
import { bareName, build, bundled, catalogue, family, type HubEntry, readCache, summary } from 'residual';
import type { modelsFlags, OptionsOf } from '../flags.js';
import { sizeOf } from '../sizes.js';
import { print, wantsColor } from '../terminal.js';

type Options = OptionsOf<typeof modelsFlags>;

const titles: Record<HubEntry['collection'], string> = {
  torchvision: 'torchvision',
  keras: 'Keras Applications',
  microsoft: 'Hugging Face, microsoft',
  timm: 'timm',
};

/** Entries of a collection that are listed one by one where nothing was asked for in particular. */
const many = 40;

/** `residual models`: what can be had by name, by who published it; with --architectures, the family and its costs. */
export async function run([word = '']: readonly string[], options: Options): Promise<number> {
  if (options.architectures) return architectures(word, options);
  const [entries, { files }] = await Promise.all([catalogue(), readCache()]);
  const cached = new Set(files.map(({ url }) => url));
  const fits = (id: string, licence: string, here: boolean) =>
    id.toLowerCase().includes(word.toLowerCase()) &&
    licence.toLowerCase().includes(options.licence?.toLowerCase() ?? '') &&
    (here || !options.cached);
  const models = Object.entries(bundled)
    .map(([name, { about, licence }]) => ({ name, about, licence }))
    .filter(({ name, licence }) => fits(name, licence, true));
  const published = entries
    .map((entry) => ({ ...entry, name: bareName(entry, entries), cached: cached.has(entry.url) }))
    .filter((entry) => fits(entry.id, entry.licence, entry.cached));
  if (options.json) {
    await print(`${JSON.stringify({ models, published })}\n`);
    return 0;
  }
  const { bold, dim } = pc.createColors(wantsColor(process.stdout));
  const everything = word === '' && options.licence === undefined && !options.cached;
  const lines: string[] = [];
  if (models.length)
    lines.push(
      bold('Bundled'),
      ...models.map(({ name, about, licence }) => `${name}  ${dim(`${about}; ${licence}`)}`),
      '',
    );
  const columns = Math.max(0, ...published.map(({ id, name }) => id.length + (name ? name.length + 3 : 0)));
  for (const [collection, title] of Object.entries(titles)) {
    const members = published.filter((entry) => entry.collection === collection);
    if (!members.length) continue;
    lines.push(bold(title));
    if (everything && members.length > many)
      lines.push(`${members.length} models; \`residual models ${collection}\` lists them`, '');
    else lines.push(...members.map((entry) => row(entry, columns, dim)), '');
  }
  if (lines.length)
    lines.push(`${dim('✓ on this machine.')} ${dim('Top-1 on ImageNet in %, at the size of picture it holds for.')}`);
  else lines.push('no model fits');
  await print(`${lines.join('\n')}\n`);
  return 0;
}

type Listed = HubEntry & { readonly name: string | undefined; readonly cached: boolean };

function row(
  { id, name, cached, bytes, exact, metrics, licence }: Listed,
  columns: number,
  dim: (text: string) => string,
) {
  const accuracy = metrics.map(({ top1, size }) => `${top1.toFixed(1)} at ${size}`).join(', ');
  const size = bytes === undefined ? '?' : `${exact ? '' : '~'}${sizeOf(bytes)}`;
  return [
    cached ? '✓' : ' ',
    (name ? `${id} ${dim(`= ${name}`)}` : id) + ' '.repeat(columns - id.length - (name ? name.length + 3 : 0)),
    size.padStart(8),
    (accuracy || '–').padEnd(24),
    dim(licence),
  ].join('  ');
}

async function architectures(word: string, { json }: Options): Promise<number> {
  const rows = Object.keys(family)
    .filter((name) => name.includes(word))
    .map((name) => {
      const { rows, totals } = summary(build(name));
      return { name, input: rows[0].outputShape, parameters: totals.trainable, macs: totals.macs };
    });
  if (json) {
    await print(`${JSON.stringify({ architectures: rows })}\n`);
    return 0;
  }
  const { bold, dim } = pc.createColors(wantsColor(process.stdout));
  const columns = Math.max(12, ...rows.map(({ name }) => name.length));
  await print(
    [
      bold('Architectures, for weights of your own (residual classify --weights FILE):'),
      `${'architecture'.padEnd(columns)}  ${'parameters'.padStart(11)}  ${'GMACs'.padStart(6)}  input`,
      ...rows.map(({ name, input, parameters, macs }) =>
        [
          name.padEnd(columns),
          parameters.toLocaleString('en-US').padStart(11),
          (macs / 1e9).toFixed(2).padStart(6),
          dim(input.slice(1).join('×')),
        ].join('  '),
      ),
      '',
    ].join('\n'),
  );
  return 0;
}
