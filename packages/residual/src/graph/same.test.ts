import { describe, expect, test } from 'vitest';
import { build, type FamilyName, family, type ResNetOptions } from '../models/resnet.js';
import { batchNorm, conv2d, dense, flatten, globalAvgPool, input, maxPool, network, relu, zeroPad } from './build.js';
import type { Graph } from './graph.js';
import { otherLayer, sameNetwork } from './same.js';

const small: ResNetOptions = { classes: 5, size: 64 };

describe('networks are told apart', () => {
  test('each member of the family is the same as itself, and as no other with its names', () => {
    const members = new Map<string, Graph>();
    for (const name of Object.keys(family) as FamilyName[])
      if (family[name].depths.reduce((sum, n) => sum + n, 0) <= 8) members.set(name, build(name, small));
    for (const [name, graph] of members) {
      const same = [...members].filter(([, other]) => sameNetwork(graph, other)).map(([other]) => other);
      expect(same, name).toEqual(
        [...members.keys()].filter((other) => `${settingsOf(other)}` === `${settingsOf(name)}`),
      );
    }
  });

  const settingsOf = (name: string) =>
    JSON.stringify({ ...family[name as FamilyName], ...small, dropout: 0, zeroInitLast: false });

  test.each([
    [{ strideOn: '1x1' }, 'layer2.0.conv1 would have stride 2,2, and it has 1,1'],
    [{ epsilon: 1e-3 }, 'bn1 would have epsilon 0.001, and it has 0.00001'],
    [{ stemPool: 'ceil' }, undefined],
    [{ antiAlias: 'mean' }, 'layer2.0.conv2 would have stride 1,1, and it has 2,2'],
    [{ softmax: true }, undefined],
    [{ outputStride: 16 }, 'layer4.0.conv2 would have stride 1,1, and it has 2,2'],
  ] satisfies [ResNetOptions, string | undefined][])('%j is another network', (options, why) => {
    const [a, b] = [build('resnet50', small), build('resnet50', { ...small, ...options })];
    expect(sameNetwork(a, b)).toBe(false);
    expect(otherLayer(a, b)).toBe(why);
  });
});

describe('one network, written in several ways', () => {
  const image = () => input({ height: 9, width: 11 });
  const of = (x: ReturnType<typeof image>) => network('n', { logits: dense(globalAvgPool(x), 2, { name: 'fc' }) });

  test('zeros in a convolution or before it, "same" or in numbers, but not before a pool', () => {
    const inside = of(relu(conv2d(image(), 4, { name: 'c', kernel: 3, padding: 1 })));
    const before = of(relu(conv2d(zeroPad(image(), 1), 4, { name: 'c', kernel: 3 })));
    const same = of(relu(conv2d(image(), 4, { name: 'c', kernel: 3, padding: 'same' })));
    const strided = of(relu(conv2d(image(), 4, { name: 'c', kernel: 3, padding: 1, stride: 2 })));
    expect(sameNetwork(inside, before)).toBe(true);
    expect(sameNetwork(inside, same)).toBe(true);
    expect(sameNetwork(inside, strided)).toBe(false);
    const pooled = (padded: boolean) =>
      of(
        padded
          ? maxPool(conv2d(image(), 4, { name: 'c', kernel: 1 }), { kernel: 3, padding: 1 })
          : maxPool(zeroPad(conv2d(image(), 4, { name: 'c', kernel: 1 }), 1), { kernel: 3 }),
      );
    expect(sameNetwork(pooled(true), pooled(false))).toBe(false);
  });

  test('a flatten behind the mean, epsilon as 32 bits have it; other names only when they are said', () => {
    const one = (epsilon: number, name: string, flat: boolean) => {
      const y = globalAvgPool(batchNorm(conv2d(image(), 4, { name }), { name: 'b', epsilon }), { keepDims: flat });
      return network('n', { logits: dense(flat ? flatten(y) : y, 2, { name: 'fc' }) });
    };
    expect(sameNetwork(one(1e-5, 'c', false), one(Math.fround(1e-5), 'c', true))).toBe(true);
    expect(sameNetwork(one(1e-5, 'c', false), one(1.001e-5, 'c', false))).toBe(false);
    expect(sameNetwork(one(1e-5, 'c', false), one(1e-5, 'd', false))).toBe(false);
    const called = (name: string) => name.replace('d.', 'c.');
    expect(sameNetwork(one(1e-5, 'c', false), one(1e-5, 'd', false), undefined, called)).toBe(true);
  });
});
