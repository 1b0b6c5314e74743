import { grey } from './colours.js';
import { type Decoded, type Origin, type Pixels, turns } from './pixels.js';
import { checkPlan, checkSteps, type Decoding, movesPixels, type Plan, type Step } from './plan.js';
import { resize, type Size } from './resize.js';

/** What one step of a plan does to a picture of a given size. */
export interface Stage {
  readonly step: Step;
  readonly before: Size;
  readonly after: Size;
  /** Where a crop begins in the picture before it; negative where black was added. */
  readonly left?: number;
  readonly top?: number;
}

export interface Applied {
  /** `[C, height, width]`, planar, in the order and range that the plan yields. */
  readonly input: Float32Array;
  readonly height: number;
  readonly width: number;
  /** What the network sees, still as RGB 0–255: the picture before the first step that changes values; of one channel, grey. */
  readonly cropped: Pixels;
  readonly stages: readonly Stage[];
}

/** The decoding that a plan begins with. @throws ARGUMENT as `checkPlan`. */
export function decodingOf(plan: Plan): Decoding {
  checkPlan(plan);
  return (plan[0] as Step & { readonly step: 'decode' }).as;
}

/** The same plan with another decoding. */
export const withDecoding = (plan: Plan, as: Decoding): Plan =>
  plan.map((step) => (step.step === 'decode' ? { ...step, as } : step));

/**
 * The sizes a picture goes through. Rounding as in torchvision's transforms: Resize cuts the longer side down to a
 * whole number, CenterCrop rounds half to even.
 * @throws ARGUMENT as `checkPlan`.
 */
export function stagesOf(plan: Plan, picture: Size): Stage[] {
  checkPlan(plan);
  let before: Size = { width: picture.width, height: picture.height };
  return plan.map((step) => {
    const stage = { step, before, ...placement(step, before) };
    before = stage.after;
    return stage;
  });
}

/**
 * Carries out a plan on a decoded picture. With the presets, `input` has the bits that torchvision's
 * Resize, CenterCrop, ToTensor, Normalize and Keras' load_img, preprocess_input give (all arithmetic rounded to
 * float32 after each operation).
 * @param channels that the network takes: for one, the picture is made grey and changed as the plan's first channel.
 * @throws ARGUMENT as `stagesOf`, IMAGE when a resize would be over 100 megapixels.
 */
export function applyPlan(pixels: Pixels, plan: Plan, channels: PictureChannels = 3): Applied {
  const { cropped: colours, stages } = placePixels(pixels, plan);
  const cropped = inChannels(colours, channels);
  const { width, height, data } = cropped;
  const input = new Float32Array(width * height * channels);
  writeValues(data, valueTables(plan, channels), input);
  return { input, height, width, cropped, stages };
}

/** How many channels a network may take of a picture. */
export type PictureChannels = 1 | 3;

/** A picture for a network of so many channels: grey for one, as it was trained. */
export const inChannels = (pixels: Pixels, channels: PictureChannels): Pixels =>
  channels === 1 ? grey(pixels) : pixels;

/**
 * The steps of a plan that put pixels elsewhere, carried out on a decoded picture: what the network sees, still as bytes.
 * @throws ARGUMENT, IMAGE as `applyPlan`.
 */
export function placePixels(pixels: Pixels, plan: Plan): Pick<Applied, 'cropped' | 'stages'> {
  const stages = stagesOf(plan, pixels);
  let cropped = pixels;
  const moves = stages.filter(({ step }) => movesPixels(step));
  for (let i = 0; i < moves.length; i++) {
    const { step, after } = moves[i];
    const next = moves[i + 1];
    if (step.step === 'centerCrop') cropped = crop(cropped, moves[i]);
    else if (step.step === 'resize' || step.step === 'resizeShortSide') {
      // A crop that follows needs only part of the result: a 20000×3 picture would else grow to 400 megapixels.
      const part = next?.step.step === 'centerCrop' ? visible(next) : undefined;
      cropped = resize(cropped, after, step.filter, part);
      if (part && next) {
        cropped = crop(cropped, { ...next, left: Math.min(0, next.left ?? 0), top: Math.min(0, next.top ?? 0) });
        i++;
      }
    }
  }
  return { cropped, stages };
}

