import { ResidualError } from '../../errors.js';
import type { BackendOptions } from '../backend.js';
import { type Ort, type OrtRuntime, quiet } from './ort.js';

const loaded = new Map<'webgpu' | 'cpu', Promise<OrtRuntime>>();

/** ONNX Runtime in a page's worker: WebAssembly, or its WebGPU build when that device is asked for. */
export function loadRuntime({ device, threads }: BackendOptions): Promise<OrtRuntime> {
  const build = device === 'webgpu' ? 'webgpu' : 'cpu';
  const runtime = loaded.get(build) ?? load(build, threads ?? navigator.hardwareConcurrency);
  loaded.set(build, runtime);
  return runtime;
}

export const processor = (): { model: string; cores: number } => ({
  model: 'unknown to a browser',
  cores: navigator.hardwareConcurrency,
});

async function load(build: 'webgpu' | 'cpu', threads: number): Promise<OrtRuntime> {
  try {
    const ort = await (build === 'webgpu' ? import('onnxruntime-web/webgpu') : import('onnxruntime-web/wasm'));
    ort.env.logLevel = quiet.logLevel;
    ort.env.wasm.numThreads = crossOriginIsolated ? threads : 1;
    const providers = new Map([['cpu', 'wasm']]);
    if ('gpu' in navigator) providers.set('webgpu', 'webgpu');
    return {
      ort: ort as unknown as Ort,
      runtime: `onnxruntime-web ${ort.env.versions.web}`,
      writesResults: false,
      providers,
    };
  } catch (error) {
    loaded.delete(build);
    throw new ResidualError('MISSING_PACKAGE', `engine "onnx" needs onnxruntime-web: ${(error as Error).message}`);
  }
}

/** A page cannot ask for it. */
export function collectGarbage(): void {}

export const collectGarbageSoon = collectGarbage;
