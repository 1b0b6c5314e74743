import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { preset } from '../image/presets.js';
import { initialise } from '../models/initialise.js';
import { kerasGraph } from '../models/keras-config.js';
import { resnet18 } from '../models/resnet.js';
import { tensor } from '../tensor.js';
import { python, shared, temporaryFolder } from '../testing.js';
import { classify, type Prediction, type Row, rankRow, softmax } from './classify.js';
import { load } from './load.js';
import { createModel, type Model } from './model.js';

interface Expected {
  files: Record<string, { index: number } & Record<string, [index: number, probability: number][]>>;
}

describe.skipIf(!shared)('forty photographs of ImageNet against PyTorch', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);
  const pictures = join(shared ?? '', 'data/imagenet-40');
  beforeAll(() => {
    execFileSync(python, [join(shared as string, 'make-weights'), folder.path], { stdio: 'ignore' });
  });

  test.each(['resnet50-pqf', 'resnet18-pqf'])(
    '%s: the same best class, the listed probabilities within 1e-3',
    async (name) => {
      const expected: Expected = JSON.parse(readFileSync(join(pictures, 'expected.json'), 'utf8'));
      const files = readdirSync(pictures).filter((file) => file.endsWith('.JPEG'));
      expect(files).toHaveLength(40);
      await using model = await load(join(folder.path, `${name}.pth`), { decode: 'pillow' });
      const seen: string[] = [];
      for await (const row of classify.each(
        model,
        files.map((file) => join(pictures, file)),
        { batch: 4, top: 1000 },
      )) {
        const file = files[seen.length];
        seen.push(file);
        if (row.error) throw row.error;
        const listed = expected.files[file][name];
        expect(row.predictions[0].index, file).toBe(listed[0][0]);
        for (const [index, probability] of listed) {
          const found = row.predictions.find((prediction) => prediction.index === index)?.probability;
          expect(found, `${file}, class ${index}`).toBeGreaterThan(probability - 1e-3);
          expect(found, `${file}, class ${index}`).toBeLessThan(probability + 1e-3);
        }
      }
      expect(seen).toEqual(files);
    },
  );

  test('a picture alone and among others: the same answer', async () => {
    // Kernels that the clock chooses for another batch size round their last bits otherwise.
    await using model = await load(join(folder.path, 'resnet18-pqf.pth'), { deterministic: true });
    const files = readdirSync(pictures)
      .filter((file) => file.endsWith('.JPEG'))
      .slice(0, 5)
      .map((file) => join(pictures, file));
    const rows: (Prediction[] | undefined)[] = [];
    for await (const row of classify.each(model, files, { batch: 5 })) rows.push(row.predictions);
    const alone = await Promise.all(files.map((file) => classify(model, file)));
    alone.forEach((predictions, i) => {
      expect(rows[i]?.map((p) => p.index)).toEqual(predictions.map((p) => p.index));
      predictions.forEach((p, k) => {
        expect(rows[i]?.[k].probability).toBeCloseTo(p.probability, 6);
      });
    });
  });

  test('one broken file among many is one row with an error', async () => {
    await using model = await load('resnet16-cifar10');
    const samples = join(shared as string, 'data/samples');
    const files = [
      join(samples, 'cat.jpg'),
      join(samples, 'formats/truncated.jpg'),
      join(samples, 'missing.jpg'),
      join(samples, 'ship.jpg'),
    ];
    const rows = [];
    for await (const row of classify.each(model, files, { batch: 3 })) rows.push(row);
    expect(rows.map((row) => row.error?.code)).toEqual([undefined, 'IMAGE', 'FILE', undefined]);
    expect(rows.map((row) => row.file)).toEqual(files);
  });
});

