import type { Weights } from '../tensor.js';

/**
 * Weights that can be read again: `first` is held until it is asked for, then only for as long as somebody else holds
 * it. Whoever asks later gets what is still in memory, or reads.
 */
export function readAgain(first: Weights, read: () => Promise<Weights>): () => Promise<Weights> {
  let held: Weights | undefined = first;
  let last = new WeakRef(first);
  let reading: Promise<Weights> | undefined;

  async function again(): Promise<Weights> {
    try {
      const weights = await read();
      last = new WeakRef(weights);
      return weights;
    } finally {
      reading = undefined;
    }
  }

  return async () => {
    const found = held ?? last.deref();
    held = undefined;
    if (found) return found;
    reading ??= again();
    return reading;
  };
}
