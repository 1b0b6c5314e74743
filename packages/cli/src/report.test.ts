import { ResidualError } from 'residual/errors';
import { afterEach, expect, test, vi } from 'vitest';
import { exitOf, report } from './report.js';

const written = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
afterEach(() => {
  written.mockClear();
  vi.unstubAllEnvs();
});

const printed = (error: unknown, json = false) => {
  report(error, json);
  return written.mock.calls.map(([text]) => text).join('');
};

const damaged = new ResidualError('IMAGE', 'a\nb.jpg: the JPEG ends early', { file: 'a\nb.jpg' });

test('an error is one line with its code, and leaves with the status of the table', () => {
  expect(printed(damaged)).toBe('residual: [IMAGE] a b.jpg: the JPEG ends early\n');
  expect([exitOf(damaged), exitOf(new ResidualError('ARGUMENT', ''))]).toEqual([1, 2]);
});

test('as JSON it carries its details', () => {
  expect(JSON.parse(printed(damaged, true))).toEqual({
    code: 'IMAGE',
    message: 'a b.jpg: the JPEG ends early',
    details: { file: 'a\nb.jpg' },
  });
});

test('a bug asks to be reported and shows its stack only when debugging', () => {
  const bug = new TypeError('x is not a function');
  expect(printed(bug)).toBe(
    'residual: x is not a function (this is a bug; please report it with what RESIDUAL_DEBUG=1 prints)\n',
  );
  expect(exitOf(bug)).toBe(70);
  vi.stubEnv('RESIDUAL_DEBUG', '1');
  expect(printed(bug)).toContain(bug.stack);
});

test('whatever is thrown, a line is printed', () => {
  expect(printed(undefined)).toMatch(/^residual: undefined \(this is a bug/);
  expect(JSON.parse(printed('text', true).split('\n')[1])).toMatchObject({ code: 'BUG', message: 'text' });
});
