import { type ErrorDetails, nearest, ResidualError } from '../errors.js';
import type { ClassLabel } from './classes.js';

/**
 * Finds each name among a model's classes and answers with their indices, in the order of the names. A name is
 *
 * - an index, `386`, unless the labels are numbers themselves;
 * - a WordNet id, `n02504458`, or one with its label behind it, `n02504458_African_elephant`;
 * - a label as the model has it; then one that differs in case, spaces, hyphens, underscores or other signs only, as
 *   `african elephant`;
 * - one term of a label that is a list of synonyms (`tench, Tinca tinca`), on either side: the first term before any other.
 *
 * Nothing is guessed: what fits no class, several classes, or the class of another name is an error that names it.
 *
 * @param from what the names stand in, for the error: a file, `the folders of photos/`
 * @throws CLASSES when none is named; naming every name without a class (and the nearest label), with several, or with another's.
 * @example matchClasses(['n02504458', 'tusker'], await imagenetClasses()) // [386, 101]
 */
export function matchClasses(
  names: readonly string[],
  classes: readonly ClassLabel[],
  from: string = 'class names',
): number[] {
  if (names.length > 0 && names.every((name) => name.trim() === ''))
    throw new ResidualError('CLASSES', `${from}: no class is named; give labels or indices`);
  return resolve(names, classes, from, [unmatched, ambiguous, repeated]);
}

function resolve(
  names: readonly string[],
  classes: readonly ClassLabel[],
  from: string,
  checks: readonly Check[],
): number[] {
  const find = classFinder(classes);
  const found = names.map((name) => find(name));
  const wrong = checks.map((check) => check(names, found, classes)).filter((one) => one !== undefined);
  if (wrong.length === 0) return found.flat();
  throw new ResidualError(
    'CLASSES',
    `${from}: ${wrong.map(({ text }) => text).join('; ')}`,
    Object.assign({}, ...wrong.map(({ details }) => details)) as ErrorDetails,
  );
}

/**
 * What pictures in a folder-per-class tree show: for each path the class that the folder it lies in is named after.
 *
 * @param files paths; `photos/n02504458/1.jpg` lies in `n02504458`
 * @throws CLASSES as `matchClasses`, and for a path without a folder.
 * @example classesOfFolders(['val/tench/1.jpg', 'val/crane/2.jpg'], classes) // refused: ImageNet has two cranes
 */
export function classesOfFolders(files: readonly string[], classes: readonly ClassLabel[]): number[] {
  const folders = files.map((file) => {
    const folder = /([^/\\]+)[/\\]+[^/\\]+$/.exec(file)?.[1];
    if (folder !== undefined && !/^\.{1,2}$/.test(folder)) return folder;
    throw new ResidualError('CLASSES', `${file}: lies in no folder that could be named after its class`, { file });
  });
  const names = [...new Set(folders)];
  // Two folders may well be of one class: `train/cat` and `more/Cat`.
  const indices = resolve(names, classes, 'names of folders', [unmatched, ambiguous]);
  const byName = new Map(names.map((name, i) => [name, indices[i]]));
  return folders.map((folder) => byName.get(folder) as number);
}

/**
 * As `matchClasses`, for names of which several may mean the same class.
 * @throws CLASSES naming every name without a class, and with several.
 */
export const findClasses = (names: readonly string[], classes: readonly ClassLabel[], from: string): number[] =>
  resolve(names, classes, from, [unmatched, ambiguous]);

/** A name for each class that means it alone, though a label may stand twice in a list. */
export const ownNames = (classes: readonly ClassLabel[]): string[] =>
  classes.map(({ label }, index) => (areNumbers(classes) ? label : String(index)));

/** All classes that a name may mean; none, one or several. */
export function classFinder(classes: readonly ClassLabel[]): (name: string) => readonly number[] {
  const [wnids, exact, folded, first, any, words] = Array.from({ length: 6 }, () => new Map<string, number[]>());
  const add = (map: Map<string, number[]>, key: string, index: number) => {
    const kept = map.get(key);
    if (kept === undefined) map.set(key, [index]);
    else if (kept.at(-1) !== index) kept.push(index);
  };
  classes.forEach(({ label, wnid }, index) => {
    if (wnid !== undefined) add(wnids, wnid, index);
    add(exact, label, index);
    add(folded, fold(label), index);
    for (const word of wordsOf(label)) add(words, word, index);
    termsOf(label).forEach((term, i) => {
      if (i === 0) add(first, fold(term), index);
      add(any, fold(term), index);
    });
  });
  // Folders `1` to `4`, say: a number there is a name.
  const numbered = areNumbers(classes);
  const byLabel = (text: string): readonly number[] => {
    const key = fold(text);
    return exact.get(text) ?? (key === '' ? [] : (folded.get(key) ?? first.get(key) ?? any.get(key) ?? []));
  };
  const byTerms = (text: string): readonly number[] => {
    const whole = byLabel(text);
    const terms = termsOf(text);
    if (whole.length > 0 || terms.length < 2) return whole;
    const [head, ...others] = terms.map(byLabel);
    return head.length > 0 ? head : union(others);
  };
  return (name) => {
    const text = name.trim();
    const [, wnid, rest] = /^(n\d{8})(?:[\s_,-]+(.*))?$/.exec(text) ?? [];
    const byWnid = wnid === undefined ? undefined : wnids.get(wnid);
    if (byWnid !== undefined) {
      // An id with another class's label behind it is a mistake in one of the two, and so it is with words that stand in
      // other labels and none that stands in its own; words of no label say nothing against it.
      const behind = rest ? byTerms(rest) : byWnid;
      if (behind.some((index) => byWnid.includes(index))) return byWnid;
      if (behind.length > 0) return union([byWnid, behind]);
      const spoken = wordsOf(rest).flatMap((word) => words.get(word) ?? []);
      return spoken.length === 0 ? byWnid : byWnid.filter((index) => spoken.includes(index));
    }
    const byName = byTerms(text);
    const index = isNumber(text) && !numbered ? Number(text) : Number.NaN;
    return index < classes.length ? union([byName, [index]]) : byName;
  };
}

