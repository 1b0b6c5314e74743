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
 * Face's `id2label`, labels by WordNet id, indices by label or WordNet id (`{"cat": 0, …}`), any of these as Python
 * writes them (`{0: 'tench, Tinca tinca', …}`), or one label a line, alone, behind its WordNet id (`n01440764 tench`) or
 * its index (`0 tench`), or that id alone.
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
  if (!/^[[{]/.test(trimmed))
    return byLine(
      trimmed.split(/\r?\n/).map((line) => line.trim()),
      file,
    );
  const json = parseLiteral(trimmed, file);
  if (Array.isArray(json)) return json.map((entry) => toLabel(entry, file));
  const entries = Object.entries(
    (json as { id2label?: Record<string, unknown> }).id2label ?? (json as Record<string, unknown>),
  );
  if (entries.length > 0 && entries.every(([, value]) => Number.isInteger(value)))
    return numbered(
      entries.map(([label, index]) => [String(index), label]),
      file,
      '; a label may be there twice, of which JSON keeps the last: then give a list, or the labels by number',
    );
  if (entries.length > 0 && entries.every(([key]) => /^n\d{8}$/.test(key)))
    return entries.map(([wnid, label]) => toLabel([wnid, label], file));
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

/**
 * One label a line. Where each has its index before it, `0 tench` or `n01440764 0 tench`, that counts and not the line.
 * Lines numbered from 1 in their order stay as they are: `1 euro` and `2 euro` may be the labels.
 */
function byLine(lines: readonly string[], file: string): ClassLabel[] {
  const found = lines.map((line) => /^(n\d{8}\s+)?(\d+)(?:\s*[:,;|)=\t]\s*|\.\s+|\s+(?:[-–]\s+)?)(.+)$/.exec(line));
  const entries = found.flatMap((match) => (match ? [[match[2], `${match[1] ?? ''}${match[3]}`] as const] : []));
  if (entries.length < lines.length || entries.every(([index], i) => Number(index) === i + 1))
    return lines.map((line) => toLabel(line, file));
  return numbered(
    entries,
    file,
    ', in any order, as the lines begin with numbers; if those are part of the labels, give a JSON list',
  );
}

/** What a text in JSON holds, or in the words in which Python writes the same. */
function parseLiteral(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    try {
      return JSON.parse(pythonAsJson(text));
    } catch {
      throw new ResidualError(
        'CLASSES',
        `${file} begins like JSON but is none: ${(cause as Error).message}`,
        { file },
        { cause },
      );
    }
  }
}

/** Strings in either quotes, numbers as keys, tuples, and commas at the end: `{0: ('n01440764', 'tench'),}`. */
const pythonAsJson = (text: string): string =>
  text.replace(
    // A quote that nothing closes takes the rest: it is no JSON then either.
    /'((?:[^'\\\n]|\\.)*)'|"(?:[^"\\\n]|\\.)*"|['"][\s\S]*|\d+(?=\s*:)|,(?=\s*[\]})])|[()]/g,
    (token, single?: string) => {
      if (single !== undefined) return `"${single.replace(/\\'|"|\\./g, (part) => quoted[part] ?? part)}"`;
      if (/^\d/.test(token)) return `"${token}"`;
      return brackets[token] ?? token;
    },
  );

const quoted: Readonly<Record<string, string>> = { "\\'": "'", '"': '\\"' };
const brackets: Readonly<Record<string, string>> = { '(': '[', ')': ']', ',': '' };

function toLabel(entry: unknown, file: string): ClassLabel {
  if (Array.isArray(entry) && entry.length === 2 && entry.every((part) => typeof part === 'string'))
    return { wnid: entry[0], label: entry[1] };
  if (typeof entry !== 'string' || !entry)
    throw new ResidualError('CLASSES', `${file}: expected a label but received ${JSON.stringify(entry)}`, { file });
  const [, wnid, label] = /^(n\d{8})(?:\s+(.+))?$/.exec(entry) ?? [];
  return wnid ? { wnid, label: label ?? wnid } : { label: entry };
}
