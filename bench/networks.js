// Networks with random weights, the same for all contenders that take weights, and their ONNX files.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { noiseWeights } from '../packages/residual/dist/engines/sketch.js';
import { exportOnnx, build as graphOf } from '../packages/residual/dist/index.js';

import { python } from './contenders.js';

export { noisePictures } from '../packages/residual/dist/tasks/bench-networks.js';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));

export async function build(name) {
  const graph = graphOf(name);
  return { graph, weights: noiseWeights(graph) };
}

/** Files that are made once. */
export const cache = join(tmpdir(), 'residual-bench');

/** The network as a plain ONNX file: batch free, BatchNorms as PyTorch's own exporter writes them in eval mode, folded. */
export async function onnxFile(name) {
  mkdirSync(cache, { recursive: true });
  const file = join(cache, `${name}.onnx`);
  if (!existsSync(file)) {
    const { graph, weights } = await build(name);
    await exportOnnx({ graph, weights, record: { architecture: name, preprocess: 'custom', plan: [] } }, file, {
      fold: true,
    });
  }
  return file;
}

/** The same file in 8 bits. @throws where Debian's python3-onnx is not installed */
export const quantizedFile = async (name) => quantize(await onnxFile(name), join(cache, `${name}.int8.onnx`));

export function quantize(from, to) {
  if (!existsSync(to)) execFileSync(python, [here('quantize-onnx.py'), from, to], { stdio: 'pipe' });
  return to;
}
