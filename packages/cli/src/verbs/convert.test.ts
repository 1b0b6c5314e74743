import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build, createModel, family, preset, save } from 'residual';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bin, ended, residual } from '../running.js';

let folder: string;
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'residual-convert-'));
  const config = { ...family.resnet18, size: 32, classes: 2 };
  const plan = preset('torchvision', { height: 32, width: 32 });
  await using model = createModel(build('resnet18', config), {
    architecture: 'resnet18',
    config,
    preprocess: 'torchvision',
    plan,
    classes: [{ label: 'cat' }, { label: 'dog' }],
  });
  await save(model, at('source.residual'));
});
afterAll(() => rm(folder, { recursive: true }));

test('converts, says what, and replaces a file only by force', async () => {
  const first = await residual('convert', at('source.residual'), at('a.pth'));
  expect(first).toEqual({
    status: 0,
    out: expect.stringMatching(
      /source\.residual → .*a\.pth {2}pytorch, names of torchvision, 102 tensors, 44\.7 MB\n$/,
    ),
    err: expect.stringContaining('residual: note: a .pth file has no place for preprocessing, classes and licence'),
  });
  const again = await residual('convert', at('source.residual'), at('a.pth'));
  expect(again).toEqual({ status: 1, out: '', err: expect.stringMatching(/^residual: \[FILE\] .*--force\)\n$/) });
  const forced = await residual('convert', '--force', '--json', at('source.residual'), at('a.pth'));
  expect(forced.status).toBe(0);
  expect(JSON.parse(forced.out)).toMatchObject({
    from: at('source.residual'),
    file: at('a.pth'),
    format: 'pytorch',
    dialect: 'torchvision',
    tensors: 102,
    dropped: [],
  });
});

test('of several sets of weights --part takes one, in inspect too', async () => {
  const header = JSON.stringify({
    'model.w': { dtype: 'U8', shape: [1], data_offsets: [0, 1] },
    'model_ema.w': { dtype: 'U8', shape: [1], data_offsets: [1, 2] },
  });
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(at('sets.safetensors'), Buffer.concat([length, Buffer.from(header), Buffer.of(7, 8)]));
  const written = async (...part: string[]) => {
    await residual('convert', at('sets.safetensors'), at('set.safetensors'), '--force', ...part);
    return readFileSync(at('set.safetensors')).at(-1);
  };
  expect(await written()).toBe(8);
  expect(await written('--part', 'model')).toBe(7);
  const looked = await residual('inspect', at('sets.safetensors'), '--part', 'model');
  expect(looked.out).toContain('below "model"; other sets, taken by --part: model_ema (1 tensor');
});

test('--model says which network it is, where others have the same tensors', async () => {
  await residual('convert', at('source.residual'), at('blur.pth'));
  expect(await residual('convert', at('blur.pth'), at('blur.residual'), '--model', 'resnetblur18')).toMatchObject({
    status: 0,
  });
  const header = readFileSync(at('blur.residual')).subarray(8, 4000).toString();
  expect(header).toContain(JSON.stringify('"antiAlias":"blur"').slice(1, -1));
  expect(await residual('convert', at('blur.pth'), at('other.pth'), '-m', 'resnetblur18')).toMatchObject({
    status: 1,
    err: expect.stringContaining('it would be read with antiAlias none, and it has blur'),
  });
});

test('a disk that holds no more leaves nothing behind', async () => {
  // The shell's limit on the size of a file stands for a disk that is full.
  const limited = spawn('bash', [
    '-c',
    'ulimit -f 20000; exec "$@"',
    '-',
    process.execPath,
    bin,
    'convert',
    at('source.residual'),
    at('full.onnx'),
  ]);
  const { status, err } = await ended(limited);
  expect(err).toMatch(/^residual: \[FILE\] .*full\.onnx: it is larger than a file may be here/);
  expect(status).toBe(1);
  expect(readdirSync(folder).filter((name) => /full|partial/.test(name))).toEqual([]);
});

test('Ctrl-C leaves nothing behind, and the older file as it was', async () => {
  await residual('convert', at('source.residual'), at('old.safetensors'));
  const before = [statSync(at('old.safetensors')).mtimeMs, readFileSync(at('old.safetensors')).length];
  const child = spawn(process.execPath, [bin, 'convert', '--force', at('source.residual'), at('old.safetensors')]);
  const done = ended(child);
  // As soon as the new file begins to appear.
  const partial = () => readdirSync(folder).some((name) => name.endsWith('.partial'));
  while (!partial() && child.exitCode === null) await new Promise((resume) => setTimeout(resume, 1));
  child.kill('SIGINT');
  const { status } = await done;
  expect([0, 130]).toContain(status);
  expect(partial()).toBe(false);
  if (status === 130)
    expect([statSync(at('old.safetensors')).mtimeMs, readFileSync(at('old.safetensors')).length]).toEqual(before);
});

test.each([
  [['x.pth', 'x.zip'], 2, '[ARGUMENT] x.zip: its ending says no format that is written'],
  [['absent.pth', 'x.safetensors'], 1, '[FILE] absent.pth: there is no such file'],
  [['a', 'b', '--to', 'kears'], 2, '[ARGUMENT] Expected residual, safetensors, pytorch, keras or onnx for --to'],
  [['a.pth'], 2, "[ARGUMENT] missing required argument 'to'"],
])('%j is refused', async (args, status, message) => {
  expect(await residual('convert', ...args)).toEqual({
    status,
    out: '',
    err: expect.stringContaining(`residual: ${message}`),
  });
});

test('--training-step writes a step of training, and says where its first weights are to be had', async () => {
  const { status, out, err } = await residual(
    'convert',
    at('source.residual'),
    at('step.onnx'),
    '--training-step',
    '--batch',
    '4',
  );
  expect([status, out]).toEqual([0, expect.stringMatching(/source\.residual → .*step\.onnx {2}onnx, /)]);
  expect(err).toContain('convert source.residual weights.safetensors --dialect residual');
  const step = readFileSync(at('step.onnx')).toString('latin1');
  for (const name of ['targets', 'rate', 'layer1.0.conv1.weight.momentum.new', 'bn1.running_mean.new'])
    expect(step).toContain(name);
  expect(step.length).toBeLessThan(2e6);
  expect(
    await residual('convert', at('source.residual'), at('weights.safetensors'), '--dialect', 'residual'),
  ).toMatchObject({ status: 0 });
  const header = readFileSync(at('weights.safetensors')).subarray(8, 20_000).toString('latin1');
  for (const name of ['layer1.0.conv1.weight', 'bn1.running_mean']) expect(header).toContain(`"${name}"`);
  for (const [file, more, message] of [
    ['step.pth', ['--training-step'], 'a step of training is written as ONNX'],
    ['other.onnx', ['--training-step', '--fold'], 'leave fold out'],
    ['other.onnx', ['--batch', '4'], 'batch is for a step of training'],
  ] as const)
    expect(await residual('convert', at('source.residual'), at(file), ...more)).toMatchObject({
      status: 2,
      err: expect.stringContaining(message),
    });
});
