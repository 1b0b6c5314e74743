import { loadRuntime, processor } from '#runtime';
import { ResidualError } from '../../errors.js';
import type { Graph } from '../../graph/graph.js';
import type { Tensor, Weights } from '../../tensor.js';
import type { Backend, BackendOptions, Program } from '../backend.js';
import { lower } from './lower.js';
import { modelParts } from './model.js';
import { type OrtRuntime, type OrtSession, quiet } from './ort.js';

/** ONNX Runtime. Its `create` and `run` block the thread that calls them: this half lives in the worker thread. */
export const onnx: Backend = {
  async runtime(options) {
    const { runtime, note } = await loadRuntime(options);
    return note === undefined ? { runtime } : { runtime, note };
  },
  compile,
};

async function compile(graph: Graph, weights: Weights, options: BackendOptions): Promise<Program> {
  const found = await loadRuntime(options);
  const session = await createSession(found, graph, weights, options);
  const { Tensor: OrtTensor } = found.ort;

  return {
    async run(inputs) {
      const feeds = Object.fromEntries(
        Object.entries(inputs).map(([name, { data, shape }]) => [
          name,
          new OrtTensor('float32', unshared(data), shape),
        ]),
      );
      const results = await session.run(feeds).catch((error: Error) => {
        throw new ResidualError('ENGINE', `${found.runtime} cannot run ${graph.name}: ${firstLine(error)}`);
      });
      return Object.fromEntries(
        Object.entries(results).map(([name, { data, dims }]): [string, Tensor] => [
          name,
          { dtype: 'float32', shape: [...dims], data: data as Float32Array },
        ]),
      );
    },
    dispose: () => session.release(),
  };
}

async function createSession(
  { ort, providers, runtime }: OrtRuntime,
  graph: Graph,
  weights: Weights,
  { device = 'cpu', threads = processor().cores, quantisation }: BackendOptions,
): Promise<OrtSession> {
  const provider = providers.get(device);
  if (provider === undefined)
    throw new ResidualError(
      'ENGINE',
      `${runtime} has no device "${device}" here; it has: ${[...providers.keys()].join(', ')}`,
      { device, devices: [...providers.keys()] },
    );
  // BatchNorm is left to ONNX Runtime, which folds it as it reads the weights: they need no second copy here.
  const { graph: model, files } = modelParts(lower(graph, weights, quantisation));
  try {
    return await ort.InferenceSession.create(model, {
      externalData: files,
      executionProviders: [provider],
      intraOpNumThreads: threads,
      graphOptimizationLevel: 'all',
      // Without VNNI the products of u8 and s8 overflow 16 bits; then, and only then, it takes slower ones of u8 and u8.
      ...(quantisation && { extra: { session: { x64quantprecision: '1' } } }),
      logSeverityLevel: quiet.logSeverityLevel,
    });
  } catch (error) {
    throw new ResidualError(
      'ENGINE',
      device === 'cpu'
        ? `${runtime} cannot load ${graph.name}: ${firstLine(error)}`
        : `${runtime} cannot compute on the device "${device}" of this machine (${firstLine(error)}); install what it needs (hardware, driver, libraries), or use the device "cpu"`,
      { device },
    );
  }
}

/** ONNX Runtime takes no shared memory as an input. */
const unshared = (data: Float32Array): Float32Array => (data.buffer instanceof ArrayBuffer ? data : data.slice());

/** What ONNX Runtime has to say, without the place in its source. */
const firstLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error))
    .split('\n')[0]
    .replace(/\/onnxruntime_src\/.* was false\. /, '');
