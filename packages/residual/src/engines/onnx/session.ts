import { loadRuntime, processor } from '#runtime';
import { ResidualError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import type { Tensor, Weights } from '../../tensor.js';
import type { Backend, BackendOptions, Program } from '../backend.js';
import { spoil, unsound } from '../unsound-pictures.js';
import { lower } from './lower.js';
import { modelParts, type OnnxModel } from './model.js';
import { type OrtRuntime, type OrtSession, type OrtSessionOptions, quiet } from './ort.js';

/** ONNX Runtime. Its `create` and `run` block the thread that calls them: this half lives in the worker thread. */
export const onnx: Backend = {
  async runtime(options) {
    const { runtime, note } = await loadRuntime(options);
    return note === undefined ? { runtime } : { runtime, note };
  },
  compile,
};

async function compile(graph: Graph, weights: Weights, options: BackendOptions): Promise<Program> {
  const loaded = await loadRuntime(options);
  // BatchNorm is left to ONNX Runtime, which folds it as it reads the weights: they need no second copy here.
  const session = await createSession(loaded, lower(graph, weights, options.quantisation), options);
  const { Tensor: OrtTensor } = loaded.ort;

  return {
    async run(inputs) {
      const feeds = Object.fromEntries(
        Object.entries(inputs).map(([name, { data, shape }]) => [
          name,
          new OrtTensor('float32', unshared(data), shape),
        ]),
      );
      const results = await session.run(feeds).catch((error: Error) => {
        throw new ResidualError('ENGINE', `${loaded.runtime} cannot run ${graph.name}: ${firstLine(error)}`);
      });
      const found = Object.fromEntries(
        Object.entries(results).map(([name, { data, dims }]): [string, Tensor] => [
          name,
          { dtype: 'float32', shape: [...dims], data: data as Float32Array },
        ]),
      );
      if (options.quantisation) for (const picture of unsound(inputs)) spoil(found, picture);
      return found;
    },
    dispose: () => session.release(),
  };
}

/**
 * A session of ONNX Runtime for a model.
 * @throws ENGINE
 */
export async function createSession(
  { ort, providers, runtime }: OrtRuntime,
  model: OnnxModel,
  { device = 'cpu', threads = processor().cores, quantisation }: BackendOptions,
  more: Pick<OrtSessionOptions, 'enableMemPattern'> = {},
): Promise<OrtSession> {
  const provider = providers.get(device);
  if (provider === undefined)
    throw new ResidualError(
      'ENGINE',
      `${runtime} has no device "${device}" here; it has: ${[...providers.keys()].join(', ')}`,
      { device, devices: [...providers.keys()] },
    );
  const { graph, files } = modelParts(model);
  try {
    return await ort.InferenceSession.create(graph, {
      externalData: files,
      executionProviders: [provider],
      intraOpNumThreads: threads,
      graphOptimizationLevel: 'all',
      // Without VNNI the products of u8 and s8 overflow 16 bits; then, and only then, it takes slower ones of u8 and u8.
      ...(quantisation && { extra: { session: { x64quantprecision: '1' } } }),
      logSeverityLevel: quiet.logSeverityLevel,
      ...more,
    });
  } catch (error) {
    throw new ResidualError(
      'ENGINE',
      device === 'cpu'
        ? `${runtime} cannot load ${model.name}: ${firstLine(error)}`
        : `${runtime} cannot compute on the device "${device}" of this machine (${firstLine(error)}); install what it needs (hardware, driver, libraries), or use the device "cpu"`,
      { device },
    );
  }
}

/** ONNX Runtime takes no shared memory as an input. */
export const unshared = (data: Float32Array): Float32Array =>
  data.buffer instanceof ArrayBuffer ? data : data.slice();

/** What ONNX Runtime has to say, without the place in its source. */
export const firstLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error))
    .split('\n')[0]
    .replace(/\/onnxruntime_src\/.* was false\. /, '');
