import { nearest, ResidualError } from '../errors.js';

/** A number of a step: its range, and what it is when it is left out. */
interface Field {
  readonly least: number;
  readonly most: number;
  readonly whole?: boolean;
  readonly otherwise?: number;
}

const chance = { least: 0, most: 1 } as const satisfies Field;
const strength = { least: 0, most: 10 } as const satisfies Field;
const side = { least: 1, most: 512, whole: true } as const satisfies Field;

/**
 * Everything that can be done to a picture in training, and the numbers it takes, in the order of the text form.
 * All work on 8 bits and mean what Pillow and torchvision mean; where they resample, they do so bilinearly, and what
 * comes from outside the picture is black.
 */
const steps = {
  /** Mirrored left to right. */
  flip: { chance: { ...chance, otherwise: 0.5 } },
  /** Mirrored in every other epoch; which one comes first is drawn once a picture (Jordan 2024, airbench). */
  'flip-alternating': {},
  /** Mirrored top to bottom. */
  'vertical-flip': { chance: { ...chance, otherwise: 0.5 } },
  /** Turned by an angle from −degrees to degrees (torchvision's RandomRotation). */
  rotate: { degrees: { least: 0, most: 180 } },
  /**
   * A part of the picture, of `least` to `most` of its area and 3:4 to 4:3 in shape, resized to the network's input
   * (torchvision's RandomResizedCrop). Takes the place of the plan's own resizing and cropping; must come first.
   */
  'random-resized-crop': { least: { ...chance, otherwise: 0.08 }, most: { ...chance, otherwise: 1 } },
  /** Black around the picture, so many pixels, and a part of the former size out of it (He et al. 2015, 4.2). */
  'pad-crop': { pixels: side },
  /** The same with the picture mirrored at its edges in place of black. */
  'reflect-crop': { pixels: side },
  /** Brightness, contrast and saturation by factors of 1 ± the number, hue by ± so many turns, in random order (ColorJitter). */
  jitter: {
    brightness: strength,
    contrast: { ...strength, otherwise: 0 },
    saturation: { ...strength, otherwise: 0 },
    hue: { least: 0, most: 0.5, otherwise: 0 },
  },
  /** Grey (RandomGrayscale). */
  grey: { chance: { ...chance, otherwise: 0.1 } },
  /** Gaussian blur of a radius from `least` to `most` pixels, as Pillow's. */
  blur: {
    chance: { ...chance, otherwise: 0.5 },
    least: { least: 0, most: 100, otherwise: 0.1 },
    most: { least: 0, most: 100, otherwise: 2 },
  },
  /** One operation of 14 at a strength of 31 (Müller and Hutter 2021; torchvision's TrivialAugmentWide). */
  'trivial-augment': {},
  /**
   * So many operations of 15, each done with probability ½ at a magnitude of 0 to 10 drawn from a normal distribution
   * (Cubuk et al. 2019, as timm's `rand-mM-nN-mstdD-inc1`, which ResNet Strikes Back uses).
   */
  'rand-augment': {
    operations: { least: 1, most: 15, whole: true, otherwise: 2 },
    magnitude: { least: 0, most: 10, otherwise: 9 },
    deviation: { least: 0, most: 10, otherwise: 0 },
  },
  /** A rectangle of 2 % to 33 % of the picture set to what the plan makes nearest to 0 (RandomErasing). */
  erase: { chance: { ...chance, otherwise: 0.5 } },
} as const satisfies Record<string, Readonly<Record<string, Field>>>;

export type AugmentName = keyof typeof steps;

/** One step with its numbers: `{ step: 'flip', chance: 0.5 }`. */
export type AugmentStep = {
  [Name in AugmentName]: { readonly step: Name } & { readonly [F in keyof (typeof steps)[Name]]: number };
}[AugmentName];

/** What is done to a training picture, in this order; data, so that a recipe can hold it. */
export type Augment = readonly AugmentStep[];

export const augmentNames = Object.keys(steps) as AugmentName[];

const fieldsOf = (name: AugmentName): [string, Field][] => Object.entries(steps[name]);

