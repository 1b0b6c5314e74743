import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAugment } from '../image/augment.js';
import { preprocess } from '../image/preprocess.js';
import { preset } from '../image/presets.js';
import { random } from '../random.js';
import { sharedBytes } from '../tensor.js';
import { refusal, scratch, shared } from '../testing.js';
import type { Batch, BatchOptions, Example } from './dataset.js';
import { batches } from './loader.js';
import { inOrder } from './order.js';

/** Pictures in memory, 12×10, of three classes. */
const tiny: Example[] = (() => {
  const size = 12 * 10 * 3;
  const bytes = sharedBytes(50 * size);
  const draw = random('tiny');
  for (let i = 0; i < bytes.length; i++) bytes[i] = draw() * 256;
  return Array.from({ length: 50 }, (_, i) => ({
    id: `train[${i}]`,
    source: { kind: 'pixels', bytes, offset: i * size, height: 10, width: 12, channels: 3, planar: i % 2 === 1 },
    target: i % 3,
  }));
})();

const options: BatchOptions = {
  order: inOrder(50),
  batch: 16,
  plan: preset('raw255', { height: 10, width: 12 }),
  augment: [],
  classes: 3,
  seed: 1,
  epoch: 0,
};

/** Copies, since a batch's memory is used again. */
async function all(examples: readonly Example[], given: BatchOptions) {
  const found: {
    indices: number[];
    images: number[];
    targets: number[];
    shape: readonly number[];
    skipped: Batch['skipped'];
  }[] = [];
  for await (const { indices, images, targets, skipped } of batches(examples, given))
    found.push({
      indices: [...indices],
      images: [...images.data],
      targets: [...targets.data],
      shape: images.shape,
      skipped,
    });
  return found;
}

test('every picture comes once, in order, its values planar as the plan says', async () => {
  const found = await all(tiny, options);
  expect(found.map(({ shape }) => shape)).toEqual([16, 16, 16, 2].map((n) => [n, 3, 10, 12]));
  expect(found.flatMap(({ indices }) => indices)).toEqual([...options.order]);
  const { bytes, offset } = tiny[17].source as { bytes: Uint8Array; offset: number };
  const planar = [...bytes.subarray(offset, offset + 360)];
  expect(found[1].images.slice(360, 720)).toEqual(planar);
  const first = [...bytes.subarray(0, 360)];
  expect(found[0].images.slice(0, 360)).toEqual([0, 1, 2].flatMap((c) => first.filter((_, i) => i % 3 === c)));
  expect(found[3].targets).toEqual([1, 0, 0, 0, 1, 0]);
});

const heavy =
  'random-resized-crop 0.3 1, flip, jitter 0.4 0.4 0.4 0.1, trivial-augment, rand-augment, blur, erase, rotate 20, grey';

test('neither the number of threads nor the place of a resumption changes a bit', async () => {
  const order = new Int32Array([...options.order, 3, 3, 7].reverse());
  const given = { ...options, order, augment: parseAugment(heavy), mix: { mixup: 0.2, cutmix: 1 }, smoothing: 0.1 };
  const one = await all(tiny, { ...given, workers: 1 });
  expect(await all(tiny, { ...given, workers: 3 })).toEqual(one);
  expect(await all(tiny, { ...given, from: 2 })).toEqual(one.slice(2));
  expect(await all(tiny, { ...given, epoch: 1 })).not.toEqual(one);
  expect(await all(tiny, { ...given, seed: 2 })).not.toEqual(one);
  // The same picture three times, each time otherwise.
  const size = 360;
  const threes = [0, 1].map((place) => one[0].images.slice((place + 1) * size, (place + 2) * size));
  expect(one[0].indices.slice(0, 3)).toEqual([7, 3, 3]);
  expect(threes[0]).not.toEqual(threes[1]);
});

test('a loop that is left early leaves nothing behind, and the next one goes on', async () => {
  for await (const { indices } of batches(tiny, options)) {
    expect(indices.length).toBe(16);
    break;
  }
  expect(await all(tiny, options)).toHaveLength(4);
});

test('epochs share their memory, and no two batches at once', async () => {
  const buffers = new Set<ArrayBufferLike>();
  for (let epoch = 0; epoch < 5; epoch++)
    for await (const { images } of batches(tiny, { ...options, epoch })) buffers.add(images.data.buffer);
  const before = buffers.size;
  const [one, two] = [batches(tiny, options), batches(tiny, { ...options, augment: parseAugment('flip 1') })];
  const [a, b] = [(await one.next()).value as Batch, (await two.next()).value as Batch];
  expect(a.images.data.buffer).not.toBe(b.images.data.buffer);
  await Promise.all([one.return(), two.return()]);
  expect(before).toBeLessThanOrEqual(6);
});

test('an aborted signal ends it', async () => {
  const control = new AbortController();
  const work = async () => {
    for await (const _ of batches(tiny, { ...options, signal: control.signal })) control.abort();
  };
  expect((await refusal(work())).code).toBe('ABORTED');
  expect((await refusal(all(tiny, { ...options, signal: control.signal }))).code).toBe('ABORTED');
});

