import { describe, expect, test } from 'vitest';
import {
  add,
  avgPool,
  batchNorm,
  conv2d,
  dense,
  dropout,
  flatten,
  globalAvgPool,
  inBlock,
  input,
  maxPool,
  network,
  relu,
  softmax,
  type Value,
  zeroPad,
} from '../graph/build.js';
import { type Graph, inferShapes, type Node } from '../graph/graph.js';
import { resolvePadding } from '../graph/ops.js';
import { summary } from '../graph/summary.js';
import { basicBlock, bottleneck, convBlock, identityBlock } from './blocks.js';
import { build } from './resnet.js';

// The networks of three widely read tutorials, in their own order and with their own numbers. What Keras writes as
// Conv2D(64, (7, 7), strides=(2, 2), padding='same')(x) is conv2d(x, 64, { kernel: 7, stride: 2, padding: 'same' }) here.

/** Keras' BatchNormalization adds 1e-3 to the variance. */
const epsilon = 1e-3;

/** A network without its names, "same" padding as the zeros it means: equal structures compute the same. */
function structure(graph: Graph) {
  const shapes = inferShapes(graph);
  const attributesOf = (node: Node) => {
    if (node.op !== 'conv2d') return node.attributes;
    const { padding, kernel, stride } = node.attributes;
    const [, , height, width] = shapes[node.inputs[0]];
    return { ...node.attributes, padding: resolvePadding(padding, [height, width], kernel, stride) };
  };
  return {
    inputs: graph.inputs.map(({ shape }) => shape),
    nodes: graph.nodes.map((node) => [node.op, node.inputs, node.outputs, attributesOf(node)]),
    parameters: graph.parameters.map(({ value, shape, role }) => ({ value, shape, role })),
  };
}

const shapeOf = (graph: Graph, layer: string) =>
  summary(graph)
    .rows.find((row) => row.layer === layer)
    ?.outputShape.slice(1);

describe('(a) res_block(input, filters, strides): bottlenecks, the shortcut is the input where strides is 1', () => {
  /** As written: the shortcut is projected only where the block strides. */
  const asWritten = (_x: Value, _filters: number, strides: number) => strides !== 1;
  /** Repaired: also where the channels differ. */
  const repaired = (x: Value, filters: number, strides: number) => strides !== 1 || x.shape[1] !== 4 * filters;

  function resBlock(
    input: Value,
    filters: number,
    strides: number,
    name: string,
    projects: (x: Value, filters: number, strides: number) => boolean,
  ): Value {
    return inBlock(input, name, () => {
      let x = conv2d(input, filters, { kernel: 1, stride: strides, name: `${name}_conv1` });
      x = batchNorm(x, { epsilon });
      x = relu(x);
      x = conv2d(x, filters, { kernel: 3, padding: 'same', name: `${name}_conv2` });
      x = batchNorm(x, { epsilon });
      x = relu(x);
      x = conv2d(x, 4 * filters, { kernel: 1, name: `${name}_conv3` });
      x = batchNorm(x, { epsilon, name: `${name}_bn3` });
      let shortcut = input;
      if (projects(input, filters, strides)) {
        shortcut = conv2d(input, 4 * filters, { kernel: 1, stride: strides });
        shortcut = batchNorm(shortcut, { epsilon });
      }
      x = add(x, shortcut);
      return relu(x, { name });
    });
  }

  function tutorial(projects: typeof repaired): Graph {
    const image = input({ height: 224, width: 224 });
    let x = conv2d(image, 64, { kernel: 7, stride: 2, padding: 'same', name: 'conv1' });
    x = batchNorm(x, { epsilon });
    x = relu(x);
    x = maxPool(x, { kernel: 3, stride: 2, name: 'pool1' });
    for (const [filters, blocks] of [
      [64, 3],
      [128, 4],
      [256, 6],
      [512, 3],
    ])
      for (let i = 0; i < blocks; i++)
        x = resBlock(x, filters, i === 0 && filters !== 64 ? 2 : 1, `res${filters}_${i + 1}`, projects);
    x = globalAvgPool(x);
    x = dropout(x, 0.5);
    x = dense(x, 1000);
    return network('tutorial', { probabilities: softmax(x) });
  }

  test('as written, its first block adds 64 channels to 256: refused, and the error says what to change', () => {
    expect(() => tutorial(asWritten)).toThrow(
      expect.objectContaining({
        name: 'ResidualError',
        code: 'GRAPH',
        message:
          'block "res64_1" cannot add its branches: layer "res64_1_bn3" gives [N, 256, 55, 55] but the shortcut from ' +
          '"pool1" gives [N, 64, 55, 55]; project the shortcut: a 1×1 convolution to 256 channels ' +
          '(convBlock instead of identityBlock)',
      }),
    );
  });

  test('the same refusal where the block is written with bottleneck()', () => {
    const x = input({ channels: 64, height: 55, width: 55, name: 'pool1' });
    expect(() => bottleneck(x, 64, { name: 'res64_1', shortcut: 'identity' })).toThrow(
      'block "res64_1" cannot add its branches: layer "res64_1.bn3" gives [N, 256, 55, 55] but the shortcut from "pool1" gives [N, 64, 55, 55]',
    );
  });

  test('repaired, it has the sizes of the tutorial', () => {
    const graph = tutorial(repaired);
    const sizes = ['conv1', 'pool1', 'res64_3', 'res128_4', 'res256_6', 'res512_3'].map((name) => shapeOf(graph, name));
    expect(sizes).toEqual([
      [64, 112, 112],
      [64, 55, 55],
      [256, 55, 55],
      [512, 28, 28],
      [1024, 14, 14],
      [2048, 7, 7],
    ]);
    expect(graph.nodes.slice(-4).map((node) => node.op)).toEqual(['globalAvgPool', 'dropout', 'dense', 'softmax']);
  });

  test('repaired, it has the 25,636,712 parameters of Keras’ ResNet50', () => {
    // Convolutions with biases and BatchNorms with four numbers a channel, from the tutorial's text alone.
    const unit = (kernel: number, from: number, to: number) => kernel * kernel * from * to + to + 4 * to;
    let expected = unit(7, 3, 64);
    let channels = 64;
    for (const [filters, blocks] of [
      [64, 3],
      [128, 4],
      [256, 6],
      [512, 3],
    ])
      for (let i = 0; i < blocks; i++) {
        expected += unit(1, channels, filters) + unit(3, filters, filters) + unit(1, filters, 4 * filters);
        if (i === 0) expected += unit(1, channels, 4 * filters);
        channels = 4 * filters;
      }
    expected += 2048 * 1000 + 1000;
    expect(expected).toBe(25_636_712);
    expect(summary(tutorial(repaired)).totals).toMatchObject({ parameters: expected, nonTrainable: 53_120 });
  });

  test('repaired, it is the network that bottleneck() builds', () => {
    let x = conv2d(input({ height: 224, width: 224 }), 64, { kernel: 7, stride: 2, padding: 'same' });
    x = maxPool(relu(batchNorm(x, { epsilon })), { kernel: 3, stride: 2 });
    for (const [filters, blocks] of [
      [64, 3],
      [128, 4],
      [256, 6],
      [512, 3],
    ])
      for (let i = 0; i < blocks; i++)
        x = bottleneck(x, filters, {
          name: `res${filters}_${i + 1}`,
          stride: i === 0 && filters !== 64 ? 2 : 1,
          strideOn: '1x1',
          convBias: true,
          epsilon,
        });
    const short = network('short', { probabilities: softmax(dense(dropout(globalAvgPool(x), 0.5), 1000)) });
    expect(structure(short)).toEqual(structure(tutorial(repaired)));
  });
});