describe('many pictures', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);
  let model: Model;
  beforeAll(async () => {
    model = await load('resnet16-cifar10', { deterministic: true });
  });
  afterAll(() => model.dispose());
  const picture = (i: number) => {
    const file = join(folder.path, `many-${i}.bmp`);
    writeFileSync(file, bitmap(32 + i, 40, i));
    return file;
  };
  const all = async (rows: AsyncIterable<Row>) => {
    const found: Row[] = [];
    for await (const row of rows) found.push(row);
    return found;
  };

  test('a list: the answers that each picture has alone', async () => {
    const files = Array.from({ length: 19 }, (_, i) => picture(i));
    const rows = await all(classify.each(model, files));
    expect(rows.map(({ file }) => file)).toEqual(files);
    for (const { file, predictions } of rows) {
      const alone = await classify(model, file);
      expect(predictions?.map(({ index }) => index)).toEqual(alone.map(({ index }) => index));
      expect(predictions?.[0].probability).toBeCloseTo(alone[0].probability, 6);
    }
  });

  test('of an asynchronous sequence each is answered before the next has come', async () => {
    let answered = () => {};
    async function* slowly() {
      for (let i = 0; i < 3; i++) {
        const asked = new Promise<void>((resolve) => {
          answered = resolve;
        });
        yield picture(i);
        await asked;
      }
    }
    let rows = 0;
    for await (const { error } of classify.each(model, slowly())) {
      expect(error).toBeUndefined();
      rows++;
      answered();
    }
    expect(rows).toBe(3);
  });

  test('the next are under way while the caller looks at a row', async () => {
    let runs = 0;
    const counting: Model = {
      ...model,
      run(...args) {
        runs++;
        return model.run(...args);
      },
    };
    const rows = classify.each(
      counting,
      Array.from({ length: 24 }, (_, i) => picture(i)),
      { batch: 4 },
    );
    await rows.next();
    await expect.poll(() => runs).toBe(6);
    await rows.return();
  });

  test('the next are decoded while the network computes', async () => {
    const last = picture(8);
    const removing: Model = {
      ...model,
      async run(...args) {
        await new Promise((resolve) => setTimeout(resolve, 300));
        rmSync(last, { force: true });
        return model.run(...args);
      },
    };
    const rows = await all(classify.each(removing, [...Array.from({ length: 8 }, (_, i) => picture(i)), last]));
    expect(rows.map(({ error }) => error?.code)).toEqual(Array(9).fill(undefined));
  });

  test('what the sequence throws is thrown', async () => {
    async function* failing() {
      yield picture(0);
      throw new Error('no more');
    }
    await expect(all(classify.each(model, failing()))).rejects.toThrow('no more');
  });
});

