import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { initialise } from '../models/initialise.js';
import { build, type ResNetOptions } from '../models/resnet.js';
import { type Tensor, tensor } from '../tensor.js';
import { mlperfResnet8, temporaryFolder } from '../testing.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { classify } from './classify.js';
import { convert } from './convert.js';
import { inspect } from './inspect.js';
import { load } from './load.js';
import { save } from './save.js';

const fileOf = (
  name: string,
  options: ResNetOptions = {},
  change: (weights: Map<string, Tensor>) => void = () => {},
) => {
  const weights = new Map(initialise(build(name, options)));
  change(weights);
  return Buffer.concat([...safetensorsBytes(weights)]);
};

test('a network of one’s own gets the preparation that is customary for the file', async () => {
  const graph = { ...build('resnet20'), name: 'mine' };
  const file = Buffer.concat([...safetensorsBytes(initialise(graph))]);
  await using model = await load(file, { architecture: graph });
  expect(model.graph).toBe(graph);
  expect(model.record).toMatchObject({ architecture: 'mine', preprocess: 'cifar' });
});

test('the report counts what was loaded and names what was left over', async () => {
  const extra = tensor([1, 2, 3], [3]);
  await using model = await load(fileOf('resnet20', {}, (w) => w.set('ema.decay', extra)));
  expect(model.report).toMatchObject({
    loaded: model.graph.parameters.length,
    missing: [],
    misshapen: [],
    unexpected: ['ema.decay'],
  });
  expect(model.notes.join('\n')).toContain('1 tensors have no place in resnet20 and were left out: ema.decay');
});

