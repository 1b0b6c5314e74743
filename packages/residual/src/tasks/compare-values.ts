import { valueTables } from '../image/apply.js';
import type { Plan } from '../image/plan.js';
import { preset } from '../image/presets.js';
import type { Finding } from './compare.js';

/** What a plan does to values, whatever its steps: output channel c is `scale[c] · (0–255 of its colour) + offset[c]`. */
export interface Chain {
  readonly order: 'RGB' | 'BGR';
  readonly scale: readonly number[];
  readonly offset: readonly number[];
}

export function chainOf(plan: Plan): Chain {
  const tables = valueTables(plan);
  return {
    order: tables[0].from === 0 ? 'RGB' : 'BGR',
    scale: tables.map(({ values }) => (values[255] - values[0]) / 255),
    offset: tables.map(({ values }) => values[0]),
  };
}

const anySize = { height: 1, width: 1 };
/** The chains that people know by name, and what they call them. */
const known: Readonly<Record<string, Chain>> = {
  caffe: chainOf(preset('caffe', anySize)),
  tf: chainOf(preset('tf', anySize)),
  torch: chainOf(preset('torchvision', anySize)),
  '0–255': chainOf(preset('raw255', anySize)),
  '0–1': chainOf([
    { step: 'decode', as: 'default' },
    { step: 'scale', factor: 1 / 255, offset: 0 },
  ]),
};

/** Equal within a five-hundredth of the range of values: what fitting to rounded pixels can tell. */
function alike(a: Chain, b: Chain): boolean {
  const near = (x: number, y: number, c: number) => Math.abs(x - y) <= Math.abs(a.scale[c]) * 255 * 2e-3;
  return (
    a.order === b.order &&
    a.scale.every((s, c) => near(s * 255, b.scale[c] * 255, c) && near(a.offset[c], b.offset[c], c))
  );
}

const nameOf = (chain: Chain): string | undefined => Object.keys(known).find((name) => alike(known[name], chain));

/** Ways with values that another system may have in place of ours: those with a name, in either order, and ours misused. */
export function likelyChains(ours: Chain): Chain[] {
  const { scale, offset } = ours;
  const turned = (chain: Chain): Chain => ({ ...chain, order: chain.order === 'RGB' ? 'BGR' : 'RGB' });
  const likely: Chain[] = [
    turned(ours),
    turned({ ...ours, scale: scale.toReversed(), offset: offset.toReversed() }),
    { ...ours, scale: scale.map((s) => s * 255) },
    { ...ours, scale: scale.map((s) => s / 255) },
    ...Object.values(known).flatMap((chain) => [chain, turned(chain)]),
  ];
  return likely.filter((chain) => !alike(ours, chain));
}

/** The chain with a name, or ours or ours misused, that a fitted one comes to; undefined where it is none of these. */
export const named = (fitted: Chain, ours: Chain): Chain | undefined =>
  [ours, ...likelyChains(ours)].find((chain) => alike(chain, fitted));

/** How two chains differ, in words; empty when they do not. `base` is the side that is redone. */
export function chainFindings(base: Chain, other: Chain): Finding[] {
  if (alike(base, other)) return [];
  const modes = ['caffe', 'tf', 'torch'];
  const [from, to] = [nameOf(base), nameOf(other)];
  // Two modes of preprocess_input differ in several things that go together, and are known as a pair.
  if (from && to && modes.includes(from) && modes.includes(to))
    return [{ id: 'preprocess-mode', subject: 'preprocessing mode', base: from, other: to }];
  if (base.order === other.order) return [rangeFinding(base, other)];
  const order: Finding = { id: 'channel-order', base: base.order, other: other.order };
  // The means of one system stay with their places when channels are swapped before them, go with the colours after.
  const placed: Chain = { ...other, order: base.order };
  const coloured: Chain = { order: base.order, scale: other.scale.toReversed(), offset: other.offset.toReversed() };
  if (alike(base, placed) || alike(base, coloured)) return [order];
  const rest = [placed, coloured].find((chain) => nameOf(chain) !== undefined) ?? coloured;
  return [order, rangeFinding(base, rest)];
}

/** Two chains of one channel order. */
function rangeFinding(base: Chain, other: Chain): Finding {
  const [from, to] = [nameOf(base), nameOf(other)];
  if ((from === '0–255' && to === '0–1') || (from === '0–1' && to === '0–255'))
    return { id: 'value-range', subject: 'values', base: from, other: to };
  const each = (test: (ratio: number, c: number) => boolean) => other.scale.every((s, c) => test(s / base.scale[c], c));
  const near = (x: number, y: number) => Math.abs(x - y) <= 5e-3 * Math.max(Math.abs(x), Math.abs(y));
  // Mean and deviation meant for 0–1 applied to 0–255, or the other way round.
  if (each((ratio) => near(ratio, 255))) return { id: 'value-range', subject: 'values', base: '0–1', other: '0–255' };
  if (each((ratio) => near(ratio, 1 / 255)))
    return { id: 'value-range', subject: 'values', base: '0–255', other: '0–1' };
  const means = (chain: Chain) => chain.offset.some((o, c) => Math.abs(o) > 5e-3 * Math.abs(chain.scale[c]) * 255);
  if (each((ratio) => near(ratio, 1))) {
    if (means(base) !== means(other)) {
      const taken = (chain: Chain) => (means(chain) ? 'taken off' : 'not taken off');
      return { id: 'mean', subject: 'mean', base: taken(base), other: taken(other) };
    }
    return { id: 'mean', subject: 'mean', base: list(meanOf(base)), other: list(meanOf(other)) };
  }
  if (to === '0–1' || to === '0–255' || from === '0–1' || from === '0–255') {
    const isPlain = (name: string | undefined) => name === '0–1' || name === '0–255';
    const taken = (name: string | undefined) =>
      isPlain(name) ? `not applied${name === '0–255' ? ' (values 0–255)' : ''}` : 'applied';
    if (isPlain(from) !== isPlain(to))
      return { id: 'normalisation', subject: 'mean and deviation', base: taken(from), other: taken(to) };
  }
  const means1 = meanOf(base);
  const means2 = meanOf(other);
  if (means1.every((m, c) => near(m, means2[c])))
    return { id: 'deviation', subject: 'deviation', base: list(deviationOf(base)), other: list(deviationOf(other)) };
  return {
    id: 'normalisation',
    base: `mean ${list(means1)} and deviation ${list(deviationOf(base))}`,
    other: `mean ${list(means2)} and deviation ${list(deviationOf(other))}`,
  };
}

/** Mean and deviation as they would be written for values 0–1. */
const meanOf = ({ scale, offset }: Chain): number[] => offset.map((o, c) => -o / (255 * scale[c]));
const deviationOf = ({ scale }: Chain): number[] => scale.map((s) => 1 / (255 * s));
const list = (values: readonly number[]): string => `[${values.map((v) => Number(v.toPrecision(3))).join(', ')}]`;
