import type { ResidualError } from '../errors.js';
import type { Augment } from '../image/augment.js';
import type { Plan } from '../image/plan.js';
import type { Tensor } from '../tensor.js';

/** Where a picture is: plain data, so that worker threads can open it. */
export type Source =
  | { readonly kind: 'file'; readonly path: string }
  /** An encoded picture inside a tar. */
  | { readonly kind: 'part'; readonly file: string; readonly offset: number; readonly bytes: number }
  /** An encoded picture in shared memory. */
  | { readonly kind: 'encoded'; readonly bytes: Uint8Array; readonly offset: number; readonly length: number }
  /** Pixels in shared memory: `[height, width, channels]`, or `[channels, height, width]` when `planar`. */
  | {
      readonly kind: 'pixels';
      readonly bytes: Uint8Array;
      readonly offset: number;
      readonly height: number;
      readonly width: number;
      readonly channels: 1 | 3;
      readonly planar: boolean;
    };

/** What a picture shows: a class, several classes, or a share of each, by index in the class list. */
export type Target = number | readonly number[] | Float32Array;

/** A picture and what it shows. */
export interface Example {
  /** What errors and reports name: a path, or `train[17]`. */
  readonly id: string;
  readonly source: Source;
  readonly target: Target;
}

/** What a network learns from, and what it is judged by. */
export interface Dataset {
  /** Sorted by code point where the data do not number them. */
  readonly classes: readonly string[];
  /** The kind of every target: `number`, `number[]` or `Float32Array`. */
  readonly labels: 'one' | 'several' | 'soft';
  readonly train: readonly Example[];
  readonly validation?: readonly Example[];
  readonly test?: readonly Example[];
  /** What was decided or left out, for people: one sentence each. */
  readonly notes: readonly string[];
}

/** Pictures blended with one another: mixup (Zhang et al. 2017) and cutmix (Yun et al. 2019). */
export interface Mix {
  /** Mixup's α: the share of a picture is drawn from Beta(α, α); 0 for none. */
  readonly mixup: number;
  /** Cutmix's α, the same for the share of the area; 0 for none. With both, each batch has one of them, at even odds. */
  readonly cutmix: number;
}

export interface BatchOptions {
  /** Indices of `examples` in the order of the whole epoch, as `epochOrder` gives them. */
  readonly order: Int32Array;
  /** Pictures a batch. */
  readonly batch: number;
  /** Batches of this order that were done before: those are left out. A resumed epoch begins here. */
  readonly from?: number;
  /** The model's preprocessing. */
  readonly plan: Plan;
  /** Nothing (`[]`) for evaluation. */
  readonly augment: Augment;
  readonly mix?: Mix | undefined;
  /** Label smoothing, 0 … 1: this share of each target is spread evenly. */
  readonly smoothing?: number;
  readonly classes: number;
  readonly seed: number;
  readonly epoch: number;
  /** Side of the pictures, where not the plan's: all its sizes are changed in proportion. */
  readonly size?: number | undefined;
  /** Channels that the network takes; with 1 pictures are made grey. 3 when left out. */
  readonly channels?: 1 | 3;
  /** Threads that decode and augment; one a core, up to 16, when left out. The result does not depend on it. */
  readonly workers?: number | undefined;
  /** Decoded pictures are kept in memory, as many as fit, for the next epoch over the same `examples`. */
  readonly cache?: 'ram' | undefined;
  /** A picture that cannot be read is fatal. */
  readonly strict?: boolean;
  /**
   * Every batch but the last has its full size: the place of a skipped picture is taken by another of the same batch.
   * For training; an evaluation must count no picture twice.
   */
  readonly full?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Its memory is used again as soon as the next batch is asked for: copy what is to be kept. */
export interface Batch {
  /** Which examples these are. */
  readonly indices: Int32Array;
  /** `[N, C, H, W]` in shared memory, values as the plan yields them. */
  readonly images: Tensor;
  /** `[N, classes]`, smoothed and mixed. */
  readonly targets: Tensor;
  /** Pictures of this batch that cannot be read. */
  readonly skipped: readonly { readonly id: string; readonly error: ResidualError }[];
}
