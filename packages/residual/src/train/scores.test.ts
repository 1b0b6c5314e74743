import { expect, test } from 'vitest';
import { judge } from './scores.js';

const id = (row: number) => `picture ${row}`;
const classes = ['ant', 'bee', 'cat'];

test('right answers, confusion and losses by hand', () => {
  const judging = judge(classes, { kind: 'probabilities' });
  const chances = Float32Array.of(0.5, 0.25, 0.25, 0.125, 0.125, 0.75, 0.25, 0.5, 0.25);
  judging.add(chances, Float32Array.of(1, 0, 0, 0, 1, 0, 0, 1, 0), id);
  const { confusion, mistakes, classes: rows, ...numbers } = judging.scores();
  expect(numbers).toMatchObject({ pictures: 3, top1: 2 / 3, top5: 1 });
  expect(numbers.loss).toBeCloseTo((Math.log(2) + Math.log(8) + Math.log(2)) / 3, 12);
  // Two answers at 0.5 in one bin, both right; one at 0.75, wrong.
  expect(numbers.calibration).toBeCloseTo((2 * 0.5 + 0.75) / 3, 12);
  expect(confusion.map((row) => [...row])).toEqual([
    [1, 0, 0],
    [0, 1, 1],
    [0, 0, 0],
  ]);
  expect(rows).toEqual([
    { label: 'ant', pictures: 1, right: 1, answered: 1 },
    { label: 'bee', pictures: 2, right: 1, answered: 1 },
    { label: 'cat', pictures: 0, right: 0, answered: 1 },
  ]);
  expect(mistakes).toEqual([
    { id: 'picture 1', expected: 'bee', answer: 'cat', probability: 0.75, loss: expect.closeTo(Math.log(8)) },
  ]);
});

test('logits become probabilities; answers may be limited to some classes', () => {
  const logits = Float32Array.of(3, 2, 1);
  const target = Float32Array.of(0, 1, 0);
  const all = judge(classes, { kind: 'logits' });
  all.add(logits, target, id);
  expect(all.scores()).toMatchObject({
    top1: 0,
    top5: 1,
    loss: expect.closeTo(Math.log(1 + Math.E + Math.exp(-1)), 6),
  });
  const some = judge(classes, { kind: 'logits', only: [1, 2] });
  some.add(logits, target, id);
  expect(some.scores().top1).toBe(1);
});

test('the five best of many', () => {
  const many = Array.from({ length: 100 }, (_, i) => `c${i}`);
  const values = Float32Array.from(many, (_, i) => (i * 37) % 100);
  const target = (index: number) => Float32Array.from(many, (_, i) => Number(i === index));
  const place = (rank: number) => values.indexOf(99 - rank);
  for (const [rank, expected] of [
    [0, 1],
    [4, 1],
    [5, 0],
  ]) {
    const judging = judge(many, { kind: 'logits' });
    judging.add(values, target(place(rank)), id);
    expect(judging.scores().top5).toBe(expected);
  }
});

test('labels that hold together are counted each for itself', () => {
  const judging = judge(classes, { kind: 'labels' });
  judging.add(Float32Array.of(5, 5, -5, -5, 5, -5), Float32Array.of(1, 1, 0, 1, 0, 0), id);
  const { classes: rows, confusion, top1, loss, mistakes } = judging.scores();
  expect(mistakes.map(({ expected, answer }) => [expected, answer])).toEqual([
    ['ant', 'bee'],
    ['ant, bee', 'ant'],
  ]);
  const bare = judge(classes, { kind: 'labels' });
  bare.add(Float32Array.of(5, -5, -5), Float32Array.of(0, 0, 0), id);
  expect(bare.scores().mistakes).toMatchObject([{ expected: 'none', answer: 'ant' }]);
  expect(rows.map(({ pictures, right, answered }) => [pictures, right, answered])).toEqual([
    [2, 1, 1],
    [1, 1, 2],
    [0, 0, 0],
  ]);
  expect(confusion).toEqual([]);
  expect(top1).toBe(0.5);
  const sure = Math.log(1 + Math.exp(-5));
  expect(loss).toBeCloseTo((4 * sure + 2 * (sure + 5)) / 6, 5);
});
