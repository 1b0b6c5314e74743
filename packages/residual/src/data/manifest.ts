import { readFile, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { ResidualError } from '../errors.js';
import { classList } from './classes.js';
import { parseCsv } from './csv.js';
import type { Dataset, Example, Target } from './dataset.js';
import { pathIn, type SplitOptions, splitOff } from './split.js';
import { isPicture } from './tree.js';

/** What a line says. */
interface Entry {
  readonly line: number;
  readonly path: string;
  /** One label, several, or a share of each. */
  readonly label: string | readonly string[] | Readonly<Record<string, number>>;
  readonly part: 'train' | 'validation' | 'test';
}

const pathNames = ['path', 'file', 'filename', 'image', 'image_path', 'file_name'];
const labelNames = ['label', 'labels', 'class', 'category', 'target'];
const partNames = ['split', 'part', 'set', 'subset'];
const parts: Record<string, Entry['part']> = {
  '': 'train',
  train: 'train',
  training: 'train',
  val: 'validation',
  valid: 'validation',
  validation: 'validation',
  test: 'test',
};

/** Longer files are refused: 400 MB. */
const longest = 400e6;

/**
 * A file that says what each picture shows. Paths are from where the file lies.
 *
 * - CSV, comma, tab or semicolon: columns `path` and `label`, and `split` (train, validation or test) where there is one;
 *   a column `labels` has any number of labels with `|` between them. Without a header: path, label.
 * - JSON Lines: `{"path": "a.jpg", "label": "cat"}`, `"labels": ["cat", "indoors"]`, or shares, `"labels": {"cat": 0.7,
 *   "dog": 0.3}`; and `"split"`.
 *
 * Classes are sorted by code point; labels that are all whole numbers, as `7` but not `07`, are indices and go by number.
 *
 * @throws FILE, also when its first picture is not there; DATA naming the line that cannot be understood; CLASSES; what
 * `splitOff` throws.
 * @example const data = await manifest('photos.csv', { validation: 0.2, seed: 1 });
 */
export async function manifest(file: string, options: SplitOptions = {}): Promise<Dataset> {
  const text = await read(file);
  const entries = (/^\s*\{/.test(text) ? jsonLines : csv)(text, file);
  if (entries.length === 0) throw new ResidualError('DATA', `${file}: names no picture`, { file });
  const kind = kindOf(entries, file);
  const names = new Set(
    entries.flatMap(({ label }) =>
      typeof label === 'string' ? [label] : Array.isArray(label) ? label : Object.keys(label),
    ),
  );
  const classes = [...names].every((name) => /^(0|[1-9]\d{0,5})$/.test(name))
    ? byNumber(names, file)
    : classList(names, file);
  const index = new Map(classes.map((name, i) => [name, i]));
  const folder = dirname(file);
  const examples = { train: [] as Example[], validation: [] as Example[], test: [] as Example[] };
  for (const { path, label, part } of entries) {
    const full = isAbsolute(path) ? path : join(folder, path);
    examples[part].push({ id: full, source: { kind: 'file', path: full }, target: targetOf(label, index) });
  }
  const first = Object.values(examples).flat()[0].id;
  await stat(first).catch((cause) => {
    throw new ResidualError(
      'FILE',
      `${file}: its first picture, ${first}, is not there; paths are from the folder of the file`,
      { file },
      { cause },
    );
  });
  if (examples.train.length === 0)
    throw new ResidualError('DATA', `${file}: no picture is for training; all say validation or test`, { file });
  const { train, validation, test } = examples;
  const dataset: Dataset = {
    classes,
    labels: kind,
    train,
    ...(validation.length > 0 && { validation }),
    ...(test.length > 0 && { test }),
    notes: [],
  };
  return splitOff(dataset, options, ({ id }) => pathIn(folder, id));
}

async function read(file: string): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size > longest) throw new Error(`it has ${size} bytes; the limit is ${longest}`);
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new ResidualError('FILE', `${file}: cannot be read: ${(cause as Error).message}`, { file }, { cause });
  }
}

