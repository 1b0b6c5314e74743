import { decode } from '#decode';
import { ResidualError } from '../errors.js';
import { transformValues } from '../image/apply.js';
import type { PictureInput, Pixels } from '../image/pixels.js';
import type { Decoding, Filter, Plan } from '../image/plan.js';
import { preset } from '../image/presets.js';
import { resize } from '../image/resize.js';
import { type ClassLabel, imagenetClasses } from '../models/classes.js';
import { formatShape, type Tensor, tensor } from '../tensor.js';
import { outputKind, type Prediction, rankRow } from './classify.js';
import type { Model } from './model.js';

// The six steps of the Keras tutorials, one function each, under their names:
//   img = load_img(path, target_size=(224, 224)); x = img_to_array(img); x = expand_dims(x, 0);
//   x = preprocess_input(x); preds = model.predict(x); decode_predictions(preds, top=3)

/**
 * A picture's pixels, squashed to `targetSize` [height, width], as Keras' `load_img`: orientation tags are not obeyed
 * and pixels are taken by nearest neighbour unless told otherwise.
 * @throws FILE, IMAGE, MISSING_PACKAGE.
 */
export async function loadImage(
  picture: PictureInput,
  options: { targetSize?: readonly [height: number, width: number]; interpolation?: Filter; decode?: Decoding } = {},
): Promise<Pixels> {
  const { targetSize, interpolation = 'nearest', decode: as = 'pillow' } = options;
  const { pixels } = await decode(picture, as);
  return targetSize ? resize(pixels, { height: targetSize[0], width: targetSize[1] }, interpolation) : pixels;
}

/** Pixels as a tensor `[3, H, W]` of 0–255: Keras' `img_to_array`, but channels first, as everything here. */
export function imageToArray({ width, height, data }: Pixels): Tensor {
  const plane = width * height;
  const values = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) for (let c = 0; c < 3; c++) values[c * plane + i] = data[3 * i + c];
  return tensor(values, [3, height, width]);
}

/** Puts an axis of length 1 before `axis`: `[3, H, W]` → `[1, 3, H, W]`. */
export function expandDims(x: Tensor, axis = 0): Tensor {
  if (!Number.isInteger(axis) || axis < 0 || axis > x.shape.length)
    throw new ResidualError('ARGUMENT', `expected an axis from 0 to ${x.shape.length} but received ${axis}`);
  return { ...x, shape: [...x.shape.slice(0, axis), 1, ...x.shape.slice(axis)] };
}

/**
 * Turns pixels 0–255 into what a network was trained on: Keras' `preprocess_input`. Which arithmetic that is belongs
 * to the weights, so the second argument is best the model; `'caffe'`, `'tf'` and `'torchvision'` name one by hand.
 *
 * @param x `[N, 3, H, W]`, RGB, 0–255; it is left as it is.
 * @returns a new tensor of the same shape.
 */
export function preprocessInput(x: Tensor, by: Pick<Model, 'record'> | string): Tensor {
  if (x.shape.length !== 4 || x.shape[1] !== 3)
    throw new ResidualError(
      'ARGUMENT',
      `expected pictures [N, 3, H, W] but received ${formatShape(x.shape)}; expandDims adds the first axis`,
    );
  const [n, channels, height, width] = x.shape;
  const plan: Plan = typeof by === 'string' ? preset(by, { height, width }) : by.record.plan;
  const plane = height * width;
  const data = new Float32Array(x.data.length);
  for (let picture = 0; picture < n; picture++) {
    const at = picture * channels * plane;
    const planes = [0, 1, 2].map((from) => ({
      from,
      values: x.data.slice(at + from * plane, at + (from + 1) * plane),
    }));
    transformValues(plan, planes).forEach(({ values }, c) => {
      data.set(values, at + c * plane);
    });
  }
  return { ...x, data };
}

/**
 * The best `top` classes of each picture of a batch `[N, classes]`: Keras' `decode_predictions`. Labels come from
 * `model` or `classes`; ImageNet's for 1000 outputs when neither is given.
 * Rows that are no distribution are logits (a network without a softmax) and get their softmax here.
 * @throws CLASSES when the number of labels differs from the outputs; NUMERICS when an output is not a number.
 */
export async function decodePredictions(
  predictions: Tensor,
  options: { top?: number; model?: Pick<Model, 'graph' | 'record'>; classes?: readonly ClassLabel[] } = {},
): Promise<Prediction[][]> {
  const { top = 5, model } = options;
  const [n, outputs] = predictions.shape;
  const classes = options.classes ?? model?.record.classes ?? (outputs === 1000 ? await imagenetClasses() : undefined);
  if (predictions.shape.length !== 2 || !classes || classes.length !== outputs)
    throw new ResidualError(
      'CLASSES',
      `expected predictions [N, ${classes?.length ?? 1000}] but received ${formatShape(predictions.shape)}; pass classes, or the model`,
    );
  const custom = sumsToOne(predictions) ? 'probabilities' : 'logits';
  const kind = model ? outputKind(model.graph, model.record.labels) : custom;
  return Array.from({ length: n }, (_, row) =>
    rankRow(predictions.data.subarray(row * outputs, (row + 1) * outputs), { kind, classes, top }),
  );
}

/** Whether every row is a distribution; logits practically never are. */
function sumsToOne({ data, shape: [n, outputs] }: Tensor): boolean {
  for (let row = 0; row < n; row++) {
    const values = data.subarray(row * outputs, (row + 1) * outputs);
    if (values.some((v) => v < 0) || Math.abs(values.reduce((a, b) => a + b, 0) - 1) > 1e-3) return false;
  }
  return true;
}
