import { decode } from '#decode';
import { move, serveThread } from '#thread';
import type { PictureChannels } from './apply.js';
import type { PictureInput } from './pixels.js';
import type { Plan } from './plan.js';
import { type Preprocessed, preprocess } from './preprocess.js';

/** What a network takes of a picture; the picture seen, and how it came about, are not sent along. */
export type Prepared = Pick<Preprocessed, 'input' | 'height' | 'width'>;

/** What the pixel thread does: decode one picture and carry out its plan. */
export interface PixelApi {
  preprocess(picture: PictureInput, plan: Plan, channels?: PictureChannels): Promise<Prepared>;
  /** Loads the decoder, which takes longer than a picture. */
  warm(): Promise<void>;
}

/** One grey pixel. */
const smallestPng = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==';

/**
 * Calls at once: while one picture is resized here, others are decoded in the threads of sharp. More would only hold
 * more pictures in memory.
 */
const atOnce = 3;

serveThread<PixelApi>(
  {
    async warm() {
      await decode(
        Uint8Array.from(atob(smallestPng), (letter) => letter.charCodeAt(0)),
        'default',
      );
    },
    async preprocess(picture, plan, channels) {
      const { input, height, width } = await preprocess(picture, plan, undefined, channels);
      return move({ input, height, width }, [input.buffer as ArrayBuffer]);
    },
  },
  atOnce,
);
