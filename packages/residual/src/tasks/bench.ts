import { chooseEngine, type Executable, type Precision, processor } from '../engines/index.js';
import { noiseWeights } from '../engines/sketch.js';
import { aborted, ResidualError } from '../errors.js';
import { anyScales } from '../graph/eight-bits.js';
import type { Graph } from '../graph/graph.js';
import { planFolding, prune } from '../graph/passes.js';
import type { Quantisation } from '../graph/quantisation.js';
import { summary } from '../graph/summary.js';
import { type Tensor, type WeightSource, weightsOf } from '../tensor.js';
import { convolutionsAlone, noisePictures, peakNetworks, steadyWeights, type Timed } from './bench-networks.js';
import type { EngineOptions } from './model.js';

type EngineChoice = NonNullable<EngineOptions['engine']>;

export interface BenchOptions {
  /** Engines to compare; `auto` when left out. */
  readonly engines?: readonly EngineChoice[] | undefined;
  /** Numbers they compute in; `f32` when left out. */
  readonly precisions?: readonly Precision[] | undefined;
  /** Pictures computed together; 1 when left out. */
  readonly batches?: readonly number[] | undefined;
  /** Side of the pictures in pixels, or height and width; those that the network was built for when left out. */
  readonly size?: number | readonly [height: number, width: number] | undefined;
  /** Threads of every engine; the number of cores when left out. */
  readonly threads?: number | undefined;
  /** How often every combination has its turn; 8 when left out. */
  readonly rounds?: number | undefined;
  /** Scales for `int8`; without them any will do, as timings do not depend on values. */
  readonly quantisation?: Quantisation | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told after every turn: how many are done, of how many. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** One combination of engine, precision and batch. Times are milliseconds a run, medians where not said otherwise. */
export interface BenchRow {
  readonly engine: EngineChoice;
  /** What it ran on, such as `onnxruntime-node 1.30.0`. */
  readonly runtime: string;
  readonly precision: Precision;
  readonly batch: number;
  /** Runs that were timed, as the caller sees them: from `run` to its answer. */
  readonly runs: number;
  readonly least: number;
  readonly median: number;
  /** Nine of ten runs took no longer. */
  readonly p90: number;
  readonly picturesPerSecond: number;
  /** Multiply-adds of convolutions and dense layers a second. */
  readonly macsPerSecond: number;
  /** `macsPerSecond` over the peak in that precision; absent where no peak was measured. */
  readonly shareOfPeak?: number;
  /** A run inside the engine's thread, without the way there and back. */
  readonly inside: number;
  /** The convolutions alone, and the median of `inside` over them, each pair measured back to back. */
  readonly convolutions?: number;
  readonly overConvolutions?: number;
  /** Layers that the engine's library computes by plain loops, for want of a fast kernel. */
  readonly slow?: readonly string[];
}

export interface BenchReport {
  readonly network: string;
  /** Height and width. */
  readonly size: readonly [number, number];
  /** Multiply-adds for one picture. */
  readonly macs: number;
  readonly processor: string;
  readonly threads: number;
  readonly rows: readonly BenchRow[];
  /** What could not be measured, and why. */
  readonly left: readonly { engine: EngineChoice; precision: Precision; reason: string }[];
  /** The most multiply-adds a second seen on this machine, by precision, and the engine that did them. */
  readonly peaks: readonly { precision: Precision; engine: EngineChoice; macsPerSecond: number }[];
}

/** Milliseconds to wait after each turn: ONNX Runtime's idle threads keep the cores busy for some 40 of them. */
const settling = 80;
/** Each turn lasts about so long, and has at most so many runs. */
const turnLength = 150;
const mostRuns = 20;

/**
 * How fast a network is here: every combination of engine, precision and batch in turn, round after round, so that a
 * machine that slows down slows them all. Each turn begins with a run that is not counted.
 *
 * @param model Without weights they are random: timings do not depend on values.
 * @throws ARGUMENT, GRAPH, UNKNOWN_NAME, ABORTED; ENGINE when nothing could be measured.
 * @example const { rows } = await bench({ graph: resnet50() }, { batches: [1, 8], engines: ['onnx', 'onednn'] });
 */
export async function bench(
  model: { readonly graph: Graph; readonly weights?: WeightSource },
  options: BenchOptions = {},
): Promise<BenchReport> {
  const { engines = ['auto'], precisions = ['f32'], batches = [1], rounds = 8, signal, onProgress } = options;
  for (const [what, values] of Object.entries({ batches, rounds: [rounds] }))
    for (const value of values)
      if (!Number.isInteger(value) || value < 1)
        throw new ResidualError('ARGUMENT', `expected whole numbers from 1 for ${what} but received ${value}`);
  const graph = prune(model.graph);
  const [input] = graph.inputs;
  const [, channels, ...built] = input.shape;
  const { size = built } = options;
  const [height, width] = typeof size === 'number' ? [size, size] : size;
  const picture = [1, channels, height, width];
  const resized = { ...graph, inputs: [{ ...input, shape: picture }, ...graph.inputs.slice(1)] };
  const { macs } = summary(resized).totals;
  const weights = model.weights === undefined ? noiseWeights(graph) : await weightsOf(model.weights);
  const network = { graph: resized, weights };
  const { model: processorName, cores } = await processor();
  const threads = options.threads ?? cores;

  const contenders: Contender[] = [];
  const left: BenchReport['left'][number][] = [];
  try {
    for (const engine of engines)
      for (const precision of precisions) {
        if (signal?.aborted) throw aborted();
        try {
          contenders.push(...(await contendersOf(network, { ...options, batches, threads, engine, precision })));
        } catch (error) {
          if (!(error instanceof ResidualError) || !(error.code === 'ENGINE' || error.code === 'ARGUMENT')) throw error;
          left.push({ engine, precision, reason: error.message });
        }
      }
    if (!contenders.some(({ batch }) => batch !== undefined))
      throw new ResidualError('ENGINE', `nothing could be measured: ${left[0].reason}`);
    for (let round = 0; round < rounds; round++)
      for (const [i, contender] of contenders.entries()) {
        await turn(contender, signal);
        onProgress?.(round * contenders.length + i + 1, rounds * contenders.length);
      }
    const peaks = precisions.flatMap((precision) => peakOf(precision, contenders));
    const rows = contenders.flatMap((contender) => rowOf(contender, macs, peaks));
    return { network: graph.name, size: [height, width], macs, processor: processorName, threads, rows, left, peaks };
  } finally {
    await Promise.all([...new Set(contenders.map(({ executable }) => executable))].map((one) => one.dispose()));
  }
}

/** One thing to be timed, with its times so far, in milliseconds. */
interface Contender {
  readonly engine: EngineChoice;
  readonly runtime: string;
  readonly precision: Precision;
  readonly executable: Executable;
  readonly inputs: Readonly<Record<string, Tensor>>;
  /** Of a row; a peak and convolutions alone have none. */
  readonly batch?: number;
  /** Of a peak: its multiply-adds. */
  readonly macs?: number;
  /** The contender that runs this one's convolutions alone, where the engine cannot tell the time of them itself. */
  alone?: Contender;
  slow?: readonly string[] | undefined;
  readonly outside: number[];
  readonly inside: number[];
  readonly convolutions: number[];
}

interface Combination extends Omit<BenchOptions, 'engines' | 'precisions'> {
  readonly batches: readonly number[];
  readonly engine: EngineChoice;
  readonly precision: Precision;
  readonly threads: number;
}

/** The network at every batch, its convolutions alone where need be, and what shows the engine's peak. */
async function contendersOf(network: Timed, combination: Combination): Promise<Contender[]> {
  const { engine, precision, batches, threads, signal } = combination;
  const chosen = chooseEngine(engine);
  const found = await chosen.available();
  if (!found.ok) throw new ResidualError('ENGINE', found.reason);
  const compiled: Executable[] = [];

  async function compile(
    { graph, weights }: Timed,
    inputs: Contender['inputs'],
    quantisation?: Quantisation,
  ): Promise<Executable> {
    const eight =
      precision === 'int8' ? { quantisation: quantisation ?? anyScales(planFolding(graph, weights).graph) } : {};
    const shapes = Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape]));
    const executable = await chosen.compile(graph, { weights, threads, precision, shapes, ...eight });
    compiled.push(executable);
    return executable;
  }
  const contender = (
    executable: Executable,
    inputs: Contender['inputs'],
    more: Pick<Contender, 'batch' | 'macs'> = {},
  ): Contender => ({
    ...{ engine: chosen.name, precision, runtime: found.runtime, executable, inputs, ...more },
    ...{ outside: [], inside: [], convolutions: [] },
  });

  try {
    const { graph } = network;
    const executable = await compile(network, noiseInputs(graph, batches[0]), combination.quantisation);
    const rows = batches.map((batch) => contender(executable, noiseInputs(graph, batch), { batch }));
    if (chosen.name === 'reference') return rows;
    const { convolutions } = await executable.measure(rows[0].inputs, { signal });
    const alone = convolutions === undefined ? convolutionsAlone(graph) : undefined;
    const separate: Contender[] = [];
    if (alone?.nodes.length) {
      const apart = await compile({ graph: alone, weights: steadyWeights(alone) }, noiseInputs(alone, batches[0]));
      for (const row of rows) {
        row.alone = contender(apart, noiseInputs(alone, row.batch as number));
        separate.push(row.alone);
      }
    }
    const peaks: Contender[] = [];
    for (const peak of peakNetworks()) {
      const inputs = noiseInputs(peak.graph);
      peaks.push(
        contender(await compile(peak, inputs), inputs, {
          macs: summary(peak.graph).totals.macs * inputs.image.shape[0],
        }),
      );
    }
    return [...rows, ...separate, ...peaks];
  } catch (error) {
    await Promise.all(compiled.map((one) => one.dispose()));
    throw error;
  }
}

