import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { startThread } from '#thread';
import type { PairApi } from './thread.test.pair.js';
import type { TestApi } from './thread.test.worker.js';

const url = new URL('./thread.test.worker.js', import.meta.url);
const thread = startThread<TestApi>(url);
afterAll(() => thread.terminate());

describe('calls', () => {
  test('are answered', async () => {
    expect(await thread.call('work', ['a', 0, false])).toBe('a');
    expect(await thread.call('zeros', [3])).toEqual(new Float32Array(3));
  });

  test('are done one after the other, in order, also when an earlier one only waits', async () => {
    const before = (await thread.call('done', [])).length;
    const labels = ['one', 'two', 'three'];
    await Promise.all(labels.map((label, i) => thread.call('work', [label, 20 - 8 * i, false])));
    expect((await thread.call('done', [])).slice(before)).toEqual(labels);
  });

  test('move what is in the transfer list', async () => {
    const numbers = new Float32Array([1, 2, 3]);
    expect(await thread.call('length', [numbers], { transfer: [numbers.buffer] })).toBe(3);
    expect(numbers.length).toBe(0);
  });

  test('share what lies in shared memory', async () => {
    const numbers = new Float32Array(new SharedArrayBuffer(8));
    numbers.set([1, 2]);
    await thread.call('double', [numbers]);
    expect([...numbers]).toEqual([2, 4]);
  });

  test('that cannot be sent reject and leave nothing pending', async () => {
    await expect(thread.call('length', [(() => 0) as unknown as Float32Array])).rejects.toThrow(/could not be cloned/);
    expect(await thread.call('id', [])).toBeGreaterThan(0);
  });
});

test('a dozen threads have one listener on the process', async () => {
  const before = process.listenerCount('exit');
  const team = Array.from({ length: 12 }, () => startThread<TestApi>(url));
  await Promise.all(team.map((one) => one.call('zeros', [1])));
  expect(process.listenerCount('exit') - before).toBeLessThan(2);
  await Promise.all(team.map((one) => one.terminate()));
  expect(process.listenerCount('exit')).toBe(before);
});

describe('two calls at once', () => {
  const pair = startThread<PairApi>(new URL('./thread.test.pair.js', import.meta.url));
  afterAll(() => pair.terminate());

  test('one goes on while another waits; a third begins when one is done', async () => {
    await Promise.all([
      pair.call('wait', ['slow', 150]),
      pair.call('wait', ['quick', 1]),
      pair.call('wait', ['third', 1]),
    ]);
    expect(await pair.call('done', [])).toEqual(['quick', 'third', 'slow']);
  });

  test('ending waits for both', async () => {
    const refused = ['a', 'b'].map((label) =>
      expect(pair.call('wait', [label, 30])).rejects.toMatchObject({ code: 'ENGINE', message: /terminated/ }),
    );
    await pair.terminate();
    await Promise.all(refused);
    expect(await pair.call('done', [])).toEqual([]);
  });
});

describe('errors', () => {
  test('keep code and details', async () => {
    await expect(thread.call('fail', ['residual'])).rejects.toMatchObject({
      name: 'ResidualError',
      code: 'GRAPH',
      message: 'layer "a" does not fit',
      details: { layer: 'a', sizes: [1, 2] },
    });
  });

  test('of other kinds keep their message', async () => {
    await expect(thread.call('fail', ['plain'])).rejects.toThrow('a plain failure');
  });
});

