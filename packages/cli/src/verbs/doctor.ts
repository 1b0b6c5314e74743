import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import pc from 'picocolors';
import { type EngineFacts, engineReport, type FamilyKernels, family, familyKernels } from 'residual';
import type { OptionsOf } from '../flags.js';
import { print, wantsColor } from '../terminal.js';

/** One package or engine, and how it is. */
interface Finding {
  readonly name: string;
  readonly ok: boolean;
  readonly says: string;
}

/** Packages that work is left to, with what is missing when they are. */
const packages = [
  { name: 'sharp', use: 'decodes pictures', load: () => import('sharp') },
  { name: 'h5wasm', use: 'reads Keras .h5 weights', load: () => import('h5wasm/node') },
] as const;

/** `residual doctor`: exit status 0 when pictures can be decoded and an engine other than `reference` computes, else 1. */
export async function run(_args: readonly string[], options: OptionsOf<{ json: object }>): Promise<number> {
  const { processor, engines } = await engineReport();
  const host = {
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    ...processor,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
  };
  const kernels = engines.some(({ engine, ok }) => ok && engine === 'onednn') ? await familyKernels() : undefined;
  const found: Finding[] = [
    ...(await Promise.all(packages.map(examine))),
    ...engines.map(engineFinding),
    ...Object.entries(kernels ?? {}).map(([precision, of]) => kernelFinding(precision, of)),
  ];
  const auto = engines.find(({ engine, ok }) => ok && engine !== 'reference');
  const well = auto !== undefined && found[0].ok;
  if (options.json) {
    await print(`${JSON.stringify({ ok: well, host, packages: found.slice(0, packages.length), engines, kernels })}\n`);
    return well ? 0 : 1;
  }
  const { green, red, bold } = pc.createColors(wantsColor(process.stdout));
  const columns = Math.max(...found.map(({ name }) => name.length));
  await print(
    [
      `${bold('Node')} ${host.node} on ${host.platform}, ${host.cores} × ${host.model}, ${host.memoryGiB} GiB`,
      ...found.map(({ name, ok, says }) => `${ok ? green('✓') : red('✗')} ${name.padEnd(columns)}  ${says}`),
      auto
        ? `${bold('auto')} takes ${auto.engine} on ${auto.runtime}`
        : red('Only the slow reference engine computes here: install onnxruntime-node or onnxruntime-web.'),
      '',
    ].join('\n'),
  );
  return well ? 0 : 1;
}

function engineFinding({ engine, ok, runtime, note, selfCheck, reason }: EngineFacts): Finding {
  const check =
    selfCheck === undefined
      ? '; what the others are compared with'
      : `; differs from reference by ${selfCheck.toExponential(0)} at most`;
  return { name: `engine ${engine}`, ok, says: ok ? `${runtime}${note ? ` (${note})` : ''}${check}` : `${reason}` };
}

function kernelFinding(precision: string, found: FamilyKernels): Finding {
  const name = `onednn in ${precision}`;
  if ('reason' in found) return { name, ok: false, says: found.reason };
  const { slow } = found;
  if (slow.length === 0)
    return { name, ok: true, says: `a fast kernel for every layer of all ${Object.keys(family).length} networks` };
  const more = slow.length > 3 ? ', …' : '';
  return { name, ok: false, says: `no fast kernel for ${slow.length} layers: ${slow.slice(0, 3).join(', ')}${more}` };
}

async function examine({ name, use, load }: (typeof packages)[number]): Promise<Finding> {
  const version = installed(name);
  if (version === undefined) return { name, ok: false, says: `not installed; it ${use}` };
  try {
    await load();
    return { name, ok: true, says: `${version}, ${use}` };
  } catch (error) {
    const [reason] = (error instanceof Error ? error.message : String(error)).split('\n');
    return { name, ok: false, says: `${version} does not load, it ${use}: ${reason}` };
  }
}

/** The version of a package where Node would find it; its exports need not name package.json. */
function installed(name: string): string | undefined {
  const folders = createRequire(import.meta.url).resolve.paths(name) ?? [];
  const file = folders.map((folder) => join(folder, name, 'package.json')).find((path) => existsSync(path));
  return file && (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