const noiseInputs = ({ inputs }: Graph, batch?: number): Record<string, Tensor> =>
  Object.fromEntries(inputs.map(({ name, shape }) => [name, noisePictures([batch ?? shape[0], ...shape.slice(1)])]));

/** One run that is not counted, then some that are. */
async function turn(contender: Contender, signal: AbortSignal | undefined): Promise<void> {
  const { executable, inputs, batch, outside, inside, convolutions } = contender;
  await executable.measure(inputs, { signal });
  const end = performance.now() + turnLength;
  for (let run = 0; run === 0 || (run < mostRuns && performance.now() < end); run++) {
    if (batch !== undefined) {
      const start = performance.now();
      await executable.run(inputs, { signal });
      outside.push(performance.now() - start);
    }
    const measured = await executable.measure(inputs, { signal });
    inside.push(measured.run);
    if (measured.convolutions !== undefined) convolutions.push(measured.convolutions);
    contender.slow = measured.slow;
  }
  await new Promise((resolve) => setTimeout(resolve, settling));
}

/** The fastest run of the networks that are made for it, by any engine. */
function peakOf(precision: Precision, contenders: readonly Contender[]): BenchReport['peaks'] {
  const rates = contenders
    .filter((one) => one.precision === precision && one.macs !== undefined)
    .map(({ engine, macs, inside, convolutions }) => ({
      precision,
      engine,
      macsPerSecond: (1000 * (macs as number)) / Math.min(...(convolutions.length ? convolutions : inside)),
    }));
  return rates.sort((a, b) => b.macsPerSecond - a.macsPerSecond).slice(0, 1);
}

