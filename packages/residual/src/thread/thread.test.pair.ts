import { setTimeout as sleep } from 'node:timers/promises';
import { serveThread } from '#thread';

const done: string[] = [];

const handlers = {
  /** Answers after waiting. */
  async wait(label: string, milliseconds: number): Promise<void> {
    await sleep(milliseconds);
    done.push(label);
  },
  done: (): string[] => done,
};

export type PairApi = typeof handlers;

serveThread<PairApi>(handlers, 2);
