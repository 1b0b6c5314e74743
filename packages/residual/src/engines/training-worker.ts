import { move } from '#thread';
import { ResidualError } from '../errors.js';
import type { TrainingStep } from '../graph/training-step.js';
import type { Tensor, Weights } from '../tensor.js';
import { norm, optimizers, type State, update as updateGroups } from '../updates/optimizers.js';
import type { EngineName } from './engine.js';
import type { StepResult, TrainerOptions, TrainerState, Update } from './trainer.js';
import type { TrainingBackend, TrainingProgram } from './training.js';

/** What learns, in the engines' thread: an engine's program and the arithmetic of its updates. */
interface Learner {
  readonly step: TrainingStep;
  readonly options: TrainerOptions;
  readonly program: TrainingProgram;
  readonly state: State;
  readonly average?: Float32Array;
  /** Running statistics, and their average. */
  readonly statistics: Map<string, Float32Array>;
  readonly averaged: Map<string, Float32Array>;
  /** Gradients of earlier steps, where an update takes several. */
  sum?: Float32Array;
  pending: number;
  updates: number;
}

type Inputs = Readonly<Record<string, Tensor>>;

export interface TrainingWorker {
  begin(engine: EngineName): void;
  start(id: number, engine: EngineName, step: TrainingStep, weights: Weights, options: TrainerOptions): Promise<void>;
  step(id: number, inputs: Inputs, update: Update | undefined): Promise<StepResult>;
  save(id: number): TrainerState;
  gradients(id: number): Weights;
  restore(id: number, state: TrainerState): void;
  end(id: number): Promise<void>;
}

/** The engines' thread's half of every training. */
export function trainingWorker(backends: Readonly<Record<EngineName, TrainingBackend>>): TrainingWorker {
  const learners = new Map<number, Learner>();
  function learnerOf(id: number): Learner {
    const found = learners.get(id);
    if (found === undefined) throw new ResidualError('DISPOSED', 'this training was disposed; start it again');
    return found;
  }
  return {
    begin: (engine) => backends[engine].begin?.(),
    async start(id, engine, step, weights, options) {
      const { threads, precision, recompute, groups, optimizer } = options;
      const program = await backends[engine].train(step, weights, {
        threads,
        precision,
        recompute,
        groups: groups.map(({ parameters }) => parameters),
      });
      const names = optimizers[optimizer.name].state;
      const average = options.average ? program.array() : undefined;
      average?.set(program.parameters);
      const copy = (name: string): [string, Float32Array] => [
        name,
        new Float32Array((weights.get(name) as Tensor).data),
      ];
      const measured = step.measured.flatMap(({ mean, variance }) => [mean, variance]);
      learners.set(id, {
        step,
        options,
        program,
        state: Object.fromEntries(names.map((name) => [name, program.array()])),
        ...(average && { average }),
        statistics: new Map(measured.map(copy)),
        averaged: new Map(options.average ? measured.map(copy) : []),
        pending: 0,
        updates: 0,
      });
    },
    async step(id, inputs, update) {
      const learner = learnerOf(id);
      const { logits, ...found } = await learner.program.run(inputs);
      // A ReLU may make a number of NaN; the statistics before it show that there was one.
      const loss = isSound(learner.step, found) ? found.loss.data[0] : Number.NaN;
      let gradientNorm: number | undefined;
      // Nothing is kept of a batch whose loss is no number.
      if (Number.isFinite(loss)) {
        follow(learner, found);
        gather(learner, update === undefined);
        if (update) gradientNorm = apply(learner, update);
      }
      const transfer = logits.data.buffer instanceof ArrayBuffer ? [logits.data.buffer] : [];
      return move({ loss, logits, ...(gradientNorm !== undefined && { gradientNorm }) }, transfer);
    },
    gradients(id) {
      const { program } = learnerOf(id);
      const gradients = new Map(named(program, program.gradients));
      return move(gradients, buffersOf([gradients]));
    },
    save(id) {
      const { program, state, average, statistics, averaged, updates } = learnerOf(id);
      const others = (from: ReadonlyMap<string, Float32Array>): [string, Tensor][] =>
        Array.from(from, ([name, data]) => [name, { dtype: 'float32', shape: [data.length], data: data.slice() }]);
      const saved: TrainerState = {
        weights: new Map([...named(program, program.parameters), ...others(statistics)]),
        ...(average && { average: new Map([...named(program, average), ...others(averaged)]) }),
        optimizer: new Map(Object.entries(state).map(([name, array]) => [name, new Map(named(program, array))])),
        updates,
      };
      const { weights, average: averages, optimizer } = saved;
      return move(saved, buffersOf([weights, ...(averages ? [averages] : []), ...optimizer.values()]));
    },
    restore(id, from) {
      const learner = learnerOf(id);
      const { program, state, average, statistics, averaged } = learner;
      const fill = (array: Float32Array, weights: Weights | undefined) => {
        for (const { name } of program.slices) program.write(array, name, tensorOf(weights, name));
      };
      fill(program.parameters, from.weights);
      for (const [name, data] of statistics) data.set(tensorOf(from.weights, name));
      if (average) {
        // A run that starts to average begins with the weights as they are.
        const earlier = from.average ?? from.weights;
        fill(average, earlier);
        for (const [name, data] of averaged) data.set(tensorOf(earlier, name));
      }
      for (const [name, array] of Object.entries(state)) fill(array, from.optimizer.get(name));
      learner.pending = 0;
      learner.updates = from.updates;
    },
    async end(id) {
      const learner = learners.get(id);
      learners.delete(id);
      await learner?.program.dispose();
    },
  };
}

