import { rateOf } from './progress.js';

type Stream = NodeJS.WriteStream;

/** How far a run is, as the library tells it. */
interface Done {
  readonly epoch: number;
  readonly epochs: number;
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly pictures: number;
}

/** What shows how far a run is. */
interface TrainingBar {
  readonly show: (done: Done) => void;
  /** Takes it off the screen before something else is written; it comes back by itself. */
  readonly hide: () => void;
  readonly stop: () => void;
}

/** Seconds between two lines where no terminal is. */
const between = 30;

/**
 * A bar on stderr for one epoch after the other, with images/s and the time left of the whole run. Where no terminal is,
 * a plain line now and then: a long epoch should not look dead.
 *
 * @param options `plain`: whether lines are wanted where there is no terminal. `now`: milliseconds of a clock.
 */
export async function startTrainingBar({
  stream = process.stderr,
  plain = true,
  now = () => performance.now(),
}: {
  stream?: Stream;
  plain?: boolean;
  now?: () => number;
} = {}): Promise<TrainingBar> {
  const pace = pacing(now);
  if (!stream.isTTY) {
    let told = now();
    return {
      show(done) {
        const { rate, left } = pace(done);
        if (!plain || now() - told < between * 1000) return;
        told = now();
        const { epoch, epochs, step, steps, loss } = done;
        stream.write(
          `epoch ${epoch}/${epochs}  step ${step}/${steps}  loss ${loss.toPrecision(3)}  ${rate} images/s  ${left} left\n`,
        );
      },
      hide() {},
      stop() {},
    };
  }
  const { default: cliProgress } = await import('cli-progress');
  const bar = new cliProgress.SingleBar({
    stream,
    format: 'epoch {epoch}/{epochs} {bar} {value}/{total}  loss {loss}  {rate} images/s  {left} left',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 20,
    clearOnComplete: true,
    forceRedraw: true,
    gracefulExit: false, // Ctrl-C is the command line's to handle
  });
  let active = false;
  const hide = () => {
    if (active) bar.stop();
    active = false;
  };
  return {
    show(done) {
      const { epoch, epochs, step, steps, loss } = done;
      const fields = { epoch, epochs, loss: loss.toPrecision(3), ...pace(done) };
      if (!active) bar.start(steps, step, fields);
      else bar.update(step, fields);
      active = true;
    },
    hide,
    stop: hide,
  };
}

/** Images a second and the time left, both since the first step it is told of. */
function pacing(now: () => number) {
  let begun: { at: number; steps: number } | undefined;
  return ({ epoch, epochs, step, steps, pictures }: Done): { rate: string; left: string } => {
    const at = (epoch - 1) * steps + step;
    begun ??= { at: now(), steps: at };
    const [done, took] = [at - begun.steps, now() - begun.at];
    if (done <= 0) return { rate: '–', left: '–' };
    return { rate: rateOf(done * pictures, took), left: timeOf(((epochs * steps - at) * took) / done / 1000) };
  };
}

/** Seconds for people: `42 s`, `3 min 20 s`, `2 h 5 min`, `3 days 4 h`. */
export function timeOf(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${seconds < 10 ? Number(seconds.toPrecision(2)) : whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const hours = Math.floor(whole / 3600);
  if (hours < 48) return `${hours} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(hours / 24)} days ${hours % 24} h`;
}
