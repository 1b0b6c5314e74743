import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { classify, load, type Prediction } from 'residual';
import { compareRuns } from 'residual/train';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { jsonLines, residual } from '../running.js';

let [root, data, out, best, pictures] = ['', '', '', '', ''];
let judged: { readonly top1: number; readonly loss: number };
/** Pictures whose answers are sums in one order, whoever asks for them. */
const engine = ['--engine', 'reference'];
const names = ['across', 'along'];

// Stripes, in colours that tell nothing; every fourth file has one channel itself.
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'residual-grey-'));
  [data, out] = [join(root, 'pictures'), join(root, 'run')];
  pictures = join(data, 'test');
  best = join(out, 'checkpoints', 'best.safetensors');
  const raw = { width: 8, height: 8, channels: 3 } as const;
  for (const part of ['train', 'test'])
    for (const [along, name] of names.entries()) {
      await mkdir(join(data, part, name), { recursive: true });
      for (let i = 0; i < (part === 'train' ? 8 : 4); i++) {
        const pixels = Uint8Array.from({ length: 8 * 8 * 3 }, (_, at) => {
          const [x, y, c] = [Math.floor(at / 3) % 8, Math.floor(at / 24), at % 3];
          return ((along ? x : y) + i) % 4 < 2 ? 40 + 9 * i : (90 + 70 * c + 31 * i * (c + 1)) % 256;
        });
        const picture = sharp(pixels, { raw });
        await (i % 4 ? picture : picture.greyscale()).png().toFile(join(data, part, name, `${i}.png`));
      }
    }
  const network = ['--model', 'resnet20', '--channels', '1', '--size', '8', '--validation', 'test'];
  const recipe = ['epochs=1', 'batch=8', 'average=0'].flatMap((set) => ['--set', set]);
  const { status, err } = await residual('train', data, ...network, ...recipe, ...engine, '-o', out);
  expect({ status, err }).toEqual({ status: 0, err: expect.stringContaining('folder') });
  const [run] = (await compareRuns([out])).runs;
  judged = run.best?.validation ?? { top1: Number.NaN, loss: Number.NaN };
}, 120_000);
afterAll(() => rm(root, { recursive: true }));

/** What training's validation counts, of answers to the test pictures in the order of their classes. */
function counted(answers: readonly (readonly Prediction[])[]) {
  const right = answers.map((answer, i) => answer.find(({ label }) => label === names[Math.floor(i / 4)]));
  const loss = right.reduce((sum, found) => sum - Math.log(found?.probability ?? 0), 0) / answers.length;
  return { top1: answers.filter(([first], i) => first === right[i]).length / answers.length, loss };
}

test('files classified one by one and together get the answers of training', async () => {
  const files = names.flatMap((name) => [0, 1, 2, 3].map((i) => join(pictures, name, `${i}.png`)));
  await using model = await load(best, { engine: 'reference' });
  const together: Prediction[][] = [];
  for await (const row of classify.each(model, files)) together.push(row.predictions ?? []);
  expect(counted(together)).toEqual({ top1: judged.top1, loss: expect.closeTo(judged.loss, 12) });
  for (const [i, file] of files.entries()) expect(await classify(model, file)).toEqual(together[i]);

  const told = await residual('classify', '-w', best, ...engine, '--json', '--explain-preprocessing', ...files);
  expect(told.status).toBe(0);
  const rows = jsonLines(told.out);
  expect(rows.map(({ predictions }) => predictions)).toEqual(together);
  expect(rows[1].preprocessing.slice(-4).map((line: string) => line.slice(0, 9))).toEqual([
    'grey     ',
    'scale    ',
    'normalize',
    'input    ',
  ]);
  expect(rows[1].preprocessing.at(-1)).toMatch(/\[1, 1, 8, 8\] float32/);
});

test('evaluate', async () => {
  const { status, out: text } = await residual('evaluate', data, '-w', out, ...engine, '--json');
  expect(status).toBe(0);
  const [{ part, top1, loss }] = jsonLines(text);
  expect({ part, top1, loss }).toEqual({ part: 'test', top1: judged.top1, loss: judged.loss });
});

test('quantize', async () => {
  const small = join(root, 'small.residual');
  const files = ['--data', join(data, 'train'), '--calibrate', '16', '--out', small];
  const { status, out: text } = await residual('quantize', '-w', best, ...files, '--json');
  expect(status).toBe(0);
  const [{ agreement, layers }] = jsonLines(text);
  expect(layers.eightBits).toBeGreaterThan(10);
  expect(agreement.probabilities).toBeLessThan(0.05);
  const rows = jsonLines((await residual('classify', '-w', small, '--json', pictures)).out);
  const moved = Math.abs(counted(rows.map(({ predictions }) => predictions)).loss - judged.loss);
  expect(moved).toBeLessThan(0.1);
});
