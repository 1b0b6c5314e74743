import { move, serveThread } from '#thread';
import type { PictureInput } from './pixels.js';
import type { Plan } from './plan.js';
import { preprocess } from './preprocess.js';

/** What the pixel thread does: decode one picture and carry out its plan. */
export type PixelApi = { preprocess: typeof preprocess };

serveThread<PixelApi>({
  async preprocess(picture: PictureInput, plan: Plan) {
    const made = await preprocess(picture, plan);
    return move(made, [made.input.buffer as ArrayBuffer, made.cropped.data.buffer as ArrayBuffer]);
  },
});
