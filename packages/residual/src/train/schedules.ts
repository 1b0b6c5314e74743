import { ResidualError } from '../errors.js';

/** How the learning rate goes from the first update to the last. Lengths are in epochs. */
export type Schedule =
  | { readonly name: 'constant' }
  /** Times `gamma` after every `step` epochs. */
  | { readonly name: 'step'; readonly step: number; readonly gamma: number }
  /** Times `gamma` at each of `milestones`. */
  | { readonly name: 'multi-step'; readonly milestones: readonly number[]; readonly gamma: number }
  /** Half a cosine from the rate down to `end` times it (Loshchilov and Hutter 2017, equation 5). */
  | { readonly name: 'cosine'; readonly end: number }
  /** Up by half a cosine for a share `up` of the way, then down; the momentum goes the other way (Smith 2018; PyTorch's OneCycleLR, whose two ways end an update earlier). */
  | { readonly name: 'one-cycle'; readonly up: number; readonly start: number; readonly end: number }
  /** (1 − t)^power. */
  | { readonly name: 'polynomial'; readonly power: number; readonly end: number }
  /** Straight up for a share `up` of the way, then straight down to 0 (airbench). */
  | { readonly name: 'triangle'; readonly up: number; readonly start: number }
  /** Times `gamma` whenever the validation loss has not improved for `patience` epochs (PyTorch's ReduceLROnPlateau). */
  | { readonly name: 'plateau'; readonly patience: number; readonly gamma: number };

export type ScheduleName = Schedule['name'];

/** Before the schedule: straight up from `from` times the rate, for `epochs`. */
export interface WarmUp {
  readonly epochs: number;
  readonly from: number;
}

const cosine = (from: number, to: number, t: number): number => to + ((from - to) * (1 + Math.cos(Math.PI * t))) / 2;

type Factor<N extends ScheduleName> = (
  schedule: Extract<Schedule, { name: N }>,
  at: { t: number; epoch: number; losses: readonly number[] },
) => number;

/** 0.55 of 100 epochs is a little more than 55. */
const rounding = 1e-9;

/** What the rate is multiplied with; `t` is the share of the way that is done, `epoch` a real number. */
const factors: { readonly [N in ScheduleName]: Factor<N> } = {
  constant: () => 1,
  step: ({ step, gamma }, { epoch }) => gamma ** Math.floor(epoch / step + rounding),
  'multi-step': ({ milestones, gamma }, { epoch }) =>
    gamma ** milestones.filter((one) => epoch + rounding >= one).length,
  cosine: ({ end }, { t }) => cosine(1, end, t),
  'one-cycle': ({ up, start, end }, { t }) =>
    t < up ? cosine(start, 1, t / up) : cosine(1, end, up < 1 ? (t - up) / (1 - up) : 1),
  polynomial: ({ power, end }, { t }) => end + (1 - end) * (1 - t) ** power,
  triangle: ({ up, start }, { t }) => (t < up ? start + ((1 - start) * t) / up : up < 1 ? (1 - t) / (1 - up) : 0),
  plateau({ patience, gamma }, { losses }) {
    let [best, bad, factor] = [Number.POSITIVE_INFINITY, 0, 1];
    for (const loss of losses) {
      // An improvement of less than a ten-thousandth is none (PyTorch's `threshold`).
      if (loss < best * (1 - 1e-4)) [best, bad] = [loss, 0];
      else bad += 1;
      if (bad > patience) [factor, bad] = [factor * gamma, 0];
    }
    return factor;
  },
};

/**
 * The learning rate of one update: a pure function, so that a resumed run goes on where it was.
 * @param at `update` from 0; `perEpoch` updates make an epoch; `losses` are the validation losses of the epochs done.
 */
export function rateAt(
  rate: number,
  schedule: Schedule,
  warmUp: WarmUp,
  at: { update: number; perEpoch: number; epochs: number; losses?: readonly number[] },
): number {
  const warm = warmUp.epochs * at.perEpoch;
  if (at.update < warm) return rate * (warmUp.from + ((1 - warmUp.from) * at.update) / warm);
  const whole = at.perEpoch * at.epochs - warm;
  const t = whole > 0 ? Math.min(1, (at.update - warm) / whole) : 1;
  // The row belongs to this very schedule, which TypeScript cannot see through the union.
  const factor = factors[schedule.name] as Factor<ScheduleName>;
  return rate * factor(schedule, { t, epoch: at.update / at.perEpoch, losses: at.losses ?? [] });
}

/**
 * The momentum of one update: one-cycle lowers it while the rate rises (Smith 2018, section 4.3), between 0.85 and the
 * recipe's own; all others leave it.
 */
export function momentumAt(
  momentum: number,
  schedule: Schedule,
  at: { update: number; perEpoch: number; epochs: number },
): number {
  if (schedule.name !== 'one-cycle') return momentum;
  const t = Math.min(1, at.update / (at.perEpoch * at.epochs));
  const { up } = schedule;
  const least = Math.min(0.85, momentum);
  return t < up ? cosine(momentum, least, t / up) : cosine(least, momentum, up < 1 ? (t - up) / (1 - up) : 1);
}

/** @throws ARGUMENT for a schedule that cannot be followed. */
export function checkSchedule(schedule: Schedule, warmUp: WarmUp): void {
  const refuse = (what: string): never => {
    throw new ResidualError('ARGUMENT', `schedule "${schedule.name}": ${what}`, { schedule: schedule.name });
  };
  if (!(warmUp.epochs >= 0 && warmUp.from >= 0))
    refuse('expected a warm-up of 0 epochs or more from a rate of 0 or more');
  if ('step' in schedule && !(schedule.step > 0))
    refuse(`expected a step above 0 epochs but received ${schedule.step}`);
  if ('up' in schedule && !(schedule.up >= 0 && schedule.up <= 1))
    refuse(`expected a share from 0 to 1 for the way up but received ${schedule.up}`);
  if ((schedule.name === 'one-cycle' || schedule.name === 'triangle') && warmUp.epochs > 0)
    refuse('begins low by itself; leave the warm-up out (warmup=0), or give its way up another share (up)');
  if ('gamma' in schedule && !(schedule.gamma > 0)) refuse(`expected a gamma above 0 but received ${schedule.gamma}`);
}
