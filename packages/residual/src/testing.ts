import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ResidualError } from './errors.js';
import { type AnyTensor, type DType, type Tensor, tensor, toFloat32 } from './tensor.js';
import type { Checkpoint } from './weights/checkpoint.js';
import { openCheckpoint } from './weights/open.js';

/** The folder of shared test material, as an absolute path; tests that need it are skipped when it is not set. */
export const shared: string | undefined = process.env.RESIDUAL_SHARED
  ? resolve(process.env.RESIDUAL_SHARED)
  : undefined;

/** MLPerf Tiny's ResNet-8, a whole Keras 2.4 model that takes pixels as they are (packages/residual/fixtures). */
export const mlperfResnet8 = fileURLToPath(new URL('../fixtures/mlperf-tiny-resnet8.h5', import.meta.url));

/** Debian's Python, which has PyTorch, h5py and Pillow; another may come first on the PATH. */
export const python = '/usr/bin/python3';

/** For a Python process: the other cores have tests of their own, and threads that wait for each other burn time. */
export const oneThread = { ...process.env, OMP_NUM_THREADS: '1' };

/** A new empty folder, and how to remove it. */
export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'residual-test-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

const removals: (() => void)[] = [];
process.on('exit', () => removals.forEach((remove) => void remove()));

/** A new empty folder that is removed when the process ends. */
export function scratch(): string {
  const { path, remove } = temporaryFolder();
  removals.push(remove);
  return path;
}

/** Runs a reference program of the shared material, such as `torchvision_oracle.py resnet18 OUT`. */
export function oracle(program: string, ...args: string[]): void {
  execFileSync(python, [join(shared as string, 'oracle', program), ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: oneThread,
  });
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

/** What PyTorch or h5py read from a file: element type, shape and a hash of the row-major bytes, by name. */
export type Expected = Record<string, { dtype: DType; shape: number[]; sha256: string }>;

/** Runs a Python program with `folder` as its argument; it may write `expected.json` there. */
export function runPython(program: string, ...args: string[]): string {
  return execFileSync(python, ['-c', preamble + program, ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: oneThread,
  });
}

const preamble = `
import sys, os, json, hashlib, warnings
warnings.filterwarnings('ignore')
import numpy as np
def described(array, dtype=None):
    array = np.asarray(array)
    return {'dtype': dtype or str(array.dtype), 'shape': list(array.shape),
            'sha256': hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}
def of_torch(t):
    import torch
    t = t.detach().contiguous()
    if t.dtype == torch.bfloat16:
        return described(t.view(torch.int16).numpy(), 'bfloat16')
    return described(t.numpy())
`;

/** Makes files by a Python program once and returns what it printed as JSON. */
export function pythonJson<T>(program: string, ...args: string[]): T {
  return JSON.parse(runPython(program, ...args)) as T;
}

export function describeTensor({ dtype, shape, data }: AnyTensor): Expected[string] {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { dtype, shape: [...shape], sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** Reads all tensors of a checkpoint and describes them as Python does. */
export async function describeAll(checkpoint: Checkpoint): Promise<Expected> {
  const found: Expected = {};
  for (const [name, info] of checkpoint.tensors) {
    const tensor = await checkpoint.read(name);
    if (tensor.dtype !== info.dtype || tensor.shape.join() !== info.shape.join())
      throw new Error(`${name}: the table of contents differs from the tensor`);
    found[name] = describeTensor(tensor);
  }
  return found;
}

/** The error of a promise that must fail on purpose; anything else fails the test. */
export async function refusal(work: Promise<unknown>): Promise<ResidualError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof ResidualError && !/[\r\n]/.test(error.message)) return error;
    throw error;
  }
  throw new Error('expected a refusal but it went well');
}

export const bytesOf = (path: string): Uint8Array => new Uint8Array(readFileSync(path));