function tensorOf(weights: Weights | undefined, name: string): Float32Array {
  const found = weights?.get(name);
  if (found === undefined)
    throw new ResidualError(
      'WEIGHTS_MISMATCH',
      `the checkpoint has no "${name}"; it is of another network or optimiser`,
      {
        name,
      },
    );
  return found.data;
}

const named = (program: TrainingProgram, array: Float32Array): [string, Tensor][] =>
  program.slices.map(({ name }) => [name, program.read(array, name)]);

/** Moved, not shared: shared memory would not be collected before JavaScript's own is full. */
const buffersOf = (all: readonly Weights[]): ArrayBuffer[] =>
  all.flatMap((weights) => [...weights.values()].map(({ data }) => data.buffer as ArrayBuffer));

const isSound = ({ measured }: TrainingStep, batch: Readonly<Record<string, Tensor>>): boolean =>
  measured.every(({ mean, variance }) => [mean, variance].every((name) => batch[name].data.every(Number.isFinite)));

/** Moves the running statistics towards the batch's (PyTorch's BatchNorm: the running variance is the unbiased one). */
function follow({ step, statistics, options }: Learner, batch: Readonly<Record<string, Tensor>>): void {
  const share = options.statisticsMomentum ?? 0.1;
  for (const { mean, variance, count } of step.measured) {
    blend(statistics.get(mean) as Float32Array, batch[mean].data, share, 1);
    blend(statistics.get(variance) as Float32Array, batch[variance].data, share, count > 1 ? count / (count - 1) : 1);
  }
}

function blend(into: Float32Array, from: Float32Array, share: number, factor: number): void {
  for (let i = 0; i < into.length; i++) into[i] = (1 - share) * into[i] + share * factor * from[i];
}

/** Adds a step's gradients to those that wait. */
function gather(learner: Learner, more: boolean): void {
  const { program } = learner;
  if (learner.pending === 0 && !more) return;
  learner.sum ??= program.array();
  const { sum, pending } = learner;
  program.combine(
    sum,
    pending === 0
      ? [[1, program.gradients]]
      : [
          [1, sum],
          [1, program.gradients],
        ],
  );
  learner.pending += 1;
}

/** One update; answers with the norm of the gradients where there is a limit. */
function apply(learner: Learner, { rate, momentum, averageDecay }: Update): number | undefined {
  const { program, options, state, average, pending, sum } = learner;
  const { parameters, gradients } = program;
  const { clip, groups } = options;
  if (pending && sum) program.combine(gradients, [[1 / pending, sum]]);
  learner.pending = 0;
  let length: number | undefined;
  if (clip !== undefined) {
    length = norm(gradients);
    if (!Number.isFinite(length)) return length;
    if (length > clip) program.combine(gradients, [[clip / length, gradients]]);
  }
  learner.updates += 1;
  const optimizer = withMomentum(options.optimizer, momentum);
  updateGroups(optimizer, groups, program.ranges, rate, {
    parameters,
    gradients,
    state,
    slices: program.slices,
    count: learner.updates,
    combine: program.combine,
  });
  if (average && averageDecay !== undefined) {
    program.combine(average, [
      [averageDecay, average],
      [1 - averageDecay, parameters],
    ]);
    for (const [name, data] of learner.averaged)
      blend(data, learner.statistics.get(name) as Float32Array, 1 - averageDecay, 1);
  }
  return length;
}

function withMomentum(
  optimizer: TrainerOptions['optimizer'],
  momentum: number | undefined,
): TrainerOptions['optimizer'] {
  if (momentum === undefined) return optimizer;
  return optimizer.name === 'sgd' ? { ...optimizer, momentum } : { ...optimizer, beta1: momentum };
}
