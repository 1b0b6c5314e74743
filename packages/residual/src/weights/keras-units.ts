import { sharedFloats, type Tensor } from '../tensor.js';
import type { Checkpoint, TensorInfo } from './checkpoint.js';
import { kerasParameter } from './names.js';

/**
 * A whole Keras model may have normalisations without gamma (`scale=False`) or beta (`center=False`), for which its
 * file has no tensors. What they would be is known: ones and zeros. The checkpoint gets them under the names they would
 * have, so that every network is filled in one way.
 */
export function withUnits(checkpoint: Checkpoint): Checkpoint {
  const lacking = new Map<string, readonly string[]>();
  collect(checkpoint.metadata.model_config, lacking);
  if (!lacking.size) return checkpoint;
  const added = new Map<string, Tensor>();
  const tensors = new Map<string, TensorInfo>();
  for (const [name, info] of checkpoint.tensors) {
    const layer = /^(.*)\.running_mean$/.exec(kerasParameter(name) ?? '')?.[1];
    for (const role of (layer !== undefined && lacking.get(layer)) || []) {
      const unit = name.replace(/(moving|running)_mean/, role);
      if (info.shape.length !== 1 || checkpoint.tensors.has(unit)) continue;
      const data = sharedFloats(info.shape[0]).fill(role === 'gamma' ? 1 : 0);
      added.set(unit, { dtype: 'float32', shape: info.shape, data });
      tensors.set(unit, { dtype: 'float32', shape: info.shape });
    }
    tensors.set(name, info);
  }
  return {
    ...checkpoint,
    tensors,
    read: async (name, memory) => added.get(name) ?? checkpoint.read(name, memory),
  };
}

/** The normalisations of a model, and of the models in it, that lack something. */
function collect(layer: unknown, lacking: Map<string, readonly string[]>): void {
  const { class_name, config } = (layer ?? {}) as { class_name?: unknown; config?: Record<string, unknown> | null };
  if (typeof config !== 'object' || config === null) return;
  if (Array.isArray(config.layers)) for (const inner of config.layers) collect(inner, lacking);
  if (class_name !== 'BatchNormalization' || typeof config.name !== 'string') return;
  const roles = [...(config.scale === false ? ['gamma'] : []), ...(config.center === false ? ['beta'] : [])];
  if (roles.length) lacking.set(config.name, roles);
}
