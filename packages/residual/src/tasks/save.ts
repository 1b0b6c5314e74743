import { writeFileAtomic } from '#file';
import { safetensorsBytes } from '../weights/safetensors.js';
import type { Model } from './model.js';

/**
 * Writes a model's weights as safetensors, under the network's own parameter names (torchvision's for its family), so
 * that `load` and PyTorch read them. The file appears whole or not at all.
 * @throws FILE
 * @example await saveWeights(model, 'flowers.safetensors');
 */
export async function saveWeights(model: Pick<Model, 'weights' | 'record'>, path: string): Promise<void> {
  const { architecture, preprocess } = model.record;
  await writeFileAtomic(path, safetensorsBytes(model.weights, { format: 'pt', architecture, preprocess }));
}