describe('(b) residual_block(x, filters, strides, shortcut): the shortcut is a function', () => {
  const identity = (x: Value) => x;
  const projection = (filters: number, strides: number) => (x: Value) =>
    batchNorm(conv2d(x, filters, { kernel: 1, stride: strides, bias: false }));

  function residualBlock(x: Value, filters: number, strides: number, shortcut: (x: Value) => Value): Value {
    let y = conv2d(x, filters, { kernel: 3, stride: strides, padding: 1, bias: false });
    y = batchNorm(y);
    y = relu(y);
    y = conv2d(y, filters, { kernel: 3, stride: 1, padding: 1, bias: false });
    y = batchNorm(y);
    y = add(y, shortcut(x));
    return relu(y);
  }

  function resnet18(block: typeof residualBlock): Graph {
    let x = input({ height: 224, width: 224 });
    x = conv2d(x, 64, { kernel: 7, stride: 2, padding: 3, bias: false });
    x = batchNorm(x);
    x = relu(x);
    x = maxPool(x, { kernel: 3, stride: 2, padding: 1 });

    x = block(x, 64, 1, identity);
    x = block(x, 64, 1, identity);
    x = block(x, 128, 2, projection(128, 2));
    x = block(x, 128, 1, identity);
    x = block(x, 256, 2, projection(256, 2));
    x = block(x, 256, 1, identity);
    x = block(x, 512, 2, projection(512, 2));
    x = block(x, 512, 1, identity);

    x = globalAvgPool(x);
    return network('tutorial', { logits: dense(x, 1000) });
  }

  test('written out, it is resnet18 of the family: the same ops, joined in the same way', () => {
    const graph = resnet18(residualBlock);
    expect(structure(graph)).toEqual(structure(build('resnet18')));
    expect(summary(graph).totals).toEqual(summary(build('resnet18')).totals);
    expect(summary(graph).totals.trainable).toBe(11_689_512);
  });

  test('so it is with basicBlock(), which takes the function too', () => {
    let count = 0;
    const graph = resnet18((x, filters, strides, shortcut) =>
      basicBlock(x, filters, { name: `block${++count}`, stride: strides, shortcut }),
    );
    expect(structure(graph)).toEqual(structure(build('resnet18')));
    expect(new Set(graph.nodes.map((node) => node.block)).size).toBe(1 + 8);
  });

  test('the identity where the block strides is refused, with the stride to give it', () => {
    const x = input({ channels: 64, height: 56, width: 56 });
    expect(() => residualBlock(x, 128, 2, identity)).toThrow(
      'gives [N, 128, 28, 28] but the shortcut from "input" gives [N, 64, 56, 56]; project the shortcut: a 1×1 convolution to 128 channels with stride 2',
    );
  });
});

