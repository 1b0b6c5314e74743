import { writeFileAtomic } from '#file';
import { ResidualError } from '../errors.js';
import { weightsOf } from '../tensor.js';
import { recordKey, recordText } from '../weights/record.js';
import { containers, formatOfEnding } from '../weights/write.js';
import { exportOnnx } from './export.js';
import { checkWeights, recordOf, type Savable, storedTensors, type Watched, watch } from './savable.js';

/** Formats that keep what `load` needs to know. */
export type SavedFormat = 'residual' | 'safetensors' | 'onnx';

/**
 * Writes a model in the format that the ending of its file means: `.residual`, `.safetensors` (the same file, by another
 * name) or `.onnx` (`exportOnnx`). Its weights are stored as safetensors under the network's own parameter names
 * (torchvision's for its family), and beside them, in the header, all that `load` needs to know: network, preprocessing,
 * classes, licence; any safetensors reader opens it. The file appears whole or not at all; an older one is replaced.
 *
 * @throws ARGUMENT for another ending; FILE when it cannot be written; NUMERICS when a weight is not a finite number;
 * ABORTED.
 * @example await save(model, 'flowers.residual');
 */
export async function save(model: Savable, path: string, watched: Watched = {}): Promise<void> {
  const format = savedFormat(path);
  if (format === 'onnx') {
    await exportOnnx(model, path, watched);
    return;
  }
  const filled = { ...model, weights: await weightsOf(model.weights) };
  checkWeights(filled);
  const metadata = { format: 'pt', [recordKey]: recordText(recordOf(model)) };
  const bytes = containers[format].bytes({ tensors: storedTensors(filled), metadata });
  await writeFileAtomic(path, watch([...bytes], watched));
}

/**
 * What `save` would write under this name.
 * @throws ARGUMENT when its ending means none of the formats that keep a whole model.
 */
export function savedFormat(path: string): SavedFormat {
  const format = formatOfEnding(path);
  if (format === 'residual' || format === 'safetensors' || format === 'onnx') return format;
  throw new ResidualError(
    'ARGUMENT',
    `${path}: a ${containers[format].endings[0]} file has no place for network, preprocessing and classes, which save keeps; save the model as .residual; a float model’s weights alone are then written from it with convert`,
    { file: path, format },
  );
}
