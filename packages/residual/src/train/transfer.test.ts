import { expect, test } from 'vitest';
import { engines } from '../engines/index.js';
import { valueTables } from '../image/apply.js';
import { preset } from '../image/presets.js';
import { initialise } from '../models/initialise.js';
import { build } from '../models/resnet.js';
import { tensor, type Weights } from '../tensor.js';
import { adaptedConvolution, withChannels } from './channels.js';
import { headBehind } from './features-once.js';
import { checkSameClasses, fingerprint, otherPictures } from './subject.js';
import { tinyData } from './train.test.helper.js';
import { type Student, testedAt, withNewHead } from './transfer.js';

const student = (name: string, classes: number): Student => {
  const graph = build(name, { classes, size: 8 });
  const plan = preset('cifar', { height: 8, width: 8 });
  return { graph, weights: initialise(graph, { seed: 1 }), record: { architecture: name, preprocess: 'cifar', plan } };
};

const answer = async (
  { graph, weights }: { graph: Student['graph']; weights: Weights },
  shape: number[],
  fill: (i: number) => number,
  output = 'logits',
) => {
  const executable = await engines.reference.compile(graph, { weights, outputs: [output] });
  const x = tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => fill(i)),
    shape,
  );
  const { [output]: found } = await executable.run({ [graph.inputs[0].name]: x });
  await executable.dispose();
  return [...found.data];
};

test('three channels become one, four and six', () => {
  const weight = tensor([1, 2, 3, 4, 5, 6], [2, 3, 1, 1]);
  expect([...adaptedConvolution(weight, 1).data]).toEqual([6, 15]);
  expect([...adaptedConvolution(weight, 4).data]).toEqual([1, 2, 3, 1, 4, 5, 6, 4].map((x) => (x * 3) / 4));
  expect([...adaptedConvolution(weight, 6).data]).toEqual([1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6].map((x) => x / 2));
  expect(adaptedConvolution(weight, 6).shape).toEqual([2, 6, 1, 1]);
});

test('a grey picture gives what it gave as three equal channels', async () => {
  const bytes = Uint8Array.from({ length: 64 }, (_, i) => 128 + 127 * Math.sin(i));
  for (const [name, interior] of [
    ['tf', false],
    ['cifar', true],
    ['caffe', true],
  ] as const) {
    const plan = preset(name, { height: 8, width: 8 });
    const before = { ...student('resnet20', 3), record: { architecture: 'resnet20', preprocess: name, plan } };
    const tables = valueTables(plan).map(({ values }) => values);
    const value = (i: number) => tables[Math.floor(i / 64)][bytes[i % 64]];
    const after = withChannels(before, 1);
    // Around a picture there are zeros, which stand for another grey in each channel: there it differs a little.
    const output = interior ? 'bn1' : 'logits';
    const inside = (_: number, i: number) =>
      !interior || [i % 8, Math.floor(i / 8) % 8].every((at) => at > 0 && at < 7);
    const [three, one] = [
      (await answer(before, [1, 3, 8, 8], value, output)).filter(inside),
      (await answer(after, [1, 1, 8, 8], value, output)).filter(inside),
    ];
    const largest = Math.max(...three.map(Math.abs));
    one.forEach((x, i) => void expect(Math.abs(x - three[i]) / largest).toBeLessThan(1e-5));
  }
});

test('a new head; the rest stays', () => {
  const before = student('resnet20', 3);
  const after = withNewHead(before, ['a', 'b', 'c', 'd', 'e']);
  expect(after.graph.parameters.filter(({ name }) => name.startsWith('fc')).map(({ shape }) => shape)).toEqual([
    [5, 64],
    [5],
  ]);
  for (const [name, { data }] of before.weights)
    if (!name.startsWith('fc')) expect(after.weights.get(name)?.data).toBe(data);
  expect(after.record.classes?.map(({ label }) => label)).toEqual(['a', 'b', 'c', 'd', 'e']);
});

test('what is behind a point, alone', async () => {
  const whole = student('resnet20', 3);
  for (const point of ['avgpool', 'layer2']) {
    const head = headBehind(whole.graph, point);
    const [{ shape }] = head.inputs;
    const executable = await engines.reference.compile(whole.graph, {
      weights: whole.weights,
      outputs: [point, 'logits'],
    });
    const x = tensor(
      Float32Array.from({ length: 192 }, (_, i) => Math.cos(i)),
      [1, 3, 8, 8],
    );
    const found = await executable.run({ [whole.graph.inputs[0].name]: x });
    await executable.dispose();
    expect(found[point].shape).toEqual(shape);
    const values = found[point].data;
    const behind = await answer({ ...whole, graph: head }, [...shape], (i) => values[i]);
    behind.forEach((value, i) => {
      expect(value).toBeCloseTo(found.logits.data[i], 4);
    });
  }
  expect(() => headBehind(whole.graph, 'layer1.0.conv1')).toThrow(/not everything passes through/);
  expect(() => headBehind(whole.graph, 'logits')).toThrow(/not everything passes through/);
});

test('tests at another size', () => {
  const plan = preset('torchvision', { height: 224, width: 224 });
  const [decode, short, crop, ...values] = testedAt(plan, [224, 224], 0.95);
  expect([decode, short, crop]).toEqual([
    plan[0],
    { step: 'resizeShortSide', size: 236, filter: 'bilinear' },
    { step: 'centerCrop', height: 224, width: 224 },
  ]);
  expect(values).toEqual(plan.slice(3));
});

test('class lists and data are told apart', () => {
  expect(() => checkSameClasses(['a', 'b'], ['b', 'a'], 'runs/1')).toThrow(/their order is another/);
  expect(() => checkSameClasses(['a', 'b'], ['a', 'b', 'c'], 'runs/1')).toThrow(/"c" came/);
  expect(fingerprint(tinyData())).toBe(fingerprint(tinyData()));
  expect(fingerprint(tinyData(23))).not.toBe(fingerprint(tinyData()));
  const { train, ...rest } = tinyData();
  const moved = train.map((one) => ({ ...one, id: `/elsewhere/${one.id}` }));
  const labelled = train.map((one, i) => (i === 3 ? { ...one, target: 2 } : one));
  expect(fingerprint({ ...rest, train: labelled })).not.toBe(fingerprint({ ...rest, train }));
  expect(fingerprint({ ...rest, train: moved.map((one) => ({ ...one, id: `a/${one.id}` })) })).toBe(
    fingerprint({ ...rest, train: moved }),
  );
  const begun = fingerprint(tinyData());
  const less = fingerprint({ ...tinyData(), validation: (rest.validation ?? []).slice(1) });
  expect(otherPictures(begun, begun)).toEqual([]);
  expect(otherPictures(begun, less)).toEqual([expect.stringMatching(/^the validation pictures are .*5 now, 6 then/)]);
  // As the first release of the format wrote it.
  expect(otherPictures(begun.split('+')[0], less)).toEqual([]);
  expect(begun).toMatch(/^24-[0-9a-f]{16}\+6-[0-9a-f]{16}$/);
});
