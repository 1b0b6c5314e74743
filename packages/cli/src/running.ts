// For tests: the real program in a process of its own.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const bin = fileURLToPath(new URL('../bin/residual.js', import.meta.url));
export const samples = fileURLToPath(new URL('../samples', import.meta.url));
/** MLPerf Tiny's ResNet-8: a whole Keras model that takes pixels as they are (preset `raw255`). */
export const mlperfResnet8 = fileURLToPath(new URL('../../residual/fixtures/mlperf-tiny-resnet8.h5', import.meta.url));

export const start = (...args: string[]): ChildProcessWithoutNullStreams =>
  spawn(process.execPath, [bin, ...args], { env: { ...process.env, NO_COLOR: '1' } });

export async function ended(child: ChildProcessWithoutNullStreams) {
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => (out += chunk));
  child.stderr.on('data', (chunk) => (err += chunk));
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { status, out, err };
}

export const residual = (...args: string[]) => ended(start(...args));

/** What `--json` printed: a document a line. */
export const jsonLines = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
