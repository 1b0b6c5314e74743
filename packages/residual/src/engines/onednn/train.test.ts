import { describe, expect, test } from 'vitest';
import { conv2d, dense, flatten, input, network, relu } from '../../graph/build.js';
import { gradientName } from '../../graph/training-step.js';
import { build, type FamilyName, type ResNetOptions } from '../../models/resnet.js';
import type { Shape, Tensor } from '../../tensor.js';
import { referenceTraining } from '../reference/train.js';
import { noise, noiseTensor } from '../sketch.js';
import { startTrainer } from '../trainer.js';
import type { TrainingProgram } from '../training.js';
import {
  disagreements,
  groupsOf,
  results,
  stepOf,
  type TrainingCase,
  testTraining,
  trainingCases,
} from '../training.test.cases.js';
import type { Dnnl } from './dnnl.js';
import { dnnl, withLibrary } from './dnnl.test.helper.js';
import { onednnTraining, prepare } from './train.js';

const threads = 1;

/** Wide enough for blocks of channels, and for Winograd's algorithm. */
function wide(of: FamilyName, shape: Shape, options: ResNetOptions = {}): TrainingCase {
  const widths = { width: 16, widthPerGroup: 16, depths: [1, 2], classes: 5 };
  const graph = build(of, { size: [shape[2], shape[3]], ...widths, ...options });
  return stepOf(graph, noiseTensor(shape, noise(9)), { name: of });
}
/** Windows of one number over five channels: version 2 computes such gradients wrongly in bf16. */
function narrow(): TrainingCase {
  const first = relu(conv2d(input({ height: 5, width: 6 }), 16, { kernel: 1, name: 'first' }));
  const logits = dense(flatten(conv2d(first, 5, { kernel: 1, name: 'second' })), 4);
  return stepOf(network('narrow', { logits }), noiseTensor([2, 3, 5, 6], noise(9)));
}

const cases = [
  wide('resnet20', [6, 3, 20, 18]),
  wide('resnet18', [4, 3, 50, 46]),
  wide('resnet50', [4, 3, 44, 44]),
  wide('resnext50_32x4d', [4, 3, 40, 40], { groups: 2, widthPerGroup: 32 }),
];

const judged = new Map<string, Promise<Map<string, Tensor>>>();
/** What `reference` answers: slow, so once. */
function expected(one: TrainingCase): Promise<Map<string, Tensor>> {
  const known =
    judged.get(one.name) ??
    referenceTraining.train(one.step, one.weights, { groups: groupsOf(one) }).then((program) => results(program, one));
  judged.set(one.name, known);
  return known;
}

/** All gradients in one row. */
const gradients = ({ step }: TrainingCase, found: ReadonlyMap<string, Tensor>): number[] =>
  step.trained.flatMap(({ name }) => [...(found.get(gradientName(name)) as Tensor).data]);

function cosine(a: readonly number[], b: readonly number[]): number {
  const product = (x: readonly number[], y: readonly number[]) => x.reduce((sum, v, i) => sum + v * y[i], 0);
  return product(a, b) / Math.sqrt(product(a, a) * product(b, b));
}