/** What bytes become by the plan: `[C, H, W]` out of `[H, W, 3]`, for as many channels as there are tables. */
export function writeValues(data: Uint8Array, tables: readonly Channel[], input: Float32Array): void {
  const count = data.length / 3;
  tables.forEach(({ from, values }, c) => {
    lookUp(data, from, values, input.subarray(c * count, (c + 1) * count));
  });
}

function lookUp(data: Uint8Array, from: number, values: Float32Array, plane: Float32Array): void {
  for (let i = 0, j = from; i < plane.length; i++, j += 3) plane[i] = values[data[j]];
}

/** For each channel of the result: the channel it comes from and what the values 0–255 become. */
export function valueTables(plan: Plan, channels: PictureChannels = 3): Channel[] {
  const bytes = [0, 1, 2].map((from) => ({ from, values: Float32Array.from({ length: 256 }, (_, value) => value) }));
  return transformValues(plan, bytes).slice(0, channels);
}

/** Values of one channel, and the channel of the picture they come from. */
export interface Channel {
  readonly from: number;
  readonly values: Float32Array;
}

/** Carries out a plan's steps that change values, in place, on three channels of 0–255; they come back in the plan's order. @throws ARGUMENT as `checkPlan`. */
export function transformValues(plan: Plan, picture: readonly Channel[]): Channel[] {
  const { fround } = Math;
  checkSteps(plan);
  let channels = [...picture];
  for (const step of plan) {
    if (step.step === 'reverseChannels') channels = channels.toReversed();
    else if (step.step === 'scale')
      for (const { values } of channels)
        values.forEach((x, i) => {
          // x · (1/255) in double, then rounded once, is x / 255 in float32 for every byte: ToTensor's division.
          values[i] = fround(x * step.factor) + step.offset;
        });
    else if (step.step === 'normalize') {
      channels.forEach(({ values }, c) => {
        const [mean, deviation] = [fround(step.mean[c]), fround(step.deviation[c])];
        values.forEach((x, i) => {
          values[i] = fround(x - mean) / deviation;
        });
      });
    }
  }
  return channels;
}

/** The least and the greatest value that a plan yields. */
export function rangeOf(plan: Plan, channels?: PictureChannels): { least: number; greatest: number } {
  const ends = valueTables(plan, channels).flatMap(({ values }) => [values[0], values[255]]);
  return { least: Math.min(...ends), greatest: Math.max(...ends) };
}

/**
 * A plan in words for the picture at hand, one line a step and one for the result.
 * @throws ARGUMENT as `stagesOf`.
 */
export function explainPlan(plan: Plan, { pixels, origin }: Decoded, channels: PictureChannels = 3): string[] {
  const stages = stagesOf(plan, pixels);
  const lines = stages.map((stage) =>
    stage.step.step === 'decode' ? decodeWords(origin, stage.step.as) : words(stage),
  );
  if (channels === 1) {
    const moved = plan.findLastIndex((step) => step.step === 'decode' || movesPixels(step));
    lines.splice(moved + 1, 0, ['grey', 'luma of ITU-R 601; what follows as for the first channel']);
  }
  const end = stages.at(-1)?.after ?? pixels;
  const { least, greatest } = rangeOf(plan, channels);
  lines.push([
    'input',
    `[1, ${channels}, ${end.height}, ${end.width}] float32, values ${round4(least)} … ${round4(greatest)}`,
  ]);
  return lines.map(([name, text]) => `${name.padEnd(11)}${text}`);
}

