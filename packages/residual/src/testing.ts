import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Tensor, tensor, toFloat32 } from './tensor.js';
import { openCheckpoint } from './weights/open.js';

/** The folder of shared test material, as an absolute path; tests that need it are skipped when it is not set. */
export const shared: string | undefined = process.env.RESIDUAL_SHARED
  ? resolve(process.env.RESIDUAL_SHARED)
  : undefined;

/** Debian's Python, which has PyTorch, h5py and Pillow; another may come first on the PATH. */
export const python = '/usr/bin/python3';

/** A new empty folder, and how to remove it. */
export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'residual-test-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Runs a reference program of the shared material, such as `torchvision_oracle.py resnet18 OUT`. */
export function oracle(program: string, ...args: string[]): void {
  execFileSync(python, [join(shared as string, 'oracle', program), ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** A reference program's tensors, as float32; pictures in `[N, H, W, C]` are turned to `[N, C, H, W]` when it says so. */
export async function readTensors<Name extends string>(
  file: string,
  names: readonly Name[],
  layout: 'NCHW' | 'NHWC' = 'NCHW',
): Promise<Record<Name, Tensor>> {
  const checkpoint = await openCheckpoint(file);
  const read = async (name: Name) => {
    const found = toFloat32(await checkpoint.read(name));
    return [name, layout === 'NHWC' && found.shape.length === 4 ? channelsFirst(found) : found] as const;
  };
  const entries = await Promise.all(names.map(read));
  await checkpoint.close();
  return Object.fromEntries(entries) as Record<Name, Tensor>;
}

function channelsFirst({ shape: [n, h, w, c], data }: Tensor): Tensor {
  const out = new Float32Array(data.length);
  const plane = h * w;
  for (let i = 0; i < n; i++)
    for (let p = 0; p < plane; p++)
      for (let k = 0; k < c; k++) out[(i * c + k) * plane + p] = data[(i * plane + p) * c + k];
  return tensor(out, [n, c, h, w]);
}
