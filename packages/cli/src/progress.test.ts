import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { rateOf, startDownload, startProgress } from './progress.js';

const stream = (isTTY: boolean) => {
  const pass = Object.assign(new PassThrough(), { isTTY, columns: 100, cursorTo() {}, clearLine() {} });
  return pass as unknown as NodeJS.WriteStream & PassThrough;
};

test('a terminal sees count, speed and time left', async () => {
  const out = stream(true);
  const progress = await startProgress(4, out);
  progress.done();
  progress.done(3);
  progress.stop();
  const text = String(out.read());
  expect(text).toContain('4/4');
  expect(text).toMatch(/\d images\/s/);
});

test('nothing is written where no terminal is, nor for one picture', async () => {
  for (const [out, total] of [
    [stream(false), 100],
    [stream(true), 1],
  ] as const) {
    const progress = await startProgress(total, out);
    progress.done();
    progress.hide();
    progress.stop();
    expect(out.read()).toBeNull();
  }
});

test('a download shows its megabytes, also one that starts over', async () => {
  const out = stream(true);
  const bar = await startDownload(out);
  bar.show(0, 2_000_000);
  bar.show(2_000_000, 2_000_000);
  bar.show(0, undefined);
  bar.stop();
  expect(String(out.read())).toContain('0.0/2.0 MB');
  const silent = stream(false);
  const none = await startDownload(silent);
  none.show(1, 2);
  none.stop();
  expect(silent.read()).toBeNull();
});

test('rates keep two digits', () => {
  expect([rateOf(1, 1900), rateOf(42, 10_000), rateOf(1234, 10_000), rateOf(1, 0)]).toEqual([
    '0.53',
    '4.2',
    '123',
    '–',
  ]);
});
