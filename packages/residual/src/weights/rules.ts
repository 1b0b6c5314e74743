/**
 * One name in two spellings: ours, and a file's. Both are templates; what stands in braces is the same on both sides:
 * `{s}` a number, `{s-1}` one less than it, `{b:letter}` a, b, c … for 0, 1, 2 …, `{role}` what a parameter is,
 * `{affine}` and `{running}` a BatchNorm's learnt and measured ones. Parentheses hold what a file may leave out.
 * A third element `read` keeps a rule from being used to write.
 *
 * @example ['layer{s}.{b}.conv{u}.{role}', 'encoder.stages.{s-1}.layers.{b}.layer.{u-1}.convolution.{role}']
 */
export type Rule = readonly [ours: string, theirs: string, only?: 'read'];

/** Whether a block that letters would count is called b1, b2 … instead, as He's files of 101 and 152 layers do. */
export type Numbered = (stage: number) => boolean;

export interface Translation {
  /** Our name for a file's; undefined when no rule knows it. */
  read(theirs: string): string | undefined;
  /** A file's name for ours. */
  write(ours: string, numbered?: Numbered): string | undefined;
}

const words: Readonly<Record<string, string>> = {
  role: 'weight|bias|running_mean|running_var',
  affine: 'weight|bias',
  running: 'running_mean|running_var',
  rest: '.+',
};
const letters = 'abcdefghijklmnopqrstuvwxyz';

interface Hole {
  readonly key: string;
  readonly offset: number;
  readonly kind: 'word' | 'number' | 'letter';
}

interface Template {
  readonly pattern: RegExp;
  readonly holes: readonly Hole[];
  /** What stands before, between and behind the holes. */
  readonly pieces: readonly string[];
}

function parse(template: string): Template {
  const holes: Hole[] = [];
  const pieces: string[] = [''];
  let pattern = '';
  for (const token of template.match(/\{[^}]*\}|\([^)]*\)|[^{(]+/g) ?? []) {
    const [, key, offset, letter] = /^\{(\w+)([+-]\d)?(:letter)?\}$/.exec(token) ?? [];
    if (key === undefined) {
      const text = token.replace(/[()]/g, '');
      pattern += token === text ? escaped(text) : `(?:${escaped(text)})?`;
      pieces[pieces.length - 1] += text;
      continue;
    }
    const word = Object.hasOwn(words, key) ? words[key] : undefined;
    holes.push({ key, offset: Number(offset ?? 0), kind: word ? 'word' : letter ? 'letter' : 'number' });
    pattern += `(${word ?? (letter ? '[a-z]|b[1-9]\\d{0,3}' : '0|[1-9]\\d{0,3}')})`;
    pieces.push('');
  }
  return { pattern: new RegExp(`^${pattern}$`), holes, pieces };
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

type Values = Map<string, string | number>;

function match({ pattern, holes }: Template, name: string): Values | undefined {
  const found = pattern.exec(name);
  if (!found) return undefined;
  const values: Values = new Map();
  for (const [i, { key, offset, kind }] of holes.entries()) {
    const text = found[i + 1];
    const value =
      kind === 'word'
        ? text
        : (kind === 'number' ? Number(text) : text.length > 1 ? Number(text.slice(1)) : letters.indexOf(text)) - offset;
    if (typeof value === 'number' && value < 0) return undefined;
    values.set(key, value);
  }
  return values;
}

/** @returns undefined for a block beyond the alphabet or a number below 0. */
function fill({ holes, pieces }: Template, values: Values, numbered: Numbered): string | undefined {
  let name = pieces[0];
  for (const [i, { key, offset, kind }] of holes.entries()) {
    const value = values.get(key) as string | number;
    if (kind === 'word') name += value;
    else {
      const index = (value as number) + offset;
      const counted = key === 'b' && index > 0 && numbered(values.get('s') as number);
      const text = kind === 'number' ? String(index) : counted ? `b${index}` : letters[index];
      if (index < 0 || text === undefined) return undefined;
      name += text;
    }
    name += pieces[i + 1];
  }
  return name;
}

/** Rules as a translation; the first that fits decides. */
export function translation(rules: readonly Rule[]): Translation {
  const parsed = rules.map(([ours, theirs, only]) => ({ ours: parse(ours), theirs: parse(theirs), only }));
  const never = () => false;
  return {
    read(name) {
      for (const { ours, theirs } of parsed) {
        const values = match(theirs, name);
        if (values) return fill(ours, values, never);
      }
      return undefined;
    },
    write(name, numbered = never) {
      for (const { ours, theirs, only } of parsed) {
        const values = only === 'read' ? undefined : match(ours, name);
        if (values) return fill(theirs, values, numbered);
      }
      return undefined;
    },
  };
}
