import { ResidualError } from '../errors.js';

/** What one output of a classifier stands for. */
export interface ClassLabel {
  readonly label: string;
  /** WordNet id, `n02504458`; ImageNet's classes have one. */
  readonly wnid?: string;
}

/** The 1000 classes of ImageNet (ILSVRC 2012), in the order of every published classifier. */
export async function imagenetClasses(): Promise<readonly ClassLabel[]> {
  const { imagenetLines } = await import('./imagenet.js');
  return imagenetLines
    .trim()
    .split('\n')
    .map((line) => ({ wnid: line.slice(0, 9), label: line.slice(10) }));
}

/** The ten classes of CIFAR-10, in the data set's order. */
export const cifar10Classes: readonly ClassLabel[] = [
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
].map((label) => ({ label }));

/**
 * A class list from the text of a file: a JSON list of labels, Keras' `{"0": ["n01440764", "tench"], …}`, Hugging
 * Face's `id2label`, labels by WordNet id, indices by label (`{"cat": 0, …}`), a Python dictionary
 * `{0: 'tench, Tinca tinca', …}`, or one label a line, alone, behind its WordNet id (`n01440764 tench`), or that id alone.
 * @throws CLASSES when it is none of these or has a gap.
 */
export function parseClasses(text: string, file = 'labels'): readonly ClassLabel[] {
  const trimmed = text.trim();
  if (!trimmed) throw new ResidualError('CLASSES', `${file} is empty; give one label a line or a JSON list`, { file });
  if (/(?![\t\r\n\f\v])\p{Cc}|\ufffd/u.test(trimmed))
    throw new ResidualError(
      'CLASSES',
      `${file} is no text in UTF-8: it holds control characters or broken ones; give a text file with one label a line or a JSON list`,
      { file },
    );
  if (!/^[[{]/.test(trimmed)) return trimmed.split(/\r?\n/).map((line) => toLabel(line.trim(), file));
  let json: unknown;
  try {
    json = JSON.parse(trimmed);
  } catch (cause) {
    const dictionary = pythonDictionary(trimmed);
    if (dictionary) return numbered(dictionary, file);
    throw new ResidualError(
      'CLASSES',
      `${file} begins like JSON but is none: ${(cause as Error).message}`,
      { file },
      { cause },
    );
  }
  if (Array.isArray(json)) return json.map((entry) => toLabel(entry, file));
  const entries = Object.entries(
    (json as { id2label?: Record<string, unknown> }).id2label ?? (json as Record<string, unknown>),
  );
  if (entries.length > 0 && entries.every(([key]) => /^n\d{8}$/.test(key)))
    return entries.map(([wnid, label]) => toLabel([wnid, label], file));
  if (entries.length > 0 && entries.every(([, value]) => Number.isInteger(value)))
    return numbered(
      entries.map(([label, index]) => [String(index), label]),
      file,
      '; a label may be there twice, of which JSON keeps the last: then give a list, or the labels by number',
    );
  return numbered(entries, file);
}

/** Labels by their numbers, in whatever order these come. @throws CLASSES for a gap. */
function numbered(
  entries: readonly (readonly [index: string, entry: unknown])[],
  file: string,
  hint = '',
): ClassLabel[] {
  const list = entries.map(([index, entry]) => [Number(index), entry] as const).sort(([a], [b]) => a - b);
  list.forEach(([index], i) => {
    if (index !== i)
      throw new ResidualError('CLASSES', `${file} has no class ${i}; number the classes from 0 without gaps${hint}`, {
        file,
      });
  });
  return list.map(([, entry]) => toLabel(entry, file));
}

/** The entries of `{0: 'tench, Tinca tinca',` and so on, one a line, as ImageNet's labels are often handed on. */
function pythonDictionary(text: string): [string, string][] | undefined {
  const lines = text.replace(/^\{|\}$/g, '').split(/\r?\n/);
  const entries = lines
    .filter((line) => line.trim() !== '')
    .map((line) => /^\s*(\d+):\s*(['"])(.*)\2,?\s*$/.exec(line));
  return entries.every((entry) => entry !== null) ? entries.map(([, index, , label]) => [index, label]) : undefined;
}

function toLabel(entry: unknown, file: string): ClassLabel {
  if (Array.isArray(entry) && entry.length === 2 && entry.every((part) => typeof part === 'string'))
    return { wnid: entry[0], label: entry[1] };
  if (typeof entry !== 'string' || !entry)
    throw new ResidualError('CLASSES', `${file}: expected a label but received ${JSON.stringify(entry)}`, { file });
  const [, wnid, label] = /^(n\d{8})(?:\s+(.+))?$/.exec(entry) ?? [];
  return wnid ? { wnid, label: label ?? wnid } : { label: entry };
}
