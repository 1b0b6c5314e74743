// Writes the table of settings in docs/training.md: what a recipe may say and `--set` may change.
//
//     npx tsc -b && node scripts/docs-settings.js       --check: exit 1 when the table is not as it would be written
import { readFileSync, writeFileSync } from 'node:fs';
import { settings } from '../packages/residual/dist/train/settings.js';

const target = new URL('../docs/training.md', import.meta.url).pathname;

const rows = Object.entries(settings).map(([name, { preset, help, expected }]) => {
  const shown = preset === '' ? 'nothing' : `\`${preset}\``;
  return `| \`${name}\` | ${shown} | ${expected} | ${help} |`;
});
const table = ['| setting | when nobody says | may be | what it is |', '| --- | --- | --- | --- |', ...rows].join('\n');

const before = readFileSync(target, 'utf8');
const after = before.replace(/\| setting \|.*?\n(?!\|)/s, `${table}\n`);
if (!process.argv.includes('--check')) writeFileSync(target, after);
else if (after !== before || !after.includes(table)) {
  console.error('the settings in docs/training.md are not what scripts/docs-settings.js writes: run it');
  process.exitCode = 1;
}
