import { expect, test } from 'vitest';
import { modelFiles } from '../engines/onnx/model.js';
import { noiseWeights } from '../engines/sketch.js';
import { preset } from '../image/presets.js';
import { build, type ResNetOptions } from '../models/resnet.js';
import { onnxModel } from './export.js';
import { load } from './load.js';

/** An ONNX model as other programs write it, without our record, that leaves height and width open. */
function open(options: ResNetOptions): Buffer {
  const graph = build('resnet18', { width: 4, widthPerGroup: 4, depths: [1, 1, 1, 1], classes: 10, ...options });
  const record = { architecture: 'x', preprocess: 'cifar', plan: preset('cifar', { height: 32, width: 32 }) };
  const model = onnxModel({ graph, record, weights: noiseWeights(graph, 2) });
  return Buffer.concat(modelFiles({ ...model, metadata: {} }, 'x.onnx').flatMap(({ pieces }) => [...pieces]));
}

test.each<[string, ResNetOptions, object, number]>([
  ['with a stem for CIFAR', { stem: 'cifar' }, {}, 32],
  ['with a stem for CIFAR, and a size that is asked for', { stem: 'cifar' }, { size: 48 }, 48],
  ['with a stem for ImageNet', {}, {}, 224],
])('a network %s', async (_, options, asked, side) => {
  await using model = await load(open(options), asked);
  expect(model.graph.inputs[0].shape).toEqual([1, 3, side, side]);
  expect(model.record.plan).toContainEqual(expect.objectContaining({ height: side, width: side }));
});
