import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { startTrainingBar, timeOf } from './training-bar.js';

const stream = (isTTY: boolean) => {
  const pass = Object.assign(new PassThrough(), { isTTY, columns: 100, cursorTo() {}, clearLine() {} });
  return pass as unknown as NodeJS.WriteStream & PassThrough;
};

/** Two epochs of 40 steps of 16 pictures, one a step every four seconds. */
async function shown(given: { isTTY?: boolean; plain?: boolean } = {}): Promise<string> {
  const out = stream(given.isTTY ?? false);
  let seconds = 0;
  const bar = await startTrainingBar({ stream: out, now: () => 1000 * seconds, ...given });
  for (const epoch of [1, 2])
    for (let step = 1; step <= 40; step++) {
      seconds += 4;
      bar.show({ epoch, epochs: 2, step, steps: 40, loss: 2 / step, pictures: 16 });
    }
  bar.stop();
  return String(out.read() ?? '');
}

test('without a terminal there is a plain line every thirty seconds', async () => {
  const lines = (await shown()).trimEnd().split('\n');
  expect(lines.slice(0, 2)).toEqual([
    'epoch 1/2  step 8/40  loss 0.250  4.0 images/s  4 min 48 s left',
    'epoch 1/2  step 16/40  loss 0.125  4.0 images/s  4 min 16 s left',
  ]);
  expect(lines).toHaveLength(10);
  expect(lines[9]).toBe('epoch 2/2  step 40/40  loss 0.0500  4.0 images/s  0 s left');
});

test('and none where lines are not wanted', async () => {
  expect(await shown({ plain: false })).toBe('');
});

test('a terminal has a bar', async () => {
  expect(await shown({ isTTY: true })).toMatch(/epoch 2\/2 █+ 40\/40 {2}loss 0\.0500 {2}4\.0 images\/s {2}0 s left/);
});

test.each([
  [0.123, '0.12 s'],
  [200, '3 min 20 s'],
  [7500, '2 h 5 min'],
  [273_600, '3 days 4 h'],
])('%d seconds for people', (seconds, text) => expect(timeOf(seconds)).toBe(text));
