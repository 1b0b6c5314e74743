import { ResidualError } from '../errors.js';

/** The filters of Pillow's resize, by its names. */
const filterNames = ['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos'] as const;
export type Filter = (typeof filterNames)[number];

/**
 * How the bytes of a picture become pixels. `default`: orientation obeyed, colour profile ignored, transparency laid
 * over white, upper byte of 16 bits, first frame. `pillow`: exactly `Image.open(file).convert('RGB')`.
 */
export type Decoding = 'default' | 'pillow';

/** One step of preprocessing. Sizes are in pixels; values start as 0–255 in RGB order. */
export type Step =
  | { readonly step: 'decode'; readonly as: Decoding }
  /** Short side to `size`, the other by proportion, cut to whole pixels (torchvision's Resize). */
  | { readonly step: 'resizeShortSide'; readonly size: number; readonly filter: Filter }
  /** Both sides, proportions given up (Keras' load_img). */
  | { readonly step: 'resize'; readonly height: number; readonly width: number; readonly filter: Filter }
  /** Offset round-half-to-even((side − size) / 2); a smaller picture is laid on black (torchvision's CenterCrop). */
  | { readonly step: 'centerCrop'; readonly height: number; readonly width: number }
  /** RGB → BGR. */
  | { readonly step: 'reverseChannels' }
  /** value · factor + offset. */
  | { readonly step: 'scale'; readonly factor: number; readonly offset: number }
  /** (value − mean) / deviation, by channel in the order the values now have. */
  | { readonly step: 'normalize'; readonly mean: readonly number[]; readonly deviation: readonly number[] };

/** Preprocessing as data: it belongs to the weights, is stored with them and printed on request. */
export type Plan = readonly Step[];

/** Steps that put pixels elsewhere; the others but `decode` change their values. */
export const movesPixels = ({ step }: Step): boolean =>
  step === 'resizeShortSide' || step === 'resize' || step === 'centerCrop';

/**
 * Whether a plan can be carried out, whatever the picture: plans come out of files and out of programs without types.
 * @throws ARGUMENT naming the step, what was expected and what was received.
 */
export function checkPlan(plan: Plan): void {
  if (plan[0]?.step !== 'decode' || plan.filter(({ step }) => step === 'decode').length > 1)
    throw new ResidualError('ARGUMENT', `a plan begins with its one step "decode"; received ${names(plan)}`);
  checkSteps(plan);
  const values = plan.findIndex((step) => step.step !== 'decode' && !movesPixels(step));
  if (values >= 0 && plan.slice(values).some(movesPixels))
    throw new ResidualError(
      'ARGUMENT',
      `a plan resizes and crops before it scales, normalizes or reverses channels; received ${names(plan)}`,
    );
}

/** The size of every picture that a plan yields; undefined when it depends on the picture. */
export function sizeOfPlan(plan: Plan): { readonly height: number; readonly width: number } | undefined {
  const last = plan.findLast(movesPixels);
  return last?.step === 'centerCrop' || last?.step === 'resize' ? last : undefined;
}

/**
 * The plan for a square input of another size: all its sizes in proportion, the resize before a crop rounded.
 * @throws ARGUMENT for a size that is no whole number from 1 to 8192.
 */
export function planAt(plan: Plan, size: number): Plan {
  const now = sizeOfPlan(plan);
  const by = now ? size / Math.max(now.height, now.width) : undefined;
  const changed: Plan = plan.map((step) => {
    if (step.step === 'resizeShortSide') return { ...step, size: Math.round(step.size * (by ?? size / step.size)) };
    return step.step === 'resize' || step.step === 'centerCrop' ? { ...step, height: size, width: size } : step;
  });
  checkPlan(changed);
  return changed;
}

/** The steps by themselves, not their order. @throws ARGUMENT as `checkPlan`. */
export function checkSteps(plan: Plan): void {
  for (const { step, ...fields } of plan) {
    const known = Object.hasOwn(expectations, step) ? (expectations[step] as Record<string, Expectation>) : undefined;
    if (known === undefined)
      throw new ResidualError(
        'ARGUMENT',
        `a plan has no step "${step}"; there are: ${Object.keys(expectations).join(', ')}`,
      );
    const refuse = (what: string, field: string) =>
      new ResidualError('ARGUMENT', `a plan's ${step}: ${what}`, { step, field });
    const received: Record<string, unknown> = fields;
    for (const [field, { expected, holds }] of Object.entries(known))
      if (!holds(received[field]))
        throw refuse(`expected ${expected} for ${field} but received ${text(received[field])}`, field);
    const more = Object.keys(fields).find((field) => !Object.hasOwn(known, field));
    if (more !== undefined)
      throw refuse(`it has no ${more}; it has: ${Object.keys(known).join(', ') || 'nothing'}`, more);
  }
}

/** Whether what stands in a file is a plan that can be carried out. */
export function isPlan(value: unknown): value is Plan {
  if (!Array.isArray(value) || value.length > 100 || !value.every((step) => typeof step?.step === 'string'))
    return false;
  try {
    checkPlan(value);
    return true;
  } catch (error) {
    if (error instanceof ResidualError) return false;
    throw error;
  }
}

interface Expectation {
  readonly expected: string;
  readonly holds: (value: unknown) => boolean;
}

const oneOf = (names: readonly string[]): Expectation => ({
  expected: names.join(', '),
  holds: (value) => names.includes(value as string),
});
/** Larger pictures would be a way to exhaust memory. */
const side: Expectation = {
  expected: 'a whole number from 1 to 8192',
  holds: (value) => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 8192,
};
/** Beyond it, float32 may overflow. */
const isReal = (value: unknown): value is number => typeof value === 'number' && Math.abs(value) <= 1e9;
const real: Expectation = { expected: 'a number from −1e9 to 1e9', holds: isReal };
const three = (value: unknown): value is number[] => Array.isArray(value) && value.length === 3 && value.every(isReal);

/** What each step's fields may hold. */
const expectations = {
  decode: { as: oneOf(['default', 'pillow']) },
  resizeShortSide: { size: side, filter: oneOf(filterNames) },
  resize: { height: side, width: side, filter: oneOf(filterNames) },
  centerCrop: { height: side, width: side },
  reverseChannels: {},
  scale: { factor: real, offset: real },
  normalize: {
    mean: { expected: 'three numbers', holds: three },
    deviation: {
      expected: 'three numbers other than 0',
      holds: (value) => three(value) && value.every((one) => Math.abs(one) >= 1e-9),
    },
  },
} as const satisfies Record<Step['step'], Readonly<Record<string, Expectation>>>;

const names = (plan: Plan): string => (plan.length ? plan.map(({ step }) => step).join(', ') : 'no step');

const text = (value: unknown): string => (Array.isArray(value) ? `[${value.join(', ')}]` : String(value));
