import type { Graph } from '../graph/graph.js';
import type { Tensor, Weights } from '../tensor.js';

export interface CompileOptions {
  readonly weights: Weights;
  /** Names of outputs, features or layers wanted; the graph's own outputs when left out. */
  readonly outputs?: readonly string[];
  /** Threads the engine may use; the number of cores when left out. */
  readonly threads?: number;
  readonly precision?: 'f32';
  /** onnx only: ONNX Runtime's execution provider. */
  readonly device?: 'cpu' | 'webgpu' | 'coreml' | 'dml' | 'cuda';
}

/** A network made ready on an engine. Batches of any size, pictures of any size the network takes. */
export interface Executable {
  /** Feeds by input name, `[N, C, H, W]`; answers by the names asked for at compile time. */
  run(inputs: Readonly<Record<string, Tensor>>, options?: { signal?: AbortSignal }): Promise<Record<string, Tensor>>;
  dispose(): Promise<void>;
}

export interface Engine {
  readonly name: 'reference' | 'onnx';
  /** Whether it can run here: what it would run on (`onnxruntime-node 1.30.0`), or why it cannot. */
  available(): Promise<{ ok: true; runtime: string } | { ok: false; reason: string }>;
  compile(graph: Graph, options: CompileOptions): Promise<Executable>;
}
