import { describe, expect, test } from 'vitest';
import { build, type FamilyName } from '../models/resnet.js';
import { add, conv2d, dense, globalAvgPool, input, network, relu } from './build.js';
import { summary } from './summary.js';

/** Multiply-adds in units of 10⁹ as torchvision's weight records give them (`_ops`). */
const published = {
  resnet18: 1.814,
  resnet34: 3.664,
  resnet50: 4.089,
  resnet101: 7.801,
  resnet152: 11.514,
  resnext50_32x4d: 4.23,
  resnext101_32x8d: 16.414,
  resnext101_64x4d: 15.46,
  wide_resnet50_2: 11.398,
  wide_resnet101_2: 22.753,
} as const satisfies Partial<Record<FamilyName, number>>;

describe('what a network costs', () => {
  test.each(Object.entries(published))('%s: %d · 10⁹ multiply-adds, as torchvision publishes', (name, giga) => {
    expect(Number((summary(build(name)).totals.macs / 1e9).toFixed(3))).toBe(giga);
  });

  test('the tutorials’ ResNet50 has the totals that Keras prints', () => {
    const { totals } = summary(build('keras2015-resnet50'));
    expect(totals).toMatchObject({ parameters: 25_636_712, trainable: 25_583_592, nonTrainable: 53_120 });
    expect(totals.parameterBytes).toBe(4 * 25_636_712);
  });

  test('another size changes the work and not the parameters', () => {
    const graph = build('resnet18');
    const [usual, larger] = [summary(graph), summary(graph, { size: [448, 224] })];
    expect(larger.totals.parameters).toBe(usual.totals.parameters);
    const classifier = 512 * 1000;
    expect(larger.totals.macs - classifier).toBe(2 * (usual.totals.macs - classifier));
    expect(larger.rows[0].outputShape).toEqual([1, 3, 448, 224]);
    expect(larger.totals.activationBytes).toBe(2 * usual.totals.activationBytes);
  });

  test.each([0, -1, 2.5, Number.NaN])('size %d is refused', (size) => {
    expect(() => summary(build('resnet18'), { size })).toThrow('expected positive integers for size');
  });

  test('a size that does not fit names the layer', () => {
    expect(() => summary(build('keras2015-resnet50'), { size: 512 })).toThrow('layer "fc1000" does not fit');
  });

  test('activation memory is that of the fullest moment, worked out by hand', () => {
    // 8×8 pictures. conv: 2 → 4 channels; two branches of 4 channels from it; their sum; the mean; 3 classes.
    const x = input({ channels: 2, height: 8, width: 8 }); // 128 numbers
    const stem = conv2d(x, 4, { name: 'stem' }); // 256, together with the input 384
    const left = conv2d(stem, 16, { name: 'wide' }); // 1024, with the stem 1280
    const main = conv2d(left, 4, { name: 'narrow' }); // 256, with `wide` and the stem 1536: the peak
    const sum = relu(add(main, stem, { name: 'sum' })); // three times 256
    const graph = network('hand', { logits: dense(globalAvgPool(sum), 3) });
    expect(summary(graph).totals.activationBytes).toBe(4 * 1536);
  });

  test('an output is kept to the end', () => {
    const x = input({ channels: 1, height: 4, width: 4 }); // 16 numbers, dead after the first layer
    const early = conv2d(x, 10); // 160
    const late = conv2d(early, 1); // 16
    const last = conv2d(late, 1);
    expect(summary(network('one', { last })).totals.activationBytes).toBe(4 * (16 + 160));
    expect(summary(network('both', { last, early })).totals.activationBytes).toBe(4 * (160 + 16 + 16));
  });
});

describe('rows and table', () => {
  test('rows say what each layer is, holds and reads', () => {
    const { rows } = summary(build('keras2015-resnet50'));
    expect(rows[0]).toEqual({
      layer: 'input',
      type: 'InputLayer',
      outputShape: [1, 3, 224, 224],
      parameters: 0,
      connectedTo: [],
      macs: 0,
    });
    expect(rows.find((row) => row.layer === 'res2a_branch1')).toEqual({
      layer: 'res2a_branch1',
      type: 'Conv2D',
      outputShape: [1, 256, 55, 55],
      parameters: 64 * 256 + 256,
      connectedTo: ['pool1'],
      block: '2a',
      macs: 64 * 256 * 55 * 55,
    });
    expect(rows.find((row) => row.layer === 'res2a')?.connectedTo).toEqual(['bn2a_branch2c', 'bn2a_branch1']);
  });

  test('the table reads as Keras’', () => {
    const lines = String(summary(build('keras2015-resnet50'))).split('\n');
    expect(lines.slice(0, 6)).toEqual([
      'Model: "keras2015-resnet50"',
      '_'.repeat(93),
      'Layer (type)                        Output Shape         Param #  Connected to',
      '='.repeat(93),
      'input (InputLayer)                  [N, 3, 224, 224]           0',
      'conv1_pad (ZeroPadding2D)           [N, 3, 230, 230]           0  input',
    ]);
    expect(lines.slice(-6, -1)).toEqual([
      'Total params: 25,636,712 (97.80 MiB)',
      'Trainable params: 25,583,592 (97.59 MiB)',
      'Non-trainable params: 53,120 (207.50 KiB)',
      'Multiply-adds: 3,834,331,136 (3.834 G)',
      'Activation memory: 8.86 MiB at its fullest (one picture, float32)',
    ]);
    expect(Math.max(...lines.map((line) => line.length))).toBe(93);
  });

  test('two long names in the last column stand on two lines', () => {
    const lines = String(summary(build('keras-resnet50'))).split('\n');
    const at = lines.findIndex((line) => line.startsWith('conv2_block1_add '));
    expect(lines[at].endsWith('conv2_block1_3_bn,')).toBe(true);
    expect(lines[at + 1].trim()).toBe('conv2_block1_0_bn');
  });

  test('a name that would steer the terminal is defused', () => {
    const x = conv2d(input({ height: 4, width: 4 }), 1, { name: 'a\u001b[2J\nb' });
    const text = String(summary(network('n\u0007', { x })));
    expect(text).toContain('a\ufffd[2J b (Conv2D)');
    expect(text).toContain('Model: "n\ufffd"');
  });

  test('JSON holds the rows and totals and nothing else', () => {
    const s = summary(build('resnet20'));
    expect(JSON.parse(JSON.stringify(s))).toEqual({ name: 'resnet20', rows: s.rows, totals: s.totals });
  });
});
