import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Tensor, tensor } from '../tensor.js';
import { bytesOf, describeAll, pythonJson, refusal, scratch, shared } from '../testing.js';
import { openCheckpoint } from './open.js';
import { safetensorsBytes } from './safetensors.js';

const bytesFor = (tensors: Record<string, Tensor>) => Buffer.concat([...safetensorsBytes(Object.entries(tensors))]);
const [a, b, c] = [1, 2, 3].map((value) => tensor([value, value], [2]));
const index = (weight_map: unknown, metadata: unknown = { total_size: 24 }) => JSON.stringify({ metadata, weight_map });
const base = scratch();
const indexName = 'model.safetensors.index.json';
const whole = {
  'one.safetensors': bytesFor({ a, b }),
  'two.safetensors': bytesFor({ c, spare: a }),
  [indexName]: index({ c: 'two.safetensors', a: 'one.safetensors', b: 'one.safetensors' }),
};

/** A folder with these files. */
function folderOf(files: Record<string, string | Uint8Array>): string {
  const folder = mkdtempSync(join(base, 'folder-'));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(folder, name, '..'), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}

describe('an index of shards', () => {
  test.each([
    ['the index', (folder: string) => join(folder, indexName)],
    ['its URL', (folder: string) => pathToFileURL(join(folder, indexName))],
    ['the folder', (folder: string) => folder],
    ['the folder with a slash', (folder: string) => `${folder}/`],
  ])('given as %s reads the tensors it lists, in its order', async (_, given) => {
    const checkpoint = await openCheckpoint(given(folderOf(whole)));
    expect(checkpoint).toMatchObject({
      format: 'safetensors',
      reason: 'an index of 2 files: a length, then a JSON header',
      metadata: { total_size: 24 },
    });
    expect([...checkpoint.tensors.keys()]).toEqual(['c', 'a', 'b']);
    for (const [name, { data }] of Object.entries({ a, b, c }))
      expect((await checkpoint.read(name)).data).toEqual(data);
    expect(await refusal(checkpoint.read('spare'))).toMatchObject({ code: 'UNKNOWN_NAME' });
    await checkpoint.close();
  });

  test('links are followed: that is how caches store what they fetched', async () => {
    const blobs = folderOf({ blob1: whole['one.safetensors'], blob2: whole['two.safetensors'] });
    const folder = folderOf({ [indexName]: whole[indexName] });
    symlinkSync(join(blobs, 'blob1'), join(folder, 'one.safetensors'));
    symlinkSync(join(blobs, 'blob2'), join(folder, 'two.safetensors'));
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint.tensors.size).toBe(3);
    await checkpoint.close();
  });

  test.each<[string, unknown, string, RegExp]>([
    ['a path upwards', { a: '../one.safetensors' }, 'WEIGHTS_FORMAT', /"\.\.\/one\.safetensors"; only files beside/],
    ['a path from the root', { a: '/etc/passwd' }, 'WEIGHTS_FORMAT', /only files beside the index/],
    ['a path downwards', { a: 'deep/one.safetensors' }, 'WEIGHTS_FORMAT', /only files beside the index/],
    ['a backslash', { a: '..\\one.safetensors' }, 'WEIGHTS_FORMAT', /only files beside the index/],
    ['a drive', { a: 'c:one.safetensors' }, 'WEIGHTS_FORMAT', /only files beside the index/],
    ['an address', { a: 'http://x/one' }, 'WEIGHTS_FORMAT', /only files beside the index/],
    ['a zero', { a: 'one\0.safetensors' }, 'WEIGHTS_FORMAT', /only files beside the index/],
    ['the folder itself', { a: '..' }, 'WEIGHTS_FORMAT', /only files beside the index/],
    ['no text', { a: 7 }, 'WEIGHTS_FORMAT', /a lies in 7/],
    ['itself', { a: indexName }, 'WEIGHTS_FORMAT', /it is an index .* where an index names a weight file/],
    ['another index', { a: 'other.index.json' }, 'WEIGHTS_FORMAT', /it is an index/],
    ['what is missing', { a: 'three.safetensors' }, 'FILE', /it names three\.safetensors, which cannot be read/],
    ['a folder', { a: 'inner' }, 'FILE', /it names inner, which cannot be read \(.*it is a folder/],
    [
      'a tensor that is not there',
      { c: 'one.safetensors' },
      'WEIGHTS_FORMAT',
      /says that c lies in one\.safetensors, /,
    ],
    ['nothing', {}, 'WEIGHTS_FORMAT', /its weight_map is empty/],
    ['a list', [], 'WEIGHTS_FORMAT', /JSON without a weight_map/],
    [
      'Keras files',
      { '/layers/dense/vars': ['model_0.weights.h5'] },
      'WEIGHTS_FORMAT',
      /Keras weights in several files/,
    ],
    [
      'files without end',
      Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`t${i}`, `f${i}`])),
      'WEIGHTS_FORMAT',
      /more than 256 files/,
    ],
  ])('that names %s is refused', async (_, map, code, message) => {
    const folder = folderOf({
      ...whole,
      'other.index.json': index({ a: indexName }),
      'inner/x': '',
      [indexName]: index(map),
    });
    expect(await refusal(openCheckpoint(join(folder, indexName)))).toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test('of files in two formats, or as bytes by itself, is refused', async () => {
    expect((await refusal(openCheckpoint(Buffer.from(whole[indexName])))).message).toContain('give its path or URL');
    expect((await refusal(openCheckpoint(Buffer.from('{"architectures": ["ResNet"]}')))).message).toContain(
      'JSON without a weight_map',
    );
    const deep = Buffer.from(`{"weight_map":${'['.repeat(100_000)}`);
    expect((await refusal(openCheckpoint(deep))).message).toContain('nests more than 100 deep');
    expect((await refusal(openCheckpoint(Buffer.alloc(2 ** 24 + 1, '{"a": '.padEnd(64))))).message).toContain(
      'an index of shards has at most 16777216',
    );
  });

  test.skipIf(!shared)('of pytorch_model.bin reads as PyTorch reads it; mixed formats are refused', async () => {
    const folder = folderOf(whole);
    const expected = pythonJson(
      `
import torch
folder = sys.argv[1]; tensors = {'a': torch.randn(3, 4).t(), 'b': torch.ones(2).half(), 'c': torch.tensor(7)}
torch.save({'a': tensors['a'], 'b': tensors['b']}, f'{folder}/pytorch_model-00001-of-00002.bin')
torch.save({'c': tensors['c']}, f'{folder}/pytorch_model-00002-of-00002.bin', _use_new_zipfile_serialization=False)
torch.save({'c': tensors['c']}, f'{folder}/pytorch_model-00003-of-00002.bin')
def index(name, files):
    json.dump({'metadata': {}, 'weight_map': {t: f'pytorch_model-0000{i}-of-00002.bin' for t, i in files.items()}}, open(f'{folder}/{name}', 'w'))
index('pytorch_model.bin.index.json', {'a': 1, 'b': 1, 'c': 3}); index('mixed.bin.index.json', {'a': 1, 'b': 1, 'c': 2})
print(json.dumps({name: of_torch(t) for name, t in tensors.items()}))`,
      folder,
    );
    const checkpoint = await openCheckpoint(join(folder, 'pytorch_model.bin.index.json'));
    expect(await describeAll(checkpoint)).toEqual(expected);
    await checkpoint.close();
    expect((await refusal(openCheckpoint(join(folder, 'mixed.bin.index.json')))).message).toContain(
      'several formats: torch-zip, torch-legacy',
    );
  });

  test('whatever is changed in the index or a shard, it reads or is refused in one line', async () => {
    const folder = folderOf(whole);
    const files = [indexName, 'one.safetensors'].map((name) => [name, bytesOf(join(folder, name))] as const);
    const change = fc.record({
      file: fc.nat(1),
      at: fc.nat(1000),
      bits: fc.integer({ min: 1, max: 255 }),
      cut: fc.nat(9),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
        const copies = files.map(([, bytes]) => bytes.slice());
        let length = Number.POSITIVE_INFINITY;
        for (const { file, at, bits, cut } of changes) {
          copies[file][at % copies[file].length] ^= bits;
          if (cut === 0) length = at % copies[0].length;
        }
        for (const [i, [name]] of files.entries())
          writeFileSync(join(folder, name), copies[i].subarray(0, i ? undefined : length));
        const read = openCheckpoint(join(folder, indexName)).then(async (checkpoint) => {
          await describeAll(checkpoint).finally(() => checkpoint.close());
        });
        await read.catch((error) => refusal(Promise.reject(error)));
      }),
      { numRuns: 1000 },
    );
  });
});

