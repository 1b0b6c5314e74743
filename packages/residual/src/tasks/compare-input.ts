import type { Tensor } from '../tensor.js';
import type { Cause, Finding } from './compare.js';
import { evaluate } from './compare-network.js';
import { explainPicture, likelyInputs } from './compare-picture.js';
import type { Stop, Task } from './compare-search.js';
import { layerValues, type Side, type SideValues } from './compare-sides.js';
import { relativeError } from './compare-stations.js';
import { pictureEvidence, short, words } from './compare-words.js';

// Why the inputs of two sides differ, and what the networks give on one and the same input.

/** Both networks on the first side's input, or on the recording's, which cannot be redone; undefined where it does not fit. */
export async function onOneInput(
  sides: readonly [Side, Side],
  line: readonly Stop[],
  own: SideValues,
  signal: AbortSignal | undefined,
): Promise<SideValues | undefined> {
  const fixed = sides[1].recording ? 1 : 0;
  const [redone, kept] = [sides[1 - fixed], sides[fixed]];
  const input = kept.input as Tensor;
  const channels = redone.net?.graph.inputs[0].shape[1];
  if (!redone.net || (redone.recording && kept.recording) || input.shape[1] !== channels) return undefined;
  const inputs = [input, input];
  if (kept.net) {
    // Only the second is computed anew.
    const again = await layerValues([{ pictures: new Map(), made: false }, sides[1]] as const, line, inputs, signal);
    return { a: own.a, b: again.b };
  }
  return layerValues(sides, line, inputs, signal);
}

/** Why the inputs differ. The side that is redone is a model; the other may be one. */
export async function pictureCauses([a, b]: readonly [Side, Side], task: Task): Promise<Cause[]> {
  const redone = a.decoded ? 'a' : 'b';
  const [base, other] = redone === 'a' ? [a, b] : [b, a];
  const { plan, decoded, input } = base;
  if (!plan || !decoded || !input || !other.input || input.shape[1] !== 3 || other.input.shape[0] !== 1) return [];
  const found = await explainPicture({ plan, decoded, input }, { input: other.input, plan: other.plan }, task);
  return found.map((cause) => ({
    id: cause.finding.id,
    what: words(cause.finding, redone),
    at: 'input',
    evidence: pictureEvidence(cause, redone, found.length),
  }));
}

/**
 * For a recording without an input: the likely input that makes the first recorded station come out as recorded, and both
 * sides' values on it. Undefined where nothing parts or nothing fits.
 */
export async function guessInput(
  sides: readonly [Side, Side],
  line: readonly Stop[],
  own: SideValues,
  { tolerance, signal }: Task,
): Promise<{ shared: SideValues; causes: Cause[] } | undefined> {
  const redone = sides[0].decoded ? 'a' : 'b';
  const [base, other] = redone === 'a' ? sides : [sides[1], sides[0]];
  const { net, plan, decoded, input } = base;
  if (!net || !plan || !decoded || !input || other.made || other.net || !line.length || input.shape[1] !== 3) return;
  const [{ name }] = line;
  const value = line[0][redone] as number;
  const target = own[redone === 'a' ? 'b' : 'a'].values.get(name) as Tensor;
  const before = relativeError(own[redone].values.get(name) as Tensor, target);
  if (before <= tolerance) return;
  let best: { after: number; input: Tensor; findings: readonly Finding[] } | undefined;
  for (const group of groupsOf(likelyInputs({ plan, decoded, input }), 8)) {
    const known = new Map([[net.graph.inputs[0].value, batchOf(group.map((likely) => likely.input))]]);
    const computed = (await evaluate(net, known, [value], { signal })).get(value) as Tensor;
    const size = computed.data.length / group.length;
    for (const [i, likely] of group.entries()) {
      const data = computed.data.subarray(i * size, (i + 1) * size);
      const after = relativeError({ shape: [1, ...computed.shape.slice(1)], data }, target);
      if (!best || after < best.after) best = { ...likely, after };
    }
    if (best && best.after <= tolerance) break;
  }
  if (!best?.findings.length || best.after > Math.min(tolerance, before / 10)) return;
  const { after, findings } = best;
  return {
    shared: await layerValues(sides, line, [best.input, best.input], signal),
    causes: findings.map((finding) => ({
      id: finding.id,
      what: words(finding, redone),
      at: name,
      evidence: `${redone} redone with ${findings.map((one) => `"${one.other}"`).join(' and ')}: the relative difference at ${name} goes from ${short(before)} to ${short(after)}`,
    })),
  };
}

function* groupsOf<T>(items: Iterable<T>, size: number): Generator<T[]> {
  let group: T[] = [];
  for (const item of items) {
    group.push(item);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length) yield group;
}

/** Pictures of one size as one batch. */
function batchOf(inputs: readonly Tensor[]): Tensor {
  const [{ shape, data: first }] = inputs;
  const data = new Float32Array(first.length * inputs.length);
  inputs.forEach((one, i) => {
    data.set(one.data, i * first.length);
  });
  return { dtype: 'float32', shape: [inputs.length, ...shape.slice(1)], data };
}
