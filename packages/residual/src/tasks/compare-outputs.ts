import { sameShape, type Tensor } from '../tensor.js';
import { softmax } from './classify.js';
import type { Finding } from './compare.js';
import type { Found, NetworkSide, Stop, Task } from './compare-search.js';
import { relativeError } from './compare-stations.js';

/** What can be seen in the outputs alone: a softmax too many or too few, the classes in another order. */
export function outputCause(
  sides: Record<'a' | 'b', NetworkSide>,
  line: readonly Stop[],
  at: number,
  { tolerance }: Task,
): Found | undefined {
  const { name } = line[at];
  const [a, b] = [sides.a.values.get(name) as Tensor, sides.b.values.get(name) as Tensor];
  if (at < line.length - 2 || a.shape.length !== 2 || !sameShape(a.shape, b.shape) || name === 'avgpool')
    return undefined;
  const before = relativeError(a, b);
  const isShare = ({ shape, data }: Tensor) =>
    data.every((x) => x >= 0) && Math.abs(data.reduce((sum, x) => sum + x, 0) - shape[0]) < 1e-3 * shape[0];
  for (const [side, base, other] of [
    ['a', a, b],
    ['b', b, a],
  ] as const) {
    const found = (changed: Tensor, finding: Finding, later: (t: Tensor) => Tensor): Found => ({
      side,
      findings: [finding],
      before,
      after: relativeError(changed, other),
      changed: {
        ...sides[side],
        values: new Map(
          [...sides[side].values].map(([key, value]) => {
            const index = line.findIndex((stop) => stop.name === key);
            return [key, index === at ? changed : index > at ? later(value) : value] as const;
          }),
        ),
      },
    });
    const once = softmaxOfRows(base);
    if (relativeError(once, other) <= tolerance) {
      const already = isShare(base);
      const finding: Finding = already
        ? { id: 'softmax', subject: 'softmax', base: 'once', other: 'twice' }
        : { id: 'softmax', base: 'logits', other: 'probabilities' };
      return found(once, finding, (t) => t);
    }
    const twice = softmaxOfRows(once);
    if (!isShare(base) && relativeError(twice, other) <= tolerance)
      return found(twice, { id: 'softmax', base: 'logits', other: 'softmax applied twice' }, (t) => t);
  }
  // Of probabilities nearly all are nearly 0: their logarithms tell them apart.
  const shares = isShare(a) && isShare(b);
  const order = shares ? permutation(logarithms(a), logarithms(b), tolerance) : permutation(a, b, tolerance);
  if (!order) return undefined;
  const place = (t: Tensor): Tensor => {
    const data = new Float32Array(t.data.length);
    const classes = t.shape[1];
    for (let i = 0; i < data.length; i++) data[i] = t.data[i - (i % classes) + order[i % classes]];
    return { ...t, data };
  };
  const moved = order.findIndex((from, to) => from !== to);
  const asText = order.map((_, i) => i).sort((x, y) => (String(x) < String(y) ? -1 : 1));
  const back = order.map((_, i) => asText.indexOf(i));
  const sorted = [asText, back].some((known) => known.every((from, i) => from === order[i]));
  const changed = place(a);
  const finding: Finding = {
    id: 'class-order',
    plain: `the classes are in another order${sorted ? ', sorted as text (10 before 2)' : ''}: class ${moved} of b is class ${order[moved]} of a`,
    base: '',
    other: '',
  };
  const values = new Map(
    [...sides.a.values].map(([key, value]) => {
      const index = line.findIndex((stop) => stop.name === key);
      return [key, index >= at && sameShape(value.shape, a.shape) ? place(value) : value] as const;
    }),
  );
  return { side: 'a', findings: [finding], before, after: relativeError(changed, b), changed: { ...sides.a, values } };
}

const logarithms = (t: Tensor): Tensor => ({ ...t, data: t.data.map((x) => Math.log(Math.max(x, 1e-30))) });

/** The softmax of each row of `[N, classes]`, or of `[classes]`. */
export function softmaxOfRows({ shape, data }: Tensor): Tensor {
  const classes = shape.at(-1) as number;
  const out = new Float32Array(data.length);
  for (let row = 0; row < data.length; row += classes) out.set(softmax(data.subarray(row, row + classes)), row);
  return { dtype: 'float32', shape, data: out };
}

/** `order[i]`: which output of `a` output i of `b` is, when both have the same values in other places. */
function permutation({ shape, data }: Tensor, b: Tensor, tolerance: number): number[] | undefined {
  const classes = shape[1];
  const ranked = (values: Float32Array) =>
    Array.from({ length: classes }, (_, i) => i).sort((x, y) => values[x] - values[y]);
  const [here, there] = [ranked(data), ranked(b.data)];
  const largest = data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  const near = here.every((from, i) => Math.abs(data[from] - b.data[there[i]]) <= tolerance * largest);
  // Where neighbouring values are as close as the tolerance, any two lists of numbers would seem the same.
  if (!near || classes < 3) return undefined;
  const order = new Array<number>(classes);
  here.forEach((from, i) => {
    order[there[i]] = from;
  });
  return order.some((from, to) => from !== to) ? order : undefined;
}
