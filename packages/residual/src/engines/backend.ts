import type { Graph } from '../graph/graph.js';
import type { Tensor, Weights } from '../tensor.js';
import type { CompileOptions, Precision } from './engine.js';

/** Thrown by a program's `run` when new shapes need weights that it let go of: it is run again and given them. */
export class WeightsNeeded extends Error {}

/** A network made ready inside the worker thread; its outputs are those of the graph it was made from. */
export interface Program {
  /**
   * The results' memory belongs to the caller.
   * @param weights for a program that threw WeightsNeeded: it lets go of them again before it answers.
   */
  run(inputs: Readonly<Record<string, Tensor>>, weights?: Weights): Promise<Record<string, Tensor>>;
  /**
   * For `bench`: runs the convolutions of the last run once more, in their order, as they were chosen for it (layout,
   * algorithm, what is fused into them) and on its buffers, and nothing else. Answers with the milliseconds that took.
   * An engine that cannot run them by themselves leaves this out.
   */
  convolutions?(): Promise<number>;
  /** For `bench`: layers of the last run that the library computes by plain loops, `layer1.0.conv2 (ref:any)`. */
  slow?(): readonly string[];
  dispose(): Promise<void>;
}

/** With `int8` there are scales. */
export interface BackendOptions extends Omit<CompileOptions, 'weights' | 'outputs'> {
  /** A number of the weights: the same for all networks compiled from them. */
  readonly store?: number;
  /** For the self-check: one of the engine's `ways`. */
  readonly way?: string | undefined;
}

export interface Runtime {
  /** What it runs on, such as `onnxruntime-node 1.30.0`. */
  readonly runtime: string;
  /** Why it is not the better one, or why `auto` leaves it. */
  readonly note?: string;
}

/** An engine's own half, inside the worker thread. What it is given was checked on the other side. */
export interface Backend {
  /** Ways to compute that a network compiled with such options may take: none of them may be wrong. */
  ways?(options: BackendOptions): readonly string[];
  /** Throws MISSING_PACKAGE, ENGINE when it cannot run here. */
  runtime(options: BackendOptions): Promise<Runtime>;
  compile(graph: Graph, weights: Weights, options: BackendOptions): Promise<Program>;
  /**
   * For `doctor`: as a program's `slow`, for a network whose BatchNorms are folded, without weights; absent where the
   * engine's library does not say. Throws ENGINE for a precision that cannot be had here.
   */
  slow?(graph: Graph, precision: Precision): readonly string[];
}
