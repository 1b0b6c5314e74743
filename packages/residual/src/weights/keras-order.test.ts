import { expect, test } from 'vitest';
import { add, concat, conv2d, dense, globalAvgPool, input, network, relu } from '../graph/build.js';
import { build, type FamilyName } from '../models/resnet.js';
import { kerasLayers } from './keras-order.js';

/** Layers with weights, in the order of the published files' `layer_names`: the convolution of the shortcut comes late. */
const v1 = (block: string, first: boolean): string[] =>
  (first
    ? ['1_conv', '1_bn', '2_conv', '2_bn', '0_conv', '3_conv', '0_bn', '3_bn']
    : ['1_conv', '1_bn', '2_conv', '2_bn', '3_conv', '3_bn']
  ).map((layer) => `${block}_${layer}`);
const v2 = (block: string, first: boolean): string[] =>
  ['preact_bn', '1_conv', '1_bn', '2_conv', '2_bn', ...(first ? ['0_conv'] : []), '3_conv'].map(
    (layer) => `${block}_${layer}`,
  );
const of2015 = (block: string, first: boolean): string[] => {
  const main = ['2a', '2b'].flatMap((unit) => [`res${block}_branch${unit}`, `bn${block}_branch${unit}`]);
  const last = first ? ['2c', '1'] : ['2c'];
  return [
    ...main,
    ...last.map((unit) => `res${block}_branch${unit}`),
    ...last.map((unit) => `bn${block}_branch${unit}`),
  ];
};

const depths = [3, 4, 6, 3];
const blocks = (layers: (block: string, first: boolean) => string[], name: (stage: number, index: number) => string) =>
  depths.flatMap((count, s) => Array.from({ length: count }, (_, i) => layers(name(s + 2, i), i === 0)).flat());
const applications = (stage: number, index: number) => `conv${stage}_block${index + 1}`;

test.each<[FamilyName, string[]]>([
  ['keras-resnet50', ['conv1_conv', 'conv1_bn', ...blocks(v1, applications), 'predictions']],
  ['keras-resnet50v2', ['conv1_conv', ...blocks(v2, applications), 'post_bn', 'predictions']],
  ['keras2015-resnet50', ['conv1', 'bn_conv1', ...blocks(of2015, (stage, i) => `${stage}${'abcdef'[i]}`), 'fc1000']],
])('%s: layers as the published file lists them', (name, expected) => {
  const graph = build(name, { width: 4, widthPerGroup: 4 });
  const layers = kerasLayers(graph, name !== 'keras2015-resnet50');
  expect(layers.filter(({ parameters }) => parameters.length).map((layer) => layer.name)).toEqual(expected);
  expect(layers[0]).toEqual({ name: 'input', parameters: [] });
  expect(layers.flatMap(({ parameters }) => parameters).toSorted()).toEqual(
    graph.parameters.map((p) => p.name).toSorted(),
  );
  const conv = layers.find(({ parameters }) => parameters.length === 2);
  expect(conv?.parameters.map((parameter) => parameter.replace(/.*\./, ''))).toEqual(['weight', 'bias']);
});

test('an activation inside a layer is part of it, and an unused layer is none', () => {
  const image = input({ height: 8, width: 8 });
  const a = relu(conv2d(image, 4, { name: 'a' }), { name: 'a_relu' });
  const b = conv2d(conv2d(image, 4, { name: 'b' }), 4, { name: 'c' });
  conv2d(b, 2, { name: 'unused' });
  const x = concat([add(a, b, { name: 'sum' }), a], { name: 'both' });
  const graph = network('net', { logits: dense(globalAvgPool(x, { name: 'mean' }), 2, { name: 'head' }) });
  expect(kerasLayers(graph, false).map(({ name }) => name)).toEqual([
    'input',
    'b',
    'a',
    'c',
    'sum',
    'both',
    'mean',
    'head',
  ]);
});
