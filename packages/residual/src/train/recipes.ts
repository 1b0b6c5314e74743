import { readFile } from 'node:fs/promises';
import { ResidualError, unknownName } from '../errors.js';
import { checkSettings, presets, type Recipe } from './settings.js';

/** A published way to train, or one of ours, by what it changes of the presets. */
interface Named extends Partial<Recipe> {
  /** Whose it is, and what it reached there. */
  readonly about: string;
}

/** ResNet Strikes Back (Wightman, Touvron, Jégou 2021, table 2), batches as MMPretrain splits them: 8 × 256. */
const strikesBack = {
  batch: 256,
  accumulate: 8,
  testSize: 224,
  testCrop: 0.95,
  optimizer: 'lamb',
  epsilon: 1e-6,
  clip: 1,
  schedule: 'cosine',
  warmup: 5,
  warmupFrom: 0.02,
  loss: 'binaryCrossEntropy',
  cutmix: 1,
} as const satisfies Partial<Recipe>;

/**
 * Random crops of 224 show things larger than a centre crop of 224 does; at 288 they are as large again, and nothing of
 * the short side is cut off (Touvron et al. 2019, "Fixing the train-test resolution discrepancy").
 */
const testedLarger = { testScale: 9 / 7, testCrop: 1 } as const satisfies Partial<Recipe>;

/** The recipes, by name. None of hundreds of epochs was run to its end here. */
export const recipes = {
  'he2015-cifar': {
    about: 'He et al. 2015, section 4.2: CIFAR-10, 64,000 updates; ResNet-20 8.75 % error there (lossless pictures)',
    epochs: 182,
    batch: 128,
    rate: 0.1,
    weightDecay: 1e-4,
    decayNorms: true,
    schedule: 'multi-step',
    milestones: '0.5 0.75',
    augment: 'pad-crop 4, flip',
  },
  'torchvision-v1': {
    about: "torchvision's first weights: ImageNet, 8 × 32 pictures an update; ResNet-50 76.13 % there",
    epochs: 90,
    accumulate: 8,
    size: 224,
    testSize: 224,
    testCrop: 0.875,
    rate: 0.1,
    weightDecay: 1e-4,
    decayNorms: true,
    schedule: 'step',
    every: 30,
    augment: 'random-resized-crop 0.08 1, flip',
  },
  'torchvision-v2': {
    about: "torchvision's second weights: ImageNet, 8 × 128 pictures an update; ResNet-50 80.86 % there",
    epochs: 600,
    batch: 128,
    accumulate: 8,
    size: 176,
    testSize: 224,
    testCrop: 224 / 232,
    rate: 0.5,
    weightDecay: 2e-5,
    warmup: 5,
    smoothing: 0.1,
    mixup: 0.2,
    cutmix: 1,
    augment: 'random-resized-crop 0.08 1, flip, trivial-augment, erase 0.1',
    repeats: 4,
    // 0.99998 for each picture of 600 epochs; each of its steps counts for 8 · 128 · 32 / 600 (references/classification).
    average: 1 - (0.00002 * 8 * 128 * 32) / 600,
    averageEvery: 32,
  },
  'rsb-a1': {
    about: 'ResNet Strikes Back A1: ImageNet, 2048 pictures an update; ResNet-50 80.4 % there',
    ...strikesBack,
    epochs: 600,
    size: 224,
    rate: 5e-3,
    weightDecay: 0.01,
    smoothing: 0.1,
    mixup: 0.2,
    dropPath: 0.05,
    augment: 'random-resized-crop 0.08 1, flip, rand-augment 2 7 0.5',
    repeats: 3,
  },
  'rsb-a2': {
    about: 'ResNet Strikes Back A2: ImageNet, 2048 pictures an update; ResNet-50 79.8 % there',
    ...strikesBack,
    epochs: 300,
    size: 224,
    rate: 5e-3,
    weightDecay: 0.02,
    mixup: 0.1,
    dropPath: 0.05,
    augment: 'random-resized-crop 0.08 1, flip, rand-augment 2 7 0.5',
    repeats: 3,
  },
  'rsb-a3': {
    about: 'ResNet Strikes Back A3: ImageNet at 160, tested at 224; ResNet-50 78.1 % there',
    ...strikesBack,
    epochs: 100,
    size: 160,
    rate: 8e-3,
    weightDecay: 0.02,
    mixup: 0.1,
    augment: 'random-resized-crop 0.08 1, flip, rand-augment 2 6 0.5',
  },
  airbench: {
    about: 'what a ResNet can use of airbench94 (Jordan 2024): alternating flip, small shifts, a triangle of rates',
    epochs: 10,
    batch: 512,
    rate: 0.4,
    nesterov: true,
    weightDecay: 5e-4,
    schedule: 'triangle',
    up: 0.23,
    start: 0.2,
    smoothing: 0.2,
    augment: 'reflect-crop 2, flip-alternating',
  },
  finetune: {
    about: 'a trained network on pictures of your own: its new classifier first, then all, gently; tested larger',
    epochs: 5,
    batch: 32,
    headFirst: 30,
    rate: 0.003,
    weightDecay: 1e-4,
    warmup: 0.5,
    smoothing: 0.1,
    stageRate: 0.5,
    // Few pictures measure worse statistics than the ones the weights were trained with (Keras' guide to fine-tuning).
    freezeNorms: true,
    augment: 'random-resized-crop 0.35 1, flip',
    ...testedLarger,
  },
  'linear-probe': {
    about: 'a new classifier on frozen features, which are computed once: seconds',
    epochs: 30,
    batch: 64,
    rate: 0.02,
    weightDecay: 1e-4,
    freeze: 'avgpool',
    featuresOnce: true,
    augment: 'none',
    validateEvery: 5,
    ...testedLarger,
  },
  quick: {
    about: 'a small network from scratch, to see it learn within minutes',
    epochs: 8,
    batch: 64,
    rate: 0.1,
    nesterov: true,
    weightDecay: 5e-4,
    schedule: 'one-cycle',
    augment: 'pad-crop 4, flip',
  },
} as const satisfies Record<string, Named>;

