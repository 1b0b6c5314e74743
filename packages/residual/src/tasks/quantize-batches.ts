import { aborted, ResidualError } from '../errors.js';
import type { PictureInput } from '../image/pixels.js';
import { preprocessAside } from '../image/thread.js';
import { formatShape, type Tensor } from '../tensor.js';
import type { Model } from './model.js';
import { pictureChannels } from './network.js';

/** A picture: a path, bytes, a Blob, or a tensor `[N, C, H, W]` that is already preprocessed. */
export type Sample = PictureInput | Tensor;

/** Told of a picture that cannot be read. */
export type OnSkipped = (picture: Sample, error: ResidualError) => void;

/** Pictures of one height and width. */
export interface Batch {
  readonly x: Tensor;
  /** The number of each among all pictures. */
  readonly indices: readonly number[];
}

/**
 * Preprocessed pictures, up to `size` of one height and width at a time, in their order; the next are decoded while the
 * caller works. Of a tensor's N each is a picture.
 * @param onSkipped told of each picture that cannot be read, which is then left out; without it that is thrown.
 * @throws ARGUMENT for a tensor of another rank; GRAPH where pictures do not fit the network; FILE, IMAGE, ABORTED.
 */
export async function* batches(
  samples: readonly Sample[],
  model: Pick<Model, 'name' | 'graph' | 'record'>,
  size: number,
  { signal, onSkipped }: { signal?: AbortSignal | undefined; onSkipped?: OnSkipped | undefined } = {},
): AsyncGenerator<Batch> {
  const ahead: Promise<Tensor>[] = [];
  const pending: Tensor[] = [];
  const indices: number[] = [];
  const taken = (): Batch => ({ x: joined(pending.splice(0)), indices: indices.splice(0) });
  let shape = '';
  let index = 0;
  for (const [i, sample] of samples.entries()) {
    if (signal?.aborted) throw aborted();
    for (const next of samples.slice(i + ahead.length, i + size)) {
      const read = prepared(next, model, signal);
      read.catch(() => {}); // An error before it ends the loop; this one is then nobody's.
      ahead.push(read);
    }
    let read: Tensor;
    try {
      read = await (ahead.shift() as Promise<Tensor>);
    } catch (error) {
      if (!onSkipped || !isDamage(error)) throw error;
      onSkipped(sample, error);
      index++;
      continue;
    }
    for (const one of pictures(read)) {
      if (pending.length === size || (pending.length && shape !== formatShape(one.shape))) yield taken();
      shape = formatShape(one.shape);
      pending.push(one);
      indices.push(index++);
    }
  }
  if (pending.length) yield taken();
}

/** What one picture's fault is, and not all the others'. */
const isDamage = (error: unknown): error is ResidualError =>
  error instanceof ResidualError && (error.code === 'IMAGE' || error.code === 'FILE');

async function prepared(
  sample: Sample,
  model: Pick<Model, 'name' | 'graph' | 'record'>,
  signal?: AbortSignal,
): Promise<Tensor> {
  if (isTensor(sample)) {
    if (sample.shape.length === 4) return sample;
    throw new ResidualError(
      'ARGUMENT',
      `expected preprocessed pictures [N, C, H, W] but received ${formatShape(sample.shape)}`,
    );
  }
  const { input, height, width } = await preprocessAside(sample, model.record.plan, {
    channels: pictureChannels(model),
    signal,
  });
  return { dtype: 'float32', shape: [1, input.length / (height * width), height, width], data: input };
}

function* pictures({ dtype, shape, data }: Tensor): Generator<Tensor> {
  const [count, ...one] = shape;
  const length = data.length / count;
  for (let i = 0; i < count; i++)
    yield { dtype, shape: [1, ...one], data: data.subarray(i * length, (i + 1) * length) };
}

function joined(alike: readonly Tensor[]): Tensor {
  const [{ dtype, shape, data: first }] = alike;
  const data = new Float32Array(alike.length * first.length);
  alike.forEach((one, i) => {
    data.set(one.data, i * first.length);
  });
  return { dtype, shape: [alike.length, ...shape.slice(1)], data };
}

export const isTensor = (sample: Sample): sample is Tensor =>
  typeof sample === 'object' && sample !== null && 'dtype' in sample && 'shape' in sample;