function csv(text: string, file: string): Entry[] {
  const rows = parseCsv(text, file);
  const titles = rows[0]?.cells.map((cell) => cell.toLowerCase()) ?? [];
  const find = (names: readonly string[]) => titles.findIndex((title) => names.includes(title));
  let [path, label, part] = [find(pathNames), find(labelNames), find(partNames)];
  const headed = path >= 0 && label >= 0;
  if (!headed) {
    if (!(titles.length >= 2 && isPicture(titles[0])))
      throw new ResidualError(
        'DATA',
        `${file}: expected columns path and label but received ${titles.slice(0, 8).join(', ') || 'nothing'}`,
        { file },
      );
    [path, label, part] = [0, 1, titles.length > 2 ? 2 : -1];
  }
  const several = headed && titles[label] === 'labels';
  return rows.slice(headed ? 1 : 0).map(({ line, cells }) => {
    if (cells.length <= Math.max(path, label) || cells[path] === '')
      throw wrong(file, line, `expected a path and a label but received ${cells.join(', ')}`);
    const text = cells[label];
    if (text === '' && !several) throw wrong(file, line, 'the label is empty');
    return {
      line,
      path: cells[path],
      label: several
        ? text
            .split('|')
            .map((one) => one.trim())
            .filter(Boolean)
        : text,
      part: partOf(cells[part] ?? '', file, line),
    };
  });
}

function jsonLines(text: string, file: string): Entry[] {
  const entries: Entry[] = [];
  text.split(/\r?\n/).forEach((row, i) => {
    if (row.trim() === '') return;
    const line = i + 1;
    let value: unknown;
    try {
      value = JSON.parse(row);
    } catch (cause) {
      throw wrong(file, line, `is no JSON: ${(cause as Error).message}`);
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw wrong(file, line, 'expected an object with path and label');
    const fields = value as Record<string, unknown>;
    const find = (names: readonly string[]) => fields[names.find((name) => Object.hasOwn(fields, name)) ?? ''];
    const [path, label, part] = [find(pathNames), find(labelNames), find(partNames) ?? ''];
    if (typeof path !== 'string' || path === '') throw wrong(file, line, 'expected a path');
    entries.push({ line, path, label: labelOf(label, file, line), part: partOf(String(part), file, line) });
  });
  return entries;
}

function labelOf(label: unknown, file: string, line: number): Entry['label'] {
  if ((typeof label === 'string' && label !== '') || Number.isInteger(label)) return String(label);
  if (Array.isArray(label) && label.every((one) => (typeof one === 'string' && one !== '') || Number.isInteger(one)))
    return label.map(String);
  if (typeof label === 'object' && label !== null && !Array.isArray(label)) {
    const shares = Object.values(label);
    if (shares.length > 0 && shares.every((share) => typeof share === 'number' && share >= 0 && share <= 1)) {
      const sum = shares.reduce((a: number, b) => a + (b as number), 0);
      // Thirds to three places make 0.999.
      if (Math.abs(sum - 1) > 0.01)
        throw wrong(file, line, `the shares of the labels sum to ${Number(sum.toFixed(4))} and must to 1`);
      return label as Record<string, number>;
    }
  }
  throw wrong(
    file,
    line,
    `expected a label, a list of labels or shares from 0 to 1 by label but received ${JSON.stringify(label)?.slice(0, 80)}`,
  );
}

function partOf(name: string, file: string, line: number): Entry['part'] {
  const key = name.trim().toLowerCase();
  if (Object.hasOwn(parts, key)) return parts[key];
  throw wrong(file, line, `expected train, validation or test for the split but received "${name}"`);
}

const wrong = (file: string, line: number, what: string): ResidualError =>
  new ResidualError('DATA', `${file}: line ${line}: ${what}`, { file, line });

function kindOf(entries: readonly Entry[], file: string): Dataset['labels'] {
  const of = ({ label }: Entry) => (typeof label === 'string' ? 'one' : Array.isArray(label) ? 'several' : 'soft');
  const kind = of(entries[0]);
  const other = entries.find((entry) => of(entry) !== kind);
  if (other)
    throw wrong(
      file,
      other.line,
      `has ${words[of(other)]} where the first line has ${words[kind]}; all must be of one kind`,
    );
  return kind;
}

const words = { one: 'one label', several: 'a list of labels', soft: 'shares' };

/** Labels that are indices: 0 to the greatest. */
function byNumber(names: ReadonlySet<string>, file: string): string[] {
  const greatest = [...names].reduce((most, name) => Math.max(most, Number(name)), 0);
  const classes = Array.from({ length: greatest + 1 }, (_, i) => String(i));
  const missing = classes.filter((name) => !names.has(name));
  if (missing.length > 0)
    throw new ResidualError(
      'CLASSES',
      `${file}: labels go from 0 to ${greatest} but no picture shows ${missing.slice(0, 10).join(', ')}; number the classes without gaps, or name them`,
      { file },
    );
  return classes;
}

function targetOf(label: Entry['label'], index: ReadonlyMap<string, number>): Target {
  const at = (name: string): number => index.get(name) as number;
  if (typeof label === 'string') return at(label);
  if (Array.isArray(label)) return [...new Set((label as string[]).map(at))].sort((a, b) => a - b);
  const shares = new Float32Array(index.size);
  for (const [name, share] of Object.entries(label)) shares[at(name)] = share;
  return shares;
}
