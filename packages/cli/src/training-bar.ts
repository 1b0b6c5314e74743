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

/** A bar on stderr for one epoch after the other, with images/s and the time left of the whole run; nothing where no terminal is. */
export async function startTrainingBar(stream: Stream = process.stderr) {
  if (!stream.isTTY) return { show(_: Done) {}, hide() {}, stop() {} };
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
  let begun: { at: number; steps: number } | undefined;
  let active = false;
  return {
    show({ epoch, epochs, step, steps, loss, pictures }: Done) {
      const now = performance.now();
      const at = (epoch - 1) * steps + step;
      begun ??= { at: now, steps: at };
      const done = at - begun.steps;
      const fields = {
        epoch,
        epochs,
        loss: loss.toPrecision(3),
        rate: done > 0 ? rateOf(done * pictures, now - begun.at) : '–',
        left: done > 0 ? timeOf(((epochs * steps - at) * (now - begun.at)) / done / 1000) : '–',
      };
      if (!active) bar.start(steps, step, fields);
      else bar.update(step, fields);
      active = true;
    },
    /** Takes it off the screen before something else is written; it comes back by itself. */
    hide() {
      if (active) bar.stop();
      active = false;
    },
    stop() {
      if (active) bar.stop();
      active = false;
    },
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
