import { describe, expect, test } from 'vitest';
import { sizeOf } from '../tensor.js';
import { initialise, uniform } from './initialise.js';
import { build } from './resnet.js';

const graph = build('resnet20');
const weights = initialise(graph, { seed: 7 });
const numbers = (name: string) => weights.get(name)!.data;

const moments = (data: ArrayLike<number>) => {
  const values = Array.from(data);
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  return { mean, variance: values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length };
};

describe('the weights of an untrained network', () => {
  test('are there for every parameter, in its shape, finite', () => {
    expect([...weights.keys()]).toEqual(graph.parameters.map((p) => p.name));
    for (const { name, shape } of graph.parameters) {
      expect(weights.get(name)?.shape).toEqual(shape);
      expect(numbers(name)).toHaveLength(sizeOf(shape));
      expect(numbers(name).every(Number.isFinite)).toBe(true);
    }
  });

  test('of convolutions are normal with variance 2 / fan-in', () => {
    // 36,864 numbers: the variance is known to about 2 · sqrt(2 / 36864) = 1.5 % (two standard errors).
    const data = numbers('layer3.2.conv2.weight');
    const { mean, variance } = moments(data);
    const expected = 2 / (64 * 9);
    expect(Math.abs(mean)).toBeLessThan(3 * Math.sqrt(expected / data.length));
    expect(Math.abs(variance / expected - 1)).toBeLessThan(0.03);
    // A normal distribution has 68.27 % within one standard deviation and 0.27 % beyond three; a uniform one has not.
    const share = (k: number) => data.filter((x) => Math.abs(x) < k * Math.sqrt(expected)).length / data.length;
    expect(share(1)).toBeCloseTo(0.6827, 2);
    expect(share(3)).toBeCloseTo(0.9973, 3);
  });

  test('of the classifier are uniform within Glorot’s limit, its bias zero', () => {
    const limit = Math.sqrt(6 / (64 + 10));
    const data = numbers('fc.weight');
    expect(data.every((x) => Math.abs(x) <= limit)).toBe(true);
    expect(Math.max(...data)).toBeGreaterThan(0.95 * limit);
    expect(moments(data).variance).toBeCloseTo(limit ** 2 / 3, 2);
    expect(Array.from(numbers('fc.bias'))).toEqual(Array(10).fill(0));
  });

  test('make BatchNorm the identity, and zeroInitLast the whole block', () => {
    const all = (data: Float32Array, x: number) => data.every((y) => y === x);
    expect(all(numbers('bn1.weight'), 1) && all(numbers('bn1.running_var'), 1)).toBe(true);
    expect(all(numbers('bn1.bias'), 0) && all(numbers('bn1.running_mean'), 0)).toBe(true);
    const zero = initialise(build('resnet20', { zeroInitLast: true }));
    expect(all(zero.get('layer1.0.bn2.weight')!.data, 0)).toBe(true);
    expect(all(zero.get('layer1.0.bn1.weight')!.data, 1)).toBe(true);
  });

  test('are those of the seed', () => {
    expect(initialise(graph, { seed: 7 })).toEqual(weights);
    expect(initialise(graph, { seed: 8 }).get('conv1.weight')).not.toEqual(weights.get('conv1.weight'));
  });

  test('can be limited to a new classifier', () => {
    expect([...initialise(graph, { only: (name) => name.startsWith('fc.') }).keys()]).toEqual(['fc.weight', 'fc.bias']);
  });
});

test('uniform numbers are the sequence of Mulberry32, within [0, 1), evenly spread', () => {
  const first = uniform(1);
  expect([first(), first(), first()]).toEqual([0.6270739405881613, 0.002735721180215478, 0.5274470399599522]);
  const random = uniform(1);
  const drawn = Array.from({ length: 100_000 }, random);
  expect(drawn.every((x) => x >= 0 && x < 1)).toBe(true);
  const { mean, variance } = moments(drawn);
  expect(mean).toBeCloseTo(1 / 2, 2);
  expect(variance).toBeCloseTo(1 / 12, 2);
});
