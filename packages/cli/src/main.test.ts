import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { bin, residual, samples } from './running.js';
import { verbs } from './verbs.js';

test('--help names every verb; so does a call without one, as a mistake', async () => {
  const help = await residual('--help');
  expect(help).toMatchObject({ status: 0, err: '' });
  for (const { name, summary } of verbs) expect(help.out).toMatch(new RegExp(`${name}.* ${summary}`));
  expect(await residual()).toEqual({ status: 2, out: '', err: help.out });
});

test('--version', async () => {
  expect(await residual('--version')).toEqual({ status: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), err: '' });
});

test.each(verbs.map(({ name }) => name))('help %s is its --help, with examples', async (name) => {
  const help = await residual('help', name);
  expect(help).toEqual({ status: 0, out: expect.stringContaining(`$ residual ${name}`), err: '' });
  expect(await residual(name, '--help')).toEqual(help);
});

test.each([
  [['docter'], "residual: [ARGUMENT] unknown verb 'docter'; did you mean doctor?\n"],
  [['help', 'docter'], 'residual: [UNKNOWN_NAME] unknown verb "docter"; did you mean "doctor"?\n'],
  [['doctor', '--jsno'], "residual: [ARGUMENT] unknown option '--jsno'; did you mean --json?\n"],
  [
    ['doctor', 'x\ny'],
    "residual: [ARGUMENT] too many arguments for 'doctor'. Expected 0 arguments but got 1; see residual --help\n",
  ],
])('%j is a mistake in one line', async (args, err) => {
  expect(await residual(...args)).toEqual({ status: 2, out: '', err });
});

test('with --json a mistake is JSON too', async () => {
  const { status, out, err } = await residual('docter', '--json');
  expect({ status, out, err: JSON.parse(err) }).toEqual({
    status: 2,
    out: '',
    err: { code: 'ARGUMENT', message: "unknown verb 'docter'; did you mean doctor?", details: {} },
  });
});

test('a reader that closes the pipe early is no error', async () => {
  const child = spawn(process.execPath, [bin, '--help']);
  child.stdout.destroy();
  let err = '';
  child.stderr.on('data', (chunk) => (err += chunk));
  expect({ status: await new Promise((resolve) => child.on('close', resolve)), err }).toEqual({ status: 0, err: '' });
});

test('a second Ctrl-C ends the process, also one that no longer answers', async () => {
  const program = `
    import { main } from ${JSON.stringify(new URL('./main.js', import.meta.url).href)};
    void main(['classify', ${JSON.stringify(samples)}]);
    while (process.listenerCount('SIGINT') === 0) await new Promise((resolve) => setImmediate(resolve));
    process.once('SIGINT', () => { setImmediate(() => { process.stdout.write('first', () => { for (;;); }); }); });
    process.stdout.write('ready');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program]);
  try {
    for (const word of ['ready', 'first']) {
      expect(String((await once(child.stdout, 'data'))[0])).toBe(word);
      child.kill('SIGINT');
    }
    expect(await once(child, 'exit')).toEqual([null, 'SIGINT']);
  } finally {
    child.kill('SIGKILL');
  }
});
