import { decode } from '#decode';
import { ResidualError } from '../errors.js';
import { type Applied, applyPlan, decodingOf, type PictureChannels, withDecoding } from './apply.js';
import type { Origin, PictureInput } from './pixels.js';
import type { Decoding, Plan } from './plan.js';

export interface Preprocessed extends Applied {
  readonly origin: Origin;
}

/**
 * From a file, its bytes or a Blob to what a network takes: `decode` and `applyPlan` in one. Arguments and result are
 * plain data, so that another thread can do it.
 *
 * @param as the decoding; the plan's own when left out
 * @param channels as `applyPlan`
 * @throws what `decode` and `applyPlan` throw
 */
export async function preprocess(
  input: PictureInput,
  plan: Plan,
  as: Decoding = decodingOf(plan),
  channels?: PictureChannels,
): Promise<Preprocessed> {
  const { pixels, origin } = await decode(input, as);
  try {
    return { ...applyPlan(pixels, withDecoding(plan, as), channels), origin };
  } catch (error) {
    if (!(error instanceof ResidualError) || error.code !== 'IMAGE') throw error;
    throw new ResidualError(error.code, `${origin.name}: ${error.message}`, { ...error.details, file: origin.name });
  }
}
