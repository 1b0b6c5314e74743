import type { PickleCall } from './pickle.js';
import type { Pickled } from './pickle-values.js';

/*
 * Python's dates, as training programs note them beside weights. They become texts and numbers; nothing is computed with
 * them. Layouts: the states that `__reduce__` gives in CPython's Lib/_pydatetime.py. What is none of them becomes null.
 */

const two = (n: number): string => String(n).padStart(2, '0');

/** Year in two bytes, month, day. Later Pythons mark the second of two equal hours in the month's upper bit. */
const dateOf = (state: Uint8Array): string =>
  `${String(state[0] * 256 + state[1]).padStart(4, '0')}-${two(state[2] & 0x7f)}-${two(state[3])}`;

/** Hour, minute, second, microseconds in three bytes. */
function timeOf([hour, minute, second, ...micro]: Uint8Array): string {
  const fraction = micro[0] * 65536 + micro[1] * 256 + micro[2];
  return `${two(hour & 0x7f)}:${two(minute)}:${two(second)}${fraction ? `.${String(fraction).padStart(6, '0')}` : ''}`;
}

const isState = (value: Pickled | undefined, length: number): value is Uint8Array =>
  value instanceof Uint8Array && value.length === length;
/** Only what `timezone` makes: a date in its place, and a date in that one's, would grow without end. */
const zoneText = (zone: Pickled | undefined): string =>
  typeof zone === 'string' && /^[+-]\d\d:\d\d$/.test(zone) ? zone : '';

const datetime: PickleCall = ([state, zone]) =>
  isState(state, 10) ? `${dateOf(state)}T${timeOf(state.subarray(4))}${zoneText(zone)}` : null;
const date: PickleCall = ([state]) => (isState(state, 4) ? dateOf(state) : null);
const time: PickleCall = ([state, zone]) => (isState(state, 6) ? timeOf(state) + zoneText(zone) : null);

/** Days, seconds and microseconds, as seconds. */
const timedelta: PickleCall = ([days = 0, seconds = 0, micro = 0]) =>
  typeof days === 'number' && typeof seconds === 'number' && typeof micro === 'number'
    ? days * 86_400 + seconds + micro / 1e6
    : null;

/** A distance to UTC: `+02:00`. */
const timezone: PickleCall = ([offset]) => {
  if (typeof offset !== 'number') return null;
  const minutes = Math.round(Math.abs(offset) / 60);
  return `${offset < 0 ? '-' : '+'}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
};

/** What each class becomes: `2024-05-01T12:30:00.000250+02:00`, `2024-05-01`, `12:30:00`, seconds, `+02:00`. */
export const dates: readonly (readonly [string, PickleCall])[] = [
  ['datetime.datetime', datetime],
  ['datetime.date', date],
  ['datetime.time', time],
  ['datetime.timedelta', timedelta],
  ['datetime.timezone', timezone],
];