describe('aborting', () => {
  test('before the call', async () => {
    await expect(thread.call('id', [], { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' });
  });

  test.each([true, false])('a queued call is not run (blocked: %s)', async (blocking) => {
    const controller = new AbortController();
    const first = thread.call('work', ['first', 60, blocking]);
    const second = thread.call('work', ['second', 0, false], { signal: controller.signal });
    let firstDone = false;
    void first.then(() => {
      firstDone = true;
    });
    controller.abort();
    await expect(second).rejects.toMatchObject({ code: 'ABORTED' });
    expect(firstDone).toBe(false);
    await first;
    expect(await thread.call('done', [])).not.toContain('second');
  });

  test('a running call rejects at once, and the next is answered', async () => {
    const controller = new AbortController();
    const running = thread.call('work', ['running', 50, false], { signal: controller.signal });
    setTimeout(() => controller.abort(), 10);
    await expect(running).rejects.toMatchObject({ code: 'ABORTED' });
    expect(await thread.call('work', ['after', 0, false])).toBe('after');
  });

  test('many calls wait on one signal: no warning of a leak, and all are cancelled', async () => {
    const warnings: Error[] = [];
    const take = (warning: Error) => void warnings.push(warning);
    process.on('warning', take);
    const controller = new AbortController();
    const { signal } = controller;
    await Promise.all(Array.from({ length: 20 }, () => thread.call('id', [], { signal })));
    const calls = Array.from({ length: 20 }, () => thread.call('work', ['many', 20, false], { signal }));
    await new Promise((resolve) => setImmediate(resolve)); // Warnings come a turn later.
    controller.abort();
    for (const call of await Promise.allSettled(calls))
      expect(call).toMatchObject({ status: 'rejected', reason: { code: 'ABORTED' } });
    process.off('warning', take);
    expect(warnings).toEqual([]);
  });

  test('after the answer changes nothing', async () => {
    const controller = new AbortController();
    await thread.call('id', [], { signal: controller.signal });
    controller.abort();
    expect(await thread.call('work', ['later', 0, false])).toBe('later');
  });
});

describe('a lost thread', () => {
  test.each([
    ['throw', /lost my mind/],
    ['exit', /ended with code 3/],
  ] as const)('(%s) rejects what was pending, and the next call starts a new one', async (how, reason) => {
    const losses = thread.losses();
    const id = await thread.call('id', []);
    const calls = [thread.call('crash', [how]), thread.call('id', []), thread.call('done', [])];
    for (const call of await Promise.allSettled(calls)) {
      expect(call).toMatchObject({ status: 'rejected', reason: { code: 'ENGINE' } });
      expect(String((call as PromiseRejectedResult).reason)).toMatch(reason);
    }
    expect(thread.losses()).toBe(losses + 1);
    expect(await thread.call('id', [])).not.toBe(id);
  });

  test('terminated: likewise', async () => {
    const id = await thread.call('id', []);
    const pending = thread.call('work', ['long', 100, true]);
    const ended = thread.terminate();
    await expect(pending).rejects.toMatchObject({ code: 'ENGINE' });
    await ended;
    expect(await thread.call('id', [])).not.toBe(id);
  });

  test('an interruptible one is stopped inside a call that would never end', async () => {
    const endless = startThread<TestApi>(url, { interruptible: true });
    const pending = endless.call('work', ['endless', Number.POSITIVE_INFINITY, true]);
    await endless.call('id', [], { signal: AbortSignal.timeout(50) }).catch(() => {});
    const ended = endless.terminate();
    await expect(pending).rejects.toMatchObject({ code: 'ENGINE' });
    await ended;
  });

  test('with a module that does not exist says so', async () => {
    const nowhere = startThread<TestApi>(new URL('./nowhere.js', import.meta.url));
    await expect(nowhere.call('id', [])).rejects.toMatchObject({ code: 'ENGINE', message: /nowhere\.js/ });
  });
});

test('an idle thread lets the process exit, a busy one is waited for', () => {
  const program = `
    import { startThread } from ${JSON.stringify(new URL('./thread.js', import.meta.url).href)};
    const thread = startThread(new URL(${JSON.stringify(url.href)}));
    thread.call('work', ['last', 50, false]).then(console.log);`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    encoding: 'utf8',
    timeout: 30_000,
  });
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'last\n', stderr: '' });
});

test('a process that exits does not wait for ever for a call that never ends', () => {
  const program = `
    import { startThread } from ${JSON.stringify(new URL('./thread.js', import.meta.url).href)};
    const thread = startThread(new URL(${JSON.stringify(url.href)}));
    await thread.call('id', []);
    thread.call('work', ['endless', Infinity, true]);
    setTimeout(() => process.exit(7), 100);`;
  const { status, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { timeout: 50_000 });
  expect({ status, signal }).toEqual({ status: 7, signal: null });
});
