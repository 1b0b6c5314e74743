import type { Tensor } from '../tensor.js';
import { rangeOf, valueTables } from './apply.js';
import type { Plan } from './plan.js';

/** What values in a range usually are, narrowest first, and how they came to be. */
const usual = [
  { least: 0, greatest: 1, are: 'pixels divided by 255 and not normalized' },
  { least: -1, greatest: 1, are: 'pixels scaled to −1 … 1 (preset tf)' },
  { least: -2.2, greatest: 2.7, are: "pixels normalized with ImageNet's mean and deviation (preset torchvision)" },
  { least: 0, greatest: 255, are: 'pixels as they are, 0 … 255' },
  { least: -124, greatest: 152, are: "pixels less Caffe's means (preset caffe)" },
];

/**
 * Whether the values of a ready-made input `[N, C, H, W]` look like what the plan yields; if not, a warning that says
 * what was expected, what was received and what the mistake probably is. It judges by the least and the greatest value
 * only, so it can be wrong about a picture of one colour; undefined means that nothing looks amiss.
 */
export function inputRangeWarning({ data }: Tensor, plan: Plan): string | undefined {
  let least = Number.POSITIVE_INFINITY;
  let greatest = Number.NEGATIVE_INFINITY;
  let odd = 0;
  for (const value of data) {
    if (!Number.isFinite(value)) odd++;
    else if (value < least) least = value;
    if (value > greatest && value < Number.POSITIVE_INFINITY) greatest = value;
  }
  if (odd > 0) return `${odd} of ${data.length} input values are not finite numbers; the result will be none either`;
  if (data.length === 0) return undefined;
  if (least === greatest) return constantWarning(least, data.length, plan);
  const expected = rangeOf(plan);
  const width = expected.greatest - expected.least;
  // Resizing in floats overshoots a little; one tenth of the range is no sign of a mistake.
  const slack = width / 10;
  const outside = least < expected.least - slack || greatest > expected.greatest + slack;
  const inBytes = width > 100;
  const tooSmall = width > 1.5 && greatest - least < width / 4 && Math.max(-least, greatest) <= (inBytes ? 3.2 : 1.001);
  const neverNegative =
    expected.least < -width / 4 && least >= 0 && greatest > width / 4 && (inBytes || greatest <= 1.001);
  if (!(outside || tooSmall || neverNegative)) return undefined;
  const match = usual.find((range) => least >= range.least && greatest <= range.greatest);
  const guess = match ? `; they look like ${match.are}` : '';
  return `input values ${short(least)} … ${short(greatest)} do not fit the plan, which yields ${short(expected.least)} … ${short(expected.greatest)}${guess}; preprocess them as the plan says, or give the pictures themselves`;
}

/**
 * One value everywhere is a picture of one colour where a byte of each channel becomes it: 0 as pixels 0 … 255 is black.
 * With a mean and a deviation for each channel there is no such value.
 */
function constantWarning(value: number, count: number, plan: Plan): string | undefined {
  const made = valueTables(plan).every(({ values }) => {
    const slack = 1e-5 * Math.abs(values[255] - values[0]);
    return values.some((one) => Math.abs(one - value) <= slack);
  });
  if (made) return undefined;
  return `all ${count} input values are ${short(value)}, which the plan makes of no picture; the result says nothing about one`;
}

const short = (value: number): string => String(Number(value.toPrecision(4))).replace('-', '−');
