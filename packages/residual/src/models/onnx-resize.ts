import type { OpAttributes, Pair } from '../graph/ops.js';
import type { Call } from './onnx-call.js';
import { axisOf } from './onnx-constants.js';
import type { Activation, Size } from './onnx-draft.js';

type Settings = OpAttributes['resize'];

/** Upsample (opset 7 to 9): by whole or broken factors, from the upper left corner. */
export function upsample(call: Call): Activation {
  const x = call.activation(0);
  const attribute = call.node.attributes.get('scales');
  const scales =
    call.numbers(1) ?? (Array.isArray(attribute) ? (attribute as readonly number[]) : call.refuse('has no scales'));
  const to = { scales: spatial(call, x, scales, 'scales') };
  return call.layer('resize', [x.value], { to, mode: modeOf(call), coordinates: 'asymmetric', nearest: 'floor' }, x);
}

/** Resize. Opset 10 has Upsample's rule and inputs; later ones name theirs, and have `roi` as their second input. */
export function resize(call: Call): Activation {
  if (call.opset < 11) return upsample(call);
  const x = call.activation(0);
  if (call.integer('antialias', 0) !== 0) call.refuse('smoothes before it shrinks (antialias), which is not supported');
  const policy = call.text('keep_aspect_ratio_policy', 'stretch');
  if (policy !== 'stretch')
    call.refuse(`has the keep_aspect_ratio_policy "${policy.slice(0, 40)}"; only "stretch" is supported`);
  const to = target(call, x);
  const coordinates = oneOf(call, 'coordinate_transformation_mode', coordinateRules, 'half_pixel');
  const nearest = oneOf(call, 'nearest_mode', nearestRules, 'round_prefer_floor');
  return call.layer('resize', [x.value], { to, mode: modeOf(call), coordinates, nearest }, x);
}

const coordinateRules = ['half_pixel', 'pytorch_half_pixel', 'align_corners', 'asymmetric'] as const;
const nearestRules = ['floor', 'ceil', 'round_prefer_floor', 'round_prefer_ceil'] as const;

function oneOf<T extends string>(call: Call, name: string, known: readonly T[], usual: T): T {
  const value = call.text(name, usual);
  return (
    known.find((one) => one === value) ??
    call.refuse(`has the ${name} "${value.slice(0, 40)}"; supported are ${known.join(', ')}`)
  );
}

function modeOf(call: Call): Settings['mode'] {
  const mode = call.text('mode', 'nearest');
  if (mode === 'nearest') return mode;
  if (mode === 'linear' || mode === 'bilinear') return 'bilinear';
  return call.refuse(`has the mode "${mode.slice(0, 40)}"; supported are nearest and linear`);
}

/** Factors, or sizes where those are given: of all axes, or of `axes`. */
function target(call: Call, x: Activation): Settings['to'] {
  const scales = call.numbers(2);
  if (scales !== undefined && scales.length > 0)
    return { scales: spatial(call, x, everyAxis(call, scales, 1), 'scales') };
  const sizes = call.input(3) ? call.constant(3).values : undefined;
  if (sizes === undefined) return call.refuse('has neither scales nor sizes that are known before the network runs');
  const own: Size[] = x.channelsLast ? ['batch', x.shape[2], x.shape[3], x.shape[1]] : ['batch', ...x.shape.slice(1)];
  const wanted = everyAxis(call, sizes, undefined).map((n, axis) => n ?? own[axis]);
  const [batch, ...rest] = wanted;
  if (batch !== 'batch' && batch !== call.draft.batch) call.refuse('changes the size of the batch');
  const channels = x.channelsLast ? rest[2] : rest[0];
  if (channels !== x.shape[1]) call.refuse('changes the number of channels');
  const [height, width] = x.channelsLast ? rest : rest.slice(1);
  if (![height, width].every((n) => typeof n === 'number' && Number.isInteger(n) && n > 0 && n <= 65_536))
    return call.refuse('has sizes that are none');
  return { sizes: [height, width] as Pair };
}

/** What is given for some axes, for all four of them. */
function everyAxis<T>(call: Call, given: readonly T[], rest: T | undefined): (T | undefined)[] {
  const axes = (call.list('axes') ?? given.map((_, axis) => axis)).map((axis) => axisOf(call, axis, 4));
  if (axes.length !== given.length) call.refuse(`has ${given.length} numbers for ${axes.length} axes`);
  const all = Array<T | undefined>(4).fill(rest);
  axes.forEach((axis, i) => {
    all[axis] = given[i];
  });
  return all;
}

function spatial(call: Call, x: Activation, scales: readonly (number | undefined)[], what: string): Pair {
  if (x.shape.length !== 4 || scales.length !== 4)
    return call.refuse(`resizes ${x.shape.length} axes; only pictures (4 axes) are supported`);
  const [batch, a, b, c] = scales as readonly number[];
  const [channels, height, width] = x.channelsLast ? [c, a, b] : [a, b, c];
  if (batch === 1 && channels === 1 && [height, width].every((n) => n > 0 && n <= 65_536)) return [height, width];
  return call.refuse(`has the ${what} [${scales.join(', ')}]; only height and width may change`);
}
