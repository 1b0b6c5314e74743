import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bin, ended, jsonLines, residual, samples, start } from '../running.js';

const bundled = ['--model', 'resnet16-cifar10'];

const [cat, ship] = [join(samples, 'cat.jpg'), join(samples, 'ship.jpg')];
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'residual-classify-'));
  await writeFile(join(folder, 'broken.jpg'), 'no picture');
  await writeFile(join(folder, 'two.txt'), 'cat\nship\n');
});
afterAll(() => rm(folder, { recursive: true }));

test('JSON: one line a picture, best class first', async () => {
  const { status, out, err } = await residual('classify', ...bundled, '--json', '--top', '2', cat, ship);
  expect(status).toBe(0);
  expect(jsonLines(err)).toEqual([{ note: expect.stringContaining('knows the ten classes of CIFAR-10 only') }]);
  const rows = jsonLines(out);
  expect(rows.map(({ file }) => file)).toEqual([cat, ship]);
  expect(rows.map(({ predictions }) => predictions[0])).toEqual([
    { index: 3, label: 'cat', probability: expect.closeTo(0.96, 2) },
    { index: 8, label: 'ship', probability: expect.closeTo(0.584, 2) },
  ]);
  for (const { predictions } of rows) expect(predictions).toHaveLength(2);
});

test('bars: headed by the model and what it knows', async () => {
  const { status, out, err } = await residual('classify', ...bundled, '--min-probability', '0.5', samples);
  expect({ status, err }).toEqual({ status: 0, err: '' });
  expect(out).toMatch(/^resnet16-cifar10: .*ten classes/);
  for (const name of await readdir(samples)) if (name.endsWith('.jpg')) expect(out).toContain(`${name}\n`);
  expect(out).toMatch(/cat\.jpg\n {2}cat {2}█+.? +96\.\d %\n/);
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
  expect(jsonLines(out).map(({ file }) => file)).toEqual([cat]);
  expect(jsonLines(err).flatMap(({ code, message }) => (code ? [[code, message]] : []))).toEqual([
    ['FILE', `${join(folder, 'absent.jpg')}: no such file or folder`],
    ['IMAGE', expect.stringContaining('broken.jpg')],
  ]);
});

test.each([
  [['--model', 'resnet20', cat], 'ARGUMENT', 'resnet20 is an architecture and has no weights by itself'],
  [['--top', '0', cat], 'ARGUMENT', 'Expected an integer from 1 to 1000 for --top but received 0'],
  [['--model', 'resnet16-cifar11', cat], 'UNKNOWN_NAME', 'did you mean "resnet16-cifar10"?'],
  [[...bundled, '--preprocess', 'cafe', cat], 'UNKNOWN_NAME', 'unknown preset "cafe"; did you mean "caffe"?'],
  [[...bundled, '--save-input', 'seen.png', cat, ship], 'ARGUMENT', '--save-input takes one picture but received 2'],
  [
    [...bundled, '--save-input', 'seen.jpg', cat],
    'ARGUMENT',
    'expected a name that ends in .png but received seen.jpg',
  ],
  [[], 'ARGUMENT', "missing required argument 'pictures'"],
])('%j is refused', async (args, code, message) => {
  const { status, out, err } = await residual('classify', ...args);
  expect({ status, out }).toEqual({ status: 2, out: '' });
  expect(err).toMatch(new RegExp(`^residual: \\[${code}\\] [^\\n]*\\n$`));
  expect(err).toContain(message);
});

test('what --save-input cannot write is told before the work', async () => {
  const target = join(folder, 'absent', 'seen.png');
  expect(await residual('classify', '--weights', 'absent.pth', '--save-input', target, cat)).toEqual({
    status: 1,
    out: '',
    err: `residual: [FILE] ${target}: cannot be written: no such file or folder\n`,
  });
});

test('labels must be as many as the classes', async () => {
  const { status, err } = await residual('classify', ...bundled, '--labels', join(folder, 'two.txt'), cat);
  expect({ status, err }).toEqual({ status: 2, err: expect.stringMatching(/^residual: \[CLASSES\] .*10.*2/) });
});

test('a device that cannot compute here: what it lacks, and what to do', async () => {
  const { status, err } = await residual('classify', ...bundled, '--device', 'cuda', cat);
  if (status === 0) return; // A machine that can.
  expect({ status, err }).toEqual({
    status: 1,
    err: expect.stringMatching(
      /\[ENGINE\] onnxruntime.* (cannot compute on the device "cuda" of this machine \(.*\); install .* or use the device "cpu"|has no device "cuda" here; it has: .*)\n$/,
    ),
  });
});

test('a subset of the labels is told apart from a wrong list', async () => {
  const { err } = await residual('classify', ...bundled, '--labels', join(folder, 'two.txt'), cat);
  expect(err).toContain('they are a subset of its classes: to choose among these');
  expect(err).toContain('--classes');
});

test('--classes: among some classes, by name or from a file, with probabilities among all', async () => {
  const rows = async (classes: string) =>
    jsonLines((await residual('classify', ...bundled, '--json', '--classes', classes, cat)).out)[0].predictions;
  const found = await rows('Ship, 3');
  expect(found).toEqual([
    { index: 3, label: 'cat', probability: expect.closeTo(0.96, 2) },
    { index: 8, label: 'ship', probability: expect.closeTo(0, 2) },
  ]);
  expect(await rows(join(folder, 'two.txt'))).toEqual(found);
  expect(await residual('classify', ...bundled, '--classes', 'cat,shop', cat)).toEqual({
    status: 2,
    out: '',
    err: 'residual: [CLASSES] --classes: "shop" (nearest: "ship") is no class of the model, which has 10\n',
  });
});

