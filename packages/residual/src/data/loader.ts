import { availableParallelism } from 'node:os';
import { startThread, type Thread } from '#thread';
import { aborted, errorFromJSON, ResidualError } from '../errors.js';
import { decodingOf } from '../image/apply.js';
import { type Plan, planAt, sizeOfPlan } from '../image/plan.js';
import type { Batch, BatchOptions, Example } from './dataset.js';
import { memoryFor } from './memory.js';
import { blendFor, blendTargets } from './mix.js';
import { giveBack, type Room, takeRoom } from './rooms.js';
import { writeTarget } from './targets.js';
import type { Filled, LoaderApi } from './worker.js';

export type { Batch, BatchOptions, Mix } from './dataset.js';

/** Batches that are made while one is in use. */
const ahead = 2;

/** When nobody says how many; more are seldom needed beside an engine. */
const mostThreads = 16;

/** The threads stay for later epochs: starting one takes longer than a batch. */
const threads: Thread<LoaderApi>[] = [];

function threadsFor(count: number): Thread<LoaderApi>[] {
  while (threads.length < count) threads.push(startThread<LoaderApi>(new URL('./worker.js', import.meta.url)));
  return threads.slice(0, count);
}

/**
 * The batches of an epoch, decoded and augmented in worker threads ahead of their use. What is in them depends on the
 * options alone, not on the number of threads or on when they are asked for.
 *
 * A batch of which no picture can be read is empty; with `full` the next one that can be read stands in for it.
 *
 * @throws ARGUMENT, CLASSES; IMAGE or FILE for a picture that cannot be read with `strict`, or when none can; MISSING_PACKAGE,
 * ABORTED, ENGINE.
 * @example
 * const order = epochOrder(data.train, data.classes.length, { seed, epoch });
 * for await (const { images, targets } of batches(data.train, { order, batch: 32, plan, augment, classes, seed, epoch }))
 *   await step(images, targets);
 */
export async function* batches(
  examples: readonly Example[],
  options: BatchOptions,
): AsyncGenerator<Batch, void, undefined> {
  const { order, batch, from = 0, signal, workers = Math.min(availableParallelism(), mostThreads) } = options;
  check(examples, options);
  const count = Math.ceil(order.length / batch);
  if (from >= count) return;
  const plan = options.size === undefined ? options.plan : planAt(options.plan, options.size);
  const shape = shapeOf(examples, options, plan);
  const repeats = repeatsIn(order, examples.length);
  const team = threadsFor(workers);
  const own = new AbortController();
  const ending = signal ? AbortSignal.any([signal, own.signal]) : own.signal;
  const largest = Math.min(batch, order.length);
  const [images, targets] = [largest * shape[0] * shape[1] * shape[2], largest * options.classes];
  const running: { readonly made: Promise<Batch>; readonly room: Room }[] = [];
  let next = from;
  let readable = 0;
  let first: Batch['skipped'][number] | undefined;
  const begin = (): void => {
    while (running.length < ahead && next < count) {
      const room = takeRoom(images, targets);
      const making = { plan, shape, repeats, team, room, signal: ending, count };
      const made = makeReadable(examples, options, making, next++);
      made.catch(() => {}); // It is thrown where it is awaited.
      running.push({ made, room });
    }
  };
  try {
    begin();
    for (let begun = running.shift(); begun; begun = running.shift()) {
      const ready = await begun.made;
      begin();
      readable += ready.indices.length;
      first ??= ready.skipped[0];
      try {
        yield ready;
      } finally {
        giveBack(begun.room);
      }
    }
    if (readable === 0 && first) throw unreadable(first, order.length - from * batch);
  } finally {
    own.abort();
  }
}

interface Making {
  readonly plan: Plan;
  readonly shape: readonly [channels: 1 | 3, height: number, width: number];
  readonly repeats: Int32Array;
  readonly team: readonly Thread<LoaderApi>[];
  readonly room: Room;
  readonly signal: AbortSignal;
  /** Batches of the epoch. */
  readonly count: number;
}

/** Batches that are tried in the stead of one that cannot be read. */
const mostTried = 8;

async function makeReadable(
  examples: readonly Example[],
  options: BatchOptions,
  making: Making,
  number: number,
): Promise<Batch> {
  const skipped: Batch['skipped'][number][] = [];
  for (let tried = 0; tried < Math.min(mostTried, making.count); tried++) {
    const made = await makeBatch(examples, options, making, (number + tried) % making.count);
    skipped.push(...made.skipped);
    if (made.indices.length > 0 || !options.full) return { ...made, skipped };
  }
  throw unreadable(skipped[0], skipped.length);
}

const unreadable = ({ error }: Batch['skipped'][number], count: number): ResidualError =>
  count === 1
    ? error
    : new ResidualError(
        error.code,
        `none of ${count} pictures can be read; the first: ${error.message}`,
        error.details,
      );

