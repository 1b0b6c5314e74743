import { ResidualError, unknownName } from '../errors.js';

/** One named value of a recipe: what it may be, and what it is when nobody says. */
interface Setting<T> {
  readonly preset: T;
  readonly help: string;
  readonly expected: string;
  readonly holds: (value: unknown) => boolean;
  /** From the text of `--set name=value`; undefined for what is no such value. */
  readonly parse: (text: string) => T | undefined;
}

const numeric = (preset: number, [least, most]: readonly [number, number], help: string, whole = false) =>
  ({
    preset,
    help,
    expected: `${whole ? 'a whole number' : 'a number'} from ${least} to ${most}`,
    holds: (value) =>
      typeof value === 'number' && value >= least && value <= most && (!whole || Number.isInteger(value)),
    parse: (text) => (text.trim() === '' || Number.isNaN(Number(text)) ? undefined : Number(text)),
  }) satisfies Setting<number>;

const whole = (preset: number, range: readonly [number, number], help: string) => numeric(preset, range, help, true);

const word = <const W extends string>(words: readonly W[], help: string, preset: W = words[0]) =>
  ({
    preset,
    help,
    expected: words.join(', ').replace(/, ([^,]*)$/, ' or $1'),
    holds: (value) => words.includes(value as W),
    parse: (text) => words.find((one) => one === text),
  }) satisfies Setting<W>;

const words = (preset: string, help: string) =>
  ({
    preset,
    help,
    expected: 'a text',
    holds: (value) => typeof value === 'string' && value.length <= 1000,
    parse: (text): string => text,
  }) satisfies Setting<string>;

const flag = (help: string, preset: boolean = false) =>
  ({
    preset,
    help,
    expected: 'true or false',
    holds: (value) => typeof value === 'boolean',
    parse: (text) => ({ true: true, yes: true, on: true, false: false, no: false, off: false })[text],
  }) satisfies Setting<boolean>;

const share = [0, 1] as const;
const side = [0, 8192] as const;

/** Every value a recipe has. */
export const settings = {
  epochs: whole(10, [1, 100_000], 'passes over the training pictures'),
  batch: whole(32, [1, 65_536], 'pictures of a step; a BatchNorm measures so many together'),
  accumulate: whole(1, [1, 4096], 'steps whose gradients make one update'),
  size: whole(0, side, 'side of the training pictures; 0: as the network takes them'),
  testSize: whole(0, side, 'side of the pictures it is tested on; 0: as the network takes them'),
  testScale: numeric(
    0,
    [0, 8],
    'the same as a multiple of the side the network takes, in steps of 8 pixels; 0: as testSize says',
  ),
  testCrop: numeric(0, share, 'share of the short side that is tested; 0: as the preprocessing has it'),

  optimizer: word(['sgd', 'adam', 'adamw', 'lamb'], 'how gradients become updates'),
  rate: numeric(0.01, [0, 1000], 'highest learning rate'),
  momentum: numeric(0.9, [0, 0.9999], 'of sgd; of the others the share of the first moment that stays (beta 1)'),
  nesterov: flag('look ahead along the momentum (sgd)'),
  secondMoment: numeric(0.999, [0, 0.999999], 'beta 2 of adam, adamw, lamb'),
  epsilon: numeric(1e-8, [0, 1], 'of adam, adamw, lamb'),
  weightDecay: numeric(1e-4, [0, 10], 'pull of the weights towards 0'),
  decayNorms: flag('let it pull norms and biases too'),
  clip: numeric(0, [0, 1e9], 'longest gradient, over all parameters; 0: any'),

  schedule: word(
    ['cosine', 'constant', 'step', 'multi-step', 'one-cycle', 'triangle', 'polynomial', 'plateau'],
    'how the rate goes from the first update to the last',
  ),
  warmup: numeric(0, [0, 100_000], 'epochs in which the rate first goes up, before the schedule'),
  warmupFrom: numeric(0.01, share, 'share of the rate that the warm-up begins with'),
  milestones: words('0.5 0.75', 'multi-step: where the rate falls, as shares of the run'),
  every: numeric(30, [0.01, 100_000], 'step: epochs from fall to fall'),
  fall: numeric(0.1, [0.0001, 1], 'step, multi-step, plateau: what the rate is multiplied by'),
  up: numeric(0.3, share, 'one-cycle, triangle: where the rate is highest, as a share of the run'),
  start: numeric(0.04, share, 'one-cycle, triangle: share of the rate that it begins with'),
  end: numeric(0, share, 'cosine, one-cycle, polynomial: share of the rate that it ends with'),
  power: numeric(1, [0.01, 100], 'polynomial: 1 is a straight line'),
  patience: whole(3, [1, 10_000], 'plateau: validations without a gain before the rate falls'),

  average: numeric(0, [0, 0.9999999], 'decay of the running average of the weights (EMA); 0: none'),
  averageEvery: whole(1, [1, 1_000_000], 'updates from one step of the average to the next'),

  loss: word(
    ['crossEntropy', 'binaryCrossEntropy'],
    'crossEntropy, or binaryCrossEntropy: every class stands for itself',
  ),
  smoothing: numeric(0, [0, 0.999], 'label smoothing'),
  mixup: numeric(0, [0, 100], 'alpha of mixup; 0: none'),
  cutmix: numeric(0, [0, 100], 'alpha of cutmix; 0: none'),
  dropPath: numeric(0, [0, 0.99], 'stochastic depth: how often the last block is left out'),
  augment: words('flip', 'changes of the training pictures, in their order, with commas between'),
  repeats: whole(1, [1, 64], 'repeated augmentation: how often a picture comes in an epoch of as many fewer'),
  sampling: word(['shuffle', 'balanced'], 'each picture once, or each class as often'),
  classWeights: flag('count the loss of a class the more, the fewer pictures it has'),

  precision: word(['f32', 'bf16'], 'numbers the convolutions are computed in'),
  recompute: flag('onednn: keep less of the forward pass and compute blocks twice; less memory, a third more time'),
  freeze: words('', 'last stage that stays as it is: stem, layer1 … layer4'),
  freezeNorms: flag('BatchNorms stay as they are everywhere: statistics, gamma and beta'),
  unfreeze: numeric(
    0,
    [0, 100_000],
    'epochs after which the last frozen stage learns too, then the one before; 0: never',
  ),
  stageRate: numeric(1, [0.0001, 1], 'rate of each stage as a share of that of the one behind it'),
  featuresOnce: flag('compute the features of the frozen part once and train what is behind it on them'),
  headFirst: whole(
    0,
    [0, 100_000],
    'epochs in which a new classifier first learns alone, on features that are computed once; 0: none',
  ),
  validateEvery: whole(1, [1, 100_000], 'epochs from validation to validation'),
} as const satisfies Record<string, Setting<number> | Setting<string> | Setting<boolean>>;

