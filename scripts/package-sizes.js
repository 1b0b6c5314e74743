// Packs both packages, installs the library alone and library with command line in empty folders as a stranger would
// (no npm settings, no checkout near), checks that they work, and prints the sizes as a markdown table:
//
//     node scripts/package-sizes.js
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const checkout = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'residual-packages-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

// A stranger's environment; only what reaches the registry at all (certificates, proxies) is kept.
const kept = /^(PATH|NODE_EXTRA_CA_CERTS|NPM_CONFIG_CAFILE|SSL_CERT_FILE|https?_proxy|no_proxy)$/i;
const home = join(folder, 'home');
const env = { ...Object.fromEntries(Object.entries(process.env).filter(([name]) => kept.test(name))), HOME: home };
mkdirSync(home);

const library = pack('residual');
const commandLine = pack('residual-cli');
const rows = [
  row('`residual` alone', [library], install('library', [library])),
  row('`residual` and `residual-cli`', [library, commandLine], install('both', [library, commandLine])),
];

const loaded = run(
  'library',
  'node',
  '--input-type=module',
  '-e',
  "console.log(Object.keys(await import('residual')))",
);
if (!loaded.includes('ResidualError')) throw new Error(`the library alone exports ${loaded}`);
run('both', 'npx', '--no-install', 'residual', '--version');
run('both', 'npx', '--no-install', 'residual', 'doctor');
const answer = run(
  'both',
  'npx',
  '--no-install',
  'residual',
  'classify',
  '--model',
  'resnet16-cifar10',
  '--json',
  'node_modules/residual-cli/samples/cat.jpg',
);
if (JSON.parse(answer).predictions[0].label !== 'cat') throw new Error(`the packages say of a cat: ${answer}`);
const native = existsSync(join(folder, 'both/node_modules/onnxruntime-node'));

console.log('| installed | download of ours | packages | on disk |\n| --- | ---: | ---: | ---: |');
for (const cells of rows) console.log(`| ${cells.join(' | ')} |`);
console.log(
  `\n${process.platform}-${process.arch}, Node ${process.version}; onnxruntime-node ${native ? 'included' : 'absent: its own download could not be reached, onnxruntime-web takes its place'}.`,
);

/** Packs a workspace as `npm publish` would; its prepack script builds. */
function pack(name) {
  const args = ['pack', '--json', '--workspace', name, '--pack-destination', folder];
  // The build's output comes before the JSON.
  const output = execFileSync('npm', args, { cwd: checkout, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const answer = JSON.parse(output.slice(output.search(/^[[{]/m)));
  const [{ filename, size, files }] = Array.isArray(answer) ? answer : Object.values(answer);
  const paths = files.map(({ path }) => path);
  for (const path of ['LICENSE', 'README.md', 'package.json', name === 'residual' ? 'dist/index.js' : 'dist/main.js'])
    if (!paths.includes(path)) throw new Error(`${filename} lacks ${path}`);
  const strange = paths.filter((path) => /\.test\.|tsbuildinfo|\.map$|^src\//.test(path));
  if (strange.length > 0) throw new Error(`${filename} holds ${strange.join(', ')}`);
  return { file: join(folder, filename), size };
}

function install(name, tarballs) {
  const target = join(folder, name);
  mkdirSync(target);
  run(name, 'npm', 'install', '--no-fund', '--no-audit', ...tarballs.map(({ file }) => file));
  return target;
}

function run(name, ...command) {
  try {
    return execFileSync(command[0], command.slice(1), {
      cwd: join(folder, name),
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } catch (error) {
    throw new Error(`${command.join(' ')}: status ${error.status}\n${error.stdout}${error.stderr}`);
  }
}

function row(what, tarballs, target) {
  const { bytes, packages } = measure(join(target, 'node_modules'));
  const download = tarballs.reduce((sum, { size }) => sum + size, 0);
  return [what, megabytes(download), packages, megabytes(bytes)];
}

/** Bytes of all files, and the number of packages (folders with a package.json right under node_modules or a scope). */
function measure(modules) {
  let [bytes, packages] = [0, 0];
  for (const name of readdirSync(modules, { recursive: true })) {
    const found = lstatSync(join(modules, name));
    if (found.isFile()) bytes += statSync(join(modules, name)).size;
    if (/(^|\/node_modules\/)(@[^/]+\/)?[^@/][^/]*\/package\.json$/.test(name)) packages++;
  }
  return { bytes, packages };
}

function megabytes(bytes) {
  const value = bytes / 1e6;
  return `${value.toFixed(value < 10 ? 2 : 0)} MB`;
}
