import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { python, shared } from '../testing.js';
import { checkSchedule, momentumAt, rateAt, type Schedule } from './schedules.js';

const perEpoch = 4;
const epochs = 5;
const none = { epochs: 0, from: 0 };

const rates = (schedule: Schedule, warmUp = none) =>
  Array.from({ length: perEpoch * epochs }, (_, update) => rateAt(0.4, schedule, warmUp, { update, perEpoch, epochs }));

/** PyTorch's rates, update by update, for each schedule. */
const pytorch = (makes: readonly string[]): number[][] =>
  JSON.parse(
    execFileSync(python, ['-'], {
      encoding: 'utf8',
      input: `
import json, torch
def follow(make):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4, momentum=0.9)
    schedule = make(optimizer)
    rates = []
    for _ in range(${perEpoch * epochs}):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        schedule.step()
    return rates
print(json.dumps([${makes.map((make) => `follow(lambda optimizer: ${make})`)}]))`,
    }),
  );

const total = perEpoch * epochs;
const cases: readonly [Schedule, string][] = [
  [{ name: 'constant' }, 'torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)'],
  [{ name: 'step', step: 2, gamma: 0.1 }, 'torch.optim.lr_scheduler.StepLR(optimizer, 8, 0.1)'],
  [
    { name: 'multi-step', milestones: [1, 4], gamma: 0.1 },
    'torch.optim.lr_scheduler.MultiStepLR(optimizer, [4, 16], 0.1)',
  ],
  [{ name: 'cosine', end: 0 }, `torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, ${total})`],
  [{ name: 'cosine', end: 0.25 }, `torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, ${total}, eta_min=0.1)`],
  [
    { name: 'polynomial', power: 2, end: 0 },
    `torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: (1 - i / ${total}) ** 2)`,
  ],
];

test.skipIf(!shared)('rates equal PyTorch’s', () => {
  const expected = pytorch(cases.map(([, make]) => make));
  cases.forEach(([schedule], i) => {
    rates(schedule).forEach((rate, update) => {
      expect(rate, `${schedule.name}, update ${update}`).toBeCloseTo(expected[i][update], 9);
    });
  });
});

test('warm-up rises straight, then the schedule runs over what is left', () => {
  const found = rates({ name: 'cosine', end: 0 }, { epochs: 1, from: 0.25 });
  [0.1, 0.175, 0.25, 0.325, 0.4].forEach((rate, update) => {
    expect(found[update]).toBeCloseTo(rate, 12);
  });
  expect(found[12]).toBeCloseTo(0.2, 12);
});

test('one-cycle: up and down, and the momentum the other way', () => {
  const schedule = { name: 'one-cycle', up: 0.25, start: 0.04, end: 0 } as const;
  const found = rates(schedule);
  expect(found[0]).toBeCloseTo(0.016, 12);
  expect(Math.max(...found)).toBe(0.4);
  expect(found.indexOf(0.4)).toBe(5);
  const momentum = (update: number) => momentumAt(0.95, schedule, { update, perEpoch, epochs });
  expect([momentum(0), momentum(5), momentum(20)]).toEqual([0.95, 0.85, 0.95]);
});

test('falls come at their update, whatever is rounded', () => {
  const at = (schedule: Schedule, epoch: number) =>
    rateAt(1, schedule, none, { update: epoch, perEpoch: 1, epochs: 100 });
  const shares = { name: 'multi-step', milestones: [0.07 * 100, 0.55 * 100], gamma: 0.1 } as const;
  expect([6, 7, 54, 55].map((epoch) => at(shares, epoch))).toEqual([1, 0.1, 0.1, 0.1 ** 2]);
  const tenths = { name: 'step', step: 0.1, gamma: 0.5 } as const;
  const falls = Array.from({ length: 10 }, (_, update) => rateAt(1, tenths, none, { update, perEpoch: 10, epochs: 1 }));
  expect(falls).toEqual(falls.map((_, i) => 0.5 ** i));
  for (const name of ['one-cycle', 'triangle'] as const)
    expect(() => checkSchedule({ name, up: 0.3, start: 0.1, end: 0 } as Schedule, { epochs: 1, from: 0 })).toThrow(
      /leave the warm-up out/,
    );
});

test('triangle: nothing is left at the end', () => {
  const found = rates({ name: 'triangle', up: 0.2, start: 0.2 });
  expect(found[0]).toBeCloseTo(0.08, 12);
  expect(found[4]).toBeCloseTo(0.4, 12);
  expect(found[19]).toBeCloseTo(0.4 / 16, 12);
});

test('plateau: lower after more than `patience` epochs without a better loss, as in PyTorch', () => {
  const factor = (losses: readonly number[]) =>
    rateAt(1, { name: 'plateau', patience: 1, gamma: 0.1 }, none, { update: 0, perEpoch, epochs, losses });
  expect(factor([])).toBe(1);
  expect(factor([3, 2, 2])).toBe(1);
  expect(factor([3, 2, 2, 2])).toBeCloseTo(0.1, 12);
  expect(factor([3, 2, 2, 2, 1, 1, 1])).toBeCloseTo(0.01, 12);
});

test('what cannot be followed is refused', () => {
  expect(() => checkSchedule({ name: 'step', step: 0, gamma: 0.1 }, none)).toThrow(/step above 0/);
  expect(() => checkSchedule({ name: 'triangle', up: 2, start: 0 }, none)).toThrow(/from 0 to 1/);
  expect(() => checkSchedule({ name: 'constant' }, { epochs: -1, from: 0 })).toThrow(/warm-up/);
});
