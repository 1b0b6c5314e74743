import { startThread } from '#thread';
import type { PictureChannels } from './apply.js';
import type { PictureInput } from './pixels.js';
import type { Plan } from './plan.js';
import type { PixelApi, Prepared } from './worker.js';

/** One thread decodes and resizes for the whole process: a folder's pictures are prepared while the engine computes. */
const pixels = startThread<PixelApi>(new URL('./worker.js', import.meta.url));

/**
 * `preprocess` in another thread: the caller's loop stays free.
 * @throws what decoding throws: FILE, IMAGE, MISSING_PACKAGE; ABORTED.
 */
export function preprocessAside(
  picture: PictureInput,
  plan: Plan,
  { channels, signal }: { channels?: PictureChannels | undefined; signal?: AbortSignal | undefined } = {},
): Promise<Prepared> {
  return pixels.call('preprocess', [picture, plan, channels], { signal });
}

/** Starts the thread and loads the decoder ahead of the first picture; what goes wrong is told when a picture comes. */
export const warmPixels = (): void => void pixels.call('warm', []).catch(() => {});