/**
 * Steps out of their text: names with numbers behind them, commas between; `none` is no step. Numbers left out have
 * their usual values.
 *
 * @throws ARGUMENT naming the step, what was expected and what was received
 * @example parseAugment('random-resized-crop 0.08 1, flip, rand-augment 2 7 0.5, erase 0.1')
 */
export function parseAugment(text: string): Augment {
  if (/^\s*(none)?\s*$/.test(text)) return [];
  const augment = text.split(',').map((one) => {
    const [name, ...numbers] = one.trim().split(/\s+/);
    if (!isName(name)) throw unknownStep(name);
    const fields = fieldsOf(name);
    if (numbers.length > fields.length)
      throw new ResidualError(
        'ARGUMENT',
        `the augmentation "${one.trim()}" has too many numbers; expected ${usage(name)}`,
        { step: name },
      );
    const values = fields.map(([field, { otherwise }], i) => {
      const value = i < numbers.length ? Number(numbers[i]) : otherwise;
      if (value === undefined)
        throw new ResidualError('ARGUMENT', `the augmentation "${name}" needs ${field}; expected ${usage(name)}`, {
          step: name,
          field,
        });
      return [field, value];
    });
    return { step: name, ...Object.fromEntries(values) } as AugmentStep;
  });
  checkAugment(augment);
  return augment;
}

/** The text form: what `parseAugment` reads. Numbers at the end that are the usual ones are left out. */
export function augmentText(augment: Augment): string {
  if (augment.length === 0) return 'none';
  return augment
    .map((step) => {
      const values: Record<string, unknown> = step;
      const fields = fieldsOf(step.step);
      const last = fields.findLastIndex(([field, { otherwise }]) => values[field] !== otherwise);
      return [step.step, ...fields.slice(0, last + 1).map(([field]) => values[field])].join(' ');
    })
    .join(', ');
}

/**
 * Whether steps can be carried out: they come out of files and of programs without types.
 * @throws ARGUMENT naming the step, what was expected and what was received
 */
export function checkAugment(augment: Augment): void {
  augment.forEach((given, place) => {
    const { step, ...values } = given as { step: string } & Record<string, unknown>;
    if (!isName(step)) throw unknownStep(String(step));
    const fields = fieldsOf(step);
    for (const [field, { least, most, whole }] of fields) {
      const value = values[field];
      const holds = typeof value === 'number' && value >= least && value <= most && (!whole || Number.isInteger(value));
      if (!holds)
        throw new ResidualError(
          'ARGUMENT',
          `the augmentation "${step}": expected a ${whole ? 'whole ' : ''}number from ${least} to ${most} for ${field} but received ${value}`,
          { step, field },
        );
    }
    const more = Object.keys(values).find((field) => !fields.some(([known]) => known === field));
    if (more !== undefined)
      throw new ResidualError('ARGUMENT', `the augmentation "${step}" has no ${more}; expected ${usage(step)}`, {
        step,
        field: more,
      });
    if ('least' in given && given.least > given.most)
      throw new ResidualError(
        'ARGUMENT',
        `the augmentation "${step}": least is ${given.least}, which is more than most, ${given.most}`,
        { step },
      );
    if (step === 'random-resized-crop' && place > 0)
      throw new ResidualError(
        'ARGUMENT',
        `the augmentation "${step}" must come first: it crops the picture as it was decoded; received ${augment.map(({ step }) => step).join(', ')}`,
        { step },
      );
  });
}

const isName = (name: string): name is AugmentName => Object.hasOwn(steps, name);

/** `blur chance least most`. */
const usage = (name: AugmentName): string => [name, ...fieldsOf(name).map(([field]) => field)].join(' ');

function unknownStep(name: string): ResidualError {
  const near = nearest(name, augmentNames);
  return new ResidualError(
    'ARGUMENT',
    `there is no augmentation "${name}"; ${near ? `did you mean "${near}"?` : `there are: ${augmentNames.join(', ')}`}`,
    { step: name },
  );
}
