import { Command, CommanderError, Option } from 'commander';
import { ResidualError, unknownName } from 'residual/errors';
import type { Context } from './context.js';
import { type Flag, flagName } from './flags.js';
import { type Verb, verbs } from './verbs.js';

/**
 * Runs one verb, or prints its help: `classify --top 3 photo.jpg`, `help classify`.
 * @returns the exit status
 * @throws ARGUMENT, UNKNOWN_NAME for what cannot be understood, and whatever the verb throws.
 */
export async function runVerb(argv: readonly string[], context: Context): Promise<number> {
  let status = 0;
  const program = new Command('residual')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .configureOutput({ outputError: () => {} })
    .exitOverride();
  for (const verb of verbs) {
    const command = commandOf(verb).copyInheritedSettings(program);
    command.action(async () => {
      const { run } = await verb.load();
      status = await run(command.args, command.opts() as never, context);
    });
    program.addCommand(command);
  }
  program.command('help <verb>').action((name: string) => {
    const command = program.commands.find((known) => known.name() === name);
    if (!command) throw unknownName('verb', name, names());
    command.outputHelp();
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return status;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0; // --help
    throw usage(error);
  }
}

const names = () => verbs.map((verb) => verb.name);

/** A row of the table of verbs as commander understands it. */
function commandOf(verb: Verb): Command {
  const command = new Command(verb.name)
    .description(`${verb.summary[0].toUpperCase()}${verb.summary.slice(1)}.`)
    .addHelpText('after', `\nExamples:\n${verb.examples.map((line) => `  $ ${line}`).join('\n')}`);
  if (verb.args) command.arguments(verb.args);
  for (const [key, flag] of Object.entries(verb.flags)) command.addOption(optionOf(key, flag));
  return command;
}

function optionOf(key: string, { short, value, help, preset, parse, several }: Flag): Option {
  const name = flagName(key);
  const option = new Option(`${short ? `-${short}, ` : ''}${name}${value ? ` <${value}>` : ''}`, help);
  if (preset !== undefined) option.default(preset);
  if (!parse) return option;
  return option.argParser((given: string, before: unknown) =>
    several ? [...((before as unknown[] | undefined) ?? []), parse(given, name)] : parse(given, name),
  );
}

/** Commander's complaint as one of ours: `unknown option '--tpo'; did you mean --top?`. */
function usage(error: CommanderError): ResidualError {
  const [complaint, hint] = error.message
    .replace(/^error: /, '')
    .replace('unknown command', 'unknown verb')
    .split('\n');
  const advice = hint ? hint.replace(/^\(Did you mean (.*)\?\)$/, 'did you mean $1?') : 'see residual --help';
  return new ResidualError('ARGUMENT', `${complaint.replace(/\.$/, '')}; ${advice}`);
}
