import { type Flags, json, type OptionsOf } from './flags.js';

/** What every verb is given besides its arguments and options. */
export interface Context {
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** Reports an error and goes on: one line on stderr, or a JSON object with --json. */
  readonly report: (error: unknown) => void;
}

/** A verb's module exports `run`, which answers with the exit status. */
type Run<Options> = (args: readonly string[], options: Options, context: Context) => Promise<number>;

/** A verb as data: all that `--help` needs. Its module, and whatever that imports, is loaded when the verb is used. */
export interface Verb {
  readonly name: string;
  /** In commander's spelling: `<must>`, `[may]`, `<several...>`. */
  readonly args: string;
  readonly summary: string;
  readonly flags: Flags;
  readonly examples: readonly string[];
  readonly load: () => Promise<{ readonly run: Run<never> }>;
}

/** Sees to it that a verb's module takes the very options that its flags give. */
const verb = <const F extends Flags>(
  row: Verb & { readonly flags: F; readonly load: () => Promise<{ readonly run: Run<OptionsOf<F>> }> },
): Verb => row;

export const verbs: readonly Verb[] = [
  verb({
    name: 'doctor',
    args: '',
    summary: 'say what this machine can use and what is missing',
    flags: { json },
    examples: ['residual doctor', 'residual doctor --json'],
    load: () => import('./verbs/doctor.js'),
  }),
];
