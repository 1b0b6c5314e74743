import type { Graph } from '../graph/graph.js';
import type { Quantisation } from '../graph/quantisation.js';
import type { Shape, Tensor, WeightSource } from '../tensor.js';

export type EngineName = 'onednn' | 'onnx' | 'reference';

/** Where ONNX Runtime computes: its execution providers. */
export type Device = 'cpu' | 'webgpu' | 'coreml' | 'dml' | 'cuda';

/**
 * The numbers a network computes in: `bf16` with sums in f32, `int8` with sums in 32 bits; `f32-bf16` keeps weights and
 * activations in f32 and rounds them to bf16 where they are multiplied.
 */
export type Precision = 'f32' | 'f32-bf16' | 'bf16' | 'int8';

export interface CompileOptions {
  /** A function is asked whenever the network is compiled, again when the engine's thread was lost; nothing is kept of what it gives. */
  readonly weights: WeightSource;
  /** Names of outputs, features or layers wanted; the graph's own outputs when left out. */
  readonly outputs?: readonly string[] | undefined;
  /** Threads the engine may use; the number of cores when left out. In WebAssembly the first model's choice holds for all. */
  readonly threads?: number | undefined;
  /** `f32` when left out. */
  readonly precision?: Precision | undefined;
  /** For `int8`: the scales of a network whose BatchNorms are folded. */
  readonly quantisation?: Quantisation | undefined;
  /**
   * onednn only: kernels are chosen by a fixed table, never by the clock, so that the same input gives the same bits on
   * the same machine. Quicker to compile, slower to run.
   */
  readonly deterministic?: boolean | undefined;
  /** Shapes of the inputs to get ready for; the built sizes when left out. Others are made ready as they come. */
  readonly shapes?: Readonly<Record<string, Shape>> | undefined;
  /** onnx only; `cpu` when left out. */
  readonly device?: Device | undefined;
}

/** A network made ready on an engine. Batches of any size, pictures of any size the network takes. */
export interface Executable {
  /**
   * Feeds by input name, `[N, C, H, W]`; answers by the names asked for at compile time. Runs are done one after the
   * other, in order; the calling thread is never blocked. Inputs are copied at once, unless they lie in shared memory:
   * then leave them as they are until the answer has come.
   * @throws GRAPH when an input is missing, unknown or does not fit; ABORTED; DISPOSED; ENGINE.
   */
  run(
    inputs: Readonly<Record<string, Tensor>>,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<Record<string, Tensor>>;
  /**
   * For `bench`: as `run`, with the answer dropped and the time taken where the work is done.
   * @throws as `run`
   */
  measure(
    inputs: Readonly<Record<string, Tensor>>,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<Measurement>;
  /** Frees the engine's memory once the runs under way are done. */
  dispose(): Promise<void>;
}

/** One run as the engine's own thread saw it, in milliseconds. */
export interface Measurement {
  readonly run: number;
  /** The same convolutions run by themselves right after; absent where the engine cannot do that. */
  readonly convolutions?: number;
  /** Layers that the engine's library computes by plain loops for want of a fast kernel; absent where it does not say. */
  readonly slow?: readonly string[];
}

export interface Engine {
  readonly name: EngineName | 'auto';
  /**
   * Whether it can run here and computes right, in whichever way such options let it compute: what it would run on
   * (`onnxruntime-node 1.30.0`), or why it cannot.
   */
  available(
    options?: Pick<CompileOptions, 'deterministic' | 'precision'>,
  ): Promise<{ ok: true; runtime: string; note?: string } | { ok: false; reason: string }>;
  /**
   * Makes a network ready. The first time, the engine also checks itself on a small network against plain loops.
   * @throws UNKNOWN_NAME for an output; WEIGHTS_MISMATCH when a weight is missing or has another shape;
   * MISSING_PACKAGE; ENGINE when the device is not there or the self-check fails.
   */
  compile(graph: Graph, options: CompileOptions): Promise<Executable>;
}
