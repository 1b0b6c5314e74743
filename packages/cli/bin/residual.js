#!/usr/bin/env node
// The door of the command line: plain JavaScript, so that it runs before anything is built. A published package carries
// dist; a checkout whose install ran no scripts builds itself here, once.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { fileURLToPath } from 'node:url';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

if (!existsSync(path('../dist/main.js'))) build();
module.enableCompileCache?.(); // Node 22.1 and later
const { main } = await import('../dist/main.js');
process.exitCode = await main(process.argv.slice(2));

function build() {
  const require = module.createRequire(import.meta.url);
  let compiler;
  try {
    compiler = require.resolve('typescript/package.json').replace(/package\.json$/, 'bin/tsc');
  } catch {}
  if (!compiler || !existsSync(path('../src/main.ts'))) {
    process.stderr.write(
      'residual: [FILE] dist/main.js is missing from the package and there is no TypeScript here to build it; ' +
        'install the package again, or run `npm ci && npm run build` in the checkout\n',
    );
    process.exit(1);
  }
  process.stderr.write('residual: building the checkout (once) …\n');
  const built = spawnSync(process.execPath, [compiler, '-b', path('../../..')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (built.status === 0) return;
  process.stderr.write(`${built.stdout ?? ''}residual: [FILE] the build failed; see the messages above\n`);
  process.exit(1);
}
