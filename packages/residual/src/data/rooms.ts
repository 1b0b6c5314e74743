import { sharedFloats } from '../tensor.js';

/** Where a batch is made. */
export interface Room {
  readonly images: Float32Array;
  readonly targets: Float32Array;
  readonly memory: Float32Array;
}

/**
 * Memory of batches that are done with. An epoch's would not be collected for a long time: it is no burden on the heap of
 * any thread, and every worker that wrote into it knows it too.
 */
const idle: Float32Array[] = [];

/** As many as a training and its validation use in turn. */
const mostIdle = 6;

/** Room for so many numbers: what was given back, where it fits and is not much too large. */
export function takeRoom(images: number, targets: number): Room {
  const needed = images + targets;
  const fitting = idle.filter(({ length }) => length >= needed && length <= 2 * needed);
  const found = fitting.sort((a, b) => a.length - b.length).at(0);
  if (found) idle.splice(idle.indexOf(found), 1);
  const memory = found ?? sharedFloats(needed);
  return { memory, images: memory.subarray(0, images), targets: memory.subarray(images, needed) };
}

/** For rooms that no thread writes into any more. */
export function giveBack({ memory }: Room): void {
  idle.push(memory);
  if (idle.length > mostIdle) idle.shift();
}
