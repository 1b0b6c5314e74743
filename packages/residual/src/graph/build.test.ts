import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { ErrorCode } from '../errors.js';
import { convBlock, identityBlock } from '../models/blocks.js';
import { build, family } from '../models/resnet.js';
import {
  add,
  avgPool,
  batchNorm,
  concat,
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
  resize,
  zeroPad,
} from './build.js';
import { inferShapes } from './graph.js';
import { resolvePadding } from './ops.js';

const picture = (channels = 3, size = 8) => input({ channels, height: size, width: size });

describe('layers that do not fit are refused', () => {
  const refusals: [what: string, code: ErrorCode, message: string, attempt: () => unknown][] = [
    [
      'a sum of different channels',
      'GRAPH',
      'block "res2" cannot add its branches: layer "wide" gives [N, 16, 8, 8] but the shortcut from "input" gives [N, 4, 8, 8]; project the shortcut: a 1×1 convolution to 16 channels',
      () => {
        const x = picture(4);
        return inBlock(x, 'res2', () => add(conv2d(x, 16, { name: 'wide' }), x));
      },
    ],
    [
      'a sum of different channels and sizes',
      'GRAPH',
      'project the shortcut: a 1×1 convolution to 16 channels with stride 2',
      () => {
        const x = picture(4);
        return add(conv2d(x, 16, { stride: 2 }), x);
      },
    ],
    [
      'a sum of different sizes',
      'GRAPH',
      'gives [N, 3, 8, 8]; give the shortcut stride 2 too',
      () => {
        const x = picture();
        return add(conv2d(x, 3, { stride: 2 }), x, { name: 'sum' });
      },
    ],
    [
      'a sum of a picture and a vector',
      'GRAPH',
      'block "sum" cannot add its branches: layer "conv2d" gives [N, 3, 8, 8] but the shortcut from "flatten" gives [N, 192]; give both branches the same shape',
      () => {
        const x = picture();
        return add(conv2d(x, 3), flatten(x), { name: 'sum' });
      },
    ],
    [
      'two layers of one name',
      'GRAPH',
      'two layers are called "conv1"; give each its own name',
      () => conv2d(conv2d(picture(), 3, { name: 'conv1' }), 3, { name: 'conv1' }),
    ],
    [
      'a layer with the input’s name',
      'GRAPH',
      'two layers are called "input"',
      () => relu(picture(), { name: 'input' }),
    ],
    [
      'a sum across two networks',
      'GRAPH',
      'layer "sum" joins two different networks',
      () => add(relu(picture()), relu(picture()), { name: 'sum' }),
    ],
    [
      'outputs of two networks',
      'GRAPH',
      'network "n" has outputs of two different networks',
      () => network('n', { a: relu(picture()), b: relu(picture()) }),
    ],
    [
      'a feature of another network',
      'GRAPH',
      'network "n" has outputs of two different networks',
      () => network('n', { a: relu(picture()) }, { stem: relu(picture()) }),
    ],
    ['a network without outputs', 'ARGUMENT', 'network "n" needs at least one output', () => network('n', {})],
    [
      'a network with features only',
      'ARGUMENT',
      'network "n" needs at least one output',
      () => network('n', {}, { stem: relu(picture()) }),
    ],
    [
      'channels that groups do not divide',
      'GRAPH',
      'layer "conv2d": 3 → 32 channels cannot be split into 32 groups',
      () => conv2d(picture(), 32, { groups: 32 }),
    ],
    [
      'a window larger than its picture',
      'GRAPH',
      'layer "pool" has a 7×7 window but its input is only 6×6; give it a larger picture, or build the network for this size',
      () => avgPool(picture(3, 6), { kernel: 7, name: 'pool' }),
    ],
    [
      'a convolution of a vector',
      'GRAPH',
      'layer "conv" does not fit: it takes [N, C, H, W] but received [N, 3]',
      () => conv2d(globalAvgPool(picture()), 3, { name: 'conv' }),
    ],
    [
      'a dense layer on a picture',
      'GRAPH',
      'layer "fc" takes [N, features] but received [N, 3, 8, 8]; put flatten() or globalAvgPool() before it',
      () => dense(picture(), 10, { name: 'fc' }),
    ],
    ['no filters', 'ARGUMENT', 'expected a positive integer for filters but received 0', () => conv2d(picture(), 0)],
    [
      'half a stride',
      'ARGUMENT',
      'layer "conv": expected a positive integer for stride but received 0.5',
      () => conv2d(picture(), 4, { stride: 0.5, name: 'conv' }),
    ],
    [
      'a kernel with an empty side',
      'ARGUMENT',
      'expected a positive integer for kernel but received 3,0',
      () => maxPool(picture(), { kernel: [3, 0] }),
    ],
    ['no units', 'ARGUMENT', 'for units but received -1', () => dense(flatten(picture()), -1)],
    ['less than no padding', 'ARGUMENT', 'for padding but received -1', () => zeroPad(picture(), -1)],
    [
      'an even kernel in a block',
      'ARGUMENT',
      'layer "res2b_branch2b": expected whole numbers, 0 or more, for padding but received 0.5',
      () => identityBlock(picture(8), 2, [4, 4, 8], 2, 'b'),
    ],
    [
      'dropping everything',
      'ARGUMENT',
      'expected a rate from 0 to below 1 but received 1',
      () => dropout(picture(), 1),
    ],
    ['a resize to nothing said', 'ARGUMENT', 'expected a positive scale or a size', () => resize(picture(), {})],
    [
      'a resize to half a pixel',
      'ARGUMENT',
      'received scale undefined and size 0.5',
      () => resize(picture(), { size: 0.5 }),
    ],
    ['two sizes', 'ARGUMENT', 'received scale 2 and size 4', () => resize(picture(), { scale: 2, size: 4 })],
    ['a picture made too small', 'GRAPH', 'it would make it 0×0', () => resize(picture(), { scale: 0.1 })],
    ['nothing to join', 'ARGUMENT', 'layer "cat" has nothing to join', () => concat([], { name: 'cat' })],
    ['a picture of no height', 'ARGUMENT', 'for height but received 0', () => input({ height: 0, width: 8 })],
  ];

  test.each(refusals)('%s', (_what, code, message, attempt) => {
    expect(attempt).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
  });

  test('a refused layer leaves no trace', () => {
    const x = picture(3, 6);
    const features = flatten(x);
    expect(() => conv2d(features, 4)).toThrow('does not fit');
    expect(() => inBlock(x, 'broken', () => conv2d(x, 4, { kernel: 9 }))).toThrow('9×9 window');
    const y = batchNorm(conv2d(x, 4));
    const graph = network('after', { y });
    expect(graph.nodes.map(({ name, block }) => [name, block])).toEqual([
      ['flatten', undefined],
      ['conv2d', undefined],
      ['batch_normalization', undefined],
    ]);
    expect(graph.parameters.map((p) => p.name).slice(0, 2)).toEqual(['conv2d.weight', 'conv2d.bias']);
    expect(inferShapes(graph)[graph.outputs[0].value]).toEqual([1, 4, 6, 6]);
  });

  test('the error of a sum carries block, layers and shapes as data', () => {
    const x = picture(4);
    expect(() => inBlock(x, 'b1', () => add(conv2d(x, 8, { name: 'c' }), x))).toThrow(
      expect.objectContaining({
        details: { block: 'b1', main: 'c', shortcut: 'input', mainShape: [1, 8, 8, 8], shortcutShape: [1, 4, 8, 8] },
      }),
    );
  });
});

