import type { Range, Slice } from '../engines/training.js';

/** How parameters follow their gradients. `decay` is the weight decay, for groups that have any. */
export type Optimizer =
  /** Sutskever et al. 2013 in PyTorch's form: v ← momentum · v + (g + decay · w), w ← w − rate · v. */
  | { readonly name: 'sgd'; readonly momentum: number; readonly nesterov: boolean; readonly decay: number }
  /** Kingma and Ba 2015; `adam` adds the decay to the gradient, `adamw` takes it off the weights (Loshchilov and Hutter 2019). */
  | {
      readonly name: 'adam' | 'adamw';
      readonly beta1: number;
      readonly beta2: number;
      readonly epsilon: number;
      readonly decay: number;
    }
  /** You et al. 2020, as timm does it: a trust ratio for each parameter that decays. */
  | {
      readonly name: 'lamb';
      readonly beta1: number;
      readonly beta2: number;
      readonly epsilon: number;
      readonly decay: number;
    };

export type OptimizerName = Optimizer['name'];

/** Parameters that are updated alike. */
export interface Group {
  readonly parameters: readonly string[];
  /** Times the rate of the schedule. */
  readonly rate: number;
  /** Times the optimiser's decay: 0 for norms and biases, by most recipes. */
  readonly decay: number;
}

/** One flat array for each name an optimiser keeps between updates. */
export type State = Readonly<Record<string, Float32Array>>;

/** What an update works on: a group's range of the flat arrays. */
interface Site {
  readonly parameters: Float32Array;
  readonly gradients: Float32Array;
  readonly state: State;
  readonly range: Range;
  /** The parameters in the range. */
  readonly slices: readonly Slice[];
  readonly rate: number;
  readonly decay: number;
  /** From 1: how many updates there were, this one included. */
  readonly count: number;
  combine(into: Float32Array, terms: readonly (readonly [scale: number, array: Float32Array])[], range: Range): void;
}

interface Row<O extends Optimizer> {
  /** What it keeps. */
  readonly state: readonly string[];
  update(optimizer: O, site: Site): void;
}

type Named<N extends OptimizerName> = Extract<Optimizer, { name: N }>;
type Moments = Named<'adam' | 'adamw' | 'lamb'>;

const moments = ['first', 'second'] as const;

/** The optimisers: arithmetic over flat arrays. Gradients are overwritten where that saves an array. */
export const optimizers: { readonly [N in OptimizerName]: Row<Named<N>> } = {
  sgd: {
    state: ['momentum'],
    update({ momentum, nesterov }, { parameters: w, gradients: g, state, range, rate, decay, combine }) {
      const { momentum: v } = state;
      if (momentum === 0)
        return combine(
          w,
          [
            [1 - rate * decay, w],
            [-rate, g],
          ],
          range,
        );
      const step = [[momentum, v], [1, g], ...(decay ? [[decay, w] as const] : [])] as const;
      combine(v, step, range);
      if (!nesterov)
        return combine(
          w,
          [
            [1, w],
            [-rate, v],
          ],
          range,
        );
      combine(
        w,
        [
          [1 - rate * decay, w],
          [-rate, g],
          [-rate * momentum, v],
        ],
        range,
      );
    },
  },
  adam: { state: moments, update: adaptive },
  adamw: { state: moments, update: adaptive },
  lamb: {
    state: moments,
    update(optimizer, site) {
      const { parameters: w, gradients: g, slices, rate, decay } = site;
      for (const { offset, length } of slices) {
        const [from, to] = [offset, offset + length];
        let [weights, steps] = [0, 0];
        direction(optimizer, site, from, to, (i, step) => {
          const whole = step + decay * w[i];
          g[i] = whole;
          weights += w[i] * w[i];
          steps += whole * whole;
        });
        const trust = decay !== 0 && weights > 0 && steps > 0 ? Math.sqrt(weights / steps) : 1;
        for (let i = from; i < to; i++) w[i] -= rate * trust * g[i];
      }
    },
  },
};

function adaptive(optimizer: Named<'adam' | 'adamw'>, site: Site): void {
  const { parameters: w, gradients: g, range, rate, decay } = site;
  const [from, to] = range;
  const apart = optimizer.name === 'adamw';
  if (decay && !apart) for (let i = from; i < to; i++) g[i] += decay * w[i];
  const keep = apart ? 1 - rate * decay : 1;
  direction(optimizer, site, from, to, (i, step) => {
    w[i] = keep * w[i] - rate * step;
  });
}

/** The moving averages of the gradient and its square, and what they say: m̂ / (√v̂ + ε). */
function direction(
  { beta1, beta2, epsilon }: Moments,
  { gradients: g, state: { first: m, second: v }, count }: Site,
  from: number,
  to: number,
  use: (i: number, step: number) => void,
): void {
  const [unbias1, unbias2] = [1 / (1 - beta1 ** count), 1 / Math.sqrt(1 - beta2 ** count)];
  for (let i = from; i < to; i++) {
    m[i] = beta1 * m[i] + (1 - beta1) * g[i];
    v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
    use(i, (m[i] * unbias1) / (Math.sqrt(v[i]) * unbias2 + epsilon));
  }
}

/** Updates every group. */
export function update(
  optimizer: Optimizer,
  groups: readonly Group[],
  ranges: readonly Range[],
  rate: number,
  all: Omit<Site, 'range' | 'rate' | 'decay'>,
): void {
  // The row belongs to this very optimiser, which TypeScript cannot see through the union.
  const row = optimizers[optimizer.name] as Row<Optimizer>;
  groups.forEach((group, i) => {
    const [from, to] = ranges[i];
    const slices = all.slices.filter(({ offset }) => offset >= from && offset < to);
    const site = { ...all, range: ranges[i], slices, rate: rate * group.rate, decay: optimizer.decay * group.decay };
    if (to > from) row.update(optimizer, site);
  });
}

/** The Euclidean norm of all gradients together. */
export function norm(gradients: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < gradients.length; i++) sum += gradients[i] * gradients[i];
  return Math.sqrt(sum);
}
