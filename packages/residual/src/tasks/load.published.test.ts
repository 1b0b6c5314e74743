import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { placeOf } from '../hub/cache.js';
import { findEntry, type HubEntry } from '../hub/catalogue.js';
import { file, serve } from '../hub/server.test.helper.js';
import { initialise } from '../models/initialise.js';
import { build, family } from '../models/resnet.js';
import { temporaryFolder } from '../testing.js';
import { type DialectName, dialects } from '../weights/names.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { convert } from './convert.js';
import { load } from './load.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const cache = join(folder.path, 'cache');
const mirror = join(folder.path, 'mirror');

// Hugging Face publishes no hash beside its files: random weights of the right shapes can stand for them.
const { url } = (await findEntry('microsoft/resnet-18')) as HubEntry;
const weights = weightsOf('resnet18', 'huggingface');
lay(url, weights);

function weightsOf(architecture: 'resnet18' | 'resnet18d', dialect: DialectName): Uint8Array {
  const spelled = [...initialise(build(architecture))].map(
    ([name, tensor]) => [dialects[dialect].spell(name, family[architecture]) as string, tensor] as const,
  );
  return Buffer.concat([...safetensorsBytes(new Map(spelled))]);
}

/** Puts a file where the mirror has what was published at an address. */
function lay(at: string, bytes: Uint8Array): void {
  const path = join(mirror, ...placeOf(at));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
}

test('a published model brings its plan, classes, licence and source, and no guesses are told', async () => {
  await using model = await load('microsoft/resnet-18', { cache, hub: mirror });
  expect(model.name).toBe('microsoft/resnet-18');
  expect(model.notes).toEqual([]);
  expect(model.record).toMatchObject({
    architecture: 'resnet18',
    preprocess: 'torchvision-bicubic',
    licence: 'Apache-2.0',
    source: url,
    about: "resnet18 by microsoft, ImageNet's 1000 classes; licence Apache-2.0",
  });
  expect(model.record.plan.slice(1, 3)).toEqual([
    { step: 'resizeShortSide', size: 256, filter: 'bicubic' },
    { step: 'centerCrop', height: 224, width: 224 },
  ]);
  expect(model.record.classes?.[386]).toEqual({ wnid: 'n02504458', label: 'African_elephant' });
});

test('it converts by its name, and takes its licence and classes along', async () => {
  const path = join(folder.path, 'published.residual');
  const done = await convert('microsoft/resnet-18', path, { cache, hub: mirror });
  expect(done).toMatchObject({ dialect: 'huggingface', dropped: [], notes: [] });
  await using model = await load(path);
  await using published = await load('microsoft/resnet-18', { cache, hub: mirror });
  expect({ ...model.record, about: published.record.about }).toEqual(published.record);
  await expect(convert('resnet18', join(folder.path, 'x.pth'), { cache, offline: true })).rejects.toMatchObject({
    code: 'DOWNLOAD',
  });
});

test('one of timm’s with a network, a size and statistics of its own', async () => {
  const id = 'timm/resnet18d.ra4_e3600_r224_in1k';
  lay(((await findEntry(id)) as HubEntry).url, weightsOf('resnet18d', 'timm'));
  await using model = await load(id, { cache, hub: mirror });
  expect(model.record.architecture).toBe('resnet18d');
  expect(model.record.plan.slice(1)).toEqual([
    { step: 'resizeShortSide', size: 248, filter: 'bicubic' }, // ⌊224 / 0.9⌋
    { step: 'centerCrop', height: 224, width: 224 },
    { step: 'scale', factor: 1 / 255, offset: 0 },
    { step: 'normalize', mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5] },
  ]);
});

test('options override what is published; undefined ones do not', async () => {
  const options = { cache, hub: mirror, architecture: undefined, size: undefined };
  await using model = await load('microsoft/resnet-18', { ...options, size: 96, preprocess: 'torchvision' });
  expect(model.graph.inputs[0].shape.slice(1)).toEqual([3, 96, 96]);
  expect(model.record.preprocess).toBe('torchvision');
  await using tuned = await load('microsoft/resnet-18', { ...options, classes: 3, newHead: true });
  expect(tuned.report?.newHead).toEqual(['fc.weight', 'fc.bias']);
  expect(tuned.record.classes).toBeUndefined();
  expect(tuned.graph.inputs[0].shape.slice(1)).toEqual([3, 224, 224]);
});

test('from a server: once, then without', async () => {
  const server = await serve(file(weights));
  const seen: number[] = [];
  try {
    const options = { cache, hub: server.url, onProgress: ({ received }: { received: number }) => seen.push(received) };
    await (await load('microsoft/resnet-18', options)).dispose();
    expect(seen.at(-1)).toBe(weights.length);
    await (await load('microsoft/resnet-18', { cache, offline: true })).dispose();
    expect(server.asked).toHaveLength(1);
  } finally {
    await server.close();
  }
});

test('weights that are not what was published are not loaded, whoever hands them out', async () => {
  lay(((await findEntry('resnet18')) as HubEntry).url, weights);
  await expect(load('resnet18', { cache, hub: mirror })).rejects.toMatchObject({
    code: 'DOWNLOAD',
    message: expect.stringMatching(/^resnet18-v1: .*, not f37072fd… as published$/),
  });
});

test('without a name it is resnet50', async () => {
  await expect(load(undefined, { cache, offline: true })).rejects.toThrow('resnet50-v2 is not in the cache');
});

test.each([
  ['keras-resnet50', 'ARGUMENT', 'has no weights by itself; published weights for it: keras/resnet50, '],
  ['plain18', 'ARGUMENT', 'plain18 is an architecture and has no weights by itself; pass a weight file (plain18.pth)'],
  ['keras/resnet5', 'UNKNOWN_NAME', 'unknown model "keras/resnet5"; did you mean "keras/resnet50"?'],
  ['timm/resnet50_gn.a1h_in1k', 'UNKNOWN_NAME', 'cannot be built here: the family lacks GroupNorm'],
  ['resnet50-v3', 'UNKNOWN_NAME', 'did you mean "resnet50-v1"?'],
])('%s', async (name, code, message) => {
  await expect(load(name, { cache, offline: true })).rejects.toMatchObject({
    code,
    message: expect.stringContaining(message),
  });
});
