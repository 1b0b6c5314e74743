import { afterAll, describe, expect, test } from 'vitest';
import { add, batchNorm, conv2d, dense, globalAvgPool, input, network, relu } from '../graph/build.js';
import { type Measured, trainingStep } from '../graph/training-step.js';
import { initialise } from '../models/initialise.js';
import { normal, random } from '../random.js';
import { sizeOf, type Tensor } from '../tensor.js';
import type { Optimizer } from '../updates/optimizers.js';
import { startTrainer, type Trainer, type TrainerOptions, type TrainerState } from './trainer.js';

/** A residual block on 4 × 4 pixels. */
function tiny() {
  const x = input({ height: 4, width: 4 });
  const stem = relu(batchNorm(conv2d(x, 4, { kernel: 3, padding: 1, bias: false, name: 'conv1' }), { name: 'bn1' }));
  const branch = batchNorm(conv2d(stem, 4, { kernel: 3, padding: 1, bias: false, name: 'conv2' }), { name: 'bn2' });
  const logits = dense(globalAvgPool(relu(add(branch, stem))), 3, { name: 'fc' });
  return network('tiny', { logits });
}

const graph = tiny();
const shape = [6, 3, 4, 4];
const step = trainingStep(graph, { shape, loss: 'crossEntropy', trains: () => true });
const weights = initialise(graph, { seed: 3 });
const names = step.trained.map(({ name }) => name);
const sgd: Optimizer = { name: 'sgd', momentum: 0.9, nesterov: false, decay: 1e-3 };
const plain: TrainerOptions = { optimizer: sgd, groups: [{ parameters: names, rate: 1, decay: 1 }] };

function batch(seed: number): Record<string, Tensor> {
  const draw = random('batch', seed);
  const data = Float32Array.from({ length: sizeOf(shape) }, () => normal(draw));
  const targets = new Float32Array(18);
  for (let i = 0; i < 6; i++) targets[i * 3 + Math.floor(draw() * 3)] = 1;
  return {
    input: { dtype: 'float32', shape, data },
    targets: { dtype: 'float32', shape: [6, 3], data: targets },
  };
}

const open: Trainer[] = [];
afterAll(() => Promise.all(open.map((trainer) => trainer.dispose())));
async function start(options: TrainerOptions = plain, from = weights): Promise<Trainer> {
  const trainer = await startTrainer('reference', step, from, options);
  open.push(trainer);
  return trainer;
}

const numbers = (state: TrainerState['weights']) => Array.from(state, ([name, { data }]) => [name, ...data]);

