import { availableParallelism, cpus } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ResidualError } from '../../errors.js';
import type { BackendOptions } from '../backend.js';
import { type Ort, type OrtRuntime, quiet } from './ort.js';

let loaded: Promise<OrtRuntime> | undefined;

/**
 * ONNX Runtime under Node: the native package, or the WebAssembly one where the native one is absent, does not load,
 * or `RESIDUAL_ORT=wasm` asks for it.
 * @throws MISSING_PACKAGE saying what to install.
 */
export function loadRuntime(options: BackendOptions): Promise<OrtRuntime> {
  loaded ??= load(options.threads ?? availableParallelism());
  return loaded;
}

export const processor = (): { model: string; cores: number } => ({
  model: cpus()[0]?.model.trim() ?? process.arch,
  cores: availableParallelism(),
});

async function load(threads: number): Promise<OrtRuntime> {
  let note = 'RESIDUAL_ORT=wasm asks for WebAssembly';
  if (process.env.RESIDUAL_ORT !== 'wasm')
    try {
      return await loadNative();
    } catch (error) {
      note = why('onnxruntime-node', error);
    }
  try {
    return { ...(await loadWasm(threads)), note };
  } catch (error) {
    throw new ResidualError(
      'MISSING_PACKAGE',
      `engine "onnx" needs ONNX Runtime: ${note}, and ${why('onnxruntime-web', error)}; run: npm install onnxruntime-node --ignore-scripts`,
      { packages: ['onnxruntime-node', 'onnxruntime-web'] },
    );
  }
}

async function loadNative(): Promise<OrtRuntime> {
  // From 1.29 on it sends usage data to its maker, and overflows the stack on command lines of 16 kB and more (it
  // searches them with regular expressions), unless told not to before it is loaded (microsoft/onnxruntime#27379).
  process.env.ORT_DISABLE_TELEMETRY ??= '1';
  const { default: ort } = await import('onnxruntime-node');
  ort.env.logLevel = quiet.logLevel;
  return {
    ort: ort as unknown as Ort,
    runtime: `onnxruntime-node ${ort.env.versions.node}`,
    writesResults: true,
    providers: new Map(ort.listSupportedBackends().map(({ name }) => [name, name])),
  };
}

async function loadWasm(threads: number): Promise<OrtRuntime> {
  const ort = await import('onnxruntime-web'); // Its build for Node: "/wasm" is for pages only.
  ort.env.logLevel = quiet.logLevel;
  ort.env.wasm.numThreads = threads;
  return {
    ort: ort as unknown as Ort,
    runtime: `onnxruntime-web ${ort.env.versions.web} (WebAssembly)`,
    writesResults: false,
    providers: new Map([['cpu', 'wasm']]),
  };
}

function why(name: string, error: unknown): string {
  const { code, message } = error as { code?: string; message?: string };
  const absent = (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') && message?.includes(`'${name}`);
  return absent
    ? `${name} is not installed`
    : `${name} does not load here (${String(message ?? error).split('\n')[0]})`;
}

let collect: (() => void) | undefined;

/**
 * Frees what this thread no longer uses. The garbage collector of a thread with a small heap of its own would come
 * late: it does not feel the hundreds of megabytes of shared weights that its few objects hold.
 */
export function collectGarbage(): void {
  if (!collect) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
}

let soon: NodeJS.Timeout | undefined;

/** The same once this thread has had nothing to compile for a moment; a process that ends before is not held up. */
export function collectGarbageSoon(): void {
  clearTimeout(soon);
  soon = setTimeout(collectGarbage, 500).unref();
}
