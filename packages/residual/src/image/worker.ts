import { move, serveThread } from '#thread';
import type { PictureInput } from './pixels.js';
import type { Plan } from './plan.js';
import { type Preprocessed, preprocess } from './preprocess.js';

/** What the pixel thread does: decode one picture and carry out its plan. */
export interface PixelApi {
  preprocess(picture: PictureInput, plan: Plan): Promise<Preprocessed>;
}

serveThread<PixelApi>({
  async preprocess(picture, plan) {
    const made = await preprocess(picture, plan);
    // Without a crop the picture seen may be the decoder's own memory, which cannot be moved.
    return move(made, [made.input.buffer as ArrayBuffer]);
  },
});
