/** A piece of the activations' memory, needed from one instruction of a plan to another, both included. */
export interface Piece {
  readonly bytes: number;
  from: number;
  to: number;
  /** From the start of the arena; −1 until it is laid out. */
  offset: number;
}

export const newPiece = (bytes: number): Piece => ({ bytes, from: Number.POSITIVE_INFINITY, to: -1, offset: -1 });

/** A cache line, and the widest vector register. */
const alignment = 64;

/**
 * Gives every piece its offset so that pieces needed at the same time do not overlap: the largest first, each as low
 * as it fits (Pisarchyk and Lee 2020, "greedy by size").
 * @returns the bytes of the whole.
 */
export function layOut(pieces: readonly Piece[]): number {
  const placed: Piece[] = [];
  let total = 0;
  for (const piece of pieces.toSorted((a, b) => b.bytes - a.bytes)) {
    let offset = 0;
    // In the order of their offsets, so that the first gap that is wide enough is the lowest.
    for (const other of placed) {
      if (other.to < piece.from || other.from > piece.to) continue;
      if (offset + piece.bytes <= other.offset) break;
      offset = Math.max(offset, aligned(other.offset + other.bytes));
    }
    piece.offset = offset;
    placed.splice(placed.findLastIndex((other) => other.offset <= offset) + 1, 0, piece);
    total = Math.max(total, offset + piece.bytes);
  }
  return total;
}

const aligned = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;
