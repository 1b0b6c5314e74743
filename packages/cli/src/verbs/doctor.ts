import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import pc from 'picocolors';
import type { OptionsOf } from '../flags.js';
import { wantsColor } from '../terminal.js';
import type { Context } from '../verbs.js';

interface Finding {
  readonly name: string;
  readonly use: string;
  readonly ok: boolean;
  /** The version, or why it is of no use here. */
  readonly says: string;
}

/** The packages that do the heavy work; each may be missing, then what it is for is missing with it. */
const packages = [
  { name: 'sharp', use: 'decodes pictures', load: () => import('sharp') },
  { name: 'h5wasm', use: 'reads Keras .h5 weights', load: () => import('h5wasm/node') },
  { name: 'onnxruntime-node', use: 'computes, native', load: () => import('onnxruntime-node') },
  { name: 'onnxruntime-web', use: 'computes, WebAssembly: where the native one is absent', load: undefined },
] as const;

/** `residual doctor`: exit status 0 when pictures can be decoded and some engine can compute, else 1. */
export async function run(_args: readonly string[], options: OptionsOf<{ json: object }>, _context: Context) {
  const host = {
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
  };
  const findings = await Promise.all(packages.map(examine));
  const ok = (name: (typeof packages)[number]['name']) => findings.some((row) => row.name === name && row.ok);
  const engine = ok('onnxruntime-node') ? 'onnxruntime-node' : ok('onnxruntime-web') ? 'onnxruntime-web' : undefined;
  const well = engine !== undefined && ok('sharp');
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ ok: well, host, packages: findings, engine: engine ?? null })}\n`);
    return well ? 0 : 1;
  }
  const { green, red, bold, dim } = pc.createColors(wantsColor(process.stdout));
  const lines = [
    `${bold('Node')} ${host.node} on ${host.platform}, ${host.cores} × ${host.cpu}, ${host.memoryGiB} GiB`,
    ...findings.map(({ name, use, ok, says }) => {
      const mark = ok ? green('✓') : red('✗');
      return `${mark} ${name.padEnd(17)} ${dim(use)}: ${says}`;
    }),
    engine ? `${bold('auto')} computes with ${engine}` : red('No engine can compute here: run npm install again.'),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
  return well ? 0 : 1;
}

async function examine({ name, use, load }: (typeof packages)[number]): Promise<Finding> {
  const version = installed(name);
  if (version === undefined) return { name, use, ok: false, says: 'not installed' };
  try {
    await load?.();
    return { name, use, ok: true, says: version };
  } catch (error) {
    const [reason] = (error instanceof Error ? error.message : String(error)).split('\n');
    return { name, use, ok: false, says: `${version} does not load: ${reason}` };
  }
}

/** The version of a package where Node would find it; its exports need not name package.json. */
function installed(name: string): string | undefined {
  const folders = createRequire(import.meta.url).resolve.paths(name) ?? [];
  const file = folders.map((folder) => join(folder, name, 'package.json')).find((path) => existsSync(path));
  return file && (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
