import type { Dataset, Example } from '../data/dataset.js';
import { ResidualError } from '../errors.js';
import { text as isName } from '../graph/checks.js';
import { inShell } from '../printable.js';
import type { Recipe } from './settings.js';

/**
 * Whether data can be learnt from by themselves, whatever the network.
 * @throws CLASSES for fewer than two classes, names that no weight file takes, two that differ in case alone, and a class
 * without a picture to learn from.
 */
export function checkData({ classes, labels, train }: Dataset): void {
  const refuse = (what: string, details: Record<string, string[]> = {}) => {
    throw new ResidualError('CLASSES', what, details);
  };
  if (train.length === 0) refuse('there is no picture to learn from');
  const least = labels === 'several' ? 1 : 2;
  if (classes.length < least)
    refuse(
      `there ${classes.length === 1 ? `is one class, "${classes[0]}"` : 'are no classes'}; a network learns to tell at least two apart`,
    );
  const unfit = classes.find((name): boolean => !isName(name));
  if (unfit !== undefined)
    refuse(
      unfit === ''
        ? 'a class has an empty name; name it'
        : `"${unfit.slice(0, 40)}…": the name of a class has ${unfit.length} characters, and a weight file takes 1000; shorten it`,
    );
  const byCase = new Map<string, string[]>();
  for (const name of classes) {
    const key = name.normalize('NFC').toLowerCase();
    byCase.set(key, [...(byCase.get(key) ?? []), name]);
  }
  const alike = [...byCase.values()].find((names) => names.length > 1);
  if (alike)
    refuse(
      `${alike.map((name) => `"${name}"`).join(' and ')} differ in case alone, and not every file system tells them apart; rename one, or put their pictures together`,
      { classes: alike },
    );
  const counts = countsOf(train, classes.length);
  const empty = classes.filter((_, index) => counts[index] === 0);
  if (empty.length > 0)
    refuse(
      `${empty
        .slice(0, 5)
        .map((name) => `"${name}"`)
        .join(
          ', ',
        )}${empty.length > 5 ? ` and ${empty.length - 5} more` : ''}: no picture to learn the class from; add some, or take the class out`,
      { classes: empty },
    );
}

/** @throws ARGUMENT for a seed that a checkpoint could not keep. */
export function checkSeed(seed: number): void {
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new ResidualError('ARGUMENT', `expected a whole number from 0 for seed but received ${seed}`, { seed });
}

/** How many pictures show each class; of shares, the largest counts. */
export function countsOf(examples: readonly Example[], classes: number): Float64Array {
  const counts = new Float64Array(classes);
  for (const { target } of examples) {
    if (typeof target === 'number') counts[target]++;
    else if (target instanceof Float32Array) counts[target.indexOf(Math.max(...target))]++;
    else for (const one of target) counts[one]++;
  }
  return counts;
}

const kinds = { one: 'one label each', several: 'several labels each', soft: 'shares of labels' };

/** Whether a run goes on with labels of the kind it began with. @throws CLASSES */
export function checkSameLabels(before: Dataset['labels'], now: Dataset['labels'], run: string): void {
  if (before === now) return;
  throw new ResidualError(
    'CLASSES',
    `${run}: the run was begun with pictures of ${kinds[before]}, and these have ${kinds[now]}; give it the pictures it had, or begin another run`,
  );
}

/**
 * Whether a run goes on with the classes it began with.
 * @throws CLASSES naming what came and what went.
 */
export function checkSameClasses(before: readonly string[], now: readonly string[], run: string): void {
  if (before.length === now.length && before.every((name, i) => name === now[i])) return;
  const list = (names: readonly string[]) =>
    `${names
      .slice(0, 5)
      .map((name) => `"${name}"`)
      .join(', ')}${names.length > 5 ? ', …' : ''}`;
  const came = now.filter((name) => !before.includes(name));
  const went = before.filter((name) => !now.includes(name));
  const parts = [
    ...(came.length > 0 ? [`${list(came)} came`] : []),
    ...(went.length > 0 ? [`${list(went)} went`] : []),
    ...(came.length + went.length === 0 ? ['their order is another'] : []),
  ];
  throw new ResidualError(
    'CLASSES',
    `${run}: the classes are not those the run began with: ${parts.join(', ')}; restore them, or begin a new run from this one's weights: --from ${inShell(run)}`,
    { came, went },
  );
}

/**
 * Tells data from others by the names and targets of all pictures: those to learn from, a plus, those to judge by. Each
 * is their count and FNV-1a, 64 bits as two of 32.
 */
export const fingerprint = ({ classes, train, validation = [] }: Dataset): string =>
  `${hashOf(classes, train)}+${hashOf(classes, validation)}`;

function hashOf(classes: readonly string[], examples: readonly Example[]): string {
  let [a, b] = [0x811c9dc5, 0x01000193];
  const add = (text: string) => {
    for (let i = 0; i < text.length; i++) {
      a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
      b = Math.imul(b ^ (text.charCodeAt(i) + i), 0x85ebca6b);
    }
    a = Math.imul(a ^ 0xff, 0x01000193);
    b = Math.imul(b ^ (b >>> 15), 0xc2b2ae35);
  };
  for (const name of classes) add(name);
  for (const { id, target } of examples) add(`${nameOf(id)} ${target}`);
  const hex = (x: number) => (x >>> 0).toString(16).padStart(8, '0');
  return `${examples.length}-${hex(a)}${hex(b)}`;
}

/** What is to be said of data that are not those a run began with, by their fingerprints. */
export function otherPictures(before: string, now: string): string[] {
  const [[trainThen, judgedThen], [trainNow, judgedNow]] = [before.split('+'), now.split('+')];
  const counts = (a: string, b: string) => `(${a.split('-')[0]} now, ${b.split('-')[0]} then)`;
  return [
    ...(trainThen === trainNow
      ? []
      : [
          `the training pictures are not those the run began with ${counts(trainNow, trainThen)}; it goes on with these, and ends elsewhere than it would have`,
        ]),
    // Earlier checkpoints do not say what they were judged by.
    ...(judgedThen === undefined || judgedThen === judgedNow
      ? []
      : [
          `the validation pictures are not those the run began with ${counts(judgedNow, judgedThen)}; what it measures now is not to be compared with what it measured then, and the best checkpoint may not be the best`,
        ]),
  ];
}

/** A folder may be moved while a run waits: the last two parts of a path tell a picture. */
const nameOf = (id: string): string => id.split(/[/\\]/).slice(-2).join('/');

/** A recipe as the data allow it. @throws ARGUMENT for class weights of classes that stand each for itself */
export function fitting(recipe: Recipe, data: Dataset, notes: string[]): Recipe {
  let fitted = recipe;
  if (data.labels === 'several' && recipe.loss !== 'binaryCrossEntropy') {
    notes.push('labels hold together here: the loss is binaryCrossEntropy, each class for itself');
    fitted = { ...fitted, loss: 'binaryCrossEntropy' };
  }
  // Targets are weighed, and beyond 1 this loss has no least value.
  if (fitted.classWeights && fitted.loss === 'binaryCrossEntropy')
    throw new ResidualError(
      'ARGUMENT',
      'classWeights weighs crossEntropy; with binaryCrossEntropy, where each class stands for itself, use sampling=balanced',
      { setting: 'classWeights' },
    );
  if (recipe.batch > data.train.length)
    notes.push(`there are ${data.train.length} training pictures: that is the batch, not ${recipe.batch}`);
  return fitted;
}
