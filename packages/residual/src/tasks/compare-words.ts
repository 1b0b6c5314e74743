import type { Cause, Finding } from './compare.js';
import type { PictureCause } from './compare-picture.js';
import type { NetworkCause } from './compare-search.js';

// What was found, in words, a's way first.

/** What redoing a side with another picture showed. */
export function pictureEvidence(
  { finding, before, after, without, rounding }: PictureCause,
  redone: 'a' | 'b',
  causes: number,
): string {
  const rest = causes > 1 ? ` together with the other ${causes === 2 ? 'cause' : `${causes - 1} causes`}` : '';
  const alone = causes > 1 ? `; without this one it stays at ${short(without)}` : '';
  return `${redone} redone with "${finding.other}"${rest}: the relative difference of the inputs goes from ${short(before)} to ${short(after)}${rounding ? ', which is rounding to 8 bits' : ''}${alone}`;
}

/** The causes of a search, told. */
export function networkCauses(found: readonly NetworkCause[], tolerance: number): Cause[] {
  return found.map(({ finding, at, redone, before, after, settles }) => ({
    id: finding.id,
    what: words(finding, redone),
    at,
    evidence: `${redone} redone ${finding.plain ? 'accordingly' : `with "${finding.other}"`}: the relative difference at ${at} goes from ${short(before)} to ${short(after)}${settles ? `, and no station is beyond ${short(tolerance)} any more` : ''}`,
  }));
}

/** `subject a's way against b's way`. */
export function words({ subject, base, other, plain }: Finding, redone: 'a' | 'b'): string {
  if (plain !== undefined) return plain;
  const [first, second] = redone === 'a' ? [base, other] : [other, base];
  return `${subject ? `${subject} ` : ''}${first} against ${second}`;
}

/** `0`, `4.1e-7`, `0.083`. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return 'another shape, or NaN';
  const rounded = Number(value.toPrecision(2));
  return rounded > 0 && rounded < 1e-3 ? rounded.toExponential() : String(rounded);
}
