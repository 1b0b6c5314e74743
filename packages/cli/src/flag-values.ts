import { ResidualError } from 'residual/errors';

// What is typed behind an option becomes a value, or an error that says what was expected.

/** A whole number from `least` to `most`. */
export const integer =
  (least: number, most: number) =>
  (text: string, flag: string): number => {
    const value = Number(text);
    if (/^[+-]?\d+$/.test(text) && value >= least && value <= most) return value;
    throw refused(`an integer from ${least} to ${most}`, flag, text);
  };

/** A number from `least` to `most`. */
export const number =
  (least: number, most: number) =>
  (text: string, flag: string): number => {
    const value = Number(text);
    if (text.trim() !== '' && value >= least && value <= most) return value;
    throw refused(`a number from ${least} to ${most}`, flag, text);
  };

/** One of a few words. */
export const oneOf = <const Word extends string>(...words: readonly Word[]) => {
  const parse = (text: string, flag: string): Word => {
    const word = words.find((known) => known === text);
    if (word !== undefined) return word;
    throw refused(words.join(', ').replace(/, ([^,]*)$/, ' or $1'), flag, text);
  };
  return Object.assign(parse, { words });
};

/** Several of what `parse` takes, with commas between. */
export const list = <Value>(parse: ((text: string, flag: string) => Value) & { readonly words?: readonly string[] }) =>
  Object.assign(
    (text: string, flag: string): Value[] => text.split(',').map((one) => parse(one.trim(), flag)),
    parse.words ? { words: parse.words } : {},
  );

/** Sides of a picture in pixels: `224`, or height and width as `192x256`. */
export const size = (text: string, flag: string): number | readonly [height: number, width: number] => {
  const sides = /^(\d{1,5})(?:[x×](\d{1,5}))?$/.exec(text)?.slice(1, 3).filter(Boolean).map(Number) ?? [];
  const [height, width] = sides;
  if (sides.length === 0 || sides.includes(0))
    throw refused('a side such as 224, or height and width as 192x256,', flag, text);
  return width === undefined ? height : [height, width];
};

/** A number of bytes: `500MB`, `2GB`, `1GiB`. */
export const bytes = (text: string, flag: string): number => {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)\s*([kmgt]i?b|b)?$/i.exec(text.trim()) ?? [];
  if (digits === undefined) throw refused('a size such as 500MB or 2GB', flag, text);
  const base = /i/i.test(unit) ? 1024 : 1000;
  return Number(digits) * base ** ' kmgt'.indexOf(unit.length > 1 ? unit[0].toLowerCase() : ' ');
};

/** Any text but the empty one. */
export const text = (given: string, flag: string): string => {
  if (given.trim() !== '') return given;
  throw refused('a name or a path', flag, given);
};

const refused = (expected: string, flag: string, received: string) =>
  new ResidualError('ARGUMENT', `Expected ${expected} for ${flag} but received ${received || 'nothing'}`, {
    flag,
    received,
  });
