import { afterAll, describe, expect, test } from 'vitest';
import { worker } from '../engines/hosted.js';
import { engines } from '../engines/index.js';
import { noiseWeights } from '../engines/sketch.js';
import { anyScales } from '../graph/eight-bits.js';
import { inferShapes } from '../graph/graph.js';
import { foldBatchNorm } from '../graph/passes.js';
import { summary } from '../graph/summary.js';
import { build } from '../models/resnet.js';
import { refusal } from '../testing.js';
import { bench, quantile } from './bench.js';
import { convolutionsAlone, noisePictures, peakNetworks, steadyWeights } from './bench-networks.js';

afterAll(() => worker.terminate());

test('quantiles lie between the neighbours, whatever the order', () => {
  expect(quantile([5], 0.9)).toBe(5);
  expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
  expect(quantile([3, 1, 2], 0.5)).toBe(2);
  expect(quantile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 0.9)).toBe(10);
});

describe('convolutions alone', () => {
  test.each(['resnet50', 'resnet18', 'resnext50_32x4d', 'keras-resnet50v2', 'resnet26t'])(
    'of %s are all of its convolutions, with the same shapes',
    (name) => {
      const graph = build(name, { size: 64 });
      const alone = convolutionsAlone(graph, [2, 3, 96, 64]);
      const before = inferShapes(graph, { [graph.inputs[0].name]: [2, 3, 96, 64] });
      const after = inferShapes(alone);
      const convolutions = graph.nodes.filter(({ op }) => op === 'conv2d');
      expect(alone.nodes.map((node) => node.name)).toEqual(convolutions.map((node) => node.name));
      alone.nodes.forEach((node, i) => {
        expect(after[node.inputs[0]]).toEqual(before[convolutions[i].inputs[0]]);
        expect(after[node.outputs[0]]).toEqual(before[convolutions[i].outputs[0]]);
      });
    },
  );

  test('hang together where only values change between: ResNet-50 reads the picture and what follows its pooling', () => {
    const graph = convolutionsAlone(build('resnet50'));
    expect(graph.inputs.map(({ name, shape }) => [name, shape])).toEqual([
      [expect.any(String), [1, 3, 224, 224]],
      ['into layer1.0.conv1', [1, 64, 56, 56]],
    ]);
    expect(graph.outputs.map(({ name }) => name)).toEqual([
      'conv1',
      ...[1, 2, 3, 4].map((layer) => `layer${layer}.0.conv3`),
      'layer4.2.conv3',
    ]);
  });

  test('compute finite numbers that are not tiny, a hundred layers deep', async () => {
    const graph = convolutionsAlone(build('resnet110'));
    const executable = await engines.onnx.compile(graph, { weights: steadyWeights(graph) });
    const inputs = Object.fromEntries(graph.inputs.map(({ name, shape }) => [name, noisePictures(shape)]));
    const results = await executable.run(inputs);
    await executable.dispose();
    for (const { data } of Object.values(results)) {
      const size = Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length);
      expect(size).toBeGreaterThan(1e-9);
      expect(size).toBeLessThan(1e9);
    }
  });
});

test('the networks that show the peak are nearly all products of matrices', () => {
  for (const { graph } of peakNetworks()) {
    const { macs } = summary(graph).totals;
    const largest = Math.max(...summary(graph).rows.map((row) => row.macs));
    expect(macs * graph.inputs[0].shape[0]).toBeGreaterThan(5e9);
    expect(largest * (graph.nodes.length - 2)).toBeGreaterThan(0.98 * macs);
  }
});

test('scales for timing are given to what is kept in 8 bits, and know what is never below zero', () => {
  const network = build('resnet50');
  const { graph } = foldBatchNorm(network, noiseWeights(network));
  const { activations } = anyScales(graph);
  const kinds = Object.fromEntries(Object.entries(activations).map(([name, { dtype }]) => [name, dtype]));
  expect(kinds).toMatchObject({
    relu: 'u8',
    maxpool: 'u8',
    'layer1.0.relu1': 'u8',
    'layer1.0.downsample.0': 's8',
    'layer1.0.conv3': 's8',
  });
  for (const name of ['conv1', 'layer1.0.conv2', 'layer1.0.add', 'fc']) expect(kinds).not.toHaveProperty([name]);
});

describe('bench', () => {
  const graph = build('resnet20');

  test('gives a row for each combination, the peak, and what was left out', async () => {
    const told: number[][] = [];
    const report = await bench(
      { graph },
      {
        engines: ['onnx', 'reference'],
        precisions: ['f32', 'bf16'],
        batches: [1, 2],
        rounds: 1,
        threads: 1,
        onProgress: (done, total) => told.push([done, total]),
      },
    );
    expect(report).toMatchObject({ network: 'resnet20', size: [32, 32], macs: summary(graph).totals.macs, threads: 1 });
    expect(report.rows.map(({ engine, precision, batch }) => [engine, precision, batch])).toEqual([
      ['onnx', 'f32', 1],
      ['onnx', 'f32', 2],
      ['reference', 'f32', 1],
      ['reference', 'f32', 2],
    ]);
    for (const { least, median, p90, inside, runs, batch, ...row } of report.rows) {
      expect(least).toBeGreaterThan(0);
      expect(median).toBeGreaterThanOrEqual(least);
      expect(p90).toBeGreaterThanOrEqual(median);
      expect(inside).toBeGreaterThan(0);
      expect(runs).toBeGreaterThan(0);
      expect(row.picturesPerSecond).toBeCloseTo((1000 * batch) / median);
      expect(row.macsPerSecond).toBeCloseTo(report.macs * row.picturesPerSecond);
      expect(row.shareOfPeak).toBeCloseTo(row.macsPerSecond / report.peaks[0].macsPerSecond);
    }
    expect(report.rows[0].overConvolutions).toBeGreaterThan(0);
    expect(report.rows[2]).not.toHaveProperty('overConvolutions');
    expect(report.left.map(({ engine, precision }) => [engine, precision])).toContainEqual(['reference', 'bf16']);
    expect(report.peaks).toMatchObject([{ precision: 'f32', engine: 'onnx' }]);
    expect(told.at(-1)).toEqual([told.length, told.length]);
  });

  test('takes weights, another size and no more turns than asked for', async () => {
    const { rows, size } = await bench(
      { graph, weights: noiseWeights(graph) },
      { size: [32, 64], engines: ['onnx'], rounds: 2 },
    );
    expect(size).toEqual([32, 64]);
    expect(rows).toHaveLength(1);
  });

  test('refuses what makes no sense, and stops when it is told', async () => {
    expect(await refusal(bench({ graph }, { batches: [0] }))).toMatchObject({ code: 'ARGUMENT' });
    expect(await refusal(bench({ graph }, { rounds: 1.5 }))).toMatchObject({ code: 'ARGUMENT' });
    expect(await refusal(bench({ graph }, { engines: ['reference'], precisions: ['bf16'] }))).toMatchObject({
      code: 'ENGINE',
      message: expect.stringContaining('nothing could be measured'),
    });
    expect(await refusal(bench({ graph }, { signal: AbortSignal.abort() }))).toMatchObject({ code: 'ABORTED' });
  });
});
