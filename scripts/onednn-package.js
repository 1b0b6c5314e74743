// Makes the folder of the optional npm package `residual-onednn-linux-x64` out of Debian 12's own packages: oneDNN 2.6 and
// the two libraries it is linked to that a system may lack. Nothing binary is kept in this repository, nothing is installed.
//
//     node scripts/onednn-package.js FOLDER      then: npm pack FOLDER, or npm install FOLDER
//
// It needs apt with Debian 12's sources, from any mirror, on x86-64, and a built checkout to try the result.
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** The libraries, the Debian package each is in, and the package that holds its copyright file. */
const libraries = [
  { file: 'libdnnl.so.2', from: 'libdnnl2', licence: 'libdnnl2', spdx: 'Apache-2.0' },
  { file: 'libgomp.so.1', from: 'libgomp1', licence: 'gcc-12-base', spdx: 'GPL-3.0-or-later WITH GCC-exception-3.1' },
  // oneDNN is linked to it for GPUs, and every symbol is looked up when it is loaded; on the CPU none is called.
  { file: 'libOpenCL.so.1', from: 'ocl-icd-libopencl1', licence: 'ocl-icd-libopencl1', spdx: 'BSD-2-Clause' },
];

const target = process.argv[2];
if (target === undefined) {
  console.error('usage: node scripts/onednn-package.js FOLDER');
  process.exit(2);
}
const folder = resolve(target);
if (existsSync(folder)) {
  console.error(`${folder} exists already; name a folder to be made`);
  process.exit(2);
}

const scratch = mkdtempSync(join(tmpdir(), 'residual-onednn-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
const run = (command, ...args) =>
  execFileSync(command, args, { cwd: scratch, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

// The copyright files refer to whole licences, which Debian keeps in one place.
const whole = { from: 'base-files', licences: ['Apache-2.0', 'GPL-3'] };

const names = [...new Set([...libraries.flatMap(({ from, licence }) => [from, licence]), whole.from])];
run('apt-get', '-qq', '-o', 'APT::Sandbox::User=root', 'download', ...names);

/** Debian's name for the source and the version of a package, and where it is unpacked. */
const packages = new Map(
  names.map((name) => {
    const [deb] = run('sh', '-c', `ls ${name}_*.deb`).trim().split('\n');
    run('dpkg-deb', '-x', deb, name);
    const fieldOf = (field) => run('dpkg-deb', '-f', deb, field).trim();
    return [name, { source: fieldOf('Source') || name, version: fieldOf('Version'), at: join(scratch, name) }];
  }),
);

const { version } = packages.get('libdnnl2');
if (!version.startsWith('2.6.')) throw new Error(`libdnnl2 is ${version} here, but Debian 12's 2.6 is wanted`);

mkdirSync(join(folder, 'licences'), { recursive: true });
for (const { file, from, licence } of libraries) {
  copyFileSync(join(packages.get(from).at, 'usr/lib/x86_64-linux-gnu', file), join(folder, file));
  copyFileSync(
    join(packages.get(licence).at, 'usr/share/doc', licence, 'copyright'),
    join(folder, 'licences', `${from}.txt`),
  );
}

for (const licence of whole.licences)
  copyFileSync(
    join(packages.get(whole.from).at, 'usr/share/common-licenses', licence),
    join(folder, 'licences', `${licence}.txt`),
  );

const manifest = {
  name: 'residual-onednn-linux-x64',
  version: version.replace(/-.*/, ''),
  description:
    "oneDNN for residual's engine `onednn`: Debian 12's library, for Linux on x86-64 with glibc 2.34 or newer.",
  license: libraries.map(({ spdx }) => `(${spdx})`).join(' AND '),
  os: ['linux'],
  cpu: ['x64'],
  libc: ['glibc'],
  main: 'libdnnl.so.2',
  files: [...libraries.map(({ file }) => file), 'licences'],
};
writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`);

const rows = libraries.map(({ file, from, spdx }) => {
  const { source, version } = packages.get(from);
  return `| \`${file}\` | ${from} ${version} | ${source} | ${spdx} |`;
});
writeFileSync(
  join(folder, 'README.md'),
  `# oneDNN for \`residual\`

The library oneDNN as Debian 12 builds it, with the two libraries it is linked to. The engine \`onednn\` of the npm package
\`residual\` finds it here. Nothing was changed; the copyright files are in \`licences\`, and the source of each library is
Debian's source package of the version given.

| file | Debian package | Debian source package | licence |
| --- | --- | --- | --- |
${rows.join('\n')}

It needs glibc 2.34 and libstdc++ of GCC 11 or newer: Debian 12, Ubuntu 22.04, Fedora 35, RHEL 9 and later. OpenCL need not
be installed: oneDNN asks for that library when it is loaded, and never calls it on the CPU.
`,
);
// The engine's own way to the library, from a folder with this package installed: all of it must be the package's.
const program = join(scratch, 'program');
mkdirSync(join(program, 'node_modules'), { recursive: true });
symlinkSync(folder, join(program, 'node_modules', manifest.name));
const layer = new URL('../packages/residual/dist/engines/onednn/library.js', import.meta.url);
const { RESIDUAL_ONEDNN: _, ...env } = process.env;
const report = execFileSync(
  process.execPath,
  [
    '--input-type=module',
    '-e',
    `import { readFileSync } from 'node:fs';
     const { version } = (await import(${JSON.stringify(layer.href)})).openDnnl();
     console.log(JSON.stringify({ version, maps: readFileSync('/proc/self/maps', 'utf8') }));`,
  ],
  { cwd: program, env, encoding: 'utf8', maxBuffer: 2 ** 26 },
);
const { version: loaded, maps } = JSON.parse(report);
const used = [...new Set(maps.match(/\/\S*\/lib(dnnl|gomp|OpenCL)\S*/g))].sort();
const own = libraries.map(({ file }) => join(realpathSync(folder), file)).sort();
if (loaded !== manifest.version || used.join() !== own.join())
  throw new Error(`oneDNN ${loaded} was loaded, from ${used.join(', ')}`);

const bytes = libraries.reduce((sum, { file }) => sum + statSync(join(folder, file)).size, 0);
console.log(
  `${folder}: ${manifest.name} ${manifest.version}, ${(bytes / 1e6).toFixed(1)} MB unpacked; loads with nothing of the system's but C and C++`,
);
