/** A running count of pictures. */
export interface Progress {
  /** So many more are done. */
  readonly done: (count?: number) => void;
  /** Takes the bar off the screen before something else is written there; it comes back by itself. */
  readonly hide: () => void;
  readonly stop: () => void;
}

type Stream = NodeJS.WriteStream;

const silent: Progress = { done() {}, hide() {}, stop() {} };

/** A progress bar on stderr with images/s and the time left; nothing for a single picture or where no terminal is. */
export async function startProgress(total: number, stream: Stream = process.stderr): Promise<Progress> {
  if (!stream.isTTY || total < 2) return silent;
  const { default: cliProgress } = await import('cli-progress');
  const bar = new cliProgress.SingleBar({
    stream,
    format: '{bar} {value}/{total}  {rate} images/s  {eta_formatted} left',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    etaBuffer: 50,
    clearOnComplete: true,
    forceRedraw: true,
    gracefulExit: false, // Ctrl-C is the command line's to handle
  });
  const started = performance.now();
  let count = 0;
  bar.start(total, 0, { rate: '–' });
  return {
    done(more = 1) {
      count += more;
      bar.update(count, { rate: rateOf(count, performance.now() - started) });
    },
    hide: () => void stream.write('\r\u001b[K'),
    stop: () => bar.stop(),
  };
}

/** Shows how much of a file has come. */
export interface DownloadProgress {
  readonly show: (received: number, total: number | undefined) => void;
  /** As that of `Progress`. */
  readonly hide: () => void;
  readonly stop: () => void;
}

/** A progress bar on stderr for a download, in megabytes; nothing where no terminal is. */
export async function startDownload(stream: Stream = process.stderr): Promise<DownloadProgress> {
  if (!stream.isTTY) return { show() {}, hide() {}, stop() {} };
  const { default: cliProgress } = await import('cli-progress');
  const bar = new cliProgress.SingleBar({
    stream,
    format: '{bar} {megabytes}/{all} MB  {rate} MB/s  {eta_formatted} left',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    etaBuffer: 50,
    clearOnComplete: true,
    gracefulExit: false,
  });
  let started: { at: number; received: number } | undefined;
  return {
    show(received, total) {
      const fields = (rate: string) => ({
        megabytes: (received / 1e6).toFixed(1),
        all: total === undefined ? '?' : (total / 1e6).toFixed(1),
        rate,
      });
      if (started === undefined || received < started.received) {
        started = { at: performance.now(), received };
        bar.start(total ?? received, received, fields('–'));
      } else {
        bar.setTotal(Math.max(total ?? 0, received));
        bar.update(received, fields(rateOf((received - started.received) / 1e6, performance.now() - started.at)));
      }
    },
    hide: () => void stream.write('\r\u001b[K'),
    stop: () => bar.stop(),
  };
}

/** Pictures a second with the digits that mean something: `0.53`, `4.2`, `123`. */
export function rateOf(count: number, milliseconds: number): string {
  if (milliseconds <= 0) return '–';
  const rate = (count * 1000) / milliseconds;
  return rate.toFixed(rate < 1 ? 2 : rate < 10 ? 1 : 0);
}
