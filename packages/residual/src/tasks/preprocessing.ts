import { decode, encodePng } from '#decode';
import { applyPlan, decodingOf, explainPlan, type PictureChannels } from '../image/apply.js';
import type { Plan } from '../image/plan.js';

/** How one picture becomes the input of a network. */
export interface PreprocessingExplained {
  /** Each step in words with its sizes, and the input it ends in. */
  readonly steps: readonly string[];
  /** What the network sees, as a PNG file: the picture before the first step that changes its values. */
  png(): Promise<Uint8Array>;
}

/**
 * Goes through a plan with the picture at hand: `explainPreprocessing('cat.jpg', model.record.plan)`.
 * @param channels that the network takes; for one, the picture is made grey.
 * @throws FILE, IMAGE, MISSING_PACKAGE; ARGUMENT for a plan that cannot be carried out.
 */
export async function explainPreprocessing(
  picture: string | Uint8Array | Blob,
  plan: Plan,
  channels: PictureChannels = 3,
): Promise<PreprocessingExplained> {
  const decoded = await decode(picture, decodingOf(plan));
  return {
    steps: explainPlan(plan, decoded, channels),
    png: () => encodePng(applyPlan(decoded.pixels, plan, channels).cropped),
  };
}