describe('a folder', () => {
  const weights = bytesFor({ a });
  test.each<[string, string[], string]>([
    [
      'its model.safetensors, whatever else is there',
      ['model.safetensors', 'pytorch_model.bin', 'tf_model.h5'],
      'model',
    ],
    [
      'pytorch_model.bin before a trainer’s state',
      ['pytorch_model.bin', 'optimizer.pt', 'training_args.bin'],
      'pytorch',
    ],
    ['its only weight file', ['resnet50.pth', 'config.json', 'README.md', '.hidden.pth'], 'resnet50'],
    ['its only weight file, by any name', ['x.weights.h5', 'x-00001-of-00002.bin'], 'x.weights'],
  ])('stands for %s', async (_, names, taken) => {
    const folder = folderOf(
      Object.fromEntries(names.map((name) => [name, name.startsWith(taken) ? weights : 'other'])),
    );
    const checkpoint = await openCheckpoint(folder);
    expect([...checkpoint.tensors.keys()]).toEqual(['a']);
    await checkpoint.close();
  });

  test('of several weight files, or none, is refused', async () => {
    const several = folderOf({ 'b.pth': weights, 'a.safetensors': weights, 'c.h5': weights });
    expect(await refusal(openCheckpoint(several))).toMatchObject({
      code: 'ARGUMENT',
      message: expect.stringContaining('with 3 weight files (a.safetensors, b.pth, c.h5); name one of them'),
    });
    expect(await refusal(openCheckpoint(folderOf({ 'config.json': '{}' })))).toMatchObject({
      code: 'FILE',
      message: expect.stringContaining('a folder without a weight file'),
    });
  });
});