describe('what does not fit is refused', () => {
  test('weights of another architecture, with which they look like', async () => {
    await expect(load(fileOf('resnet32'), { architecture: 'resnet56' })).rejects.toMatchObject({
      code: 'WEIGHTS_MISMATCH',
      message: expect.stringMatching(/does not fit resnet56.* are missing .*these weights look like resnet32/),
      details: { looksLike: 'resnet32' },
    });
  });

  test('a missing parameter, with the nearest name of the file', async () => {
    const misspelt = fileOf('resnet20', {}, (w) => {
      w.set('fc.wieght', w.get('fc.weight') as Tensor);
      w.delete('fc.weight');
    });
    await expect(load(misspelt, { architecture: build('resnet20') })).rejects.toThrow(
      'fc.weight; the file has fc.wieght',
    );
  });

  test('tensors of the trunk that have no place: it is another network', async () => {
    const named = fileOf('resnet20', { shortcut: 'projection' }, (w) => {
      for (const [name, tensor] of [...w])
        if (name.includes('downsample')) {
          w.delete(name);
          w.set(name.replace('downsample', 'shortcut'), tensor);
        }
    });
    await expect(load(named)).rejects.toMatchObject({
      code: 'WEIGHTS_MISMATCH',
      message: expect.stringMatching(
        /10 tensors of its trunk have no place in resnet20 \(layer2\.0\.shortcut\.0\.weight/,
      ),
    });
    // Every parameter of the shallower network would be filled; the other blocks would be lost without a word.
    await expect(load(fileOf('resnet32'), { architecture: 'resnet20' })).rejects.toThrow(
      'of its trunk have no place in resnet20',
    );
  });

  test('changes to a network that is given as it is', async () => {
    for (const options of [{ classes: 5, newHead: true }, { size: 64 }])
      await expect(load(mlperfResnet8, options)).rejects.toMatchObject({ code: 'ARGUMENT' });
  });

  test('another shape, with both shapes', async () => {
    const narrow = fileOf('resnet20', {}, (w) => w.set('layer3.2.bn2.weight', tensor(new Float32Array(32), [32])));
    await expect(load(narrow)).rejects.toThrow('layer3.2.bn2.weight: expected [64], received [32]');
  });

  test('values that are not numbers', async () => {
    const diverged = fileOf('resnet20', {}, (w) => {
      (w.get('layer1.0.conv1.weight') as Tensor).data[7] = Number.NaN;
    });
    await expect(load(diverged)).rejects.toMatchObject({
      code: 'NUMERICS',
      message: expect.stringContaining('1 of the 2304 values of layer1.0.conv1.weight'),
    });
  });

  test('a variance that has no root, even with epsilon; a little below 0 is legal', async () => {
    const withVariance = (variance: number) =>
      load(
        fileOf('resnet20', {}, (w) => {
          (w.get('layer1.0.bn1.running_var') as Tensor).data[3] = variance;
        }),
      );
    for (const variance of [-2e-5, -1])
      await expect(withVariance(variance)).rejects.toMatchObject({
        code: 'NUMERICS',
        message: expect.stringMatching(/layer1\.0\.bn1\.running_var\[3\] is the variance -\S+, which has no root/),
        details: { parameter: 'layer1.0.bn1.running_var', channel: 3 },
      });
    await using model = await withVariance(-5e-6);
    expect((await model.weights()).get('layer1.0.bn1.running_var')?.data[3]).toBeCloseTo(-5e-6, 10);
  });

  test.each([
    ['resnet20', 'ARGUMENT', 'has no weights by itself'],
    ['resnet16-cifar11', 'UNKNOWN_NAME', 'did you mean "resnet16-cifar10"?'],
    ['no-such-file.pth', 'FILE', 'no-such-file.pth'],
  ])('%s', async (name, code, message) => {
    await expect(load(name)).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });
});

describe('another number of classes', () => {
  test('is refused without a new head', async () => {
    await expect(load(fileOf('resnet20'), { classes: 3 })).rejects.toMatchObject({
      code: 'CLASSES',
      message: expect.stringContaining('has 10 classes but 3 were asked for; pass newHead'),
    });
  });

  test('with one, the rest is the file’s and the classifier is new, by the seed', async () => {
    const file = fileOf('resnet20');
    const [a, b, c] = await Promise.all([1, 1, 2].map((seed) => load(file, { classes: 3, newHead: true, seed })));
    expect(a.report?.newHead).toEqual(['fc.weight', 'fc.bias']);
    expect((await a.weights()).get('fc.weight')?.shape).toEqual([3, 64]);
    expect(a.record.classes).toBeUndefined();
    expect((await a.weights()).get('fc.weight')).toEqual((await b.weights()).get('fc.weight'));
    expect((await a.weights()).get('fc.weight')).not.toEqual((await c.weights()).get('fc.weight'));
    expect((await a.weights()).get('conv1.weight')?.data).toEqual(
      initialise(build('resnet20')).get('conv1.weight')?.data,
    );
  });

  test('without a classifier in the file the network ends in features', async () => {
    await using model = await load(fileOf('resnet18', { classes: 0 }));
    expect(model.graph.outputs.map(({ name }) => name)).toEqual(['features']);
    await using classifier = await load(fileOf('resnet18', { classes: 0 }), { classes: 2, newHead: true });
    expect(classifier.graph.outputs.map(({ name }) => name)).toEqual(['logits']);
  });
});

describe('a Sequential in the place of the classifier', () => {
  /** Layers of a head, each of which is [name, number of outputs]. */
  const headed = (...head: [string, number][]) =>
    fileOf('resnet18', { classes: 0, width: 8, widthPerGroup: 8, size: 32 }, (w) => {
      for (const [name, outputs] of head) {
        w.set(`fc.${name}.weight`, tensor(new Float32Array(outputs * 64).fill(outputs), [outputs, 64]));
        w.set(`fc.${name}.bias`, tensor(new Float32Array(outputs), [outputs]));
      }
    });

  test.each(['0', '1', '4', 'linear'])('its one Linear, fc.%s, is the classifier', async (name) => {
    const file = headed([name, 5]);
    await using model = await load(file);
    expect(model.record.config?.classes).toBe(5);
    expect((await model.weights()).get('fc.weight')?.data[0]).toBe(5);
    expect(model.notes.join()).not.toContain('no classifier');
    expect(await inspect(file)).toMatchObject({ classes: 5, architecture: expect.stringContaining('resnet') });
    // In a record too, where the tensors keep their names.
    const folder = temporaryFolder();
    const [source, target] = ['a.safetensors', 'a.residual'].map((file) => join(folder.path, file));
    writeFileSync(source, file);
    await convert(source, target);
    await using again = await load(target);
    expect((await again.weights()).get('fc.weight')).toEqual((await model.weights()).get('fc.weight'));
    folder.remove();
  });

  test('several Linears, or a BatchNorm beside one: features, and the head is named', async () => {
    const file = headed(['0', 64], ['3', 5]);
    await using model = await load(file);
    expect(model.graph.outputs[0].name).toBe('features');
    expect(model.notes.join()).toContain('fc.0.weight, fc.3.weight may be a head of its own');
    await expect(classify(model, tensor([0], [1, 1, 1, 1]))).rejects.toMatchObject({
      code: 'CLASSES',
      message: expect.stringContaining("its file's fc.0.weight, fc.3.weight may be a head of its own: build"),
    });
    const normed = fileOf('resnet18', { classes: 0, width: 8, widthPerGroup: 8, size: 32 }, (w) => {
      w.set('fc.0.weight', tensor(new Float32Array(64), [64]));
      w.set('fc.1.weight', tensor(new Float32Array(128), [2, 64]));
    });
    await using features = await load(normed);
    expect(features.graph.outputs[0].name).toBe('features');
  });

  test('a network of one’s own has its own names', async () => {
    const graph = build('resnet18', { classes: 5, width: 8, widthPerGroup: 8, size: 32 });
    const parameters = graph.parameters.map((p) => ({ ...p, name: p.name.replace(/^fc\./, 'fc.1.') }));
    await using model = await load(headed(['1', 5]), { architecture: { ...graph, parameters } });
    expect((await model.weights()).get('fc.1.weight')?.data[0]).toBe(5);
  });
});

describe('saving', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);

  test('and loading give the same weights', async () => {
    await using model = await load(fileOf('resnet20'));
    const path = join(folder.path, 'saved.safetensors');
    await save(model, path);
    await using again = await load(path);
    expect(again.record.architecture).toBe('resnet20');
    expect([...(await again.weights()).keys()].sort()).toEqual([...(await model.weights()).keys()].sort());
    const weights = await again.weights();
    for (const [name, { data }] of await model.weights())
      expect(
        Buffer.compare(Buffer.from(data.buffer), Buffer.from((weights.get(name) as Tensor).data.buffer)),
        name,
      ).toBe(0);
    expect(readFileSync(path).subarray(8, 9).toString()).toBe('{');
  });
});

test('values that do not look as the plan makes them are warned of, once', async () => {
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
  await using model = await load('resnet16-cifar10');
  const unit = tensor(
    Float32Array.from({ length: 3 * 32 * 32 }, (_, i) => (i % 97) / 97),
    [1, 3, 32, 32],
  );
  await model.predict(unit);
  await model.predict(unit);
  expect(warn.mock.calls).toHaveLength(1);
  expect(warn.mock.calls[0][0]).toMatch(
    /resnet16-cifar10: input values 0 … 0\.\d+ do not fit the plan, which yields −2\.\d+ … 2\.\d+/,
  );
  warn.mockRestore();
});

test('an option that is undefined is one that was not given', async () => {
  await using model = await load('resnet16-cifar10', { preprocess: undefined, labels: undefined });
  expect(model.record.classes).toHaveLength(10);
  expect(model.record.architecture).toBe('resnet16');
  expect(model.notes).toEqual([]);
});
