// Writes docs/api.md: every public name with its signature and what its docstring says first.
//
//     npx tsc -b && node scripts/docs-api.js            --check: exit 1 when the file is not as it would be written
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const library = new URL('../packages/residual/dist/', import.meta.url).pathname;
const target = new URL('../docs/api.md', import.meta.url).pathname;

/** The entries of the package, and what each is for. */
const entries = [
  ['residual', 'index', 'Load, classify, explain, convert, quantise; the builders of networks.'],
  ['residual/train', 'train', 'Data sets, training, evaluation, runs. Node only.'],
  ['residual/classify', 'classify', 'The part that only classifies: it loads quickest.'],
  ['residual/errors', 'errors', 'Errors and their codes.'],
];

const cache = new Map();
const textOf = (file) => cache.get(file) ?? cache.set(file, readFileSync(file, 'utf8')).get(file);

/** What a declaration file exports: names, and the file that declares each. */
function exportsOf(file) {
  const found = [];
  for (const [, names, from] of textOf(file).matchAll(/^export (?:type )?\{([^}]*)\} from '(.*)';$/gm))
    for (const part of names.split(',')) {
      const [name, as] = part
        .trim()
        .replace(/^type /, '')
        .split(' as ');
      if (name) found.push({ name: as ?? name, own: name, file: join(dirname(file), from.replace(/\.js$/, '.d.ts')) });
    }
  for (const [, name] of textOf(file).matchAll(/^export (?:declare )?(?:function|const|interface|type|class) (\w+)/gm))
    if (!found.some((one) => one.name === name)) found.push({ name, own: name, file });
  return found;
}

/** A name's declarations, and its docstring's first sentence; names that are passed on are followed. */
function declarationOf({ own, file }) {
  const text = textOf(file);
  const lines = text.split('\n');
  const begins = new RegExp(
    `^(?:export )?(?:declare )?(?:async )?(function|const|interface|type|class|namespace) ${own}\\b`,
  );
  const at = lines.findIndex((line) => begins.test(line) && !line.includes('namespace'));
  if (at < 0) {
    const passed = exportsOf(file).find((one) => one.name === own && one.file !== file);
    if (passed) return declarationOf(passed);
    throw new Error(`no declaration of ${own} in ${file}`);
  }
  const kind = begins.exec(lines[at])[1];
  let end = at;
  for (let depth = 0; end < lines.length; end++) {
    for (const letter of lines[end].replace(/\/\*.*?\*\/|'[^']*'|=>/g, '')) {
      if ('{(['.includes(letter)) depth++;
      if ('})]'.includes(letter)) depth--;
    }
    if (depth === 0 && /[;}]\s*$/.test(lines[end])) break;
  }
  const said = /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*$/.exec(lines.slice(0, at).join('\n'));
  const words = (said?.[1] ?? '').replace(/^\s*\* ?/gm, ' ').split(/\s@|\n\s*\n/)[0];
  const [sentence] = /^.*?(?<!e\.g|i\.e|al)\.(?=\s|$)/s.exec(words.trim()) ?? [words.trim()];
  return { kind, code: lines.slice(at, end + 1).join('\n'), sentence: sentence.replace(/\s+/g, ' ') };
}

const parts = [
  '# The library, name by name',
  '',
  'Made by `node scripts/docs-api.js` from the docstrings, which say more.',
];
for (const [entry, file, about] of entries) {
  parts.push('', `## \`${entry}\``, '', about);
  const all = exportsOf(join(library, `${file}.d.ts`))
    .map((one) => ({ ...one, ...declarationOf(one) }))
    .sort((a, b) => a.name.localeCompare(b.name, 'en'));
  for (const [title, belongs] of [
    ['Functions and values', ({ kind }) => kind === 'function' || kind === 'const' || kind === 'class'],
    ['Types', ({ kind }) => kind === 'interface' || kind === 'type'],
  ]) {
    const some = all.filter(belongs);
    if (some.length === 0) continue;
    parts.push('', `### ${title}`, '');
    for (const { name, code, sentence, kind } of some) {
      parts.push(`- **\`${name}\`**${sentence ? `: ${sentence}` : ''}`);
      const short = code
        .replace(/\/\*\*[\s\S]*?\*\//g, '')
        .replace(/^export /gm, '')
        .replace(/^declare /gm, '')
        .replace(/\s+/g, ' ')
        .trim();
      if (kind === 'function' || short.length <= 240) parts.push(`  \`\`\`ts\n  ${short}\n  \`\`\``);
    }
  }
}
const written = `${parts.join('\n')}\n`;
if (!process.argv.includes('--check')) writeFileSync(target, written);
else if (textOf(target) !== written) {
  console.error('docs/api.md is not what scripts/docs-api.js writes: run it');
  process.exitCode = 1;
}