describe('ranking', () => {
  test('softmax does not overflow and sums to one', () => {
    const p = softmax(Float32Array.of(1000, 999, -1000));
    expect(p[0]).toBeCloseTo(1 / (1 + Math.exp(-1)), 12);
    expect(p.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  });

  test('is by probability, then by index, cut by top and minProbability', () => {
    const rank = (options: object) =>
      rankRow(Float32Array.of(0.1, 0.4, 0.1, 0.4), { kind: 'probabilities', ...options }).map((p) => p.index);
    expect(rank({})).toEqual([1, 3, 0, 2]);
    expect(rank({ top: 3 })).toEqual([1, 3, 0]);
    expect(rank({ minProbability: 0.2 })).toEqual([1, 3]);
  });

  test('among some classes only, with the probabilities they have among all', () => {
    const rank = (options: object) =>
      rankRow(Float32Array.of(0.1, 0.4, 0.2, 0.3), { kind: 'probabilities', ...options });
    expect(rank({ only: [2, 0, 2] }).map(({ index, probability }) => [index, probability.toFixed(1)])).toEqual([
      [2, '0.2'],
      [0, '0.1'],
    ]);
    expect(rank({ only: [3, 1], top: 1 }).map((p) => p.index)).toEqual([1]);
  });

  test('NaN is reported, not ranked', () => {
    expect(() => rankRow(Float32Array.of(0.5, Number.NaN), { kind: 'logits' })).toThrow('output 1 is NaN');
  });
});

describe('a model', () => {
  let model: Model;
  beforeAll(() => {
    model = createModel(resnet18({ classes: 3, size: 32 }), {
      architecture: 'resnet18',
      preprocess: 'custom',
      plan: [],
    });
  });

  test('takes preprocessed tensors of any batch and size', async () => {
    const x = (n: number, side: number) => tensor(new Float32Array(n * 3 * side * side), [n, 3, side, side]);
    expect((await model.predict(x(5, 32))).shape).toEqual([5, 3]);
    expect((await model.predict(x(1, 96))).shape).toEqual([1, 3]);
    await expect(classify(model, x(2, 32))).rejects.toThrow('[1, C, H, W]');
    expect((await classify(model, x(1, 32)))[0].label).toMatch(/^class \d$/);
  });

  test('computes pictures of different sizes apart, with the answers they have alone', async () => {
    const folder = temporaryFolder();
    const plan = [
      { step: 'decode', as: 'default' },
      { step: 'scale', factor: 1 / 255, offset: 0 },
    ] as const;
    const free = createModel(resnet18({ classes: 3, size: 32 }), {
      architecture: 'resnet18',
      preprocess: 'custom',
      plan,
    });
    const files = [
      [40, 48],
      [64, 32],
      [40, 48],
    ].map(([width, height], i) => {
      const file = join(folder.path, `${i}.bmp`);
      writeFileSync(file, bitmap(width, height, i));
      return file;
    });
    const alone = await Promise.all(files.map((file) => classify(free, file)));
    const rows: Row[] = [];
    for await (const row of classify.each(free, files, { batch: 3 })) rows.push(row);
    rows.forEach(({ predictions }, i) => {
      expect(predictions?.map((p) => p.index)).toEqual(alone[i].map((p) => p.index));
      expect(predictions?.[0].probability).toBeCloseTo(alone[i][0].probability, 5);
    });
    await free.dispose();
    folder.remove();
  });

  test('refuses options that mean nothing', async () => {
    const x = tensor(new Float32Array(3 * 32 * 32), [1, 3, 32, 32]);
    for (const options of [
      { top: 0 },
      { top: Number.NaN },
      { minProbability: 2 },
      { only: [] },
      { only: [3] },
      { only: [-1] },
    ])
      await expect(classify(model, x, options)).rejects.toMatchObject({ code: 'ARGUMENT' });
    await expect(classify.each(model, [], { batch: 0 }).next()).rejects.toMatchObject({ code: 'ARGUMENT' });
    await expect(model.run(x, [])).rejects.toMatchObject({ code: 'ARGUMENT' });
    await expect(model.predict(x, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' });
  });

  test('warns once of outputs that are all equal', async () => {
    const graph = resnet18({ classes: 3, size: 32 });
    const weights = new Map(initialise(graph));
    weights.set('fc.weight', tensor(new Float32Array(3 * 512).fill(0.02), [3, 512]));
    const warn = vi.fn();
    await using constant = createModel(graph, model.record, { name: 'constant', weights, warn });
    const x = tensor(
      Float32Array.from({ length: 3 * 32 * 32 }, (_, i) => (i * 37) % 256),
      [1, 3, 32, 32],
    );
    await classify(constant, x);
    const [best] = await classify(constant, x);
    expect(best.probability).toBeCloseTo(1 / 3, 6);
    expect(warn.mock.calls).toEqual([['constant: all 3 outputs are equal: are these trained weights?']]);
  });

  test('gives its outputs where none are named, and refuses what is no tensor or no list', async () => {
    const x = tensor(new Float32Array(3 * 32 * 32), [1, 3, 32, 32]);
    expect(Object.keys(await model.run(x))).toEqual(['logits']);
    const image = { data: new Uint8ClampedArray(4), width: 1, height: 1 };
    for (const odd of [undefined, null, 7, 'cat.jpg', [1, 2], new Float32Array(4), image])
      for (const call of [model.run, model.predict])
        await expect(call(odd as never)).rejects.toMatchObject({
          code: 'ARGUMENT',
          message: expect.stringMatching(/^resnet18 takes a tensor \[N, C, H, W\], .* but received /),
        });
    for (const odd of ['logits', {}, null, [1], 7])
      await expect(model.run(x, odd as never)).rejects.toMatchObject({
        code: 'ARGUMENT',
        message: expect.stringContaining('expected a list of names of outputs of resnet18, such as ["logits"]'),
      });
    await expect(model.run(x, 'logits' as never)).rejects.toThrow('received "logits"');
  });

  test('survives many plans that fail at once', async () => {
    const x = tensor(new Float32Array(3 * 32 * 32), [1, 3, 32, 32]);
    const results = await Promise.allSettled(['a', 'b', 'c', 'd', 'e', 'f'].map((name) => model.run(x, [name])));
    for (const result of results)
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'UNKNOWN_NAME' } });
  });

  test('gives features by name and refuses unknown ones with the nearest', async () => {
    const x = tensor(new Float32Array(3 * 32 * 32), [1, 3, 32, 32]);
    const { layer3, avgpool } = await model.run(x, ['layer3', 'avgpool']);
    expect(layer3.shape).toEqual([1, 256, 2, 2]);
    expect(avgpool.shape).toEqual([1, 512]);
    await expect(model.run(x, ['layer33'])).rejects.toThrow('did you mean "layer3"?');
  });

  test('cannot be used after it was disposed', async () => {
    await model.dispose();
    await expect(model.predict(tensor(new Float32Array(3 * 32 * 32), [1, 3, 32, 32]))).rejects.toMatchObject({
      code: 'DISPOSED',
    });
  });
});

