import { setTimeout as sleep } from 'node:timers/promises';
import { threadId } from 'node:worker_threads';
import { serveThread } from '#thread';
import { ResidualError } from '../errors.js';
import { move } from './calls.js';

const done: string[] = [];

const handlers = {
  /** Answers `label` after blocking the thread or waiting without blocking it. */
  async work(label: string, milliseconds: number, blocking: boolean): Promise<string> {
    const end = performance.now() + milliseconds;
    if (blocking) while (performance.now() < end);
    else await sleep(milliseconds);
    done.push(label);
    return label;
  },
  done: (): string[] => done,
  id: (): number => threadId,
  fail(kind: 'residual' | 'plain'): never {
    if (kind === 'plain') throw new TypeError('a plain failure');
    throw new ResidualError('GRAPH', 'layer "a" does not fit', { layer: 'a', sizes: [1, 2] });
  },
  double(numbers: Float32Array): void {
    numbers.forEach((x, i) => {
      numbers[i] = 2 * x;
    });
  },
  zeros(count: number): Float32Array {
    const numbers = new Float32Array(count);
    return move(numbers, [numbers.buffer]);
  },
  length: (numbers: Float32Array): number => numbers.length,
  crash(how: 'throw' | 'exit'): Promise<never> {
    if (how === 'exit') process.exit(3);
    setImmediate(() => {
      throw new Error('lost my mind');
    });
    return new Promise(() => {});
  },
};

export type TestApi = typeof handlers;

serveThread<TestApi>(handlers);