withLibrary('training', () => {
  testTraining(onednnTraining, { bound: 1e-4, threads });

  describe.each(['blocked', 'channelsLast'] as const)('whole blocks of channels, %s', (layout) => {
    test.each(cases.map((one) => [one.name, one] as const))('%s in f32', async (_, one) => {
      const program = prepare(dnnl, one.step, one.weights, { threads, groups: groupsOf(one) }, layout);
      expect(disagreements(await results(program, one), await expected(one), 1e-4)).toEqual([]);
      await program.dispose();
    });

    test.skipIf(!dnnl.processor?.bf16).each(cases.map((one) => [one.name, one] as const))(
      '%s in bf16 points the same way',
      async (_, one) => {
        const options = { threads, groups: groupsOf(one), precision: 'bf16' } as const;
        const program = prepare(dnnl, one.step, one.weights, options, layout);
        const [found, judge] = [await results(program, one), await expected(one)];
        expect(
          Math.abs((found.get('loss') as Tensor).data[0] / (judge.get('loss') as Tensor).data[0] - 1),
        ).toBeLessThan(0.02);
        expect(cosine(gradients(one, found), gradients(one, judge))).toBeGreaterThan(0.97);
        await program.dispose();
      },
    );
  });

  test.skipIf(!dnnl.processor?.bf16)('what is refused in bf16 is computed in f32', async () => {
    const one = narrow();
    const program = await onednnTraining.train(one.step, one.weights, {
      threads,
      groups: groupsOf(one),
      precision: 'bf16',
    });
    const [found, judge] = [await results(program, one), await expected(one)];
    for (const { name } of one.step.trained) {
      const [a, b] = [found, judge].map((from) => [...(from.get(gradientName(name)) as Tensor).data]);
      expect([name, cosine(a, b) > 0.999]).toEqual([name, true]);
    }
    await program.dispose();
  });

  test('no layer of these is left to slow kernels', async () => {
    const [one] = cases;
    const { plan, dispose } = prepare(dnnl, one.step, one.weights, { threads, groups: groupsOf(one) });
    const slow = plan.kernels.filter(({ implementation }) => implementation.startsWith('ref'));
    // Shortcuts that pad channels are copies.
    expect(slow).toEqual([]);
    expect(
      plan.kernels.filter(({ implementation }) => implementation === 'plain loops').map(({ layer }) => layer),
    ).toEqual(['loss', 'loss by logits']);
    await dispose();
  });

  /** Losses of a few steps of SGD with momentum. */
  async function descend(one: TrainingCase, program: TrainingProgram, between?: () => Promise<unknown>) {
    const velocity = program.array();
    const losses: number[] = [];
    for (let i = 0; i < 10; i++) {
      const { loss } = await program.run(one.inputs);
      losses.push(loss.data[0]);
      program.combine(velocity, [
        [0.9, velocity],
        [1, program.gradients],
        [1e-4, program.parameters],
      ]);
      program.combine(program.parameters, [
        [1, program.parameters],
        [-0.01, velocity],
      ]);
      await between?.();
    }
    return losses;
  }
  const train = (one: TrainingCase, precision: 'f32' | 'bf16' = 'f32') =>
    onednnTraining.train(one.step, one.weights, { groups: groupsOf(one), threads, precision });

  test('ten steps lose as much as those of `reference`', async () => {
    const one = wide('resnet20', [4, 3, 10, 10], { depths: [1, 1] });
    const judge = await descend(one, await referenceTraining.train(one.step, one.weights, { groups: groupsOf(one) }));
    expect(judge[9]).toBeLessThan(0.9 * judge[0]);
    const program = await train(one);
    (await descend(one, program)).forEach((loss, i) => {
      expect(Math.abs(loss / judge[i] - 1)).toBeLessThan(1e-3);
    });
    await program.dispose();
    if (!dnnl.processor.bf16) return;
    const rough = await train(one, 'bf16');
    (await descend(one, rough)).forEach((loss, i) => {
      expect(Math.abs(loss / judge[i] - 1)).toBeLessThan(0.05);
    });
    await rough.dispose();
  });

  test.each(['f32', 'bf16'] as const)('the same bits again, and beside another program: %s', async (precision) => {
    if (precision === 'bf16' && !dnnl.processor.bf16) return;
    const [one, other] = cases;
    const bits: number[][] = [];
    for (const neighbour of [false, true]) {
      const program = await train(one, precision);
      const beside = neighbour ? await train(other) : undefined;
      const losses = await descend(one, program, beside && (() => beside.run(other.inputs)));
      bits.push([...losses, ...program.parameters]);
      await program.dispose();
      await beside?.dispose();
    }
    expect(bits[1]).toEqual(bits[0]);
  });

  test.each([
    ['f32', false],
    ['f32', true],
    ['bf16', false],
  ] as const)('a trainer goes on from what was saved, to the bit: %s, recompute %s', async (precision, recompute) => {
    if (precision === 'bf16' && !dnnl.processor.bf16) return;
    const [one] = cases;
    const groups = groupsOf(one).map((parameters, i) => ({ parameters, rate: 1, decay: 1 - i }));
    const optimizer = { name: 'sgd', momentum: 0.9, nesterov: true, decay: 1e-3 } as const;
    const options = { threads, precision, recompute, optimizer, groups, average: true, clip: 1 };
    const trainer = await startTrainer('onednn', one.step, one.weights, options);
    const three = async () => {
      const losses: number[] = [];
      for (let i = 0; i < 3; i++) losses.push((await trainer.step(one.inputs, { rate: 0.02, averageDecay: 0.9 })).loss);
      return losses;
    };
    const before = await three();
    const saved = await trainer.save();
    const after = await three();
    expect(after[2]).toBeLessThan(before[0]);
    const state = await trainer.save();
    await trainer.restore(saved);
    expect(await three()).toEqual(after);
    expect(await trainer.save()).toEqual(state);
    await trainer.dispose();
  });

  test('recomputed blocks: the same bits in less memory', async () => {
    for (const one of [...cases, ...trainingCases]) {
      const options = { threads, groups: groupsOf(one) };
      const [whole, less] = [false, true].map((recompute) =>
        prepare(dnnl, one.step, one.weights, { ...options, recompute }),
      );
      expect(disagreements(await results(less, one), await results(whole, one), 0)).toEqual([]);
      if (cases.includes(one)) expect(less.plan.bytes).toBeLessThan(whole.plan.bytes);
      await whole.dispose();
      await less.dispose();
    }
  });

  /** The library, with a count of what is held; the call of `allocate` with the number `fails` finds no memory. */
  function counted(fails = Number.POSITIVE_INFINITY) {
    const held = new Set<bigint>();
    let allocations = 0;
    const make =
      <Given extends unknown[]>(of: (...given: Given) => bigint) =>
      (...given: Given): bigint => {
        const made = of(...given);
        held.add(made);
        return made;
      };
    const library: Dnnl = {
      ...dnnl,
      allocate: make((bytes) => {
        if (++allocations === fails) throw new Error('no memory');
        return dnnl.allocate(bytes);
      }),
      free(address) {
        held.delete(address);
        dnnl.free(address);
      },
      memory: make(dnnl.memory),
      destroyMemory(memory) {
        held.delete(memory);
        dnnl.destroyMemory(memory);
      },
    };
    return { counting: library, held, allocations: () => allocations };
  }

  test('all memory is given back: at the end, and where there is too little', async () => {
    const [one] = cases;
    const options = { threads, groups: groupsOf(one) };
    const { counting, held, allocations } = counted();
    const program = prepare(counting, one.step, one.weights, options);
    const made = allocations();
    await descend(one, program);
    expect(held.size).toBeGreaterThan(100);
    await program.dispose();
    expect(held.size).toBe(0);
    for (const nth of [1, 2, 5, made - 1, made]) {
      const short = counted(nth);
      expect(() => prepare(short.counting, one.step, one.weights, options)).toThrow('no memory');
      expect(short.held.size).toBe(0);
    }
  });
});
