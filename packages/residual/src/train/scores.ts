import { softmax } from '../tasks/classify.js';

/** How one class fared. Shares are NaN where nothing was to be counted. */
export interface ClassScore {
  readonly label: string;
  /** Pictures that show it. */
  readonly pictures: number;
  /** How many of those were recognised, and how often it was given as the answer. */
  readonly right: number;
  readonly answered: number;
}

/** A picture that the network is most wrong about. */
export interface Mistake {
  readonly id: string;
  /** The class; of labels that hold together all of them, with commas between, or `none`. */
  readonly expected: string;
  readonly answer: string;
  /** Of the answer. */
  readonly probability: number;
  readonly loss: number;
}

/** How well a network knows pictures. */
export interface Scores {
  readonly pictures: number;
  /** Right answers, and pictures whose class is among the five best; of labels that hold together: one of them is. */
  readonly top1: number;
  readonly top5: number;
  /** Mean over the pictures: cross-entropy, or binary cross-entropy. */
  readonly loss: number;
  /** Expected calibration error, 15 bins (Guo et al. 2017, equation 3): how far confidence is from being right. */
  readonly calibration: number;
  readonly classes: readonly ClassScore[];
  /** `confusion[expected][answer]`, of classes that have one label; empty where labels hold together. */
  readonly confusion: readonly Uint32Array[];
  /** Largest losses first. */
  readonly mistakes: readonly Mistake[];
}

export interface Judge {
  /**
   * Takes in the outputs of some pictures.
   * @param outputs `[N, classes]`, logits, or probabilities as `kind` says
   * @param targets `[N, classes]`, shares of each class that make 1, or 0 and 1 for each label
   */
  add(outputs: Float32Array, targets: Float32Array, ids: (row: number) => string): void;
  scores(): Scores;
}

const bins = 15;

/**
 * Counts right answers, losses and confidence.
 * @param options.kind of outputs: `logits`; `probabilities`; `labels`, logits of classes that stand each for itself.
 * @param options.only answers are chosen among these classes; all when left out.
 * @param options.mistakes how many pictures to remember.
 */
export function judge(
  labels: readonly string[],
  options: {
    readonly kind: 'logits' | 'probabilities' | 'labels';
    readonly only?: readonly number[] | undefined;
    readonly mistakes?: number;
  },
): Judge {
  const { kind, only, mistakes: kept = 24 } = options;
  const count = labels.length;
  const allowed = only && new Set(only);
  const confusion = kind === 'labels' ? [] : labels.map(() => new Uint32Array(count));
  const [pictures, right, answered] = [new Float64Array(count), new Float64Array(count), new Float64Array(count)];
  const [inBin, confidence, hits] = [new Float64Array(bins), new Float64Array(bins), new Float64Array(bins)];
  let [seen, top1, top5, loss] = [0, 0, 0, 0];
  let mistakes: Mistake[] = [];

  const namesOf = (target: Float32Array): string => labels.filter((_, c) => target[c] > 0.5).join(', ') || 'none';

  function one(outputs: Float32Array, target: Float32Array, id: string): void {
    const chances = probabilitiesOf(outputs, kind);
    const best = ranked(chances, allowed, 5);
    const [answer] = best;
    const expected = target.indexOf(Math.max(...target));
    const isRight = target[answer] > 0 && (kind === 'labels' || target[answer] === target[expected]);
    const missed = lossOf(chances, target, kind);
    seen++;
    loss += missed;
    if (isRight) top1++;
    if (best.some((index) => target[index] > 0)) top5++;
    if (kind === 'labels') {
      for (let c = 0; c < count; c++) {
        const given = chances[c] >= 0.5;
        if (target[c] > 0.5) pictures[c]++;
        if (given) answered[c]++;
        if (given && target[c] > 0.5) right[c]++;
      }
    } else {
      confusion[expected][answer]++;
      pictures[expected]++;
      answered[answer]++;
      if (isRight) right[expected]++;
    }
    const bin = Math.min(bins - 1, Math.floor(chances[answer] * bins));
    inBin[bin]++;
    confidence[bin] += chances[answer];
    if (isRight) hits[bin]++;
    if (isRight && kind !== 'labels') return;
    mistakes.push({
      id,
      expected: kind === 'labels' ? namesOf(target) : labels[expected],
      answer: labels[answer],
      probability: chances[answer],
      loss: missed,
    });
    if (mistakes.length > 20 * kept) mistakes = worst(mistakes, kept);
  }

  return {
    add(outputs, targets, ids) {
      for (let row = 0; row * count < targets.length; row++) {
        const part = (from: Float32Array) => from.subarray(row * count, (row + 1) * count);
        one(part(outputs), part(targets), ids(row));
      }
    },
    scores: () => ({
      pictures: seen,
      top1: top1 / seen,
      top5: top5 / seen,
      loss: loss / seen,
      calibration: inBin.reduce((sum, n, b) => sum + (n ? Math.abs(confidence[b] - hits[b]) / seen : 0), 0),
      classes: labels.map((label, c) => ({ label, pictures: pictures[c], right: right[c], answered: answered[c] })),
      confusion,
      mistakes: worst(mistakes, kept),
    }),
  };
}

const worst = (mistakes: readonly Mistake[], count: number): Mistake[] =>
  mistakes.toSorted((a, b) => b.loss - a.loss || (a.id < b.id ? -1 : 1)).slice(0, count);

function probabilitiesOf(outputs: Float32Array, kind: 'logits' | 'probabilities' | 'labels'): Float64Array {
  if (kind === 'probabilities') return Float64Array.from(outputs);
  return kind === 'labels' ? Float64Array.from(outputs, (x) => 1 / (1 + Math.exp(-x))) : softmax(outputs);
}

/** The indices of the largest numbers, the first of equals first. */
function ranked(values: Float64Array, allowed: ReadonlySet<number> | undefined, most: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (allowed && !allowed.has(i)) continue;
    if (best.length === most && values[i] <= values[best[most - 1]]) continue;
    let at = best.length;
    while (at > 0 && values[best[at - 1]] < values[i]) at--;
    best.splice(at, 0, i);
    if (best.length > most) best.pop();
  }
  return best;
}

/** The least probability that a loss is taken of. */
const least = 1e-300;

function lossOf(chances: Float64Array, target: Float32Array, kind: 'logits' | 'probabilities' | 'labels'): number {
  let sum = 0;
  for (let c = 0; c < target.length; c++) {
    if (target[c] > 0) sum -= target[c] * Math.log(Math.max(least, chances[c]));
    if (kind === 'labels' && target[c] < 1) sum -= (1 - target[c]) * Math.log(Math.max(least, 1 - chances[c]));
  }
  return kind === 'labels' ? sum / target.length : sum;
}
