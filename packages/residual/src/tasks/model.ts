import { type CompileOptions, chooseEngine, type EngineName, type Executable } from '../engines/index.js';
import { aborted, ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { Quantisation } from '../graph/quantisation.js';
import { type Summary, summary } from '../graph/summary.js';
import { inputRangeWarning } from '../image/input-range.js';
import type { Plan } from '../image/plan.js';
import type { ClassLabel } from '../models/classes.js';
import { initialise } from '../models/initialise.js';
import type { ResNetConfig } from '../models/resnet.js';
import { type Shape, type Tensor, type WeightSource, type Weights, weightsOf } from '../tensor.js';
import type { LoadReport } from '../weights/assign.js';

/** Where and how a model computes. */
export interface EngineOptions extends Pick<CompileOptions, 'threads' | 'precision' | 'device' | 'deterministic'> {
  /** `auto` when left out: the fastest that runs here. */
  readonly engine?: EngineName | 'auto' | undefined;
}

/** What belongs to weights beside the numbers. */
export interface ModelRecord {
  /** `resnet50`, or what the network is made of when it has no name. */
  readonly architecture: string;
  /** The settings of a member of the family; absent for other networks. */
  readonly config?: ResNetConfig;
  /** Preprocessing: the preset's name (`custom` for a plan of the user's) and its steps. */
  readonly preprocess: string;
  readonly plan: Plan;
  /** What the outputs stand for; absent when nobody said. */
  readonly classes?: readonly ClassLabel[];
  /** `several` where a picture may show any number of the classes: each has a probability of its own (sigmoid). */
  readonly labels?: 'several';
  readonly licence?: string;
  readonly source?: string;
  /** Scales of a model that was quantised: it computes in `int8` unless told otherwise. */
  readonly quantisation?: Quantisation;
  /** A bundled model, for people: what it knows. */
  readonly about?: string;
}

/** A network with its weights and its record: what every task takes. */
export interface Model extends AsyncDisposable {
  readonly name: string;
  readonly graph: Graph;
  /**
   * Its weights, by parameter. A model from a file lets go of them once the network is compiled and reads them again
   * for whoever asks.
   * @throws FILE when the file was changed since.
   */
  weights(): Promise<Weights>;
  readonly record: ModelRecord;
  /** Which parameters the file filled, and what was left over; absent for a model that was not loaded. */
  readonly report?: LoadReport;
  /** What loading decided for the user and should tell, one line each. */
  readonly notes: readonly string[];
  /** Layers, shapes, parameters, multiply-adds, as Keras' `model.summary()`. */
  summary(): Summary;
  /** Compiles the network, for so many pictures at once, ahead of the first `predict`, which otherwise does it. */
  prepare(options?: { readonly batch?: number }): Promise<void>;
  /**
   * The network's first output for a batch `[N, C, H, W]` that is already preprocessed: `[N, classes]`, probabilities
   * where the network ends in a softmax (Keras'), logits otherwise. Warns once, on the console unless told otherwise, when the values do not
   * look as the model's plan makes them: 0–1 where 0–255 is due, say. The numbers are the network's own, and looked at
   * by nobody: they are NaN or infinite for a picture of such numbers, and where values overflow (`classify` refuses those);
   * engine `onednn` makes all of that picture's NaN, and what overflows before a ReLU may be lost in it.
   */
  predict(x: Tensor, options?: { signal?: AbortSignal | undefined }): Promise<Tensor>;
  /** Outputs, features or layers by name (the network's outputs when left out), for a batch `[N, C, H, W]`; NaN and infinity are given as in `predict`. */
  run(
    x: Tensor,
    outputs?: readonly string[],
    options?: { signal?: AbortSignal | undefined },
  ): Promise<Record<string, Tensor>>;
  /** Tells the user what looks wrong, each text once: as `warn` of `load` says, on the console when left out. */
  warn(text: string): void;
  /** Frees what engines hold for it. `await using` does the same at the end of a scope. */
  dispose(): Promise<void>;
}

/** Shapes of the inputs for so many pictures of the size the network was built for. */
const shapesOf = ({ inputs }: Graph, batch: number): Record<string, Shape> =>
  Object.fromEntries(inputs.map(({ name, shape }) => [name, [batch, ...shape.slice(1)]]));

/** Compiled plans that a model keeps; the least recently used goes first. */
const plansKept = 4;

/**
 * A model from a network: `model(resnet18({ classes: 2 }), record)`. Without `weights` they are random (`seed`).
 *
 * @throws nothing by itself; using it throws ENGINE, MISSING_PACKAGE, GRAPH.
 */
export function createModel(
  graph: Graph,
  record: ModelRecord,
  options: EngineOptions & {
    name?: string;
    weights?: WeightSource;
    seed?: number;
    notes?: readonly string[];
    report?: LoadReport;
    warn?: ((text: string) => void) | undefined;
  } = {},
): Model {
  const {
    engine = 'auto',
    name = graph.name,
    notes = [],
    report,
    warn = (text: string) => console.warn(text),
    seed = 0,
    weights = initialise(graph, { seed }),
    ...given
  } = options;
  const { quantisation } = record;
  const compile: Omit<CompileOptions, 'weights'> = {
    ...given,
    precision: given.precision ?? (quantisation ? 'int8' : undefined),
    quantisation,
  };
  const plans = new Map<string, Promise<Executable>>();
  let disposed = false;
  let warned = false;
  const told = new Set<string>();

  function plan(outputs: readonly string[], batch = 1): Promise<Executable> {
    if (disposed) throw new ResidualError('DISPOSED', `model "${name}" was disposed; load it again`, { model: name });
    const key = outputs.join('\n');
    const kept = plans.get(key);
    plans.delete(key);
    const found =
      kept ?? chooseEngine(engine).compile(graph, { ...compile, weights, outputs, shapes: shapesOf(graph, batch) });
    plans.set(key, found);
    // A failed compilation must not be remembered: the next call may find the missing package installed.
    if (!kept) found.catch(() => plans.get(key) === found && plans.delete(key));
    if (plans.size > plansKept) {
      const [oldest, executable] = plans.entries().next().value as [string, Promise<Executable>];
      plans.delete(oldest);
      void executable.then((e) => e.dispose()).catch(() => {});
    }
    return found;
  }

  const run: Model['run'] = async (x, outputs = graph.outputs.map((output) => output.name), { signal } = {}) => {
    if (signal?.aborted) throw aborted();
    checkTensor(x);
    if (!Array.isArray(outputs) || !outputs.length || !outputs.every((output) => typeof output === 'string'))
      throw new ResidualError(
        'ARGUMENT',
        `expected a list of names of outputs of ${name}, such as ["${graph.outputs[0].name}"], but received ${shown(outputs)}`,
      );
    const executable = await plan(outputs);
    return executable.run({ [graph.inputs[0].name]: x }, { signal });
  };

  /** @throws ARGUMENT */
  function checkTensor(x: unknown): void {
    const { shape, data } = (typeof x === 'object' && x !== null ? x : {}) as Partial<Record<keyof Tensor, unknown>>;
    if (Array.isArray(shape) && ArrayBuffer.isView(data)) return;
    throw new ResidualError(
      'ARGUMENT',
      `${name} takes a tensor [N, C, H, W], such as tensor(values, [1, 3, 224, 224]), but received ${shown(x)}; classify takes pictures`,
    );
  }

  async function dispose(): Promise<void> {
    disposed = true;
    const kept = [...plans.values()];
    plans.clear();
    await Promise.all(kept.map((executable) => executable.then((e) => e.dispose()).catch(() => {})));
  }

  return {
    name,
    graph,
    weights: () => weightsOf(weights),
    record,
    notes,
    ...(report && { report }),
    summary: () => summary(graph),
    async prepare({ batch = 1 } = {}) {
      await plan([graph.outputs[0].name], batch);
    },
    async predict(x, runOptions) {
      checkTensor(x);
      const [output] = graph.outputs;
      const warning = warned ? undefined : inputRangeWarning(x, record.plan);
      if (warning) {
        warned = true;
        warn(`${name}: ${warning}`);
      }
      return (await run(x, [output.name], runOptions))[output.name];
    },
    run,
    warn(text) {
      if (told.has(text)) return;
      told.add(text);
      warn(`${name}: ${text}`);
    },
    dispose,
    [Symbol.asyncDispose]: dispose,
  };
}

/** A value of the caller's for a message. */
function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 60));
  if (Array.isArray(value)) return value.length ? 'a list of other things' : 'none';
  if (typeof value !== 'object' || value === null) return String(value).slice(0, 60);
  return Object.prototype.toString.call(value).slice('[object '.length, -1);
}
