import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import { ResidualError, unknownName } from 'residual/errors';
import { type Flag, flagName } from './flags.js';
import { exitOf, report } from './report.js';
import { type Verb, verbs } from './verbs.js';

/** Runs the command line; answers with the exit status. Errors are printed, never thrown. */
export async function main(argv: readonly string[]): Promise<number> {
  const json = argv.includes('--json');
  const abort = new AbortController();
  process.on('SIGINT', () => {
    if (abort.signal.aborted) process.exit(130); // the second Ctrl-C does not wait
    abort.abort(new ResidualError('ABORTED', 'interrupted'));
  });
  // `residual … | head` closes the pipe early: that is the reader's right.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const fail = (error: unknown) => {
    if (abort.signal.aborted) return 130;
    report(error, json);
    return exitOf(error);
  };
  process.on('uncaughtException', (error) => process.exit(fail(error)));

  let status = 0;
  const program = commandLine(async (verb, args, options) => {
    const { run } = await verb.load();
    const context = { signal: abort.signal, report: (error: unknown) => report(error, json) };
    status = await run(args, options as never, context);
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return abort.signal.aborted ? 130 : status;
  } catch (error) {
    if (!(error instanceof CommanderError)) return fail(error);
    if (error.exitCode === 0) return 0; // --help, --version
    return error.code === 'commander.help' ? 2 : fail(usage(error));
  }
}

type Start = (verb: Verb, args: readonly string[], options: object) => Promise<void>;

/** The table of verbs as commander understands it. */
function commandLine(start: Start): Command {
  const program = new Command('residual')
    .description('Classify photographs with the weights of any ResNet.')
    .usage('<verb> [options]')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .addHelpText('after', '\nHelp on one verb: residual help <verb>')
    .configureOutput({ outputError: () => {} })
    .exitOverride();
  for (const verb of verbs) {
    const command = program
      .command([verb.name, verb.args].join(' ').trim())
      .copyInheritedSettings(program)
      .description(verb.summary)
      .addHelpText('after', `\nExamples:\n${verb.examples.map((line) => `  $ ${line}\n`).join('')}`)
      .action(async () => start(verb, command.args, command.opts()));
    for (const [key, flag] of Object.entries(verb.flags)) command.addOption(option(key, flag));
  }
  program
    .helpCommand(false)
    .command('help [verb]')
    .description('print the help of a verb')
    .action((name?: string) => {
      const command = name === undefined ? program : program.commands.find((known) => known.name() === name);
      if (!command) throw unknownName('verb', name!, names());
      command.outputHelp();
    });
  return program;
}

const names = () => verbs.map((verb) => verb.name);

function option(key: string, flag: Flag): Option {
  const name = flagName(key);
  const { parse } = flag;
  const made = new Option(
    [flag.short && `-${flag.short}, `, name, flag.value && ` <${flag.value}>`].filter(Boolean).join(''),
    flag.help,
  );
  if (flag.preset !== undefined) made.default(flag.preset);
  return parse ? made.argParser((given: string) => parse(given, name)) : made;
}

/** Commander's complaint as one of ours: `unknown option '--tpo'; did you mean --top?`. */
function usage(error: CommanderError): ResidualError {
  const [first, hint] = error.message
    .replace(/^error: /, '')
    .replace('unknown command', 'unknown verb')
    .split('\n');
  const more = hint ? `; ${hint.replace(/^\(Did you mean (.*)\?\)$/, 'did you mean $1?')}` : '; see residual --help';
  return new ResidualError('ARGUMENT', `${first.replace(/\.$/, '')}${more}`);
}

function version(): string {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version;
}
