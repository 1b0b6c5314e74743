import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { folder } from '../data/folder.js';
import { ResidualError } from '../errors.js';
import { encodePng } from '../image/decode.js';
import { random } from '../random.js';
import { refusal, scratch } from '../testing.js';
import { readCheckpoint } from './checkpoint.js';
import { fileOf, readConfig, readMetrics } from './run-folder.js';
import { resume, train } from './train.js';
import { tinyData, tinyModel, tinyRecipe } from './train.test.helper.js';

const options = { recipe: tinyRecipe, engine: 'reference', seed: 3 } as const;

/** A folder with eight pictures of each of three classes. */
async function pictures(): Promise<string> {
  const root = join(scratch(), 'pictures');
  for (const [index, name] of ['red', 'green', 'blue'].entries()) {
    mkdirSync(join(root, name), { recursive: true });
    for (let i = 0; i < 8; i++) {
      const draw = random(name, i);
      const data = Uint8Array.from({ length: 108 }, (_, at) => 80 * draw() + (at % 3 === index ? 90 : 0));
      writeFileSync(join(root, name, `${i}.png`), await encodePng({ width: 6, height: 6, data }));
    }
  }
  return root;
}

describe('pictures that are not there', () => {
  let root: string;
  beforeAll(async () => {
    root = await pictures();
    writeFileSync(join(root, 'red', '3.png'), 'no picture');
  });

  test('a damaged one is skipped and reported with its path, or fatal', async () => {
    const out = join(scratch(), 'run');
    const data = await folder(root);
    const run = await train(tinyModel(), data, { ...options, out });
    expect(run.epochs).toHaveLength(3);
    const skipped = (await readMetrics(out)).filter((row) => row.kind === 'skipped');
    expect(new Set(skipped.map(({ id }) => id))).toEqual(new Set([join(root, 'red', '3.png')]));
    expect(skipped[0].reason).toContain(join(root, 'red', '3.png'));
    const strict = train(tinyModel(), data, { ...options, strict: true, out: join(scratch(), 'run') });
    expect(await refusal(strict)).toMatchObject({ code: 'IMAGE', message: expect.stringContaining('3.png') });
  });

  test('one that is deleted while the run is on', async () => {
    const out = join(scratch(), 'run');
    const data = await folder(root);
    await train(tinyModel(), data, {
      ...options,
      out,
      onStep: ({ epoch }) => epoch === 2 && rmSync(join(root, 'green', '1.png'), { force: true }),
    });
    const reasons = (await readMetrics(out)).flatMap((row) => (row.kind === 'skipped' ? [row.reason] : []));
    expect(reasons).toContainEqual(expect.stringMatching(/green.1\.png/));
  });
});

test('a picture that must be there and goes: what was learnt is saved, and goes on in the same bits', async () => {
  const root = await pictures();
  const folderOf = scratch();
  const [whole, out] = [join(folderOf, 'whole'), join(folderOf, 'broken')];
  const strict = { ...options, strict: true };
  const data = await folder(root);
  await train(tinyModel(), data, { ...strict, out: whole });
  const [file, away] = [join(root, 'green', '1.png'), join(folderOf, 'away.png')];
  const onStep = ({ epoch }: { epoch: number }) => epoch === 2 && existsSync(file) && renameSync(file, away);
  expect(await refusal(train(tinyModel(), data, { ...strict, out, onStep }))).toMatchObject({
    code: 'FILE',
    message: expect.stringMatching(/green.1\.png.*stopped after update \d+, and saved; go on with: .*--resume/),
  });
  renameSync(away, file);
  await resume(out, data, strict);
  const weights = async (run: string) =>
    Array.from((await readCheckpoint(fileOf(run, 'last'))).weights, ([name, { data }]) => [name, [...data]]);
  expect(await weights(out)).toEqual(await weights(whole));
});

test('checkpoints without their run stay; what a killed beginning left does not count', async () => {
  const out = join(scratch(), 'run');
  await refusal(train(tinyModel(), tinyData(), { ...options, out, most: 3 }));
  for (const name of readdirSync(out)) if (name !== 'checkpoints') rmSync(join(out, name));
  const learnt = readFileSync(fileOf(out, 'last'));
  const again = () => train(tinyModel(), tinyData(), { ...options, out });
  expect(await refusal(again())).toMatchObject({
    code: 'FILE',
    message: expect.stringMatching(/last\.safetensors is/),
  });
  expect(readFileSync(fileOf(out, 'last')).equals(learnt)).toBe(true);
  renameSync(fileOf(out, 'last'), fileOf(out, 'best'));
  expect(await refusal(again())).toMatchObject({
    message: expect.stringMatching(/best\.safetensors is there already/),
  });
  writeFileSync(fileOf(out, 'best'), 'damaged');
  expect(await refusal(again())).toMatchObject({ code: 'FILE' });

  rmSync(fileOf(out, 'best'));
  const begun = join(scratch(), 'begun');
  await refusal(
    train(tinyModel(), tinyData(), {
      ...options,
      out: begun,
      onStep: () => {
        throw new ResidualError('ABORTED', 'killed');
      },
    }),
  );
  renameSync(fileOf(begun, 'last'), fileOf(out, 'last'));
  for (const place of [out, dirname(fileOf(out, 'last'))]) writeFileSync(join(place, '.17-abc.partial'), '');
  expect((await again()).epochs).toHaveLength(3);
});

