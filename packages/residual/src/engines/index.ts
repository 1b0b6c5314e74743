import { ResidualError, unknownName } from '../errors.js';
import type { Engine, EngineName } from './engine.js';
import { hosted, worker } from './hosted.js';

export type { CompileOptions, Device, Engine, EngineName, Executable, Measurement, Precision } from './engine.js';

/** Every engine there is. */
export const engines = {
  onnx: hosted('onnx'),
  reference: hosted('reference'),
} satisfies Record<EngineName, Engine>;

/**
 * The engine of that name. `auto` is the fastest one built yet: ONNX Runtime.
 * @throws ENGINE for `onednn`, which is planned; UNKNOWN_NAME for any other name.
 */
export function chooseEngine(name: EngineName | 'auto' | 'onednn' = 'auto'): Engine {
  if (name === 'auto') return engines.onnx;
  if (name === 'onednn') throw new ResidualError('ENGINE', 'engine "onednn" is not built yet; use "onnx"');
  if (!Object.hasOwn(engines, name)) throw unknownName('engine', name, ['auto', ...Object.keys(engines)]);
  return engines[name];
}

/** What `residual doctor` says about one engine. */
export interface EngineFacts {
  readonly engine: EngineName;
  readonly ok: boolean;
  /** What it runs on, such as `onnxruntime-node 1.30.0`. */
  readonly runtime?: string;
  /** Why it does not run on the faster package. */
  readonly note?: string;
  /** The largest relative difference to `reference` on a small network; absent for `reference` itself. */
  readonly selfCheck?: number;
  /** Why it is not ok. */
  readonly reason?: string;
}

/** Tries every engine on this machine, and says on what processor and how many cores. Never throws. */
export async function engineReport(): Promise<{
  processor: { model: string; cores: number };
  engines: readonly EngineFacts[];
}> {
  const facts: EngineFacts[] = [];
  for (const engine of Object.keys(engines) as EngineName[])
    try {
      const runtime = await worker.call('runtime', [engine, {}]);
      const check = engine === 'reference' ? {} : { selfCheck: await worker.call('check', [engine, {}]) };
      facts.push({ engine, ok: true, ...runtime, ...check });
    } catch (error) {
      facts.push({ engine, ok: false, reason: (error as Error).message });
    }
  return { processor: await worker.call('processor', []), engines: facts };
}