function rowOf(
  { engine, runtime, precision, batch, outside, inside, convolutions, alone, slow }: Contender,
  macs: number,
  peaks: BenchReport['peaks'],
): BenchRow[] {
  if (batch === undefined) return [];
  const median = quantile(outside, 0.5);
  const macsPerSecond = (1000 * macs * batch) / median;
  const peak = peaks.find((one) => one.precision === precision)?.macsPerSecond;
  const apart = alone ? alone.inside : convolutions;
  return [
    {
      ...{ engine, runtime, precision, batch, runs: outside.length },
      ...{ least: Math.min(...outside), median, p90: quantile(outside, 0.9) },
      picturesPerSecond: (1000 * batch) / median,
      macsPerSecond,
      ...(peak !== undefined && { shareOfPeak: macsPerSecond / peak }),
      inside: quantile(inside, 0.5),
      ...(apart.length && {
        convolutions: quantile(apart, 0.5),
        overConvolutions: alone
          ? quantile(inside, 0.5) / quantile(apart, 0.5)
          : quantile(
              inside.map((time, i) => time / apart[i]),
              0.5,
            ),
      }),
      ...(slow && { slow }),
    },
  ];
}

/** The value that a `share` of all lie below, between neighbours where it falls between; 0.5 is the median. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const below = sorted[Math.floor(place)];
  return below + (sorted[Math.ceil(place)] - below) * (place % 1);
}