export type RecipeName = keyof typeof recipes;

/** A recipe by what is wanted of it: a name, a JSON file `{"recipe": "finetune", "epochs": 5}`, or values. */
export type RecipeInput = RecipeName | (string & {}) | Partial<Recipe>;

/**
 * All values of a run, stored with it: those of the recipe, changed by `set`, and the presets for the rest.
 *
 * @param from a name, a path that ends in `.json`, or values
 * @throws UNKNOWN_NAME for a recipe or a setting that is none; ARGUMENT for a value that cannot be used; FILE.
 * @example const recipe = await resolveRecipe('he2015-cifar', { epochs: 30 });
 */
export async function resolveRecipe(from: RecipeInput, set: Partial<Recipe> = {}): Promise<Recipe> {
  const base = typeof from === 'string' ? await named(from) : checkSettings(from, 'the recipe');
  return { ...presets, ...base, ...checkSettings(set, 'a recipe') };
}

async function named(name: string): Promise<Partial<Recipe>> {
  if (Object.hasOwn(recipes, name)) {
    const { about: _, ...values } = recipes[name as RecipeName] as Named;
    return values;
  }
  if (!name.endsWith('.json')) throw unknownName('recipe', name, Object.keys(recipes));
  const { recipe, about: _, ...values } = await readObject(name);
  if (recipe !== undefined && (typeof recipe !== 'string' || !Object.hasOwn(recipes, recipe)))
    throw unknownName(`recipe in ${name}`, String(recipe), Object.keys(recipes));
  return { ...(recipe !== undefined && (await named(recipe))), ...checkSettings(values, name) };
}

async function readObject(file: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    throw new ResidualError(
      'FILE',
      `${file}: the recipe cannot be read (${code === 'ENOENT' ? 'there is no such file' : code}); check the path`,
      { file },
      { cause },
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ResidualError(
      'FILE',
      `${file}: the recipe is no JSON (${(cause as Error).message})`,
      { file },
      { cause },
    );
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new ResidualError(
      'FILE',
      `${file}: the recipe is no JSON object, such as {"recipe": "finetune", "epochs": 5}`,
      {
        file,
      },
    );
  return json as Record<string, unknown>;
}