test('layers without a name are counted as Keras counts them', () => {
  const x = relu(conv2d(conv2d(picture(), 4), 4));
  const { nodes } = network('n', { x: maxPool(x, { kernel: 2 }) });
  expect(nodes.map((node) => node.name)).toEqual(['conv2d', 'conv2d_1', 're_lu', 'max_pooling2d']);
});

describe('sizes, against counting', () => {
  /** Starting points of a window that slides over `size` pixels with `zeros` more around them, one by one. */
  const positions = (size: number, zeros: number, kernel: number, stride: number, dilation = 1) => {
    let count = 0;
    for (let at = 0; at + (kernel - 1) * dilation < size + zeros; at += stride) count++;
    return count;
  };
  const axis = fc.record({
    size: fc.integer({ min: 1, max: 40 }),
    kernel: fc.integer({ min: 1, max: 7 }),
    stride: fc.integer({ min: 1, max: 4 }),
    dilation: fc.integer({ min: 1, max: 3 }),
    before: fc.integer({ min: 0, max: 4 }),
    after: fc.integer({ min: 0, max: 4 }),
  });

  test('a convolution gives one pixel for each position of its window', () => {
    fc.assert(
      fc.property(axis, axis, (h, w) => {
        const [rows, columns] = [h, w].map((a) =>
          positions(a.size, a.before + a.after, a.kernel, a.stride, a.dilation),
        );
        const attempt = () =>
          conv2d(input({ channels: 2, height: h.size, width: w.size }), 5, {
            kernel: [h.kernel, w.kernel],
            stride: [h.stride, w.stride],
            dilation: [h.dilation, w.dilation],
            padding: [h.before, w.before, h.after, w.after],
          });
        if (rows && columns) expect(attempt().shape).toEqual([1, 5, rows, columns]);
        else expect(attempt).toThrow('give it a larger picture, or build the network for this size');
      }),
    );
  });

  test('so do both pools', () => {
    fc.assert(
      fc.property(axis, fc.boolean(), ({ size, kernel, stride, before, after }, max) => {
        const expected = positions(size, before + after, kernel, stride);
        const pool = max ? maxPool : avgPool;
        const attempt = () => pool(picture(3, size), { kernel, stride, padding: [before, before, after, after] }).shape;
        if (expected) expect(attempt()).toEqual([1, 3, expected, expected]);
        else expect(attempt).toThrow('window');
      }),
    );
  });

  test('“same” is ceil(size / stride) with the fewest zeros, the odd one at the end', () => {
    fc.assert(
      fc.property(axis, ({ size, kernel, stride, dilation }) => {
        const wanted = Math.ceil(size / stride);
        let zeros = 0;
        while (positions(size, zeros, kernel, stride, dilation) < wanted) zeros++;
        const [top, left, bottom, right] = resolvePadding(
          'same',
          [size, size],
          [kernel, kernel],
          [stride, stride],
          [dilation, dilation],
        );
        expect([top, bottom]).toEqual([Math.floor(zeros / 2), Math.ceil(zeros / 2)]);
        expect([left, right]).toEqual([top, bottom]);
        const y = conv2d(picture(3, size), 4, { kernel, stride, dilation, padding: 'same' });
        expect(y.shape).toEqual([1, 4, wanted, wanted]);
      }),
    );
  });

  test('zeros around picture and channels add up', () => {
    const zero = fc.integer({ min: 0, max: 9 });
    fc.assert(
      fc.property(fc.tuple(zero, zero, zero, zero), fc.tuple(zero, zero), (spatial, channels) => {
        const [top, left, bottom, right] = spatial;
        expect(zeroPad(picture(3, 5), spatial, { channels }).shape).toEqual([
          1,
          3 + channels[0] + channels[1],
          5 + top + bottom,
          5 + left + right,
        ]);
      }),
    );
  });
});

