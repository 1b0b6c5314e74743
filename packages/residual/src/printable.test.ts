import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { inShell, printable } from './printable.js';

test('paths go back into a shell', () => {
  for (const path of ['runs/1', 'C:\\runs\\1', 'größe/日本.v2-b_1']) expect(inShell(path)).toBe(path);
  for (const path of ['sp ace/run 1', "it's", '$HOME', 'a;b', '~/x', '*', '']) {
    const back = execFileSync('sh', ['-c', `printf %s ${inShell(path)}`], { encoding: 'utf8' });
    expect(back).toBe(path);
  }
});

test.each([
  ['ordinary text, with émigrés and 日本語', 'ordinary text, with émigrés and 日本語'],
  ['a\r\n  b\u2028c\u2029d', 'a b c d'],
  ['\u001b[2J\u0007\u009b', '\ufffd[2J\ufffd\ufffd'],
  ['\u200e\u200f\u061c\u202e\u2066\u2069', '\ufffd'.repeat(6)],
  ['\u200b\u200d\u2060\ufeff', '\ufffd'.repeat(4)],
])('%j', (text, printed) => {
  expect(printable(text)).toBe(printed);
});

test('whatever the text, one line without control or format characters, the same when printed again', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const printed = printable(text);
      expect(printed).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      expect(printable(printed)).toBe(printed);
    }),
  );
});
