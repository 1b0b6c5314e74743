import { decode } from '#decode';
import { type Applied, applyPlan, decodingOf } from './apply.js';
import type { Origin } from './pixels.js';
import type { Decoding, Plan } from './plan.js';

export interface Preprocessed extends Applied {
  readonly origin: Origin;
}

/**
 * From a file, its bytes or a Blob to what a network takes: `decode` and `applyPlan` in one. Arguments and result are
 * plain data, so that another thread can do it.
 *
 * @param as the decoding; the plan's own when left out
 * @throws what `decode` and `applyPlan` throw; messages of the latter do not name the file
 */
export async function preprocess(
  input: string | Uint8Array | Blob,
  plan: Plan,
  as: Decoding = decodingOf(plan),
): Promise<Preprocessed> {
  const { pixels, origin } = await decode(input, as);
  return { ...applyPlan(pixels, plan), origin };
}
