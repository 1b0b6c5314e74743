import { freemem } from 'node:os';
import type { Pixels } from '../image/pixels.js';
import type { Decoding } from '../image/plan.js';
import { sharedBytes } from '../tensor.js';
import type { Example, Source } from './dataset.js';

/** Memory is taken in pieces of this size: few, since each is sent along with every batch that has a picture in it. */
const piece = 256 << 20;

/** Decoded pictures of a list of examples. */
export interface Memory {
  /** Where a picture is now: in memory, or where it was. */
  at(index: number): Source;
  keep(index: number, pixels: Pixels): void;
}

const memories = new WeakMap<readonly Example[], Map<Decoding, Memory>>();

/**
 * The memory for these examples, decoded so, for as long as the list is in use. No more than half of what is free is
 * taken; pictures beyond that are decoded each time.
 */
export function memoryFor(examples: readonly Example[], as: Decoding): Memory {
  const byDecoding = memories.get(examples) ?? new Map<Decoding, Memory>();
  memories.set(examples, byDecoding);
  const known = byDecoding.get(as);
  if (known) return known;
  const kept = new Map<number, Source>();
  let left = freemem() / 2;
  let bytes: Uint8Array = new Uint8Array(0);
  let used = 0;
  const memory: Memory = {
    at: (index) => kept.get(index) ?? examples[index].source,
    keep(index, { width, height, data }) {
      if (kept.has(index)) return;
      if (used + data.length > bytes.length) {
        const size = Math.max(data.length, Math.min(piece, (examples.length - kept.size) * data.length));
        if (size > left) return;
        bytes = sharedBytes(size);
        left -= size;
        used = 0;
      }
      bytes.set(data, used);
      kept.set(index, { kind: 'pixels', bytes, offset: used, height, width, channels: 3, planar: false });
      used += data.length;
    },
  };
  byDecoding.set(as, memory);
  return memory;
}
