import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import type { Range } from '../engines/training.js';
import { random } from '../random.js';
import { python, shared } from '../testing.js';
import { type Group, type Optimizer, optimizers, update } from './optimizers.js';

const slices = [
  { name: 'a', offset: 0, length: 7 },
  { name: 'b', offset: 7, length: 5 },
];
const ranges: readonly Range[] = [
  [0, 7],
  [7, 12],
];
const groups: readonly Group[] = [
  { parameters: ['a'], rate: 1, decay: 1 },
  { parameters: ['b'], rate: 0.5, decay: 0 },
];

const draw = random('optimizers');
const start = Float32Array.from({ length: 12 }, () => draw() * 2 - 1);
const steps = Array.from({ length: 6 }, () => Float32Array.from({ length: 12 }, () => draw() * 2 - 1));

function combine(
  into: Float32Array,
  terms: readonly (readonly [number, Float32Array])[],
  [from, to]: Range = [0, 12],
): void {
  for (let i = from; i < to; i++) into[i] = terms.reduce((sum, [scale, array]) => sum + scale * array[i], 0);
}

/** The parameters after every update. */
function follow(optimizer: Optimizer): number[][] {
  const parameters = Float32Array.from(start);
  const state = Object.fromEntries(optimizers[optimizer.name].state.map((name) => [name, new Float32Array(12)]));
  return steps.map((gradients, i) => {
    update(optimizer, groups, ranges, 0.1, {
      parameters,
      gradients: Float32Array.from(gradients),
      state,
      slices,
      count: i + 1,
      combine,
    });
    return [...parameters];
  });
}

/** The same in PyTorch, for each optimiser: `a` with all of rate and decay, `b` with half the rate and no decay. */
const pytorch = (makes: readonly string[]): number[][][] =>
  JSON.parse(
    execFileSync(python, ['-'], {
      encoding: 'utf8',
      input: `
import json, torch
w = torch.tensor(${JSON.stringify([...start])})
steps = torch.tensor(${JSON.stringify(steps.map((step) => [...step]))})
def follow(make):
    a, b = w[:7].clone().requires_grad_(), w[7:].clone().requires_grad_()
    optimizer = make([dict(params=[a]), dict(params=[b], lr=0.05, weight_decay=0)])
    rows = []
    for step in steps:
        a.grad, b.grad = step[:7].clone(), step[7:].clone()
        optimizer.step()
        rows.append(a.tolist() + b.tolist())
    return rows
print(json.dumps([${makes.map((make) => `follow(lambda groups: ${make})`)}]))`,
    }),
  );

const adaptive = { beta1: 0.9, beta2: 0.99, epsilon: 1e-6, decay: 0.1 };
const cases: readonly [title: string, optimizer: Optimizer, pytorch: string][] = [
  [
    'SGD',
    { name: 'sgd', momentum: 0, nesterov: false, decay: 0.1 },
    'torch.optim.SGD(groups, lr=0.1, weight_decay=0.1)',
  ],
  [
    'SGD with momentum',
    { name: 'sgd', momentum: 0.9, nesterov: false, decay: 0.1 },
    'torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.1)',
  ],
  [
    "SGD with Nesterov's momentum",
    { name: 'sgd', momentum: 0.9, nesterov: true, decay: 0.1 },
    'torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)',
  ],
  [
    'Adam',
    { name: 'adam', ...adaptive },
    'torch.optim.Adam(groups, lr=0.1, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1)',
  ],
  [
    'AdamW',
    { name: 'adamw', ...adaptive },
    'torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1)',
  ],
];

test.skipIf(!shared)('updates equal PyTorch’s', () => {
  const expected = pytorch(cases.map(([, , make]) => make));
  cases.forEach(([title, optimizer], i) => {
    const worst = follow(optimizer).flatMap((row, step) => row.map((x, j) => Math.abs(x - expected[i][step][j])));
    expect(Math.max(...worst), title).toBeLessThan(2e-6);
  });
});

test('LAMB moves a decaying parameter by the rate times its own length, whatever its gradient’s', () => {
  const length = (row: readonly number[], [from, to]: Range) => Math.hypot(...row.slice(from, to));
  const [first] = follow({ name: 'lamb', ...adaptive });
  const moved = first.map((x, i) => x - start[i]);
  expect(length(moved, ranges[0])).toBeCloseTo(0.1 * length([...start], ranges[0]), 6);
  // Without decay there is no trust ratio: the first step of Adam, rate · sign(g).
  for (let i = 7; i < 12; i++) expect(Math.abs(moved[i])).toBeCloseTo(0.05, 4);
});
