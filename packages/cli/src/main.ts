import { readFileSync } from 'node:fs';
import { overview } from './overview.js';

/**
 * Runs the command line; answers with the exit status. Errors are printed, never thrown. What `--help` does not need
 * (commander, the error table, the verbs) is loaded after it: help appears as fast as Node starts.
 */
export async function main(argv: readonly string[]): Promise<number> {
  // `residual … | head` closes the pipe early: that is the reader's right.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const [first] = argv;
  if (first === undefined) process.stderr.write(overview());
  else if (first === '--version' || first === '-V') process.stdout.write(`${version()}\n`);
  else if (first === '--help' || first === '-h' || (first === 'help' && argv.length === 1))
    process.stdout.write(overview());
  else return work(argv);
  return first === undefined ? 2 : 0;
}

async function work(argv: readonly string[]): Promise<number> {
  const [{ runVerb }, { exitOf, note, report }] = await Promise.all([
    import('./commandline.js'),
    import('./report.js'),
  ]);
  const json = argv.includes('--json');
  const abort = new AbortController();
  let interrupted = 130; // 128 + SIGINT, as shells count
  // Once: a second Ctrl-C finds no listener, so the system ends the process, whatever it is doing.
  process.once('SIGINT', () => abort.abort());
  // What a cluster sends before it takes the machine away.
  process.once('SIGTERM', () => {
    interrupted = 143;
    abort.abort();
  });
  const fail = (error: unknown) => {
    if (abort.signal.aborted) return interrupted;
    report(error, json);
    return exitOf(error);
  };
  process.on('uncaughtException', (error) => process.exit(fail(error)));
  try {
    const status = await runVerb(argv, {
      signal: abort.signal,
      report: (error) => report(error, json),
      note: (text) => note(text, json),
    });
    return abort.signal.aborted ? interrupted : status;
  } catch (error) {
    return fail(error);
  }
}

function version(): string {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version;
}
