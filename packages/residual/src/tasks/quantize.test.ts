import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { noise, noiseTensor, noiseWeights } from '../engines/sketch.js';
import { channelScales } from '../graph/eight-bits.js';
import { preset } from '../image/presets.js';
import { build } from '../models/resnet.js';
import { type AnyTensor, sizeOf, type Tensor } from '../tensor.js';
import { pythonJson, refusal, shared, temporaryFolder } from '../testing.js';
import { recordKey, recordText } from '../weights/record.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { classify } from './classify.js';
import { convert } from './convert.js';
import { exportOnnx } from './export.js';
import { exportTrainingStep } from './export-training.js';
import { load } from './load.js';
import { createModel, type Model } from './model.js';
import { quantize } from './quantize.js';
import { chooseScale, nothingSeen, observe, squaredError } from './quantize-ranges.js';
import { recordOf, storedTensors } from './savable.js';
import { save } from './save.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (name: string) => join(folder.path, name);

const graph = build('resnet18', { classes: 4, size: 32, width: 8, widthPerGroup: 8, depths: [1, 1, 1, 1] });
const original = (): Model =>
  createModel(
    graph,
    { architecture: 'resnet18', preprocess: 'caffe', plan: preset('caffe', { height: 32, width: 32 }) },
    { weights: noiseWeights(graph, 3), threads: 1, warn: () => {} },
  );
const pictures = [5, 6, 7].map((seed) => noiseTensor([4, 3, 32, 32], noise(seed), 120));

