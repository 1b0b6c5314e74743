// Why residual learning: plain and residual networks of 20 to 56 layers learn CIFAR-10 for as many steps, and how large
// the gradients are in each layer (He et al. 2015, figures 1 and 6; He et al. 2015b and Glorot and Bengio 2010 for what
// happens without normalisation).
//
//   npx tsc -b && node examples/dist/degradation.js cifar10/ results/ 4000      hours; what is done is kept
//
// Each network's numbers go into a file of their own in results/; docs/why-residual.md is made from them.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  add,
  batchNorm,
  build,
  conv2d,
  dense,
  type Graph,
  globalAvgPool,
  initialise,
  input,
  network,
  preset,
  relu,
  type Tensor,
  type Value,
  type Weights,
} from 'residual';
import {
  batches,
  type Dataset,
  epochOrder,
  folder,
  parseAugment,
  rateAt,
  startTrainer,
  type TrainerOptions,
  trainingStep,
} from 'residual/train';

const plan = preset('cifar', { height: 32, width: 32 });

/** The Euclidean norm of every convolution's gradient, in the order of the layers. */
export type LayerNorms = readonly { readonly layer: string; readonly norm: number }[];

export interface Curve {
  readonly network: string;
  /** Means over the updates since the row before: the loss, and the share of wrong answers in training. */
  readonly rows: readonly { readonly update: number; readonly loss: number; readonly error: number }[];
  readonly gradients: readonly { readonly update: number; readonly norms: LayerNorms }[];
  readonly seconds: number;
}

const convolutionsOf = ({ parameters }: Graph): readonly string[] =>
  parameters.filter(({ role, shape }) => role === 'weight' && shape.length === 4).map(({ name }) => name);

const normOf = ({ data }: Tensor): number => Math.sqrt(data.reduce((sum, x) => sum + x * x, 0));

function layerNorms(graph: Graph, gradients: Weights): LayerNorms {
  return convolutionsOf(graph).map((name) => ({ layer: name, norm: normOf(gradients.get(name) as Tensor) }));
}

/** The paper's training of CIFAR-10 (section 4.2) for `updates` steps: the rate falls after half and three quarters. */
export async function learn(
  name: string,
  data: Dataset,
  updates: number,
  options: {
    batch?: number;
    rate?: number;
    precision?: TrainerOptions['precision'];
    seed?: number;
    every?: number;
    threads?: number;
  } = {},
): Promise<Curve> {
  const { batch = 128, rate: highest = 0.1, precision = 'f32', seed = 1, every = 50, threads } = options;
  const classes = data.classes.length;
  const graph = build(name, { classes });
  const step = trainingStep(graph, { shape: [batch, 3, 32, 32], loss: 'crossEntropy', trains: () => true });
  const trainer = await startTrainer('auto', step, initialise(graph, { seed }), {
    precision,
    threads,
    optimizer: { name: 'sgd', momentum: 0.9, nesterov: false, decay: 1e-4 },
    groups: [{ parameters: step.trained.map((parameter) => parameter.name), rate: 1, decay: 1 }],
  });
  const schedule = { name: 'multi-step', milestones: [0.5, 0.75], gamma: 0.1 } as const;
  const rows: Curve['rows'][number][] = [];
  const gradients: Curve['gradients'][number][] = [];
  const looked = new Set([0, Math.round(updates / 40), Math.round(updates / 4), updates - 1]);
  const began = performance.now();
  let [update, loss, wrong, pictures] = [0, 0, 0, 0];
  for (let epoch = 0; update < updates; epoch++) {
    const order = epochOrder(data.train, classes, { seed, epoch, wholeBatches: batch });
    const made = batches(data.train, {
      order,
      batch,
      plan,
      augment: parseAugment('pad-crop 4, flip'),
      classes,
      seed,
      epoch,
      cache: 'ram',
      full: true,
    });
    for await (const { images, targets } of made) {
      // The whole run is one epoch of the schedule.
      const rate = rateAt(highest, schedule, { epochs: 0, from: 0 }, { update, perEpoch: updates, epochs: 1 });
      const done = await trainer.step({ input: images, targets }, { rate });
      if (looked.has(update)) gradients.push({ update, norms: layerNorms(graph, await trainer.gradients()) });
      update += 1;
      loss += done.loss * batch;
      wrong += mistakes(done.logits, targets);
      pictures += batch;
      if (update % every === 0 || update === updates) {
        rows.push({ update, loss: loss / pictures, error: wrong / pictures });
        [loss, wrong, pictures] = [0, 0, 0];
      }
      if (update === updates) break;
    }
  }
  await trainer.dispose();
  return { network: name, rows, gradients, seconds: (performance.now() - began) / 1000 };
}

