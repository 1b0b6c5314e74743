import { ResidualError } from '../errors.js';
import type { TrainingStep } from '../graph/training-step.js';
import { formatShape, sameShape, type Tensor, type Weights } from '../tensor.js';
import type { Group, Optimizer } from '../updates/optimizers.js';
import type { EngineName } from './engine.js';
import { worker } from './hosted.js';
import { engines } from './index.js';
import { copied, sharedWeights } from './sending.js';
import type { ProgramOptions } from './training.js';

export interface TrainerOptions extends Omit<ProgramOptions, 'groups'> {
  readonly optimizer: Optimizer;
  /** Every trained parameter belongs to one. */
  readonly groups: readonly Group[];
  /** Gradients longer than this, all together, are shortened to it (Pascanu et al. 2013). */
  readonly clip?: number | undefined;
  /** Keeps a running average of the weights beside them (Polyak and Juditsky 1992). */
  readonly average?: boolean | undefined;
  /** The share of a batch's statistics in the running ones; 0.1 when left out, as in PyTorch. */
  readonly statisticsMomentum?: number | undefined;
}

/** One update's numbers, from the schedules. */
export interface Update {
  readonly rate: number;
  /** Of SGD, or the first moment's of the others; the optimiser's own when left out. */
  readonly momentum?: number | undefined;
  /** average ← averageDecay · average + (1 − averageDecay) · weights; left as it is when left out. */
  readonly averageDecay?: number | undefined;
}

/** What a step gives. Where the loss, or the norm of the gradients, is no number, nothing was updated. */
export interface StepResult {
  readonly loss: number;
  /** `[N, K]` */
  readonly logits: Tensor;
  /** Before it was clipped; with a limit only. */
  readonly gradientNorm?: number;
}

/** All that a checkpoint holds, by parameter name. */
export interface TrainerState {
  /** The trained parameters and the running statistics that moved with them. */
  readonly weights: Weights;
  readonly average?: Weights;
  /** The optimiser's arrays: `momentum`, or `first` and `second`. */
  readonly optimizer: ReadonlyMap<string, Weights>;
  readonly updates: number;
}

/** A network that learns, in the engines' thread. */
export interface Trainer {
  readonly engine: EngineName;
  /**
   * Forward and backward over one batch. Gradients are averaged over the steps since the last update; with `update` they
   * are then used.
   * @throws GRAPH when an input is missing or has another shape; ABORTED; DISPOSED; ENGINE: when the thread was lost,
   * all that was learnt since the last `save` is.
   */
  step(
    inputs: Readonly<Record<string, Tensor>>,
    update?: Update,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<StepResult>;
  /** A copy of all that was learnt. Gradients that wait for an update are not in it. */
  save(): Promise<TrainerState>;
  /** The last step's gradients; an optimiser other than SGD leaves others in their place. */
  gradients(): Promise<Weights>;
  /** Goes on from there, to the bit. */
  restore(state: TrainerState): Promise<void>;
  dispose(): Promise<void>;
}

let nextId = 0;

/**
 * Makes a training step ready on an engine; `auto` is oneDNN where it runs well, else ONNX Runtime.
 * @param weights of the whole network: where learning starts, and what stays frozen.
 * @throws WEIGHTS_MISMATCH when a weight is missing or has another shape; ARGUMENT for groups that are not the trained
 * parameters; MISSING_PACKAGE; ENGINE.
 */
export async function startTrainer(
  name: EngineName | 'auto',
  step: TrainingStep,
  weights: Weights,
  options: TrainerOptions,
): Promise<Trainer> {
  checkGroups(step, options.groups);
  // Where it does not run, what comes next says so.
  await worker.call('trainBegin', [name === 'auto' ? 'onednn' : name]).catch(() => {});
  const engine = name === 'auto' ? await best() : name;
  const needed = sharedWeights(step.graph, weights);
  // Running statistics move with the training but are no input of the step.
  const statistics = new Map(
    step.measured.flatMap(({ mean, variance }) =>
      [mean, variance].map((one): [string, Tensor] => {
        const found = weights.get(one);
        if (found === undefined)
          throw new ResidualError('WEIGHTS_MISMATCH', `training needs the weight "${one}", which was not given`);
        return [one, found];
      }),
    ),
  );
  const id = nextId++;
  await worker.call('train', [id, engine, step, new Map([...needed, ...statistics]), options]);
  const losses = worker.losses();
  let disposed = false;

  function check(): void {
    if (disposed) throw new ResidualError('DISPOSED', 'this training was disposed; start it again');
    if (worker.losses() !== losses)
      throw new ResidualError(
        'ENGINE',
        'the engines’ thread was lost, and with it what was learnt since the last checkpoint; resume from that',
      );
  }
  return {
    engine,
    async step(inputs, update, { signal } = {}) {
      check();
      checkInputs(step, inputs);
      const [sent, transfer] = copied(inputs);
      return worker.call('trainStep', [id, sent, update], { transfer, signal });
    },
    async save() {
      check();
      return worker.call('trainSave', [id]);
    },
    async gradients() {
      check();
      return worker.call('trainGradients', [id]);
    },
    async restore(state) {
      check();
      await worker.call('trainRestore', [id, state]);
    },
    async dispose() {
      if (disposed) return;
      disposed = true;
      if (worker.losses() === losses) await worker.call('trainEnd', [id]);
    },
  };
}

async function best(): Promise<EngineName> {
  const found = await engines.onednn.available();
  return found.ok && found.note === undefined ? 'onednn' : 'onnx';
}

function checkGroups({ trained }: TrainingStep, groups: readonly Group[]): void {
  const listed = groups.flatMap(({ parameters }) => parameters);
  const twice = listed.find((name, i) => listed.indexOf(name) !== i);
  const names = new Set(trained.map(({ name }) => name));
  const odd = listed.find((name) => !names.has(name));
  const missing = trained.find(({ name }) => !listed.includes(name))?.name;
  const what =
    (twice && `"${twice}" is in two groups`) ??
    (odd && `"${odd}" is not trained`) ??
    (missing && `"${missing}" is in none`);
  if (what) throw new ResidualError('ARGUMENT', `groups must hold every trained parameter once but ${what}`);
}

function checkInputs({ graph }: TrainingStep, inputs: Readonly<Record<string, Tensor>>): void {
  for (const { name, shape } of graph.inputs) {
    const received: Tensor | undefined = inputs[name];
    if (received === undefined || !sameShape(received.shape, shape))
      throw new ResidualError(
        'GRAPH',
        `input "${name}" of the training step must be ${formatShape(shape)} but ${received ? `received ${formatShape(received.shape)}` : 'is missing'}`,
        { input: name },
      );
  }
}