function decodeWords(origin: Origin, as: Decoding): [string, string] {
  const facts = [
    origin.format.toUpperCase(),
    sizeText(origin),
    origin.colours,
    `${origin.bits} bits`,
    ...(origin.turned > 1 ? [`${turns[origin.turned]} (EXIF orientation ${origin.turned})`] : []),
    ...(origin.alpha ? [as === 'default' ? 'transparency laid over white' : 'transparency dropped'] : []),
  ];
  return ['decode', `as ${as}: ${facts.join(', ')}`];
}

function words({ step, before, after, left = 0, top = 0 }: Stage): [string, string] {
  const same = before.width === after.width && before.height === after.height;
  const change = same ? `${sizeText(before)} already` : `${sizeText(before)} → ${sizeText(after)}`;
  switch (step.step) {
    case 'decode':
      return ['decode', `as ${step.as}`];
    case 'resizeShortSide':
      return ['resize', `short side to ${step.size}, ${step.filter}: ${change}`];
    case 'resize':
      return ['resize', `to ${sizeText(step)}, ${step.filter}, proportions given up: ${change}`];
    case 'centerCrop':
      return [
        'crop',
        `centre ${sizeText(step)} from x ${round4(left)}, y ${round4(top)}${left < 0 || top < 0 ? ', black added' : ''}: ${change}`,
      ];
    case 'reverseChannels':
      return ['channels', 'RGB → BGR'];
    case 'scale':
      return ['scale', `value × ${factorText(step.factor)}${step.offset === 0 ? '' : ` ${signed(step.offset)}`}`];
    case 'normalize':
      return ['normalize', `(value − [${step.mean.join(', ')}]) / [${step.deviation.join(', ')}]`];
  }
}

const sizeText = ({ width, height }: Size): string => `${width}×${height}`;
const round4 = (value: number): string => String(Math.round(value * 1e4) / 1e4).replace('-', '−');
const signed = (value: number): string => (value < 0 ? `− ${-value}` : `+ ${value}`);
/** 1/255 is what people know; 0.00392156862745098 is not. */
const factorText = (factor: number): string => (factor < 1 ? `1/${round4(1 / factor)}` : `${factor}`);

function placement(step: Step, { width, height }: Size): { after: Size; left?: number; top?: number } {
  if (step.step === 'resizeShortSide') {
    const long = (side: number, short: number): number => Math.trunc((step.size * side) / short);
    return {
      after:
        width <= height
          ? { width: step.size, height: long(height, width) }
          : { width: long(width, height), height: step.size },
    };
  }
  if (step.step !== 'resize' && step.step !== 'centerCrop') return { after: { width, height } };
  const after = { width: step.width, height: step.height };
  if (step.step === 'resize') return { after };
  return { after, left: cropStart(width, step.width), top: cropStart(height, step.height) };
}

/** Where a centre crop begins. Too short sides get black, the odd pixel at the far end; Python's round() goes half to even. */
function cropStart(side: number, wanted: number): number {
  if (wanted > side) return 0 - Math.floor((wanted - side) / 2);
  const gap = side - wanted;
  return gap % 4 === 1 ? (gap - 1) / 2 : Math.ceil(gap / 2);
}

/** The part of the picture before a crop that the crop shows. */
function visible({ before, after, left = 0, top = 0 }: Stage) {
  const [x, y] = [Math.max(0, left), Math.max(0, top)];
  return {
    left: x,
    top: y,
    width: Math.min(before.width, left + after.width) - x,
    height: Math.min(before.height, top + after.height) - y,
  };
}

/** Cuts a picture out, on black where it reaches over the edge. */
function crop(pixels: Pixels, { after: { width, height }, left = 0, top = 0 }: Stage): Pixels {
  if (left === 0 && top === 0 && width === pixels.width && height === pixels.height) return pixels;
  const data = new Uint8Array(width * height * 3);
  const x = Math.max(0, left);
  const length = Math.min(pixels.width, left + width) - x;
  for (let y = Math.max(0, top); y < Math.min(pixels.height, top + height); y++) {
    const row = (y * pixels.width + x) * 3;
    data.set(pixels.data.subarray(row, row + length * 3), ((y - top) * width + x - left) * 3);
  }
  return { width, height, data };
}
