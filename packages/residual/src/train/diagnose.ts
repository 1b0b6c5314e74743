import { ResidualError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import type { EngineOptions, ModelRecord } from '../tasks/model.js';
import type { Tensor, Weights } from '../tensor.js';
import type { Learnt } from './checkpoint.js';
import { momentary } from './judging.js';

const isBad = ({ data }: Tensor): boolean => !data.every(Number.isFinite);

/**
 * Why a loss is no number: the first place, from the picture to the answer, that holds NaN or infinity.
 * @param weights those with which the step was made
 */
async function firstBad(
  graph: Graph,
  record: ModelRecord,
  weights: Weights,
  images: Tensor,
  engine: EngineOptions,
): Promise<string | undefined> {
  if (isBad(images)) return 'the pictures themselves, before any layer';
  const parameter = graph.parameters.find(({ name }) => isBad(weights.get(name) as Tensor));
  if (parameter) return `the weight ${parameter.name}`;
  const model = momentary(graph, record, weights, { ...engine, precision: 'f32' });
  try {
    const names = graph.nodes.map(({ name }) => name);
    const found = await model.run(images, names);
    return names.find((name) => isBad(found[name]));
  } finally {
    await model.dispose();
  }
}

/** The first parameter among all that was learnt that holds NaN or infinity. */
export const firstBadIn = ({ weights, average, optimizer }: Learnt): string | undefined => {
  const find = (from: Weights) => [...from].find(([, tensor]) => isBad(tensor))?.[0];
  return [weights, ...(average ? [average] : []), ...optimizer.values()].map(find).find((name) => name !== undefined);
};

interface At {
  readonly epoch: number;
  readonly update: number;
}

/** The error of an update that leaves no numbers behind. */
export const overflow = (parameter: string, { epoch, update }: At, kept: string | undefined): ResidualError =>
  new ResidualError(
    'NUMERICS',
    `update ${update} in epoch ${epoch}: ${parameter} holds values that are not finite numbers; ${untouched(kept)}try ${advice.join(', ')}`,
    { update, epoch, layer: parameter },
  );

const untouched = (kept: string | undefined): string => (kept === undefined ? '' : `${kept} is as it was; `);

const advice = ['a lower rate (--set rate=…)', 'a warm-up (--set warmup=1)', 'shorter gradients (--set clip=1)'];

/** The error of a step whose loss, or gradients, are no numbers. */
export async function divergence(
  at: At & { readonly loss: number; readonly rate: number },
  step: {
    readonly graph: Graph;
    readonly record: ModelRecord;
    readonly weights: Weights;
    readonly images: Tensor;
    readonly engine: EngineOptions;
  },
  kept: string | undefined,
): Promise<ResidualError> {
  const { graph, record, weights, images, engine } = step;
  const layer = await firstBad(graph, record, weights, images, engine).catch(() => undefined);
  const where = layer === undefined ? 'and no layer by itself: gradients overflow' : `first in ${layer}`;
  const lower = `a lower rate than ${Number(at.rate.toPrecision(2))} (--set rate=…)`;
  return new ResidualError(
    'NUMERICS',
    `update ${at.update} in epoch ${at.epoch}: the loss is ${at.loss}, ${where}; nothing of this step was kept; ${untouched(kept)}try ${[lower, ...advice.slice(1)].join(', ')}`,
    { update: at.update, epoch: at.epoch, layer: layer ?? null },
  );
}
