// Runs the commands of docs/compare.md and puts what they print into it: each ```sh block is followed by a ```text block.
// WEIGHTS names the folder that make-weights wrote, RESIDUAL_SHARED the shared material.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const page = join(root, 'docs/compare.md');
const folder = mkdtempSync(join(tmpdir(), 'residual-docs-'));
const shell = `residual() { node "${root}/packages/cli/bin/residual.js" "$@"; }; cd "${root}"\n`;
try {
  const text = readFileSync(page, 'utf8').replace(
    /(```sh\n)([\s\S]*?)(```\n\n```text\n)[\s\S]*?(```)/g,
    (_all, open, commands, middle, close) => {
      const { stdout, stderr, status } = spawnSync('bash', ['-c', shell + commands], {
        encoding: 'utf8',
        env: { ...process.env, OUT: folder, NO_COLOR: '1' },
      });
      process.stdout.write(`${commands}exit status ${status}\n${stderr}`);
      if (status > 1) throw new Error('a command of the page failed');
      return `${open}${commands}${middle}${stdout}${close}`;
    },
  );
  writeFileSync(page, text);
} finally {
  rmSync(folder, { recursive: true });
}