test('--classes: a file without an ending is pointed out when its name is no class', async () => {
  await writeFile(join(folder, 'lsub'), 'cat\nship\n');
  const child = spawn(process.execPath, [bin, 'classify', ...bundled, '--classes', 'lsub', cat], { cwd: folder });
  expect(await ended(child)).toMatchObject({
    status: 2,
    err: expect.stringMatching(
      /^residual: \[CLASSES\] --classes: "lsub" is no class .*; there is a file lsub: write \.\/lsub\n$/,
    ),
  });
});

test('--score: folders named after the classes, the right answers counted', async () => {
  const tree = join(folder, 'tree');
  for (const [name, picture] of [
    ['cat', 'cat'],
    ['n8_ship', 'ship'],
    ['dog', 'plane'],
  ]) {
    await mkdir(join(tree, name), { recursive: true });
    await copyFile(join(samples, `${picture}.jpg`), join(tree, name, `${picture}.jpg`));
  }
  const wrong = await residual('classify', ...bundled, '--score', tree);
  expect(wrong).toEqual({ status: 2, out: '', err: expect.stringContaining('names of folders: "n8_ship"') });
  await mkdir(join(tree, '8'));
  await copyFile(join(samples, 'ship.jpg'), join(tree, '8', 'ship.jpg'));
  await writeFile(join(tree, '8', 'broken.jpg'), 'no picture');
  await rm(join(tree, 'n8_ship'), { recursive: true });
  const { status, out } = await residual('classify', ...bundled, '--json', '--score', tree);
  expect(status).toBe(1);
  const rows = jsonLines(out);
  expect(rows.pop()).toEqual({ score: { pictures: 3, right: 2, top1: 2 / 3 } });
  expect(rows.map(({ expected, correct }) => [expected, correct])).toEqual([
    [{ index: 8, label: 'ship' }, true],
    [{ index: 3, label: 'cat' }, true],
    [{ index: 5, label: 'dog' }, false],
  ]);
  const text = await residual('classify', ...bundled, '--score', '--top', '1', tree);
  expect(text.out).toMatch(/cat\.jpg {2}✓\n/);
  expect(text.out).toMatch(/plane\.jpg {2}✗ dog\n[\s\S]*\n\n2 of 3 right: 66\.7 % top-1\n$/);
  const without = await residual('classify', ...bundled, '--score', '--classes', 'cat,ship', tree);
  expect(without).toMatchObject({
    status: 2,
    err: expect.stringMatching(/dog\S*: its folder says dog, which --classes/),
  });
});

const { RESIDUAL_SHARED: shared } = process.env;

test.skipIf(!shared)('--score: forty photographs of ImageNet in folders by WordNet id', async () => {
  const tree = join(folder, 'imagenet');
  const pictures = join(shared as string, 'data/imagenet-40');
  for (const name of (await readdir(pictures)).filter((one) => one.endsWith('.JPEG'))) {
    await mkdir(join(tree, name.slice(0, 9)), { recursive: true });
    await copyFile(join(pictures, name), join(tree, name.slice(0, 9), name));
  }
  execFileSync(join(shared as string, 'make-weights'), [folder], { stdio: 'ignore' });
  const weights = join(folder, 'resnet18-pqf.pth');
  const { status, out } = await residual('classify', '-w', weights, '--decode', 'pillow', '--json', '--score', tree);
  expect(status).toBe(0);
  // PyTorch gets the same 34 right (data/imagenet-40/expected.json).
  expect(jsonLines(out).at(-1)).toEqual({ score: { pictures: 40, right: 34, top1: 0.85 } });
});

test('the preprocessing explained, and what the network saw', async () => {
  const seen = join(folder, 'seen.png');
  const { status, out } = await residual('classify', ...bundled, '--explain-preprocessing', '--save-input', seen, cat);
  expect(status).toBe(0);
  expect(out).toMatch(/ {2}resize .*451×300 → 40×40\n.*input .*\[1, 3, 40, 40\]/s);
  const again = await residual('classify', ...bundled, '--json', '--top', '1', cat);
  const fromSeen = await residual('classify', ...bundled, '--json', '--top', '1', seen);
  expect(jsonLines(fromSeen.out)[0].predictions).toEqual(jsonLines(again.out)[0].predictions);
});

const many = Array<string>(3000).fill(cat);

test('Ctrl-C ends the work at once: status 130, nothing said', async () => {
  const child = start('classify', ...bundled, '--json', ...many);
  const end = ended(child);
  await once(child.stdout, 'data');
  child.kill('SIGINT');
  const { status, out, err } = await end;
  expect({ status, err }).toEqual({ status: 130, err: expect.stringMatching(/^\{"note".*\n$/) });
  expect(jsonLines(out).length).toBeLessThan(many.length);
});

test('a reader that has enough ends the work: status 0, nothing said', async () => {
  const child = start('classify', ...bundled, '--json', ...many);
  const end = ended(child);
  await once(child.stdout, 'data');
  child.stdout.destroy();
  expect(await end).toMatchObject({ status: 0 });
});
