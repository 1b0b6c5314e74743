import { ResidualError } from '../errors.js';
import { sizeOf, type Tensor, toFloat32 } from '../tensor.js';
import { recogniseNames } from '../weights/names.js';
import { type CheckpointInput, openCheckpoint } from '../weights/open.js';
import { softmaxOfRows } from './compare-outputs.js';
import { channelsAsOurs, recordedName, type Values } from './compare-stations.js';

/** What another program computed, in a file of named tensors. */
export interface Recording {
  /** The stations it has, by our names. */
  readonly names: ReadonlySet<string>;
  readonly input?: Tensor;
  /** Pictures on the way, `[H, W, 3]`: `decoded`, `resized`, `cropped`. */
  readonly pictures: ReadonlyMap<string, Values>;
  /** A station's values in the layout of `ours`. */
  read(name: string, ours: Tensor | undefined): Promise<Tensor>;
}

/** Values that a recording may hold: half a gigabyte of float32. */
const mostValues = 2 ** 27;

/**
 * Opens a recording and reads its stations.
 * @throws FILE, WEIGHTS_FORMAT as any weight file; ARGUMENT when it is too large.
 */
export async function readRecording(from: CheckpointInput): Promise<Recording> {
  const checkpoint = await openCheckpoint(from);
  try {
    const total = [...checkpoint.tensors.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    if (total > mostValues)
      throw new ResidualError(
        'ARGUMENT',
        `the recording holds ${total} values, more than ${mostValues}; record fewer layers`,
      );
    const tensors = new Map<string, Tensor>();
    const pictures = new Map<string, Values>();
    for (const [name, { shape }] of checkpoint.tensors) {
      const known = recordedName(name);
      if (['decoded', 'resized', 'cropped'].includes(known) && shape.length === 3 && shape[2] === 3)
        pictures.set(known, toFloat32(await checkpoint.read(name)));
      else if (!tensors.has(known)) tensors.set(known, toFloat32(await checkpoint.read(name)));
    }
    const recorded = tensors.get('input');
    tensors.delete('input');
    const input = recorded && asPicture(recorded);
    return {
      names: new Set(tensors.keys()),
      ...(input && { input }),
      pictures,
      async read(name, ours) {
        const found = tensors.get(name) as Tensor;
        if (!ours) return found;
        const turned = channelsAsOurs(found, ours.shape);
        // Pooled features come as [N, C, 1, 1] too.
        const flat = turned.shape.length !== ours.shape.length && turned.data.length === ours.data.length;
        return flat ? { ...turned, shape: ours.shape } : turned;
      },
    };
  } finally {
    await checkpoint.close();
  }
}

/** A recording of logits, with the probabilities that they come to. */
export const endInSoftmax = (recording: Recording): Recording => ({
  ...recording,
  names: new Set([...recording.names, 'probabilities']),
  read: async (name, ours) =>
    name === 'probabilities' ? softmaxOfRows(await recording.read('logits', ours)) : recording.read(name, ours),
});

/** One picture or a batch, channels first or last, as `[N, C, H, W]`. */
function asPicture({ shape, data }: Tensor): Tensor {
  const batch = shape.length === 3 ? [1, ...shape] : shape;
  const input: Tensor = { dtype: 'float32', shape: batch, data };
  return batch.length === 4 && batch[1] !== 3 && batch[3] === 3 ? channelsAsOurs(input, [batch[0], 3, 0, 0]) : input;
}

/**
 * Whether a file looks like recorded activations and not like weights: its names are stations, and no dialect's.
 * @throws FILE, WEIGHTS_FORMAT as any weight file.
 */
export async function isRecording(from: CheckpointInput): Promise<boolean> {
  const checkpoint = await openCheckpoint(from);
  try {
    const names = [...checkpoint.tensors.keys()];
    if (recogniseNames(names)) return false;
    return names.some((name) => stationName.test(recordedName(name)));
  } finally {
    await checkpoint.close();
  }
}

const stationName = /^(input|stem|layer\d+(\.\d+)?|avgpool|logits|probabilities)$/;