describe('quantize', () => {
  test('gives a model of 8 bits that answers alike, whatever the method', async () => {
    await using model = original();
    for (const method of ['minmax', 'percentile', 'mse'] as const) {
      const steps: string[] = [];
      const { model: small, report } = await quantize(model, pictures, {
        method,
        threads: 1,
        onProgress: (step, done, total) => steps.push(`${step} ${done} of ${total}`),
      });
      expect(steps).toEqual(['calibrate 12 of 12', 'judge 12 of 12']);
      expect(report).toMatchObject({ method, calibrated: 12, layers: { eightBits: 13, float: [] } });
      expect(report.agreement.pictures).toBe(12);
      expect(report.agreement.probabilities).toBeGreaterThan(0);
      expect(report.agreement.probabilities).toBeLessThan(0.05);
      expect(Object.keys(small.record.quantisation?.activations ?? {})).toEqual(
        expect.arrayContaining(['input', 'relu', 'maxpool', 'layer1.0.relu1', 'layer1.0.conv2', 'avgpool']),
      );
      for (const { signalToNoise } of report.losses) expect(signalToNoise).toBeGreaterThan(10);
      // Its numbers are those of 8 bits, not only its weights.
      const [a, b] = [await small.predict(pictures[0]), await model.predict(pictures[0])];
      expect(a.data).not.toEqual(b.data);
      await small.dispose();
    }
  });

  test('a picture that cannot be read is an error, or left out and told of once', async () => {
    await using model = original();
    const cat = await readFile(new URL('../../../cli/samples/cat.jpg', import.meta.url));
    const [damaged, empty] = [cat.subarray(0, 200), Buffer.alloc(0)];
    const all = [damaged, cat, empty, ...pictures];
    expect(await refusal(quantize(model, all, { threads: 1 }))).toMatchObject({ code: 'IMAGE' });
    const [{ index: best }] = await classify(model, cat);
    const skipped: unknown[] = [];
    const onSkipped = (picture: unknown, { code }: { code: string }) => skipped.push([picture, code]);
    const judge = [damaged, pictures[0], empty, cat];
    const { model: small, report } = await quantize(model, all, {
      threads: 1,
      onSkipped,
      judge,
      // Of the pictures that are left only the last has a class that any network can answer with.
      expected: [0, -1, -1, -1, -1, 0, best],
    });
    expect(skipped).toEqual([
      [damaged, 'IMAGE'],
      [empty, 'IMAGE'],
    ]);
    expect(report).toMatchObject({ calibrated: 13, agreement: { pictures: 5, right: { before: 1 } } });
    await small.dispose();
    expect(await refusal(quantize(model, [damaged, empty], { threads: 1, onSkipped }))).toMatchObject({
      code: 'IMAGE',
      message: expect.stringContaining('none of the pictures'),
    });
    // Nothing to compare on is left: the calibration's pictures are compared on.
    const other = await quantize(model, pictures, { threads: 1, onSkipped, judge: [damaged], expected: [2] });
    expect(other.report.agreement).toMatchObject({ pictures: 12 });
    expect(other.report.agreement).not.toHaveProperty('right');
    await other.model.dispose();
    // NaN is no answer, and not the same as another one.
    const nan = { ...pictures[0], data: pictures[0].data.map(() => Number.NaN) };
    expect(await refusal(quantize(model, pictures, { threads: 1, judge: [nan] }))).toMatchObject({ code: 'NUMERICS' });
  });

  test('layers named as float keep their weights and take their input unrounded', async () => {
    await using model = original();
    const { model: small, report } = await quantize(model, pictures, { float: ['first', 'fc'], threads: 1 });
    expect(report.layers).toEqual({ eightBits: 11, float: ['conv1', 'fc'] });
    expect(small.record.quantisation?.activations).not.toHaveProperty('input');
    expect(small.record.quantisation?.activations).not.toHaveProperty('avgpool');
    expect((await small.weights()).get('fc.weight')).toBe((await model.weights()).get('fc.weight'));
    await small.dispose();
  });

  test('a picture with a class is counted', async () => {
    await using model = original();
    const { data } = await model.predict(pictures[0]);
    const right = [0, 1, 2, 3].map((row) => {
      const values = [...data.subarray(4 * row, 4 * row + 4)];
      return values.indexOf(Math.max(...values));
    });
    const { model: small, report } = await quantize(model, pictures.slice(1), {
      judge: pictures.slice(0, 1),
      expected: right,
      threads: 1,
    });
    expect(report.agreement.right?.before).toBe(4);
    expect(report.agreement.right?.after).toBe(Math.round(report.agreement.top1 * 4));
    await small.dispose();
  });

  test('refuses what it cannot do', async () => {
    await using model = original();
    const { model: small } = await quantize(model, pictures, { threads: 1 });
    expect((await refusal(quantize(small, pictures))).message).toMatch(/quantised already/);
    expect((await refusal(quantize(model, []))).message).toMatch(/needs pictures/);
    expect(await refusal(quantize(model, pictures, { float: ['conv11'] }))).toMatchObject({
      code: 'UNKNOWN_NAME',
      message: /"conv1"/,
    });
    expect((await refusal(quantize(model, pictures, { expected: [1] }))).message).toMatch(/1 classes for 12/);
    const aborted = AbortSignal.abort();
    expect(await refusal(quantize(model, pictures, { signal: aborted }))).toMatchObject({ code: 'ABORTED' });
    for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const broken = { ...pictures[0], data: pictures[0].data.map((x, i) => (i === 7 ? odd : x)) };
      expect(await refusal(quantize(model, [broken], { threads: 1 }))).toMatchObject({ code: 'NUMERICS' });
    }
    await small.dispose();
  });

  test('is saved in 8 bits, and read back the same to the bit', async () => {
    await using model = original();
    const { model: small } = await quantize(model, pictures, { threads: 1, float: ['first'] });
    await save(model, at('float.residual'));
    await save(small, at('small.residual'));
    await using back = await load(at('small.residual'), { threads: 1 });
    expect(back.graph).toEqual(small.graph);
    expect(back.record.quantisation).toEqual(small.record.quantisation);
    const [given, read] = [await small.weights(), await back.weights()];
    for (const [name, { data }] of given) expect(read.get(name)?.data).toEqual(data);
    expect((await back.predict(pictures[0])).data).toEqual((await small.predict(pictures[0])).data);
    const bytes = [...given.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    const { size } = await import('node:fs').then(({ statSync }) => statSync(at('small.residual')));
    expect(size).toBeLessThan(1.6 * bytes);

    // Through other files: with the record 8 bits stay; without it nobody would have names for the folded weights.
    for (const to of ['again.residual', 'again.safetensors']) await convert(at('small.residual'), at(to));
    for (const to of ['plain.pth', 'plain.h5'])
      expect(await refusal(convert(at('small.residual'), at(to)))).toMatchObject({
        code: 'ARGUMENT',
        message: expect.stringContaining('has no place for scales of 8 bits'),
      });
    const step = exportTrainingStep(small, at('step.onnx'));
    expect(await refusal(step)).toMatchObject({ code: 'ARGUMENT', message: expect.stringContaining('8 bits') });
    await using again = await load(at('again.residual'), { threads: 1 });
    expect(again.record.quantisation).toEqual(small.record.quantisation);
    expect((await again.predict(pictures[0])).data).toEqual((await small.predict(pictures[0])).data);
    // Its weights lie on the grid that its own largest magnitudes make.
    const { data, shape } = (await small.weights()).get('layer1.0.conv1.weight') as Tensor;
    const scales = channelScales({ dtype: 'float32', shape, data });
    data.forEach((x, i) => {
      const units = x / scales[Math.floor(i / (data.length / shape[0]))];
      expect(Math.abs(units - Math.round(units))).toBeLessThan(1e-4);
    });
    await small.dispose();
  });
});

