import { describe, expect, test } from 'vitest';
import { type Graph, inferShapes, isTrainable } from '../graph/graph.js';
import { sizeOf } from '../tensor.js';
import { build, type FamilyName, family } from './resnet.js';
import { timm } from './timm.js';

const count = (graph: Graph, trainableOnly: boolean) =>
  graph.parameters.filter((p) => !trainableOnly || isTrainable(p)).reduce((sum, p) => sum + sizeOf(p.shape), 0);

/** Trainable parameters as torchvision's documentation gives them; Keras counts moving statistics too. */
const published: Record<Exclude<FamilyName, keyof typeof timm>, number> = {
  resnet18: 11_689_512,
  resnet34: 21_797_672,
  resnet50: 25_557_032,
  resnet101: 44_549_160,
  resnet152: 60_192_808,
  resnext50_32x4d: 25_028_904,
  resnext101_32x8d: 88_791_336,
  resnext101_64x4d: 83_455_272,
  wide_resnet50_2: 68_883_240,
  wide_resnet101_2: 126_886_696,
  // torchvision's count less the projections' 3 (8·16 + 16·32 + 32·64)·64 … weights and BatchNorms, which a plain network lacks.
  plain18: 11_689_512 - (64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)),
  plain34: 21_797_672 - (64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)),
  // He et al. 2015a, table 6, says 0.27 M … 1.7 M; to the digit in akamaster/pytorch_resnet_cifar10.
  resnet20: 269_722,
  resnet32: 464_154,
  resnet44: 658_586,
  resnet56: 853_018,
  resnet110: 1_727_962,
  plain20: 269_722,
  plain32: 464_154,
  plain44: 658_586,
  plain56: 853_018,
  plain110: 1_727_962,
  'keras-resnet50': 25_636_712,
  'keras-resnet101': 44_707_176,
  'keras-resnet152': 60_419_944,
  'keras-resnet50v2': 25_613_800,
  'keras-resnet101v2': 44_675_560,
  'keras-resnet152v2': 60_380_648,
  'keras2015-resnet50': 25_636_712,
};

describe('the family', () => {
  test.each(Object.entries(published))('%s has %i parameters, as published', (name, parameters) => {
    expect(count(build(name), !name.startsWith('keras'))).toBe(parameters);
  });

  test('shapes at every stage of ResNet-50 are those of He et al. 2015a, table 1', () => {
    const graph = build('resnet50');
    const shapes = inferShapes(graph, { input: [2, 3, 224, 224] });
    const at = Object.fromEntries(Object.entries(graph.features).map(([name, value]) => [name, shapes[value]]));
    expect(at).toEqual({
      stem: [2, 64, 56, 56],
      layer1: [2, 256, 56, 56],
      layer2: [2, 512, 28, 28],
      layer3: [2, 1024, 14, 14],
      layer4: [2, 2048, 7, 7],
      avgpool: [2, 2048],
      logits: [2, 1000],
    });
  });

  test('output stride 8 keeps the size of the last stages and the parameters', () => {
    const graph = build('resnet50', { outputStride: 8, size: [240, 320] });
    const shapes = inferShapes(graph);
    expect(shapes[graph.features.layer4]).toEqual([1, 2048, 30, 40]);
    expect(count(graph, true)).toBe(25_557_032);
    const dilations = graph.nodes.filter(
      (n) => n.op === 'conv2d' && n.attributes.kernel[0] === 3 && n.name.startsWith('layer4'),
    );
    expect(dilations.map((n) => n.op === 'conv2d' && n.attributes.dilation[0])).toEqual([2, 4, 4]);
  });

  test('Keras 2015 pools 112 to 55, Keras Applications to 56', () => {
    const stem = (name: FamilyName) => {
      const graph = build(name);
      return inferShapes(graph)[graph.features.stem];
    };
    expect(stem('keras2015-resnet50')).toEqual([1, 64, 55, 55]);
    expect(stem('keras-resnet50')).toEqual([1, 64, 56, 56]);
  });

  test.each([
    ['a wrong name', () => build('resnet51'), 'unknown model "resnet51"; did you mean "resnet50"?'],
    ['groups in basic blocks', () => build('resnet18', { groups: 32 }), 'need block "bottleneck"'],
    [
      'a misspelt option',
      () => build('resnet50', { clases: 5 } as object),
      'unknown option of resnet50 "clases"; did you mean "classes"?',
    ],
    ['half a class', () => build('resnet18', { classes: 2.5 }), 'received 2.5'],
    ['a picture too small for the tutorial pool', () => build('resnet50', { size: 0 }), 'received 0'],
  ])('refuses %s', (_what, attempt, message) => {
    expect(attempt).toThrow(message);
  });

  test('options: dropout, bias, channels, zero-initialised blocks, no classifier', () => {
    const graph = build('resnet18', { dropout: 0.5, convBias: true, channels: 1, zeroInitLast: true });
    expect(graph.nodes.some((n) => n.op === 'dropout' && n.attributes.rate === 0.5)).toBe(true);
    expect(graph.parameters.find((p) => p.name === 'conv1.weight')?.shape).toEqual([64, 1, 7, 7]);
    expect(graph.parameters.find((p) => p.name === 'layer2.0.bn2.weight')?.initial).toBe('zeros');
    expect(graph.parameters.find((p) => p.name === 'layer2.0.bn1.weight')?.initial).toBe('ones');
    expect(build('resnet18', { classes: 0 }).outputs.map((o) => o.name)).toEqual(['features']);
  });

  test('every member is named once and a plain twin differs by its sums only', () => {
    const ops = (name: FamilyName) => build(name).nodes.map((n) => n.op);
    const residual = ops('resnet56').filter((op) => op !== 'add' && op !== 'pad' && op !== 'avgPool');
    expect(ops('plain56')).toEqual(residual);
    expect(Object.keys(family)).toHaveLength(Object.keys({ ...published, ...timm }).length);
  });
});
