import { damaged, type Named } from './source.js';

/** Commas and brackets: a safetensors header has some six a tensor, a Keras architecture some hundred a layer. */
const maxMarks = 2_000_000;
const maxDepth = 100;

/**
 * Parses JSON that came out of a weight file: depth and size are bounded before anything is built, and a key that
 * an object names twice is refused instead of one of its values being dropped.
 * @param what names the text in messages: `its header`.
 * @throws WEIGHTS_FORMAT
 */
export function parseJson(source: Named, what: string, text: string): unknown {
  scan(source, what, text);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw damaged(source, `${what} is no JSON (${firstWords(error)})`, error);
  }
}

const firstWords = (error: unknown): string => (error as Error).message.replace(/\p{Cc}/gu, ' ').slice(0, 80);

/** One pass over the text. Anything that is no JSON at all is left for the parser to refuse. */
function scan(source: Named, what: string, text: string): void {
  const objects: (Set<string> | undefined)[] = [];
  let marks = 0;
  let expectKey = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === quote) {
      const end = stringEnd(text, i);
      if (expectKey) {
        const keys = objects[objects.length - 1];
        const key = text.slice(i + 1, end);
        if (keys?.has(key)) throw damaged(source, `${what} names "${key.slice(0, 60)}" twice`);
        keys?.add(key);
        expectKey = false;
      }
      i = end;
      continue;
    }
    if (c === openObject || c === openList) {
      objects.push(c === openObject ? new Set() : undefined);
      if (objects.length > maxDepth) throw damaged(source, `${what} nests more than ${maxDepth} deep`);
      expectKey = c === openObject;
    } else if (c === closeObject || c === closeList) {
      objects.pop();
      expectKey = false;
    } else if (c === comma) expectKey = objects[objects.length - 1] !== undefined;
    else continue;
    if (++marks > maxMarks) throw damaged(source, `${what} has more than ${maxMarks} parts`);
  }
}

const [quote, backslash, comma, openObject, closeObject, openList, closeList] = [...'"\\,{}[]'].map((c) =>
  c.charCodeAt(0),
);

/** Index of the quote that ends the string beginning at `start`, or the text's end. */
function stringEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === backslash) i++;
    else if (c === quote) return i;
  }
  return text.length;
}