export type SettingName = keyof typeof settings;

type Wide<T> = T extends number ? number : T extends boolean ? boolean : T;
type ValueOf<S> = S extends { parse: (text: string) => infer T } ? Wide<Exclude<T, undefined>> : never;

/** A training run's values, all of them. */
export type Recipe = { readonly [K in SettingName]: ValueOf<(typeof settings)[K]> };

/** What a recipe is when nobody says anything. */
export const presets = Object.fromEntries(
  Object.entries(settings).map(([name, { preset }]) => [name, preset]),
) as unknown as Recipe;

/**
 * Checks values by name, as they stand in a file or in a program without types.
 * @param from what they stand in, for the error
 * @throws UNKNOWN_NAME for a name that is none, with the nearest; ARGUMENT for a value that cannot be used.
 */
export function checkSettings(values: Readonly<Record<string, unknown>>, from: string): Partial<Recipe> {
  for (const [name, value] of Object.entries(values)) {
    if (!Object.hasOwn(settings, name)) throw unknownName(`setting of ${from}`, name, Object.keys(settings));
    const { expected, holds } = settings[name as SettingName];
    if (!holds(value)) throw refused(expected, name, JSON.stringify(value) ?? String(value));
  }
  return values as Partial<Recipe>;
}

/**
 * The values of `--set name=value …`.
 * @throws UNKNOWN_NAME, ARGUMENT as `checkSettings`.
 * @example parseSettings(['epochs=30', 'augment=pad-crop 4, flip'])
 */
export function parseSettings(texts: readonly string[]): Partial<Recipe> {
  const values: Record<string, unknown> = {};
  for (const text of texts) {
    const [, name, value] = /^\s*([^=]*?)\s*=(.*)$/s.exec(text) ?? [];
    if (name === undefined || value === undefined)
      throw new ResidualError('ARGUMENT', `expected name=value, such as epochs=30, but received ${text}`);
    if (!Object.hasOwn(settings, name)) throw unknownName('setting', name, Object.keys(settings));
    const { parse, expected } = settings[name as SettingName];
    const parsed = parse(value.trim());
    if (parsed === undefined) throw refused(expected, name, value);
    values[name] = parsed;
  }
  return checkSettings(values, 'a recipe');
}

const refused = (expected: string, name: string, received: string) =>
  new ResidualError('ARGUMENT', `expected ${expected} for ${name} but received ${received || 'nothing'}`, {
    setting: name,
  });
