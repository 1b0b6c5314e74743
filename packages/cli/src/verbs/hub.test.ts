import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { build, createModel, preset, save } from 'residual';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { residual, samples } from '../running.js';

const cat = join(samples, 'cat.jpg');
/** Hugging Face publishes no hash beside it: random weights of the right shapes can stand for it. */
const name = 'microsoft/resnet-18';
const place = 'huggingface.co/microsoft/resnet-18/resolve/main/model.safetensors';

let folder: string;
let mirror: string;
const server = createServer(async (request, response) => {
  const path = join(mirror, request.url ?? '');
  response.writeHead(200, { 'content-length': (await stat(path)).size, etag: '"1"' });
  createReadStream(path).pipe(response);
});
let asked = 0;
server.on('request', () => asked++);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'residual-hub-'));
  mirror = join(folder, 'mirror');
  process.env.RESIDUAL_CACHE = join(folder, 'cache');
  delete process.env.RESIDUAL_HUB;
  await mkdir(dirname(join(mirror, place)), { recursive: true });
  const plan = preset('torchvision', { height: 224, width: 224 });
  const model = createModel(build('resnet18'), { architecture: 'resnet18', preprocess: 'torchvision', plan });
  const saved = join(folder, 'saved.residual');
  await save(model, saved);
  await rename(saved, join(mirror, place));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  server.close();
  await rm(folder, { recursive: true });
});

test('without weights and network: one line that says what to do, and no other classes', async () => {
  expect(await residual('classify', cat, '--offline')).toEqual({
    status: 1,
    out: '',
    err: `residual: [DOWNLOAD] no weights were given, and resnet50 cannot be had (resnet50-v2 is not in the cache (${process.env.RESIDUAL_CACHE}) and the network is not to be used (offline)); pass --weights FILE (.pth, .safetensors, .h5, .onnx), or --model resnet16-cifar10, the bundled model with its ten classes\n`,
  });
});

test('a licence without commercial use is not accepted by itself', async () => {
  const { status, err } = await residual('classify', cat, '-m', 'timm/resnet18.fb_swsl_ig1b_ft_in1k', '--offline');
  expect({ status, err }).toEqual({ status: 2, err: expect.stringMatching(/^residual: \[LICENCE\] .*CC-BY-NC-4\.0/) });
  const accepted = await residual(
    'classify',
    cat,
    '-m',
    'timm/resnet18.fb_swsl_ig1b_ft_in1k',
    '--offline',
    '--accept-license',
  );
  expect(accepted.err).toMatch(/^residual: \[DOWNLOAD\]/);
});

test('a published model is downloaded by the first of two processes, told of, and kept', async () => {
  process.env.RESIDUAL_HUB = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const classify = () => residual('classify', cat, '--model', name, '--json', '--top', '1');
  const both = await Promise.all([classify(), classify()]);
  expect(both.map(({ status }) => status)).toEqual([0, 0]);
  expect(asked).toBe(1);
  const notes = both.flatMap(({ err }) => err.trim().split('\n')).map((line) => JSON.parse(line).note);
  const [told] = notes.filter((note) => note.startsWith('downloading'));
  expect(told).toMatch(
    /^downloading microsoft\/resnet-18 \(46\.8 MB, licence Apache-2\.0\) from http:\/\/127.*safetensors$/,
  );
  expect(notes).toHaveLength(3); // and what the model is, from both
  const again = await residual('classify', cat, '--model', name, '--offline');
  expect(again).toMatchObject({ status: 0, err: '' });
  expect(again.out).toMatch(
    /^microsoft\/resnet-18: resnet18 by microsoft, ImageNet's 1000 classes; licence Apache-2\.0\n/,
  );
});

