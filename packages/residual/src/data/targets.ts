import { ResidualError } from '../errors.js';
import type { Example, Target } from './dataset.js';

/**
 * Writes what a picture shows as `classes` numbers: 1 for its class or its classes, else 0; shares as they are.
 *
 * @param smoothing this part is taken off and spread evenly: over the classes for one class and for shares (Szegedy et
 * al. 2016, PyTorch's `label_smoothing`), over yes and no for several classes (Keras' BinaryCrossentropy).
 * @throws CLASSES for a class that there is not, or shares of another number.
 */
export function writeTarget(target: Target, row: Float32Array, smoothing: number, id: string): void {
  const classes = row.length;
  if (target instanceof Float32Array) {
    if (target.length !== classes)
      throw new ResidualError('CLASSES', `${id}: has shares of ${target.length} classes; expected ${classes}`, { id });
    row.set(target);
  } else {
    row.fill(0);
    for (const index of typeof target === 'number' ? [target] : target) {
      if (!(Number.isInteger(index) && index >= 0 && index < classes))
        throw new ResidualError('CLASSES', `${id}: shows class ${index}; there are ${classes}, from 0`, { id });
      row[index] = 1;
    }
  }
  if (smoothing === 0) return;
  const spread = Array.isArray(target) ? smoothing / 2 : smoothing / classes;
  for (let i = 0; i < classes; i++) row[i] = row[i] * (1 - smoothing) + spread;
}

/** How often each class is shown: pictures of one class, pictures with several, sums of shares. */
export function countClasses(examples: readonly Example[], classes: number): Float64Array {
  const counts = new Float64Array(classes);
  const row = new Float32Array(classes);
  for (const { target, id } of examples) {
    writeTarget(target, row, 0, id);
    for (let i = 0; i < classes; i++) counts[i] += row[i];
  }
  return counts;
}

/**
 * Weights for a loss that make up for classes of unequal size: 1 / count, scaled so that the mean over all pictures is 1.
 * A class without pictures has weight 0.
 * @param power 0 for none of it, 1 for all, ½ in between
 */
export function classWeights(examples: readonly Example[], classes: number, power = 1): Float32Array {
  const counts = countClasses(examples, classes);
  const weights = Float64Array.from(counts, (n) => (n > 0 ? n ** -power : 0));
  const total = counts.reduce((sum, n) => sum + n, 0);
  const weighted = counts.reduce((sum, n, i) => sum + n * weights[i], 0);
  return Float32Array.from(weights, (weight) => (weighted > 0 ? (weight * total) / weighted : 0));
}