const isNumber = (text: string): boolean => /^\d+$/.test(text);
const areNumbers = (classes: readonly ClassLabel[]): boolean => classes.every(({ label }) => isNumber(label));

/** Letters and digits only, in lower case. */
const fold = (text: string): string =>
  text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '');

const termsOf = (label: string): string[] =>
  label
    .split(',')
    .map((term) => term.trim())
    .filter(Boolean);

const wordsOf = (text: string): string[] =>
  text
    .split(/[^\p{L}\p{N}]+/u)
    .map(fold)
    .filter(Boolean);

const union = (lists: readonly (readonly number[])[]): number[] => [...new Set(lists.flat())];

/** One kind of mistake, in words and as data. */
interface Mistake {
  readonly text: string;
  readonly details: ErrorDetails;
}

type Check = (
  names: readonly string[],
  found: readonly (readonly number[])[],
  classes: readonly ClassLabel[],
) => Mistake | undefined;

const unmatched: Check = (names, found, classes) => {
  const lost = names.filter((_, i) => found[i].length === 0);
  if (lost.length === 0) return undefined;
  // Labels and, for `elefant`, their words.
  const labels = new Map(classes.flatMap(({ label }) => label.split(/[\s_,-]+/).map((word) => [word, label])));
  for (const { label } of classes) labels.set(label, label);
  const byWnid = new Map(classes.map((one, index) => [one.wnid, index]));
  const hints = lost.slice(0, listed).map((name) => {
    if (/^[+-]?\d+$/.test(name.trim())) return `"${name}" (indices go from 0 to ${classes.length - 1})`;
    const wnid = /^n\d{8}(?!\d)/.exec(name.trim())?.[0];
    const own = wnid && byWnid.get(wnid);
    if (typeof own === 'number') return `"${name}" (the id is that of ${describe(own, classes)})`;
    const near = fold(name).length > 2 ? nearest(name, labels.keys()) : undefined;
    return `"${name}"${near === undefined ? '' : ` (nearest: "${labels.get(near)}")`}`;
  });
  const are = lost.length === 1 ? 'is no class' : 'are no classes';
  return {
    text: `${enumerate(hints, lost.length)} ${are} of the model, which has ${classes.length}`,
    details: { unmatched: lost },
  };
};

const ambiguous: Check = (names, found, classes) => {
  const several = names.flatMap((name, i) => (found[i].length > 1 ? [{ name, indices: found[i] }] : []));
  if (several.length === 0) return undefined;
  const words = several
    .slice(0, listed)
    .map(({ name, indices }) => `"${name}" (${indices.map((index) => describe(index, classes)).join(' or ')})`);
  const is = several.length === 1 ? 'is' : 'are';
  return {
    text: `${enumerate(words, several.length)} ${is} ambiguous, give the index${classes.some(({ wnid }) => wnid) ? ' or the WordNet id' : ''}`,
    details: { ambiguous: several.map(({ name }) => name) },
  };
};

const repeated: Check = (names, found, classes) => {
  const byIndex = new Map<number, string[]>();
  names.forEach((name, i) => {
    if (found[i].length === 1) byIndex.set(found[i][0], [...(byIndex.get(found[i][0]) ?? []), name]);
  });
  const twice = [...byIndex].filter(([, same]) => same.length > 1);
  if (twice.length === 0) return undefined;
  const words = twice
    .slice(0, listed)
    .map(
      ([index, same]) => `${same.map((name) => `"${name}"`).join(' and ')} mean the same ${describe(index, classes)}`,
    );
  return { text: enumerate(words, twice.length), details: { repeated: twice.flatMap(([, same]) => same) } };
};

/** Names that a message spells out; its details hold all. */
const listed = 20;

const enumerate = (words: readonly string[], count: number): string =>
  `${words.join(', ')}${count > words.length ? ` and ${count - words.length} more` : ''}`;

/** `class 134, n02012849 crane`. */
function describe(index: number, classes: readonly ClassLabel[]): string {
  const { wnid, label } = classes[index];
  return `class ${index}, ${wnid === undefined ? '' : `${wnid} `}${label}`;
}