test('one channel is grey; another size changes the plan in proportion', async () => {
  const [grey] = await all(tiny, { ...options, channels: 1 });
  expect(grey.shape).toEqual([16, 1, 10, 12]);
  const [r, g, b] = (tiny[0].source as { bytes: Uint8Array }).bytes;
  expect(grey.images[0]).toBe((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16);
  const [larger] = await all(tiny, { ...options, size: 24 });
  expect(larger.shape).toEqual([16, 3, 24, 24]);
});

test.each([
  [{ batch: 0 }, 'ARGUMENT', 'expected a positive integer for batch but received 0'],
  [{ workers: 0.5 }, 'ARGUMENT', 'expected an integer from 1 to 64 for workers but received 0.5'],
  [{ order: Int32Array.of(1, 50) }, 'ARGUMENT', 'expected indices of 50 examples for order but received 50'],
  [{ classes: 2 }, 'CLASSES', 'train[2]: shows class 2; there are 2, from 0'],
  [
    { plan: preset('torchvision', { height: 8, width: 8 }).slice(0, 2), size: undefined },
    'IMAGE',
    /^none of \d+ pictures can be read; the first: /,
  ],
] as const)('%j is refused', async (change, code, message) => {
  const error = await refusal(all(tiny, { ...options, ...change }));
  expect([error.code, error.message]).toEqual([
    code,
    typeof message === 'string' ? expect.stringContaining(message) : expect.stringMatching(message),
  ]);
});

describe.skipIf(!shared)('photographs', () => {
  const folder = join(shared ?? '', 'data', 'cats-dogs', 'dog');
  const plan = preset('torchvision', { height: 64, width: 64 });
  const photos = shared
    ? readdirSync(folder)
        .slice(0, 10)
        .map(
          (name): Example => ({
            id: join(folder, name),
            source: { kind: 'file', path: join(folder, name) },
            target: 1,
          }),
        )
    : [];
  const given: BatchOptions = { ...options, plan, order: inOrder(10), batch: 4, classes: 2 };

  test('without augmentation a picture is what classification sees', async () => {
    const found = await all(photos, given);
    for (const place of [0, 3]) {
      const { input } = await preprocess(photos[place].id, plan);
      expect(found[0].images.slice(place * input.length, (place + 1) * input.length)).toEqual([...input]);
    }
    const [grey] = await all(photos, { ...given, channels: 1 });
    const { input, height, width } = await preprocess(photos[3].id, plan, undefined, 1);
    expect(input.length).toBe(height * width);
    expect(grey.images.slice(3 * input.length, 4 * input.length)).toEqual([...input]);
  });

  test('pictures kept in memory are the same pictures', async () => {
    const augmented = { ...given, augment: parseAugment('random-resized-crop, flip, rand-augment 2 7 0.5') };
    const first = await all(photos, { ...augmented, cache: 'ram' });
    expect(await all(photos, { ...augmented, cache: 'ram' })).toEqual(first);
    expect(await all(photos, augmented)).toEqual(first);
  });

  test('a damaged picture is skipped and reported, replaced in a full batch, fatal when strict', async () => {
    const broken = join(scratch(), 'broken.jpg');
    writeFileSync(broken, Uint8Array.of(0xff, 0xd8, 0xff, 1, 2, 3));
    const gone = join(scratch(), 'gone.jpg');
    const damaged = photos.map((one, i) =>
      i === 1 || i === 3
        ? { ...one, id: i === 1 ? broken : gone, source: { kind: 'file' as const, path: i === 1 ? broken : gone } }
        : one,
    );
    const [first, second] = await all(damaged, given);
    expect(first.indices).toEqual([0, 2]);
    expect(first.shape).toEqual([2, 3, 64, 64]);
    expect(first.skipped.map(({ id, error }) => [id, error.code])).toEqual([
      [broken, 'IMAGE'],
      [gone, 'FILE'],
    ]);
    expect(first.skipped[0].error.message).toContain(broken);
    expect(second.skipped).toEqual([]);
    const [full] = await all(damaged, { ...given, full: true });
    expect(full.indices).toEqual([0, 0, 2, 2]);
    const half = full.images.length / 4;
    expect(full.images.slice(half, 2 * half)).toEqual(full.images.slice(0, half));
    expect((await refusal(all(damaged, { ...given, strict: true }))).message).toContain('broken.jpg');
    const lost = damaged.map((one) => ({ ...one, id: gone, source: { kind: 'file' as const, path: gone } }));
    for (const full of [false, true])
      expect((await refusal(all(lost, { ...given, full }))).message).toMatch(
        /^none of \d+ pictures can be read; the first: /,
      );
    // A batch of which nothing can be read is empty, or the next one that can be read stands in for it.
    const alone = { ...given, batch: 1, order: Int32Array.of(0, 1, 3, 2) };
    expect((await all(damaged, alone)).map(({ indices }) => indices)).toEqual([[0], [], [], [2]]);
    const filled = await all(damaged, { ...alone, full: true });
    expect(filled.map(({ indices }) => indices)).toEqual([[0], [2], [2], [2]]);
    expect(filled[1].skipped.map(({ id }) => id)).toEqual([broken, gone]);
  });
});