describe('(c) identity_block and conv_block with stages and letters', () => {
  function resNet50({ size, classes, pool }: { size: number; classes: number; pool: number }): Graph {
    const image = input({ height: size, width: size });
    let x = zeroPad(image, 3, { name: 'conv1_pad' });

    x = conv2d(x, 64, { kernel: 7, stride: 2, name: 'conv1' });
    x = batchNorm(x, { name: 'bn_conv1', epsilon });
    x = relu(x, { name: 'conv1_relu' });
    x = maxPool(x, { kernel: 3, stride: 2, name: 'pool1' });

    x = convBlock(x, 3, [64, 64, 256], 2, 'a', 1);
    x = identityBlock(x, 3, [64, 64, 256], 2, 'b');
    x = identityBlock(x, 3, [64, 64, 256], 2, 'c');

    x = convBlock(x, 3, [128, 128, 512], 3, 'a');
    x = identityBlock(x, 3, [128, 128, 512], 3, 'b');
    x = identityBlock(x, 3, [128, 128, 512], 3, 'c');
    x = identityBlock(x, 3, [128, 128, 512], 3, 'd');

    x = convBlock(x, 3, [256, 256, 1024], 4, 'a');
    x = identityBlock(x, 3, [256, 256, 1024], 4, 'b');
    x = identityBlock(x, 3, [256, 256, 1024], 4, 'c');
    x = identityBlock(x, 3, [256, 256, 1024], 4, 'd');
    x = identityBlock(x, 3, [256, 256, 1024], 4, 'e');
    x = identityBlock(x, 3, [256, 256, 1024], 4, 'f');

    x = convBlock(x, 3, [512, 512, 2048], 5, 'a');
    x = identityBlock(x, 3, [512, 512, 2048], 5, 'b');
    x = identityBlock(x, 3, [512, 512, 2048], 5, 'c');

    x = avgPool(x, { kernel: pool, name: 'avg_pool' });

    x = flatten(x, { name: 'flatten', channelsLast: true });
    x = dense(x, classes, { name: `fc${classes}` });
    x = softmax(x, { name: 'softmax' });
    return network('ResNet50', { probabilities: x });
  }

  test('224×224, AveragePooling(7), fc1000: node by node the family’s keras2015-resnet50', () => {
    const graph = resNet50({ size: 224, classes: 1000, pool: 7 });
    const member = build('keras2015-resnet50');
    expect(graph.nodes).toEqual(member.nodes);
    expect(graph.parameters).toEqual(member.parameters);
    expect(inferShapes(graph)).toEqual(inferShapes(member));
    expect(summary(graph).totals.parameters).toBe(25_636_712);
    expect(shapeOf(graph, 'res2a_relu')).toEqual([256, 55, 55]);
    expect(shapeOf(graph, 'avg_pool')).toEqual([2048, 1, 1]);
  });

  test('64×64, 6 classes, AveragePooling(2), fc6: the version for hand signs', () => {
    const graph = resNet50({ size: 64, classes: 6, pool: 2 });
    const member = build('keras2015-resnet50', { size: 64, classes: 6 });
    expect(graph.nodes).toEqual(member.nodes);
    expect(graph.parameters).toEqual(member.parameters);
    expect(inferShapes(graph)).toEqual(inferShapes(member));
    const at = ['pool1', 'res2c_relu', 'res3d_relu', 'res4f_relu', 'res5c_relu', 'flatten', 'fc6'];
    expect(at.map((name) => shapeOf(graph, name))).toEqual([
      [64, 15, 15],
      [256, 15, 15],
      [512, 8, 8],
      [1024, 4, 4],
      [2048, 2, 2],
      [2048],
      [6],
    ]);
    // As that course prints it: 23,600,006 in all.
    expect(summary(graph).totals).toMatchObject({ parameters: 23_600_006, nonTrainable: 53_120 });
  });

  test('an identity block in the place of the first conv block is refused by its letter', () => {
    const x = input({ channels: 64, height: 55, width: 55, name: 'pool1' });
    expect(() => identityBlock(x, 3, [64, 64, 256], 2, 'a')).toThrow(
      'block "2a" cannot add its branches: layer "bn2a_branch2c" gives [N, 256, 55, 55] but the shortcut from "pool1" gives [N, 64, 55, 55]; project the shortcut: a 1×1 convolution to 256 channels (convBlock instead of identityBlock)',
    );
  });
});