async function makeBatch(
  examples: readonly Example[],
  options: BatchOptions,
  making: Making,
  number: number,
): Promise<Batch> {
  const { order, batch, augment, seed, epoch, classes, strict, full, mix, smoothing = 0 } = options;
  const { plan, shape, repeats, team, room, signal } = making;
  const start = number * batch;
  const indices = order.slice(start, start + batch);
  const size = shape[0] * shape[1] * shape[2];
  const memory = options.cache === 'ram' ? memoryFor(examples, decodingOf(plan)) : undefined;
  const part = Math.ceil(indices.length / team.length);
  const shares = await Promise.all(
    team.slice(0, Math.ceil(indices.length / part)).map(async (thread, i) => {
      const [first, end] = [i * part, Math.min((i + 1) * part, indices.length)];
      const mine = indices.slice(first, end);
      const filled: Filled = await thread.call(
        'fill',
        [
          {
            sources: Array.from(mine, (index) => memory?.at(index) ?? examples[index].source),
            indices: mine,
            repeats: repeats.slice(start + first, start + end),
            images: room.images.subarray(first * size, end * size),
            shape,
            plan,
            augment,
            seed,
            epoch,
            keep: memory !== undefined,
          },
        ],
        { signal },
      );
      for (const { place, pixels } of filled.kept) memory?.keep(mine[place], pixels);
      return filled.failed.map(({ place, error }) => ({ place: first + place, error }));
    }),
  );
  const failed = shares.flat();
  const skipped = failed.map(({ place, error }) => {
    const { id } = examples[indices[place]];
    return { id, error: named(errorFromJSON(error) as ResidualError, id) };
  });
  if (skipped.length > 0 && strict) throw skipped[0].error;
  const none = skipped.length === indices.length;
  const places = none ? [] : placesOf(indices.length, new Set(failed.map(({ place }) => place)), full === true);
  places.forEach((place, to) => {
    if (place !== to) room.images.copyWithin(to * size, place * size, (place + 1) * size);
  });
  const shown = Int32Array.from(places, (place) => indices[place]);
  const images = room.images.subarray(0, shown.length * size);
  const targets = room.targets.subarray(0, shown.length * classes);
  shown.forEach((index, i) => {
    const { target, id } = examples[index];
    writeTarget(target, targets.subarray(i * classes, (i + 1) * classes), smoothing, id);
  });
  const blend = mix && blendFor(mix, { seed, epoch, batch: number }, { height: shape[1], width: shape[2] });
  if (blend && !none) {
    await team[0].call('blend', [images, [shown.length, ...shape], blend], { signal });
    blendTargets(targets, classes, blend);
  }
  return {
    indices: shown,
    images: { dtype: 'float32', shape: [shown.length, ...shape], data: images },
    targets: { dtype: 'float32', shape: [shown.length, classes], data: targets },
    skipped,
  };
}

/** Which picture stands in each place: without those that failed, or with others of the batch in their stead. */
function placesOf(count: number, failed: ReadonlySet<number>, full: boolean): number[] {
  const places = Array.from({ length: count }, (_, i) => i);
  const good = places.filter((place) => !failed.has(place));
  if (!full) return good;
  let used = 0;
  return places.map((place) => (failed.has(place) ? good[used++ % good.length] : place));
}

/** The error with the name of the picture in front, where it does not name it already. */
function named(error: ResidualError, id: string): ResidualError {
  if (error.message.startsWith(`${id}:`)) return error;
  const message = error.message.replace(/^bytes: /, '');
  return new ResidualError(error.code, `${id}: ${message}`, { ...error.details, file: id });
}

/** How often each place's example came before in the order. */
function repeatsIn(order: Int32Array, examples: number): Int32Array {
  const seen = new Int32Array(examples);
  return order.map((index) => seen[index]++);
}

function shapeOf(
  examples: readonly Example[],
  { channels = 3 }: BatchOptions,
  plan: Plan,
): [channels: 1 | 3, height: number, width: number] {
  const size = sizeOfPlan(plan);
  if (size) return [channels, size.height, size.width];
  const { source } = examples[0];
  if (source.kind === 'pixels') return [channels, source.height, source.width];
  throw new ResidualError(
    'ARGUMENT',
    'the plan leaves the size to the picture, and pictures of a batch have one size; give a plan that ends in a crop or a resize to a fixed size',
  );
}

function check(
  examples: readonly Example[],
  { order, batch, workers = 1, from = 0, smoothing = 0, signal, mix }: BatchOptions,
): void {
  if (signal?.aborted) throw aborted();
  const refuse = (expected: string, name: string, received: number | undefined): void => {
    throw new ResidualError('ARGUMENT', `expected ${expected} for ${name} but received ${received}`);
  };
  if (!Number.isInteger(batch) || batch < 1) refuse('a positive integer', 'batch', batch);
  if (!Number.isInteger(workers) || workers < 1 || workers > 64) refuse('an integer from 1 to 64', 'workers', workers);
  if (!Number.isInteger(from) || from < 0) refuse('an integer ≥ 0', 'from', from);
  if (!(smoothing >= 0 && smoothing < 1)) refuse('a number from 0 to below 1', 'smoothing', smoothing);
  for (const [name, alpha] of Object.entries(mix ?? {}))
    if (!(alpha >= 0 && alpha <= 1000)) refuse('a number from 0 to 1000', name, alpha);
  const wrong = order.find((index) => !(index >= 0 && index < examples.length));
  if (wrong !== undefined) refuse(`indices of ${examples.length} examples`, 'order', wrong);
}
