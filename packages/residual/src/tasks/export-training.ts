import { writeFileAtomic } from '#file';
import { writeStep } from '../engines/onnx/lower-training.js';
import { modelFiles, type OnnxModel } from '../engines/onnx/model.js';
import type { Writing } from '../engines/onnx/site.js';
import { ResidualError } from '../errors.js';
import { isTrainable } from '../graph/graph.js';
import { gradientName, type Loss, trainingStep } from '../graph/training-step.js';
import type { Shape } from '../tensor.js';
import { type Exported, metadataOf } from './export.js';
import { type Savable, type Watched, watch } from './savable.js';

export interface TrainingStepOptions {
  /** Pictures in a step; 16 when left out. The file holds for this number alone. */
  readonly batch?: number | undefined;
  /** `crossEntropy` when left out. */
  readonly loss?: Loss | undefined;
  /** Of SGD; 0.9 when left out. */
  readonly momentum?: number | undefined;
  /** Weight decay, of the weights of convolutions and dense layers alone; 1e-4 when left out. */
  readonly decay?: number | undefined;
}

/** The share of a batch's statistics in the running ones, as in PyTorch. */
const share = 0.1;

/** What an input is called when it comes out again. */
export const renewed = (name: string): string => `${name}.new`;
/** What a parameter's momentum is called. */
export const momentumName = (parameter: string): string => `${parameter}.momentum`;

/**
 * Writes one step of training as ONNX (opset 17, IR version 8): forward, backward and an update by SGD with momentum, in
 * standard operators, so that any runtime of ONNX trains by it. All numbers come in and go out; the file holds none.
 *
 * Inputs: the picture `[N, C, H, W]`, `targets` `[N, K]` (shares of the classes), `rate` `[1]`; every parameter by its
 * own name, and its momentum as `NAME.momentum` (zeros to begin with); running statistics by their names; masks of
 * dropout, where the network has any, 0 or 1 / (1 − rate). Outputs: `loss` `[1]`, `logits` `[N, K]`, and each of these
 * parameters, momenta and statistics as `NAME.new`.
 *
 * @throws GRAPH when the network has no classes, or two of those names are the same; ARGUMENT, also for a model of 8
 * bits; FILE when it cannot be written; ABORTED.
 * @example await exportTrainingStep(model, 'step.onnx', { batch: 32 });
 */
export async function exportTrainingStep(
  model: Pick<Savable, 'graph' | 'record'>,
  path: string,
  { signal, onProgress, ...options }: TrainingStepOptions & Watched = {},
): Promise<Exported> {
  if (model.record.quantisation)
    throw new ResidualError(
      'ARGUMENT',
      `${model.graph.name} is quantised to 8 bits; write the step of the float model`,
    );
  const onnx = trainingStepModel(model, options);
  for (const file of modelFiles(onnx, path).toReversed())
    await writeFileAtomic(file.path, watch(file.pieces, { signal, onProgress }));
  const bytes = onnx.initializers.reduce((sum, { data }) => sum + data.byteLength, 0);
  return { tensors: onnx.initializers.length, bytes };
}

/** The step as it is exported. */
export function trainingStepModel(
  model: Pick<Savable, 'graph' | 'record'>,
  { batch = 16, loss = 'crossEntropy', momentum = 0.9, decay = 1e-4 }: TrainingStepOptions = {},
): OnnxModel {
  if (!(Number.isInteger(batch) && batch >= 1))
    throw new ResidualError('ARGUMENT', `batch must be a whole number from 1 but received ${batch}`);
  const [{ shape }] = model.graph.inputs;
  const step = trainingStep(model.graph, { shape: [batch, ...shape.slice(1)], loss, trains: isTrainable });
  const values = new Map(step.graph.outputs.map(({ name, value }) => [name, value]));
  const kept = step.graph.outputs.filter(({ name }) => name === 'loss' || name === 'logits');
  const graph = { ...step.graph, outputs: kept };
  const to = writeStep(graph, () => undefined);
  const inputs = [...graph.inputs, ...step.trained].map(({ name, value, shape: size }) => {
    claimed(name, to.nameOf(value));
    return { name, shape: size };
  });
  const outputs: { name: string; shape: Shape }[] = [
    { name: 'loss', shape: [1] },
    { name: 'logits', shape: graph.inputs.find(({ name }) => name === 'targets')?.shape ?? [] },
  ];
  const input = (name: string, size: Shape): string => {
    inputs.push({ name: claimed(name, to.fresh(name)), shape: size });
    return name;
  };
  const output = (name: string, size: Shape): string => {
    outputs.push({ name: claimed(name, to.fresh(name)), shape: size });
    return name;
  };

  const rate = input('rate', [1]);
  const number = (name: string, value: number) => to.constant(name, Float32Array.of(value), []);
  const factors = { momentum: number('momentum', momentum), decay: number('decay', decay) };
  for (const { name, shape: size, value, role } of step.trained) {
    const node = nodesFor(to, name);
    const parameter = to.nameOf(value);
    let gradient = to.nameOf(values.get(gradientName(name)) as number);
    if (decay !== 0 && role === 'weight') gradient = node('Add', gradient, node('Mul', parameter, factors.decay));
    const before = node('Mul', input(momentumName(name), size), factors.momentum);
    const moved = node('Add', before, gradient, output(renewed(momentumName(name)), size));
    node('Sub', parameter, node('Mul', moved, rate), output(renewed(name), size));
  }
  for (const { mean, variance, count } of step.measured)
    for (const [name, factor] of [
      [mean, 1],
      [variance, count > 1 ? count / (count - 1) : 1], // The running variance is the unbiased one.
    ] as const) {
      const found = values.get(name) as number;
      const size = model.graph.parameters.find((one) => one.name === name)?.shape ?? [];
      const node = nodesFor(to, name);
      const before = node('Mul', input(name, size), number(`${name}.kept`, 1 - share));
      const moved = node('Mul', to.nameOf(found), number(`${name}.share`, share * factor));
      node('Add', before, moved, output(renewed(name), size));
    }
  return {
    name: `${graph.name}, a step of training`,
    inputs,
    outputs,
    nodes: to.nodes,
    initializers: [...to.initializers.values()],
    metadata: { ...metadataOf(model), training: JSON.stringify({ loss, momentum, decay, statistics: share }) },
  };
}

/** Writes nodes of two inputs. */
const nodesFor =
  (to: Writing, name: string) =>
  (type: string, a: string, b: string, result = to.fresh(`${name}.update`)): string => {
    to.write(type, to.fresh(`${name}.${type.toLowerCase()}`), [result], [a, b]);
    return result;
  };

/** @throws GRAPH where something else has the name already */
function claimed(name: string, given: string): string {
  if (name !== given)
    throw new ResidualError('GRAPH', `the step of training needs the name "${name}" but a layer has it; rename that`);
  return name;
}
