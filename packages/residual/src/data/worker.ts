import { setPriority } from 'node:os';
import { move, serveThread } from '#thread';
import { ResidualError } from '../errors.js';
import { decodingOf, inChannels, type PictureChannels, valueTables, writeValues } from '../image/apply.js';
import type { Augment } from '../image/augment.js';
import { augmenter } from '../image/augment-apply.js';
import type { Pixels } from '../image/pixels.js';
import type { Plan } from '../image/plan.js';
import type { Source } from './dataset.js';
import { type Blend, blendImages } from './mix.js';
import { pixelsInMemory, pixelsOf } from './open-source.js';

/** Some pictures of a batch, for one thread. */
export interface Share {
  readonly sources: readonly Source[];
  /** Of each picture its index among the examples, and how often it came before in this epoch. */
  readonly indices: Int32Array;
  readonly repeats: Int32Array;
  /** Where these pictures go: `[sources, C, H, W]`, a part of the batch in shared memory. */
  readonly images: Float32Array;
  readonly shape: readonly [channels: PictureChannels, height: number, width: number];
  readonly plan: Plan;
  readonly augment: Augment;
  readonly seed: number;
  readonly epoch: number;
  /** Send decoded pixels back. */
  readonly keep: boolean;
}

export interface Filled {
  /** Pictures that cannot be read, by their place in the share. */
  readonly failed: readonly { readonly place: number; readonly error: ReturnType<ResidualError['toJSON']> }[];
  /** Pixels that were decoded. */
  readonly kept: readonly { readonly place: number; readonly pixels: Pixels }[];
}

/** What a thread of the loader does. */
export interface LoaderApi {
  fill(share: Share): Promise<Filled>;
  blend(images: Float32Array, shape: readonly number[], blend: Blend): void;
}

/** Pictures under way at once: while one is augmented here, others are decoded in the threads of sharp. */
const atOnce = 3;

async function fill(share: Share): Promise<Filled> {
  const { sources, indices, repeats, images, shape, plan, augment, seed, epoch, keep } = share;
  const [channels, height, width] = shape;
  const look = augmenter(plan, augment);
  const as = decodingOf(plan);
  const tables = valueTables(plan, channels);
  const size = channels * height * width;
  const failed: { place: number; error: ReturnType<ResidualError['toJSON']> }[] = [];
  const kept: { place: number; pixels: Pixels }[] = [];
  let next = 0;
  const finish = (place: number, pixels: Pixels): void => {
    const seen = look(pixels, { seed, epoch, index: indices[place], repeat: repeats[place] });
    if (seen.height !== height || seen.width !== width)
      throw new ResidualError(
        'IMAGE',
        `the picture is ${seen.width}×${seen.height} after the plan; expected ${width}×${height}: give a plan that crops or resizes to one size`,
      );
    writeValues(inChannels(seen, channels).data, tables, images.subarray(place * size, (place + 1) * size));
  };
  const lane = async (): Promise<void> => {
    while (next < sources.length) {
      const place = next++;
      const source = sources[place];
      try {
        if (source.kind === 'pixels') finish(place, pixelsInMemory(source));
        else {
          const pixels = await pixelsOf(source, as);
          finish(place, pixels);
          if (keep) kept.push({ place, pixels });
        }
      } catch (error) {
        // Only what is the picture's own fault is told of it; anything else ends the work.
        if (!(error instanceof ResidualError) || !['IMAGE', 'FILE'].includes(error.code)) throw error;
        failed.push({ place, error: error.toJSON() });
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  failed.sort((a, b) => a.place - b.place);
  const buffers = new Set(kept.map(({ pixels }) => pixels.data.buffer as ArrayBuffer));
  return move({ failed, kept }, [...buffers]);
}

/**
 * Behind the engine's threads, which wait for one another, yet not so far that a batch comes late: beside a busy thread
 * of the usual priority this gets a quarter of a core.
 */
const niceness = 5;

// Only Linux has a priority for each thread: elsewhere this would hold back the whole process.
if (process.platform === 'linux') setPriority(niceness);

// Two at once, so that the decoder is not idle while the end of a share is augmented.
serveThread<LoaderApi>({ fill, blend: blendImages }, 2);
