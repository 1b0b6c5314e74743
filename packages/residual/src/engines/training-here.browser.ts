import { ResidualError } from '../errors.js';
import type { TrainingWorker } from './training-worker.js';

/** A page only classifies. */
export async function trainingHere(): Promise<TrainingWorker> {
  throw new ResidualError('ENGINE', 'training needs Node');
}
