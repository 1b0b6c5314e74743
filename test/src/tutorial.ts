/** A piece of code on a page, and what stands under it. */
export interface Piece {
  /** The file it belongs to: `network.ts`. */
  readonly program: string;
  readonly code: string;
  /** What it prints, without the last line break. */
  readonly output: string;
  /** Whether it stands behind the mark `<!-- needs weights -->`: it needs files that are not in the repository. */
  readonly needsWeights: boolean;
}

const fenced = /(<!-- needs weights -->\n\n)?```ts\n([\s\S]*?)```\n(?:\n```text\n([\s\S]*?)```\n)?/g;

/**
 * The TypeScript of a page, in its order. The comment in a piece's first line names its file; a piece without one
 * continues the file before.
 */
export function pieces(page: string): Piece[] {
  let program = '';
  return [...page.matchAll(fenced)].map(([, mark, code, output = '']) => {
    program = /^\/\/ (\S+\.ts)\n/.exec(code)?.[1] ?? program;
    return { program, code, output: output.trimEnd(), needsWeights: mark !== undefined };
  });
}

/** How many `ts` and `text` fences a page has, counted without the pattern above. */
export const fences = (page: string): number => page.split('\n').filter((line) => /^```(ts|text)$/.test(line)).length;

const decimal = /\d+\.\d+/g;

/** A text without its decimal fractions, and these. Engines may differ in the last digit of a probability. */
export const withoutFractions = (text: string): string => text.replaceAll(decimal, '#.#');

export const fractions = (text: string): { value: number; digits: number }[] =>
  [...text.matchAll(decimal)].map(([number]) => ({
    value: Number(number),
    digits: number.length - number.indexOf('.') - 1,
  }));
