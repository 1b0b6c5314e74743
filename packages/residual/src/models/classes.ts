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
 * Face's `id2label`, or one label a line.
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
    throw new ResidualError(
      'CLASSES',
      `${file} begins like JSON but is none: ${(cause as Error).message}`,
      { file },
      { cause },
    );
  }
  if (Array.isArray(json)) return json.map((entry) => toLabel(entry, file));
  const entries = (json as { id2label?: object }).id2label ?? (json as object);
  const byIndex = Object.entries(entries).map(([index, entry]) => [Number(index), entry] as const);
  const list = byIndex.sort(([a], [b]) => a - b);
  list.forEach(([index], i) => {
    if (index !== i)
      throw new ResidualError('CLASSES', `${file} has no class ${i}; number the classes from 0 without gaps`, { file });
  });
  return list.map(([, entry]) => toLabel(entry, file));
}

function toLabel(entry: unknown, file: string): ClassLabel {
  if (Array.isArray(entry) && entry.length === 2 && entry.every((part) => typeof part === 'string'))
    return { wnid: entry[0], label: entry[1] };
  if (typeof entry !== 'string' || !entry)
    throw new ResidualError('CLASSES', `${file}: expected a label but received ${JSON.stringify(entry)}`, { file });
  const [, wnid, label] = /^(n\d{8})\s+(.+)$/.exec(entry) ?? [];
  return wnid ? { wnid, label } : { label: entry };
}
