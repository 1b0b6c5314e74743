#!/usr/bin/env node
// The door of the command line: plain JavaScript, so that it runs before anything is built. A published package always
// carries dist; a checkout whose install ran no scripts builds itself here, once.
import { existsSync } from 'node:fs';
import module from 'node:module';
import { fileURLToPath } from 'node:url';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

if (!existsSync(path('../dist/main.js'))) await build();
module.enableCompileCache?.(); // Node 22.1 and later
const { main } = await import('../dist/main.js');
process.exitCode = await main(process.argv.slice(2));

async function build() {
  const give = (reason) => {
    process.stderr.write(`residual: [FILE] ${reason}\n`);
    process.exit(1);
  };
  let compiler;
  try {
    compiler = module
      .createRequire(import.meta.url)
      .resolve('typescript/package.json')
      .replace('package.json', 'bin/tsc');
  } catch {}
  if (!compiler || !existsSync(path('../src/main.ts')))
    give(
      'dist/main.js is missing and nothing here can build it; install residual-cli again, or run `npm ci` in the checkout',
    );
  process.stderr.write('residual: building the checkout (once) …\n');
  const { spawnSync } = await import('node:child_process');
  const { status } = spawnSync(process.execPath, [compiler, '-b', path('../../..')], { stdio: ['ignore', 2, 2] });
  if (status !== 0) give('the build failed; its messages are above');
}
