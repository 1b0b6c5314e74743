import { expect, test } from 'vitest';
import { collectGarbage } from '#runtime';
import { tensor, type Weights } from '../tensor.js';
import { readAgain } from './again.js';

const some = (x = 1): Weights => new Map([['w', tensor([x], [1])]]);

/** Lets go of what only this turn of the event loop holds. */
async function collect(): Promise<void> {
  await new Promise((resume) => setTimeout(resume));
  collectGarbage();
}

test('is held until it is asked for, then as long as somebody holds it, then read again', async () => {
  let reads = 0;
  const weights = readAgain(some(0), async () => some(++reads));
  await collect();
  let first: Weights | undefined = await weights();
  expect(first.get('w')?.data[0]).toBe(0);
  await collect();
  expect(await weights()).toBe(first);
  first = undefined;
  await collect();
  expect((await weights()).get('w')?.data[0]).toBe(1);
  await collect();
  expect((await weights()).get('w')?.data[0]).toBe(2);
});

test('whoever asks during a read gets the same; a read that failed is tried again', async () => {
  let reads = 0;
  const weights = readAgain(some(), async () => {
    if (++reads === 1) throw new Error('no disk');
    return some();
  });
  await weights();
  await collect();
  await expect(Promise.all([weights(), weights()])).rejects.toThrow('no disk');
  const [a, b] = await Promise.all([weights(), weights()]);
  expect(a).toBe(b);
  expect(reads).toBe(2);
});
