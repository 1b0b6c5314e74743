import { ResidualError, unknownName } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { Engine, EngineName, Precision } from './engine.js';
import { hosted, worker } from './hosted.js';

export type { CompileOptions, Device, Engine, EngineName, Executable, Measurement, Precision } from './engine.js';

/** Every engine there is. */
export const engines = {
  onednn: hosted('onednn'),
  onnx: hosted('onnx'),
  reference: hosted('reference'),
} satisfies Record<EngineName, Engine>;

/** The fastest engine that runs here: oneDNN where it is found, suits the processor and computes right, else ONNX Runtime. */
const auto: Engine = {
  name: 'auto',
  async available(options) {
    const best = await engines.onednn.available(options);
    return best.ok && best.note === undefined ? best : engines.onnx.available();
  },
  async compile(graph, options) {
    // Other devices are ONNX Runtime's.
    const { deterministic, precision } = options;
    const isCpu = (options.device ?? 'cpu') === 'cpu';
    const best = isCpu ? await engines.onednn.available({ deterministic, precision }) : undefined;
    if (best?.ok && best.note === undefined)
      try {
        return await engines.onednn.compile(graph, options);
      } catch (error) {
        // Not every processor has fast kernels of 8 bits.
        if (!(error instanceof ResidualError && error.code === 'ENGINE' && options.precision === 'int8')) throw error;
      }
    return engines.onnx.compile(graph, options);
  },
};

/**
 * The engine of that name; `auto` chooses when it compiles.
 * @throws UNKNOWN_NAME for any other name.
 */
export function chooseEngine(name: EngineName | 'auto' = 'auto'): Engine {
  if (name === 'auto') return auto;
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

/** This machine's processor, as the engines' thread sees it. */
export const processor = (): Promise<{ model: string; cores: number }> => worker.call('processor', []);

/**
 * Layers for which oneDNN has no fast kernel here: `conv1 (ref:any)`, of a network whose BatchNorms are folded, for
 * pictures of the size it is built for.
 * @throws ENGINE when oneDNN does not compute in that precision here, or is not there.
 */
export const slowLayers = (graph: Graph, precision: Precision): Promise<readonly string[]> =>
  worker.call('slow', [graph, precision]);

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
  return { processor: await processor(), engines: facts };
}
