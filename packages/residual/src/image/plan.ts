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

/** The steps by themselves, not their order. @throws ARGUMENT as `checkPlan`. */
export function checkSteps(plan: Plan): void {
  for (const step of plan) {
    const fields = Object.hasOwn(expectations, step.step) ? expectations[step.step] : undefined;
    if (fields === undefined)
      throw new ResidualError(
        'ARGUMENT',
        `a plan has no step "${step.step}"; there are: ${Object.keys(expectations).join(', ')}`,
      );
    for (const [field, { expected, holds }] of Object.entries<Expectation>(fields)) {
      const received: unknown = (step as unknown as Record<string, unknown>)[field];
      if (!holds(received))
        throw new ResidualError(
          'ARGUMENT',
          `a plan's ${step.step}: expected ${expected} for ${field} but received ${text(received)}`,
          { step: step.step, field },
        );
    }
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
const side: Expectation = {
  expected: 'a whole number ≥ 1',
  holds: (value) => Number.isSafeInteger(value) && (value as number) >= 1,
};
const finite: Expectation = { expected: 'a finite number', holds: Number.isFinite };
const three = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length === 3 && value.every((one) => Number.isFinite(one));

/** What each step's fields may hold. */
const expectations = {
  decode: { as: oneOf(['default', 'pillow']) },
  resizeShortSide: { size: side, filter: oneOf(filterNames) },
  resize: { height: side, width: side, filter: oneOf(filterNames) },
  centerCrop: { height: side, width: side },
  reverseChannels: {},
  scale: { factor: finite, offset: finite },
  normalize: {
    mean: { expected: 'three finite numbers', holds: three },
    deviation: {
      expected: 'three finite numbers other than 0',
      // As float32, in which it is divided: 1e-50 is 0 there.
      holds: (value) => three(value) && value.every((one) => Math.fround(one) !== 0),
    },
  },
} as const satisfies Record<Step['step'], Readonly<Record<string, Expectation>>>;

const names = (plan: Plan): string => (plan.length ? plan.map(({ step }) => step).join(', ') : 'no step');

const text = (value: unknown): string => (Array.isArray(value) ? `[${value.join(', ')}]` : String(value));
