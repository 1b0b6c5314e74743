import { spawn } from 'node:child_process';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { random } from '../random.js';
import { scratch } from '../testing.js';
import { readCheckpoint } from './checkpoint.js';
import { fileOf, readMetrics } from './run-folder.js';
import { resume, train } from './train.js';
import { tinyData, tinyModel, tinyRecipe } from './train.test.helper.js';

const program = fileURLToPath(new URL('./train.test.worker.js', import.meta.url));

/** `kill -9` a while after the run's folder is there. */
async function killedEarly(out: string, delay: number): Promise<void> {
  const child = spawn(process.execPath, [program, out, 'head-first'], { stdio: 'ignore' });
  const closed = new Promise((resolve) => child.on('close', resolve));
  while (!existsSync(fileOf(out, 'config'))) await new Promise((resolve) => setTimeout(resolve, 1));
  setTimeout(() => child.kill('SIGKILL'), delay);
  await closed;
}

/** Runs until so many steps were told and a little longer, then `kill -9`; whether it was done before. */
function killed(out: string, steps: number, delay: number): Promise<boolean> {
  const child = spawn(process.execPath, [program, out, ...(existsSync(fileOf(out, 'last')) ? ['resume'] : [])]);
  let [text, errors, asked] = ['', '', false];
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  child.stdout.on('data', (chunk) => {
    text += chunk;
    if (asked || text.split('\n').length <= steps) return;
    asked = true;
    setTimeout(() => child.kill('SIGKILL'), delay);
  });
  return new Promise((resolve, reject) =>
    child.on('close', (status) => {
      if (text.includes('done')) resolve(true);
      else if (status === null) resolve(false);
      else reject(new Error(errors));
    }),
  );
}

const bits = async (out: string) => {
  const { weights, average, optimizer, progress } = await readCheckpoint(fileOf(out, 'last'));
  const numbers = (from: typeof weights | undefined) => Array.from(from ?? [], ([name, { data }]) => [name, [...data]]);
  return [numbers(weights), numbers(average), [...optimizer.values()].map(numbers), progress];
};

test('killed before its first update, and resumed: the new classifier learns from the beginning again', async () => {
  const folder = scratch();
  const recipe = { ...tinyRecipe, headFirst: 300 };
  const [whole, out] = [join(folder, 'whole'), join(folder, 'killed')];
  const notes: string[] = [];
  const options = { engine: 'reference', onNote: (text: string) => notes.push(text) } as const;
  await train(tinyModel(5), tinyData(), { ...options, recipe, seed: 3, out: whole });
  expect(notes).toContain('the new classifier first learns alone, for 300 epochs');
  await killedEarly(out, 20);
  expect((await readCheckpoint(fileOf(out, 'last'))).updates).toBe(0);
  const remains = join(out, 'checkpoints', '.1-a.partial');
  writeFileSync(remains, 'cut off');
  await resume(out, tinyData(), options);
  expect(existsSync(remains)).toBe(false);
  expect(await bits(out)).toEqual(await bits(whole));
}, 120_000);

test('killed at any moment and resumed, it ends in the same bits', async () => {
  const folder = scratch();
  const [whole, out] = [join(folder, 'whole'), join(folder, 'killed')];
  await train(tinyModel(), tinyData(), { recipe: tinyRecipe, engine: 'reference', seed: 3, out: whole });
  const draw = random('kill');
  let kills = 0;
  // Each turn gets a few steps further, as a checkpoint is written after each.
  for (;;) {
    if (kills > 30) throw new Error('it gets no further');
    if (await killed(out, 1 + Math.floor(6 * draw()), 12 * draw())) break;
    if (!existsSync(fileOf(out, 'last'))) rmSync(out, { recursive: true, force: true });
    else kills++;
  }
  expect(kills).toBeGreaterThan(2);
  expect(await bits(out)).toEqual(await bits(whole));
  const rows = async (from: string) => (await readMetrics(from)).map(({ kind, update }) => [kind, update]);
  expect(await rows(out)).toEqual(await rows(whole));
  expect(
    readdirSync(join(out, 'checkpoints'))
      .filter((name) => name.endsWith('.safetensors'))
      .sort(),
  ).toEqual(['best.safetensors', 'last.safetensors']);
}, 120_000);