test('weights of 8 bits without scales, and scales that are no numbers, are refused', async () => {
  await using model = original();
  const { model: small } = await quantize(model, pictures, { threads: 1 });
  const tensors = new Map(storedTensors({ ...small, weights: await small.weights() }));
  const bytesOf = (name: string, tensor?: AnyTensor) => {
    const changed = new Map(tensors);
    if (tensor) changed.set(name, tensor);
    else changed.delete(name);
    return new Blob([...safetensorsBytes(changed, { [recordKey]: recordText(recordOf(small)) })] as BlobPart[]);
  };
  const name = 'layer1.0.conv1.weight_scale';
  const { shape, data } = tensors.get(name) as Tensor;
  await small.dispose();
  for (const odd of [undefined, { dtype: 'float32', shape: [1], data: Float32Array.of(1) } as const])
    expect(await refusal(load(bytesOf(name, odd)))).toMatchObject({
      code: 'WEIGHTS_FORMAT',
      message: expect.stringMatching(/layer1\.0\.conv1\.weight is of 8 bits and has no scales/),
    });
  const nan = { dtype: 'float32', shape, data: data.map((x, i) => (i === 2 ? Number.NaN : x)) } as const;
  expect(await refusal(load(bytesOf(name, nan)))).toMatchObject({ code: 'NUMERICS' });
});

/** Types of the tensors in a file, and what kinds of nodes it has; ONNX's checker must take it. */
const check = `
import onnx, collections
model = onnx.load(sys.argv[1])
onnx.checker.check_model(model, full_check=True)
kinds = collections.Counter(node.op_type for node in model.graph.node)
print(json.dumps({'kinds': kinds, 'types': collections.Counter(t.data_type for t in model.graph.initializer),
    'opset': model.opset_import[0].version, 'record': json.loads({p.key: p.value for p in model.metadata_props}['residual'])}))
`;

describe('as ONNX', () => {
  test('the file runs in ONNX Runtime with the numbers that our engine gives', async () => {
    await using model = original();
    const { model: small } = await quantize(model, pictures, { threads: 1, engine: 'onnx' });
    await exportOnnx(small, at('small.onnx'));
    const ort = await import('onnxruntime-node');
    const session = await ort.InferenceSession.create(at('small.onnx'), { logSeverityLevel: 3, intraOpNumThreads: 1 });
    const { data, shape } = pictures[0];
    const found = await session.run({ input: new ort.Tensor('float32', Float32Array.from(data), [...shape]) });
    await session.release();
    expect(found.logits.data).toEqual((await small.predict(pictures[0])).data);
    await small.dispose();
  });

  test.skipIf(!shared)('ONNX’s own checker takes it, and finds weights of 8 bits', async () => {
    await using model = original();
    const { model: small } = await quantize(model, pictures, { threads: 1 });
    await exportOnnx(small, at('checked.onnx'));
    const found = pythonJson<{ kinds: object; types: object; opset: number; record: object }>(
      check,
      at('checked.onnx'),
    );
    // 19 values, 13 weights and as many biases.
    expect(found.kinds).toMatchObject({ Conv: 12, Gemm: 1, QuantizeLinear: 19, DequantizeLinear: 19 + 26 });
    expect(found.opset).toBe(17);
    expect(found.record).not.toHaveProperty('quantisation');
    const [float32, int8, int32] = [1, 3, 6].map((type) => (found.types as Record<number, number>)[type]);
    expect(int8).toBeGreaterThanOrEqual(26); // Weights and their zeros.
    expect(int32).toBe(26);
    expect(float32).toBe(19 + 26); // Scales only.
    await small.dispose();
  });
});

describe('ranges', () => {
  const seenOf = (...parts: number[][]) => {
    const seen = nothingSeen(1);
    for (const part of parts)
      observe(seen, { dtype: 'float32', shape: [1, 1, part.length], data: Float32Array.from(part) });
    return seen;
  };

  test('the bins grow with what is seen, and hold all of it', () => {
    const seen = seenOf([0, 0, 0.5, -0.25], [3, 1000], [1e-9]);
    expect(seen).toMatchObject({ largest: 1000, zeros: 2, count: 7, reach: 1024 });
    expect(seen.bins.reduce((sum, n) => sum + n, 0)).toBe(5);
    expect(seen.sums[0]).toBeCloseTo(1003.25, 3);
  });

  test('one value among a hundred thousand sets the range of minmax, and of no other', () => {
    const next = noise(1);
    const seen = seenOf(Array.from({ length: 100_000 }, next), [50]);
    const [minmax, percentile, mse] = (['minmax', 'percentile', 'mse'] as const).map(
      (method) => chooseScale(seen, 's8', method).scale * 127,
    );
    expect(minmax).toBeCloseTo(50, 4);
    expect(percentile).toBeCloseTo(1, 1);
    expect(mse).toBeLessThan(50);
    expect(squaredError(seen, mse / 127, 127)).toBeLessThan(squaredError(seen, minmax / 127, 127));
  });

  test('a value that is always 0 has a scale all the same', () => {
    expect(chooseScale(seenOf([0, 0]), 'u8', 'mse')).toEqual({ scale: 1, dtype: 'u8' });
  });
});