describe('a disk that takes no more', () => {
  test('in the middle of a run: an error, and the last checkpoint as it was', async () => {
    const out = join(scratch(), 'run');
    await refusal(train(tinyModel(), tinyData(), { ...options, out, most: 3 }));
    const before = readFileSync(fileOf(out, 'last'));
    const worker = fileURLToPath(new URL('./train.test.worker.js', import.meta.url));
    const line = `ulimit -f 8; exec "${process.execPath}" "${worker}" "${out}" resume`;
    const { status, stderr } = spawnSync('bash', ['-c', line], { encoding: 'utf8' });
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/last\.safetensors: it is larger than a file may be here/);
    expect(readFileSync(fileOf(out, 'last')).equals(before)).toBe(true);
    expect(readdirSync(dirname(fileOf(out, 'last'))).filter((name) => name.includes('partial'))).toEqual([]);
    await resume(out, tinyData());
    expect((await readCheckpoint(fileOf(out, 'last'))).progress.epoch).toBe(3);
  });

  test('metrics that cannot be written', async () => {
    const out = join(scratch(), 'run');
    await refusal(train(tinyModel(), tinyData(), { ...options, out, most: 3 }));
    const kept = readFileSync(fileOf(out, 'last'));
    rmSync(fileOf(out, 'metrics'));
    symlinkSync('/dev/full', fileOf(out, 'metrics'));
    expect(await refusal(resume(out, tinyData()))).toMatchObject({ code: 'FILE' });
    expect(readFileSync(fileOf(out, 'last')).equals(kept)).toBe(true);
  });
});

test('a checkpoint that breaks off, of a later format, of no run', async () => {
  const out = join(scratch(), 'run');
  await refusal(train(tinyModel(), tinyData(), { ...options, out, most: 3 }));
  const path = fileOf(out, 'last');
  const whole = readFileSync(path);
  const changed = async (bytes: Uint8Array) => {
    writeFileSync(path, bytes);
    return refusal(resume(out, tinyData()));
  };
  expect(await changed(whole.subarray(0, whole.length - 9))).toMatchObject({ code: 'WEIGHTS_FORMAT' });
  const text = (from: string, to: string) => Buffer.from(whole.toString('latin1').replace(from, to), 'latin1');
  // The header's length stays.
  expect(await changed(text('\\"format\\":1,\\"seed\\"', '\\"format\\":7,\\"seed\\"'))).toMatchObject({
    code: 'WEIGHTS_FORMAT',
    message: expect.stringMatching(/format 7.*install a later one/),
  });
  expect(await changed(text('"training"', '"trainjng"'))).toMatchObject({
    message: expect.stringMatching(/no checkpoint of a training run/),
  });
  expect(await changed(text('\\"epoch\\":0,', '\\"epoch\\":-,'))).toMatchObject({ code: 'WEIGHTS_FORMAT' });
  expect(await changed(text('"model_ema.fc.bias"', '"model_ema.fc.bjas"'))).toMatchObject({
    code: 'WEIGHTS_MISMATCH',
    message: expect.stringMatching(/model_ema\.fc\.b[ij]as/),
  });
});

test('a config.json that was changed by hand; metrics that were', async () => {
  const out = join(scratch(), 'run');
  await refusal(train(tinyModel(), tinyData(), { ...options, out, most: 3 }));
  const config = await readConfig(out);
  const recipe = (changes: object) => ({ recipe: { ...config.recipe, ...changes } });
  for (const [changes, code, message] of [
    [recipe({ batch: 0 }), 'ARGUMENT', /for batch but received 0/],
    [recipe({ rate: 'x' }), 'ARGUMENT', /for rate/],
    [recipe({ rates: 1 }), 'UNKNOWN_NAME', /"rates"/],
    [{ threads: 'many', engine: 'cuda' }, 'FILE', /no sound value for engine, threads/],
    [{ data: { ...config.data, classes: undefined } }, 'FILE', /classes/],
    [{ origin: undefined }, 'FILE', /origin/],
  ] as const) {
    writeFileSync(fileOf(out, 'config'), JSON.stringify({ ...config, ...changes }));
    expect(await refusal(resume(out, tinyData()))).toMatchObject({ code, message: expect.stringMatching(message) });
  }
  // What an earlier version did not have yet.
  const { recompute: _, ...earlier } = config.recipe;
  writeFileSync(fileOf(out, 'config'), JSON.stringify({ ...config, recipe: earlier }));
  writeFileSync(fileOf(out, 'metrics'), `${readFileSync(fileOf(out, 'metrics'))}{"kind":"epoch"}\n`);
  const run = await resume(out, tinyData());
  expect(run.epochs).toHaveLength(3);
  const several = { ...tinyData(), labels: 'several', train: [], validation: [] } as const;
  expect(await refusal(resume(out, several))).toMatchObject({
    code: 'CLASSES',
    message: expect.stringMatching(/one label each, and these have several labels each/),
  });
});
