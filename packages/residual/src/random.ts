/**
 * Uniform numbers in [0, 1) that depend on the key alone: the same key gives the same numbers on every machine, in every
 * thread, in any order of asking. Whatever is drawn in training takes its key from what it is for, such as
 * `(seed, epoch, index, 'augment')`, so nothing depends on the number of workers or on where a run was resumed.
 *
 * The key is hashed to 128 bits (MurmurHash3's rounds, Austin Appleby 2011) and they start Chris Doty-Humphrey's sfc32, a
 * generator with a counter: no cycle is shorter than 2³² numbers.
 *
 * @param key numbers (any double) and strings; their number, order and kinds count
 * @example const draw = random(seed, epoch, index, 'augment'); const flipped = draw() < 0.5;
 */
export function random(...key: readonly (number | string)[]): () => number {
  let [a, b, c, d] = hash(key);
  const next = (): number => {
    const sum = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    c |= 0;
    return (sum >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 12; i++) next();
  return next;
}

/** A whole number from 0 to `below` − 1. */
export const integer = (draw: () => number, below: number): number => Math.floor(draw() * below);

/** A number from `least` to `most`. */
export const between = (draw: () => number, least: number, most: number): number => least + (most - least) * draw();

/** A standard normal number (Box and Muller 1958). */
export const normal = (draw: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());

/** Puts items in a random order, in place (Fisher and Yates, in Durstenfeld's form). */
export function shuffle<List extends { readonly length: number; [index: number]: unknown }>(
  list: List,
  draw: () => number,
): List {
  for (let i = list.length - 1; i > 0; i--) {
    const j = integer(draw, i + 1);
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

const words = new Uint32Array(2);
const double = new Float64Array(words.buffer);

function hash(key: readonly (number | string)[]): [number, number, number, number] {
  const lanes: [number, number, number, number] = [0x9e3779b9, 0x243f6a88, 0xb7e15162, 0x85ebca6b];
  let at = 0;
  const take = (word: number): void => {
    let mixed = Math.imul(word, 0xcc9e2d51);
    mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
    for (let i = 0; i < 4; i++) {
      const lane = lanes[i] ^ (mixed + Math.imul(i, 0x9e3779b9));
      lanes[i] = (Math.imul((lane << 13) | (lane >>> 19), 5) + 0xe6546b64 + lanes[(i + 1) % 4]) | 0;
    }
    at++;
  };
  for (const part of key)
    if (typeof part === 'number') {
      double[0] = part + 0; // −0 is 0.
      // Bytes in the order of the least significant first, on every machine.
      take(1);
      take(littleEndian ? words[0] : words[1]);
      take(littleEndian ? words[1] : words[0]);
    } else {
      take(2);
      take(part.length);
      for (let i = 0; i < part.length; i++) take(part.charCodeAt(i));
    }
  for (let i = 0; i < 4; i++) lanes[i] = finish(lanes[i] ^ at ^ lanes[(i + 1) % 4]);
  return lanes;
}

const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** Spreads every bit of the word over all of them. */
function finish(word: number): number {
  let x = word ^ (word >>> 16);
  x = Math.imul(x, 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}
