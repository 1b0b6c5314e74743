import { inspect, ResidualError } from 'residual';
import { expect, test, vi } from 'vitest';
import { run } from './inspect.js';

vi.mock('residual', async (original) => ({ ...(await original<typeof import('residual')>()), inspect: vi.fn() }));

test('a bug is no fault of a file: it ends the command as a bug', async () => {
  const report = vi.fn();
  const context = { report, note: vi.fn(), signal: new AbortController().signal };
  const damaged = new ResidualError('WEIGHTS_FORMAT', 'a.pth: damaged');
  vi.mocked(inspect).mockRejectedValueOnce(damaged).mockRejectedValueOnce(new TypeError('x is undefined'));
  await expect(run(['a.pth', 'b.pth'], {}, context)).rejects.toThrow(TypeError);
  expect(report.mock.calls).toEqual([[damaged]]);
});