test('a try that failed is told', async () => {
  const gone = createServer((_, response) => void response.socket?.destroy());
  await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve));
  const before = process.env.RESIDUAL_HUB;
  try {
    process.env.RESIDUAL_HUB = `http://127.0.0.1:${(gone.address() as AddressInfo).port}`;
    const { err } = await residual('classify', cat, '--model', 'microsoft/resnet-34');
    expect(err.split('\n')).toEqual([
      expect.stringMatching(/^residual: note: http.*safetensors: the connection was cut, try 2 of 2$/),
      expect.stringMatching(/^residual: \[DOWNLOAD\] .*; given up after 2 tries$/),
      '',
    ]);
  } finally {
    process.env.RESIDUAL_HUB = before;
    gone.close();
  }
});

test('models: who published what, filters, what is here', async () => {
  const { status, out } = await residual('models');
  expect(status).toBe(0);
  expect(out).toMatch(/^Bundled\nresnet16-cifar10 /);
  expect(out).toMatch(/resnet50-v2 = resnet50 +~103 MB {2}80\.9 at 224 +BSD-3-Clause\n/);
  expect(out).toMatch(/timm\n\d+ models; `residual models timm` lists them\n/);
  expect(out).toMatch(/✓ {2}microsoft\/resnet-18 /);
  const here = await residual('models', '--cached', '--json');
  const { models, published } = JSON.parse(here.out);
  expect(models).toHaveLength(1);
  expect(published).toEqual([
    expect.objectContaining({ id: name, cached: true, licence: 'Apache-2.0', classes: 1000 }),
  ]);
  const closed = JSON.parse((await residual('models', 'resnet18', '--licence', 'cc-by-nc', '--json')).out);
  expect(closed.published.map(({ id }: { id: string }) => id)).toEqual([
    'timm/resnet18.fb_ssl_yfcc100m_ft_in1k',
    'timm/resnet18.fb_swsl_ig1b_ft_in1k',
  ]);
  expect((await residual('models', 'no-such')).out).toBe('no model fits\n');
});

test('models --architectures: the family with its costs', async () => {
  expect((await residual('models', '--architectures')).out).toMatch(/resnet50 +25,557,032 +4\.09 {2}3×224×224\n/);
  const { architectures } = JSON.parse((await residual('models', 'resnet50', '--architectures', '--json')).out);
  expect(architectures).toContainEqual(expect.objectContaining({ name: 'resnet50', parameters: 25_557_032 }));
});

test('summary of a published model downloads nothing', async () => {
  const { status, out } = await residual('summary', 'timm/resnet18.a1_in1k');
  expect({ status, out }).toEqual({ status: 0, out: expect.stringContaining('11,689,512') });
});

test('cache: what is kept, and pruning', async () => {
  const cache = join(folder, 'cache');
  expect((await residual('cache')).out).toMatch(
    new RegExp(`^${cache}: 1 model, 46\\.8 MB\\n${name} +46\\.8 MB {2}used \\d{4}-\\d\\d-\\d\\d\\n$`),
  );
  expect(JSON.parse((await residual('cache', '--json')).out)).toMatchObject({
    folder: cache,
    unfinished: 0,
    files: [{ id: name, path: join(cache, 'hub', place), sha256: expect.stringMatching(/^[0-9a-f]{64}$/) }],
  });
  expect((await residual('cache', 'prune', '--older-than', '1')).out).toBe('0 bytes freed\n');
  expect((await residual('cache', 'prune', '--to', '1GB')).out).toBe('0 bytes freed\n');
  await writeFile(join(cache, 'hub', 'half.pth.part'), 'half');
  expect((await residual('cache', 'prune', '--to', '1MB')).out).toBe(`removed ${name}\n46.8 MB freed\n`);
  expect((await residual('cache')).out).toBe(`${cache}: 0 models, 0 bytes\n`);
});

test.each([
  [['cache', 'prune'], 'say what to remove: --all'],
  [['cache', 'clear'], 'Expected prune or nothing after "cache" but received clear'],
  [['cache', '--all'], '--all, --older-than and --to say what to prune'],
  [['cache', 'prune', '--to', '2 hours'], 'Expected a size such as 500MB or 2GB for --to but received 2 hours'],
])('%j is refused', async (args, message) => {
  expect(await residual(...args)).toEqual({
    status: 2,
    out: '',
    err: expect.stringContaining(`[ARGUMENT] ${message}`),
  });
});
