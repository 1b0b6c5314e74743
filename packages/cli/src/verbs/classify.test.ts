import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ended, residual, samples, start } from '../running.js';

const bundled = ['--model', 'resnet8-cifar10'];

const [cat, ship] = [join(samples, 'cat.jpg'), join(samples, 'ship.jpg')];
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'residual-classify-'));
  await writeFile(join(folder, 'broken.jpg'), 'no picture');
  await writeFile(join(folder, 'two.txt'), 'cat\nship\n');
});
afterAll(() => rm(folder, { recursive: true }));

const lines = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

test('JSON: one line a picture, best class first', async () => {
  const { status, out, err } = await residual('classify', ...bundled, '--json', '--top', '2', cat, ship);
  expect(status).toBe(0);
  expect(lines(err)).toEqual([{ note: expect.stringContaining('knows the ten classes of CIFAR-10 only') }]);
  const rows = lines(out);
  expect(rows.map(({ file }) => file)).toEqual([cat, ship]);
  expect(rows.map(({ predictions }) => predictions[0])).toEqual([
    { index: 3, label: 'cat', probability: expect.closeTo(0.997, 2) },
    { index: 8, label: 'ship', probability: expect.closeTo(0.996, 2) },
  ]);
  for (const { predictions } of rows) expect(predictions).toHaveLength(2);
});

test('bars: headed by the model and what it knows', async () => {
  const { status, out, err } = await residual('classify', ...bundled, '--min-probability', '0.5', samples);
  expect({ status, err }).toEqual({ status: 0, err: '' });
  expect(out).toMatch(/^resnet8-cifar10: .*ten classes/);
  for (const name of await readdir(samples)) if (name.endsWith('.jpg')) expect(out).toContain(`${name}\n`);
  expect(out).toMatch(/cat\.jpg\n {2}cat {2}█+.? +99\.\d %\n/);
});

test('a broken picture and an absent one are reported, the rest is done', async () => {
  const broken = join(folder, 'broken.jpg');
  const { status, out, err } = await residual(
    'classify',
    ...bundled,
    '--json',
    join(folder, 'absent.jpg'),
    broken,
    cat,
  );
  expect(status).toBe(1);
  expect(lines(out).map(({ file }) => file)).toEqual([cat]);
  expect(lines(err).flatMap(({ code, message }) => (code ? [[code, message]] : []))).toEqual([
    ['FILE', `${join(folder, 'absent.jpg')}: no such file or folder`],
    ['IMAGE', expect.stringContaining('broken.jpg')],
  ]);
});

test.each([
  [['--model', 'resnet20', cat], 'ARGUMENT', 'resnet20 is an architecture and has no weights by itself'],
  [['--top', '0', cat], 'ARGUMENT', 'Expected an integer from 1 to 1000 for --top but received 0'],
  [['--model', 'resnet8-cifar11', cat], 'UNKNOWN_NAME', 'did you mean "resnet8-cifar10"?'],
  [[...bundled, '--preprocess', 'cafe', cat], 'UNKNOWN_NAME', 'unknown preset "cafe"; did you mean "caffe"?'],
  [[...bundled, '--save-input', 'seen.png', cat, ship], 'ARGUMENT', '--save-input takes one picture but received 2'],
  [[], 'ARGUMENT', "missing required argument 'pictures'"],
])('%j is refused', async (args, code, message) => {
  const { status, out, err } = await residual('classify', ...args);
  expect({ status, out }).toEqual({ status: 2, out: '' });
  expect(err).toMatch(new RegExp(`^residual: \\[${code}\\] [^\\n]*\\n$`));
  expect(err).toContain(message);
});

test('labels must be as many as the classes', async () => {
  const { status, err } = await residual('classify', ...bundled, '--labels', join(folder, 'two.txt'), cat);
  expect({ status, err }).toEqual({ status: 2, err: expect.stringMatching(/^residual: \[CLASSES\] .*10.*2/) });
});

test('the preprocessing explained, and what the network saw', async () => {
  const seen = join(folder, 'seen.png');
  const { status, out } = await residual('classify', ...bundled, '--explain-preprocessing', '--save-input', seen, cat);
  expect(status).toBe(0);
  expect(out).toMatch(/ {2}resize .*451×300 → 32×32\n.*input .*\[1, 3, 32, 32\]/s);
  const again = await residual('classify', ...bundled, '--json', '--top', '1', cat);
  const fromSeen = await residual('classify', ...bundled, '--json', '--top', '1', seen);
  expect(lines(fromSeen.out)[0].predictions).toEqual(lines(again.out)[0].predictions);
});

const many = Array<string>(3000).fill(cat);

test('Ctrl-C ends the work at once: status 130, nothing said', async () => {
  const child = start('classify', ...bundled, '--json', ...many);
  const end = ended(child);
  await once(child.stdout, 'data');
  child.kill('SIGINT');
  const { status, out, err } = await end;
  expect({ status, err }).toEqual({ status: 130, err: expect.stringMatching(/^\{"note".*\n$/) });
  expect(lines(out).length).toBeLessThan(many.length);
});

test('a reader that has enough ends the work: status 0, nothing said', async () => {
  const child = start('classify', ...bundled, '--json', ...many);
  const end = ended(child);
  await once(child.stdout, 'data');
  child.stdout.destroy();
  expect(await end).toMatchObject({ status: 0 });
});