/** How many rows of the logits are largest elsewhere than their targets. */
function mistakes(logits: Tensor, targets: Tensor): number {
  const [count, classes] = logits.shape;
  const largest = ({ data }: Tensor, row: number) => {
    const own = data.subarray(row * classes, (row + 1) * classes);
    return own.indexOf(own.reduce((most, x) => Math.max(most, x)));
  };
  let wrong = 0;
  for (let i = 0; i < count; i++) if (largest(logits, i) !== largest(targets, i)) wrong++;
  return wrong;
}

/** A chain of 3×3 convolutions with ReLUs, 16 channels wide, with or without BatchNorm, with or without shortcuts. */
export function chain(depth: number, options: { normalised: boolean; residual: boolean }): Graph {
  const { normalised, residual } = options;
  const conv = (x: Value, i: number): Value => {
    const y = conv2d(x, 16, { kernel: 3, padding: 1, bias: false, name: `conv${i}` });
    return normalised ? batchNorm(y, { name: `bn${i}` }) : y;
  };
  let x = relu(conv(input({ height: 32, width: 32 }), 1));
  for (let i = 2; i < depth; i += 2) {
    const y = conv(relu(conv(x, i)), i + 1);
    x = relu(residual ? add(y, x) : y);
  }
  return network(`chain of ${depth}`, { logits: dense(globalAvgPool(x), 10, { name: 'fc' }) });
}

/**
 * The gradients of an untrained chain on one batch of noise. Its convolutions begin as He et al. 2015b say, times `gain`.
 */
export async function gradientsAtStart(
  depth: number,
  options: { normalised: boolean; residual: boolean; gain: number; seed?: number },
): Promise<LayerNorms> {
  const { gain, seed = 1 } = options;
  const graph = chain(depth, options);
  const batch = 16;
  const step = trainingStep(graph, { shape: [batch, 3, 32, 32], loss: 'crossEntropy', trains: () => true });
  const kernels = new Set(convolutionsOf(graph));
  const start = new Map(
    Array.from(initialise(graph, { seed }), ([name, tensor]): [string, Tensor] => [
      name,
      kernels.has(name) ? { ...tensor, data: tensor.data.map((x) => x * gain) } : tensor,
    ]),
  );
  const trainer = await startTrainer('auto', step, start, {
    optimizer: { name: 'sgd', momentum: 0, nesterov: false, decay: 0 },
    groups: [{ parameters: step.trained.map(({ name }) => name), rate: 1, decay: 0 }],
  });
  // Numbers spread evenly, of mean 0 and deviation 1, as normalised pictures have; neighbours have nothing in common.
  const golden = (Math.sqrt(5) - 1) / 2;
  const pixels = Float32Array.from(
    { length: batch * 3 * 32 * 32 },
    (_, i) => (2 * ((i * golden) % 1) - 1) * Math.sqrt(3),
  );
  const targets = new Float32Array(batch * 10);
  for (let i = 0; i < batch; i++) targets[i * 10 + (i % 10)] = 1;
  await trainer.step({
    input: { dtype: 'float32', shape: [batch, 3, 32, 32], data: pixels },
    targets: { dtype: 'float32', shape: [batch, 10], data: targets },
  });
  const norms = layerNorms(graph, await trainer.gradients());
  await trainer.dispose();
  return norms;
}

const depths = [20, 32, 44, 56];
const gains = [0.5, 0.7, 1, 1.4, 2];

async function main(path: string, out: string, updates: number): Promise<void> {
  mkdirSync(out, { recursive: true });
  const kept = async <T>(name: string, make: () => Promise<T>): Promise<T> => {
    const file = join(out, `${name}.json`);
    if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'));
    const made = await make();
    writeFileSync(file, JSON.stringify(made));
    return made;
  };
  for (const normalised of [false, true])
    for (const residual of [false, true])
      for (const depth of [20, 56])
        for (const gain of gains) {
          const name = `start-${residual ? 'residual' : 'plain'}${depth}-${normalised ? 'norm' : 'bare'}-${gain}`;
          const norms = await kept(name, () => gradientsAtStart(depth, { normalised, residual, gain }));
          const [first, last] = [norms[1].norm, norms[norms.length - 1].norm];
          console.log(`${name}: second layer ${first.toExponential(1)}, last ${last.toExponential(1)}`);
        }
  const data = await folder(path);
  for (const depth of depths)
    for (const kind of ['plain', 'resnet']) {
      const { rows, seconds } = await kept(`${kind}${depth}`, () =>
        learn(`${kind}${depth}`, data, updates, { precision: 'bf16' }),
      );
      const { loss, error } = rows[rows.length - 1];
      console.log(
        `${kind}${depth}: loss ${loss.toFixed(3)}, training error ${(100 * error).toFixed(1)} %, ${Math.round(seconds)} s`,
      );
    }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [, , path, out, updates = '4000'] = process.argv;
  if (out === undefined) throw new Error('usage: node degradation.js CIFAR-FOLDER RESULTS-FOLDER [UPDATES]');
  await main(path, out, Number(updates));
}
