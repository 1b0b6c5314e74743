import { ResidualError } from '../errors.js';

/** By code point: the order that every language sorts strings in that knows no locale. */
export function byCodePoint(a: string, b: string): number {
  const [x, y] = [[...a], [...b]];
  for (let i = 0; i < Math.min(x.length, y.length); i++)
    if (x[i] !== y[i]) return (x[i].codePointAt(0) as number) - (y[i].codePointAt(0) as number);
  return x.length - y.length;
}

/**
 * The class list of what was found, sorted by code point.
 * @throws CLASSES for two whose names differ in case only: another file system makes them one.
 */
export function classList(names: Iterable<string>, where: string): string[] {
  const classes = [...new Set(names)].sort(byCodePoint);
  const folded = new Map<string, string>();
  for (const name of classes) {
    const key = name.normalize('NFC').toLowerCase();
    const other = folded.get(key);
    if (other !== undefined)
      throw new ResidualError(
        'CLASSES',
        `${where}: the classes "${other}" and "${name}" differ in case only; rename one, or put their pictures together`,
        { classes: [other, name] },
      );
    folded.set(key, name);
  }
  return classes;
}