/** A 24-bit BMP of noise, rows padded to four bytes. */
function bitmap(width: number, height: number, seed: number): Uint8Array {
  const stride = (width * 3 + 3) & ~3;
  const file = new Uint8Array(54 + stride * height);
  const view = new DataView(file.buffer);
  file.set([0x42, 0x4d]);
  view.setUint32(2, file.length, true);
  view.setUint32(10, 54, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, width, true);
  view.setInt32(22, height, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, 24, true);
  for (let i = 54; i < file.length; i++) file[i] = (i * 7919 + seed * 104729) % 251;
  return file;
}

describe('a Keras model that makes no scores of classes is no classifier', () => {
  const entry = (class_name: string, name: string, config: object, from?: string) => ({
    class_name,
    name,
    config: { name, ...config },
    inbound_nodes: from === undefined ? [] : [[[from, 0, 0, {}]]],
  });
  const trunk = [
    entry('InputLayer', 'in', { batch_input_shape: [null, 32, 32, 3] }),
    entry('Conv2D', 'conv', { filters: 8, kernel_size: 3, activation: 'relu' }, 'in'),
    entry('GlobalAveragePooling2D', 'avg_pool', {}, 'conv'),
  ];
  test.each([
    ['without its top', trunk, /ends in features; load weights with their top/],
    [
      'of labels that may hold together',
      [...trunk, entry('Dense', 'labels', { units: 4, activation: 'sigmoid' }, 'avg_pool')],
      /stand each for itself \(sigmoid\); model.predict gives them/,
    ],
  ])('%s', async (_what, layers, message) => {
    const output_layers = [[layers[layers.length - 1].name, 0, 0]];
    const graph = kerasGraph({ class_name: 'Functional', config: { name: 'net', layers, output_layers } });
    const record = { architecture: 'net', preprocess: 'tf', plan: preset('tf', { height: 32, width: 32 }) };
    await using model = createModel(graph, record, { seed: 1, warn: () => {} });
    const x = tensor(new Float32Array(3 * 32 * 32), [1, 3, 32, 32]);
    await expect(classify(model, x)).rejects.toMatchObject({
      code: 'CLASSES',
      message: expect.stringMatching(message),
    });
    expect((await model.predict(x)).shape).toEqual([1, layers.length === 3 ? 8 : 4]);
  });
});

test('a network of four channels says so before a picture is read', async () => {
  const graph = resnet18({ channels: 4, classes: 4, size: 32, width: 8, widthPerGroup: 8 });
  const record = { architecture: 'four', preprocess: 'tf', plan: preset('tf', { height: 32, width: 32 }) };
  await using model = createModel(graph, record, { seed: 1 });
  const message = expect.stringMatching(/takes pictures of 4 channels, .* pass arrays \[N, 4, 32, 32\]/);
  await expect(classify(model, 'absent.jpg')).rejects.toMatchObject({ code: 'GRAPH', message });
  await expect(classify.each(model, ['absent.jpg']).next()).rejects.toMatchObject({ code: 'GRAPH', message });
  const x = tensor(
    Float32Array.from({ length: 4096 }, (_, i) => Math.sin(i)),
    [1, 4, 32, 32],
  );
  expect(await classify(model, x)).toHaveLength(4);
});
