import type { TrainingStep } from '../graph/training-step.js';
import type { Tensor, Weights } from '../tensor.js';

/** Where one parameter lies in a flat array: `length` numbers from `offset`, padding of the engine's layout included. */
export interface Slice {
  readonly name: string;
  readonly offset: number;
  readonly length: number;
}

/** Numbers of an array's elements `[from, to)`. */
export type Range = readonly [from: number, to: number];

export interface ProgramOptions {
  readonly threads?: number | undefined;
  /** `bf16`: activations, their gradients and the weights of convolutions; statistics, sums and master weights stay f32. */
  readonly precision?: 'f32' | 'bf16' | undefined;
  /**
   * onednn only: keeps less for the backward pass and computes residual blocks twice; `false` when left out. Takes about a
   * third more time; the same bits come out.
   */
  readonly recompute?: boolean | undefined;
  /**
   * The trained parameters in the order in which they are to lie, a list for each group that is updated alike: a group
   * is then one range of every flat array.
   */
  readonly groups: readonly (readonly string[])[];
}

/**
 * A training step made ready inside the worker thread, with the parameters it trains. Everything that is updated lies in
 * flat arrays of one length and one layout: updates are arithmetic over them and know nothing of networks. What pads a
 * parameter is 0 in every array and stays 0 under any sum of arrays.
 */
export interface TrainingProgram {
  readonly slices: readonly Slice[];
  /** One for each group. */
  readonly ranges: readonly Range[];
  readonly parameters: Float32Array;
  /** Of the last `run`. */
  readonly gradients: Float32Array;
  /**
   * Forward and backward over one batch: writes `gradients`, answers with the step's other outputs (loss, logits, the
   * batch's statistics), whose memory belongs to the caller.
   */
  run(inputs: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
  /** Another flat array, of zeros: momentum, a running average. */
  array(): Float32Array;
  /**
   * into = Σ scale · array over a range (all when left out), as fast as the engine can; `into` may be among the arrays.
   * The order of the sum is fixed: the same numbers give the same bits.
   */
  combine(into: Float32Array, terms: readonly (readonly [scale: number, array: Float32Array])[], range?: Range): void;
  /** A parameter's numbers out of a flat array, as its own shape says; their memory is new, and the caller's. */
  read(array: Float32Array, name: string): Tensor;
  /** Puts a parameter's numbers into a flat array. */
  write(array: Float32Array, name: string, values: Float32Array): void;
  dispose(): Promise<void>;
}

/** An engine's own half of training. */
export interface TrainingBackend {
  /** Told before the engine is used for anything else: this process trains. */
  begin?(): void;
  /** Always deterministic: the same step on the same machine with as many threads gives the same bits. */
  train(step: TrainingStep, weights: Weights, options: ProgramOptions): Promise<TrainingProgram>;
}
