/** Whether a value out of a file is what it should be. */
export type Check<T> = (value: unknown) => value is T;

/** Sizes and counts beyond this are damage: no ResNet comes near, and nothing may ask for memory without bound. */
export const largest = 65_536;
const longestName = 1000;

export const flag: Check<boolean> = (value): value is boolean => typeof value === 'boolean';

export const text: Check<string> = (value): value is string =>
  typeof value === 'string' && value.length > 0 && value.length <= longestName;

export const whole =
  (least: number, most = largest): Check<number> =>
  (value): value is number =>
    Number.isInteger(value) && (value as number) >= least && (value as number) <= most;

/** A real number from `least` to below `below`. */
export const between =
  (least: number, below: number): Check<number> =>
  (value): value is number =>
    typeof value === 'number' && value >= least && value < below;

export const oneOf =
  <T extends string>(...words: readonly T[]): Check<T> =>
  (value): value is T =>
    words.includes(value as T);

/** A list of `length` items, or of `least` to `most`. */
export const list =
  <T extends readonly unknown[]>(
    length: number | readonly [least: number, most: number],
    item: Check<T[number]>,
  ): Check<T> =>
  (value): value is T => {
    const [least, most] = typeof length === 'number' ? [length, length] : length;
    return Array.isArray(value) && value.length >= least && value.length <= most && value.every((part) => item(part));
  };

/** An object, as JSON has them. */
export const asRecord = (value: unknown): Record<string, unknown> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;

/** A piece of the file for a message. */
export function show(value: unknown): string {
  const words = JSON.stringify(value) ?? 'missing';
  return words.length > 60 ? `${words.slice(0, 60)}…` : words;
}
