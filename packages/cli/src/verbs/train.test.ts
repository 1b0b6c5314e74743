import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bin, ended, jsonLines, residual, start } from '../running.js';

let root: string;
let data: string;
/** A small network that learns in seconds. */
const quick = ['--model', 'resnet20', '--size', '8', '--set', 'batch=8', '--set', 'epochs=2'];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'residual-train-'));
  data = join(root, 'pictures');
  for (const [name, r, g] of [
    ['red', 192, 32],
    ['green', 32, 192],
  ] as const) {
    await mkdir(join(data, name), { recursive: true });
    for (let i = 0; i < 12; i++)
      await sharp({ create: { width: 8, height: 8, channels: 3, background: { r, g, b: 20 * i } } })
        .png()
        .toFile(join(data, name, `${i}.png`));
  }
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe('residual train', () => {
  test('a run from scratch; evaluate and runs take its folder', async () => {
    const out = join(root, 'run');
    const {
      status,
      out: text,
      err,
    } = await residual('train', data, ...quick, '--validation', '0.25', '--seed', '3', '-o', out);
    expect({ status, err }).toEqual({ status: 0, err: expect.stringContaining("the run's folder is") });
    expect(text).toMatch(/^epoch {3}1 {2}loss \d/);
    expect(text).toMatch(/best\.safetensors {2}2 epochs, best validation \d+\.\d % in epoch [12]\n$/);
    expect(await readFile(join(out, 'report.html'), 'utf8')).toMatch(/^<!doctype html>/);

    const judged = await residual('evaluate', data, '-w', out, '--validation', '0.25', '--views', 'flip', '--json');
    expect(judged.status).toBe(0);
    const [found] = jsonLines(judged.out);
    expect(found).toMatchObject({ pictures: 6, part: 'validation', views: 'flip', size: [8, 8], skipped: [] });
    expect(found.classes.map(({ label }: { label: string }) => label)).toEqual(['green', 'red']);
    expect((await residual('evaluate', data, '-w', out)).out).toMatch(/top-1 +\d+\.\d\d %[\s\S]*calibration error/);

    // The seed is the run's, which sets the same pictures aside.
    const seeded = async (...more: string[]) =>
      JSON.parse((await residual('evaluate', data, '-w', out, '--validation', '0.25', '--json', ...more)).out).loss;
    expect(await seeded()).toBe(await seeded('--seed', '3'));
    expect(await seeded()).not.toBe(await seeded('--seed', '0'));

    const [red] = jsonLines((await residual('classify', '-w', out, '--json', join(data, 'red', '1.png'))).out);
    expect(red.predictions).toHaveLength(2);
    const further = await residual('train', data, '--from', out, '--set', 'batch=8', '--plan', '--json');
    expect(jsonLines(further.out)[0].data.classes).toBe(2);
    const { origin } = JSON.parse(await readFile(join(out, 'config.json'), 'utf8'));
    expect(isAbsolute(origin.data)).toBe(true);

    const [{ runs }] = jsonLines((await residual('runs', root, '--json')).out);
    expect(runs).toMatchObject([{ folder: out, epochs: 2 }]);
    expect((await residual('runs', root)).out).toMatch(/run +network +recipe[\s\S]*resnet20 +quick +2\/2/);

    // One that cannot be read, and one whose pictures are gone.
    const other = await mkdtemp(join(root, 'some'));
    await mkdir(join(other, 'damaged'));
    await writeFile(join(other, 'damaged', 'config.json'), '{');
    await cp(out, join(other, 'lost'), { recursive: true });
    const config = JSON.parse(await readFile(join(out, 'config.json'), 'utf8'));
    const lost = { ...config, origin: { ...origin, data: join(root, 'gone') } };
    await writeFile(join(other, 'lost', 'config.json'), JSON.stringify(lost));
    const listed = await residual('runs', out, other, '--report');
    expect(listed).toMatchObject({ status: 1, out: expect.stringMatching(/some.{6}.lost[\s\S]*2\/2/) });
    expect(listed.err).toMatch(/damaged: its config.json is no JSON[\s\S]*gone: there is no such[\s\S]*/);
    expect(listed.err).toContain(`wrote ${join(out, 'report.html')}`);
  });

  test('Ctrl-C saves and says how to go on', async () => {
    const out = join(root, 'stopped');
    const child = start('train', data, ...quick, '--set', 'epochs=500', '-o', out, '--json');
    child.stdout.once('data', () => child.kill('SIGINT'));
    const stopped = await ended(child);
    expect(stopped.status).toBe(130);
    expect(stopped.err).toContain(`saved; go on with: residual train --resume ${out}`);
    const other = await residual('train', '--resume', out, '--set', 'epochs=2', '--seed', '7');
    expect(other).toMatchObject({
      status: 2,
      err: expect.stringMatching(/ARGUMENT.*leave out --set, --seed, or begin/),
    });
    const gone = await residual('train', '--resume', out, '--stop-after', '3', '--json');
    expect(gone.status).toBe(0);
    expect(gone.err).toMatch(/stopped after update \d+, and saved/);
    expect(jsonLines(gone.out).every(({ kind }) => kind === 'step' || kind === 'epoch')).toBe(true);
  });

  test('an output that takes no more does not end the run', async () => {
    const piped = join(root, 'piped');
    const child = start('train', data, ...quick, '-o', piped, '--json');
    child.stdout.once('data', () => child.stdout.destroy());
    const { status, err } = await ended(child);
    expect({ status, err }).toEqual({ status: 0, err: expect.stringMatching(/stdout takes no more \(EPIPE\)/) });
    const full = join(root, 'full');
    const line = ['train', data, ...quick, '-o', full].map((word) => `'${word}'`).join(' ');
    const broken = spawn('bash', ['-c', `'${process.execPath}' '${bin}' ${line} > /dev/full`]);
    expect(await ended(broken)).toMatchObject({
      status: 1,
      err: expect.stringMatching(/takes no more \(ENOSPC\)[\s\S]*\[FILE\] stdout could .* run itself is done/),
    });
    for (const out of [piped, full]) {
      expect(await readFile(join(out, 'metrics.jsonl'), 'utf8')).toMatch(/"kind":"epoch","epoch":2/);
      expect(existsSync(join(out, 'report.html'))).toBe(true);
    }
  });

  test('a plan', async () => {
    const { status, out } = await residual('train', data, ...quick, '--plan', '--set', 'freeze=layer1');
    expect(status).toBe(0);
    expect(out).toMatch(/network +resnet20, [\d,]+ numbers learn, [\d,]+ stay\n/);
    expect(out).toMatch(/frozen +up to layer1 from epoch 1\n/);
    expect(out).toMatch(/epochs +2 of 3 steps of 8 pictures/);
    expect(out).toMatch(/time +/);
  });

  test('lr-find draws', async () => {
    const svg = join(root, 'rates.svg');
    const { status, out } = await residual('lr-find', data, ...quick, '--steps', '12', '--svg', svg);
    expect(status).toBe(0);
    expect(out).toMatch(/the loss falls most steeply at \d/);
    expect(await readFile(svg, 'utf8')).toMatch(/^<svg [\s\S]*<\/svg>$/);
  });

  test.each([
    [['--model', 'resnet20', '--set', 'epoch=3'], 2, /UNKNOWN_NAME.*did you mean "epochs"/],
    [['--model', 'resnet20', '--recipe', 'fintune'], 2, /UNKNOWN_NAME.*did you mean "finetune"/],
    [['--model', 'resnet20', '--set', 'augment=flop'], 2, /ARGUMENT.*did you mean "flip"/],
    [[], 2, /ARGUMENT.*--from resnet18/],
    [['--from', 'absent.pth'], 1, /FILE.*absent\.pth/],
  ])('%j is refused', async (args, status, message) => {
    const found = await residual('train', data, ...args, '-o', join(root, 'refused'));
    expect({ status: found.status, out: found.out }).toEqual({ status, out: '' });
    expect(found.err).toMatch(message);
  });

  test('no run to go on with; one class', async () => {
    expect(await residual('train', '--resume', root)).toMatchObject({
      status: 1,
      err: expect.stringMatching(/no folder of a run/),
    });
    const one = join(root, 'one');
    await mkdir(join(one, 'red'), { recursive: true });
    await writeFile(join(one, 'red', '1.png'), await readFile(join(data, 'red', '1.png')));
    expect(await residual('train', one, '--model', 'resnet20')).toMatchObject({
      status: 2,
      err: expect.stringMatching(/CLASSES/),
    });
  });
});