describe('a network that learns', () => {
  test('learns one batch by heart', async () => {
    const trainer = await start();
    const losses: number[] = [];
    for (let i = 0; i < 40; i++) losses.push((await trainer.step(batch(1), { rate: 0.1 })).loss);
    expect(losses[39]).toBeLessThan(losses[0] / 20);
  });

  test('goes on from what was saved as if nothing had happened, to the bit', async () => {
    const options = { ...plain, average: true, optimizer: { ...sgd, nesterov: true } };
    const whole = await start(options);
    const steps = async (trainer: Trainer, from: number, to: number) => {
      for (let i = from; i < to; i++) await trainer.step(batch(i), { rate: 0.05, averageDecay: 0.9 });
      return trainer.save();
    };
    const middle = await steps(whole, 0, 3);
    const end = await steps(whole, 3, 6);
    const again = await start(options);
    await again.restore(middle);
    const resumed = await steps(again, 3, 6);
    expect(resumed.updates).toBe(6);
    expect(numbers(resumed.weights)).toEqual(numbers(end.weights));
    expect(numbers(resumed.average as Map<string, Tensor>)).toEqual(numbers(end.average as Map<string, Tensor>));
    expect(numbers(resumed.optimizer.get('momentum') as Map<string, Tensor>)).toEqual(
      numbers(end.optimizer.get('momentum') as Map<string, Tensor>),
    );
    expect(end.weights.has('bn1.running_var')).toBe(true);
  });

  test('two steps on one batch and one update move it as one step does', async () => {
    const [once, twice] = [await start(), await start()];
    await once.step(batch(1), { rate: 0.1 });
    await twice.step(batch(1));
    await twice.step(batch(1), { rate: 0.1 });
    const [a, b] = [(await once.save()).weights, (await twice.save()).weights];
    for (const name of names)
      b.get(name)?.data.forEach((x, i) => {
        expect(x).toBeCloseTo(a.get(name)?.data[i] as number, 6);
      });
    expect((await twice.save()).updates).toBe(1);
  });

  test('running statistics move a tenth of the way to the batch’s, the variance unbiased', async () => {
    const { mean, variance, count } = step.measured[0] as Measured;
    expect(count).toBe(6 * 16);
    const trainer = await start({ ...plain, statisticsMomentum: 0.25 });
    await trainer.step(batch(2), { rate: 0 });
    const first = (await trainer.save()).weights;
    await trainer.step(batch(2), { rate: 0 });
    const second = (await trainer.save()).weights;
    // With r′ = 0.75 r + 0.25 b, twice from the same batch: r″ − r′ = 0.75 (r′ − r).
    for (const name of [mean, variance])
      first.get(name)?.data.forEach((x, i) => {
        const start = weights.get(name)?.data[i] as number;
        expect((second.get(name)?.data[i] as number) - x).toBeCloseTo(0.75 * (x - start), 6);
      });
  });

  test('long gradients are shortened, and their length is told', async () => {
    const [free, held] = [await start(), await start({ ...plain, clip: 0.01 })];
    expect((await free.step(batch(1), { rate: 1 })).gradientNorm).toBeUndefined();
    const { gradientNorm } = await held.step(batch(1), { rate: 1 });
    expect(gradientNorm).toBeGreaterThan(0.01);
    const moved = async (trainer: Trainer) => {
      const { weights: now } = await trainer.save();
      return Math.hypot(...names.flatMap((name) => numbersMoved(now.get(name) as Tensor, weights.get(name) as Tensor)));
    };
    const numbersMoved = (a: Tensor, b: Tensor) => Array.from(a.data, (x, i) => x - b.data[i]);
    // The decay moves the weights too, by a thousandth of their length.
    expect(await moved(held)).toBeLessThan(0.03);
    expect(await moved(free)).toBeGreaterThan(0.1);
  });

  test('gradients of the last step, by parameter', async () => {
    const trainer = await start({ ...plain, optimizer: { ...sgd, momentum: 0, decay: 0 } });
    await trainer.step(batch(1), { rate: 0.5 });
    const gradients = await trainer.gradients();
    const { weights: now } = await trainer.save();
    expect([...gradients.keys()]).toEqual(names);
    for (const name of names)
      gradients.get(name)?.data.forEach((g, i) => {
        expect((weights.get(name)?.data[i] as number) - (now.get(name)?.data[i] as number)).toBeCloseTo(0.5 * g, 6);
      });
  });

  test('groups have rates and decays of their own; a rate of 0 leaves a group as it is', async () => {
    const [head, rest] = [
      names.filter((name) => name.startsWith('fc')),
      names.filter((name) => !name.startsWith('fc')),
    ];
    const groups = [
      { parameters: rest, rate: 0, decay: 1 },
      { parameters: head, rate: 1, decay: 0 },
    ];
    const trainer = await start({ ...plain, groups });
    await trainer.step(batch(1), { rate: 0.1 });
    const { weights: now } = await trainer.save();
    const same = (name: string) => now.get(name)?.data.every((x, i) => x === weights.get(name)?.data[i]);
    expect(rest.every(same)).toBe(true);
    expect(head.some(same)).toBe(false);
  });

  test('a batch whose loss is no number changes nothing', async () => {
    const trainer = await start();
    const before = await trainer.save();
    const broken = batch(1);
    broken.input.data[0] = Number.NaN;
    expect((await trainer.step(broken, { rate: 0.1 })).loss).toBeNaN();
    expect(numbers((await trainer.save()).weights)).toEqual(numbers(before.weights));
    expect((await trainer.save()).updates).toBe(0);
  });
});

describe('refusals', () => {
  const code = (work: Promise<unknown>) =>
    work.then(
      () => 'done',
      (error) => `${error.code}: ${error.message}`,
    );

  test('groups that are not the trained parameters', async () => {
    const groups = (...lists: string[][]) => lists.map((parameters) => ({ parameters, rate: 1, decay: 1 }));
    const begin = (...lists: string[][]) =>
      code(startTrainer('reference', step, weights, { ...plain, groups: groups(...lists) }));
    expect(await begin(names, names.slice(0, 1))).toMatch(/ARGUMENT.*"conv1.weight" is in two groups/);
    expect(await begin(names.slice(1))).toMatch(/ARGUMENT.*"conv1.weight" is in none/);
    expect(await begin([...names, 'bn1.running_mean'])).toMatch(/ARGUMENT.*"bn1.running_mean" is not trained/);
  });

  test('inputs, weights and checkpoints that do not fit', async () => {
    const trainer = await start();
    const { input: image } = batch(1);
    expect(await code(trainer.step({ input: image }))).toMatch(/GRAPH.*"targets".*\[6, 3\] but is missing/);
    const without = new Map([...weights].filter(([name]) => name !== 'bn2.running_var'));
    expect(await code(start(plain, without))).toMatch(/WEIGHTS_MISMATCH.*bn2.running_var/);
    const { weights: own, ...saved } = await trainer.save();
    expect(await code(trainer.restore({ ...saved, weights: own, optimizer: new Map() }))).toMatch(/WEIGHTS_MISMATCH/);
  });

  test('after dispose', async () => {
    const trainer = await start();
    await trainer.dispose();
    await trainer.dispose();
    expect(await code(trainer.step(batch(1)))).toMatch(/DISPOSED/);
    expect(await code(trainer.save())).toMatch(/DISPOSED/);
  });
});