describe('a graph serves any size', () => {
  const names = Object.keys(family).filter((name) => name !== 'keras2015-resnet50');

  test('its shapes are those of the network built for that size, whatever the batch', () => {
    const side = fc.integer({ min: 32, max: 300 });
    fc.assert(
      fc.property(fc.constantFrom(...names), side, side, fc.integer({ min: 1, max: 64 }), (name, h, w, batch) => {
        const graph = build(name);
        // A mean against aliasing leaves an odd row out, a strided shortcut does not: such networks take even sizes.
        const whole = family[name as keyof typeof family].antiAlias === 'mean';
        const [height, width] = whole ? [h - (h % 32), w - (w % 32)] : [h, w];
        const found = inferShapes(graph, { input: [batch, 3, height, width] });
        const built = inferShapes(build(name, { size: [height, width] }));
        const activations = new Set(
          [...graph.inputs, ...graph.nodes.flatMap((n) => n.outputs.map((value) => ({ value })))].map((v) => v.value),
        );
        for (const value of activations) expect(found[value]).toEqual([batch, ...built[value].slice(1)]);
      }),
      { numRuns: 30 },
    );
  });

  test('torchvision’s stages are 1/4 … 1/32 of the picture, rounded up', () => {
    const graph = build('resnet50');
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), (side) => {
        const shapes = inferShapes(graph, { input: [1, 3, side, 224] });
        for (const [feature, part] of Object.entries({ stem: 4, layer1: 4, layer2: 8, layer3: 16, layer4: 32 }))
          expect(shapes[graph.features[feature]].slice(2)).toEqual([Math.ceil(side / part), 224 / part]);
      }),
    );
  });

  test('the tutorials’ network does not, and says which layer minds', () => {
    const graph = build('keras2015-resnet50');
    expect(() => inferShapes(graph, { input: [1, 3, 512, 512] })).toThrow(
      expect.objectContaining({ code: 'GRAPH', details: { layer: 'fc1000' } }),
    );
  });
});

test('a block that is refused leaves nothing behind: it can be written again on the same value', () => {
  const x = relu(conv2d(input({ channels: 3, height: 8, width: 8 }), 64));
  expect(() => identityBlock(x, 3, [64, 64, 256], 2, 'a')).toThrow('cannot add');
  const graph = network('mended', { features: convBlock(x, 3, [64, 64, 256], 2, 'a', 1) });
  expect(graph.nodes.map((node) => node.name).filter((name) => name === 'res2a_branch2a')).toHaveLength(1);
  expect(inferShapes(graph)).toHaveLength(graph.parameters.length + graph.nodes.length + 1);
});
