import { type Flag, flagName, type Shell } from './flags.js';
import { type Verb, verbs } from './verbs.js';

/** Words that stand for something the library knows: what `--model`, `--preprocess` and `--dialect` take. */
export interface KnownWords {
  readonly models: readonly string[];
  readonly dialects: readonly string[];
  readonly presets: readonly string[];
}

/** What may follow the name of a flag or a verb. */
interface Completed {
  readonly words: readonly string[];
  readonly files: boolean;
}

interface FlagRow extends Completed {
  /** `--engine`; with a short one, `-k` too. */
  readonly names: readonly string[];
  readonly help: string;
  /** Whether a value follows. */
  readonly valued: boolean;
}

interface VerbRow extends Completed {
  readonly name: string;
  readonly summary: string;
  readonly flags: readonly FlagRow[];
}

/**
 * A script that makes a shell complete `residual …`: verbs, their flags, the words a flag knows, and files elsewhere.
 * All of it comes from the table of verbs.
 */
export function completionScript(shell: Shell, known: KnownWords): string {
  return scripts[shell](verbs.map((verb) => rowOf(verb, known)).concat(helpRow));
}

const helpRow: VerbRow = {
  name: 'help',
  summary: 'print the help of a verb, with examples',
  flags: [],
  words: verbs.map(({ name }) => name),
  files: false,
};

function rowOf({ name, summary, args, words, flags }: Verb, known: KnownWords): VerbRow {
  const isModel = /model|name/.test(args);
  const own = Object.entries<Flag>(flags).map(([key, flag]) => flagOf(key, flag, known));
  const help = { names: ['--help', '-h'], help: 'print this help', valued: false, words: [], files: false };
  return {
    name,
    summary,
    flags: [...own, help],
    words: words ?? (isModel ? known.models : []),
    // Arguments are files (a model may be one) but where they are words or names.
    files: args !== '' && words === undefined && !/name/.test(args),
  };
}

function flagOf(key: string, { short, value, help, parse }: Flag, known: KnownWords): FlagRow {
  const { models, presets, dialects } = known;
  const names = value === 'preset' ? presets : value === 'dialect' ? dialects : /model$/i.test(key) ? models : [];
  return {
    names: [flagName(key), ...(short ? [`-${short}`] : [])],
    help,
    valued: value !== undefined,
    words: parse?.words ?? names,
    files: value === 'file' || value === 'folder' || value === 'names', // names may stand in a file
  };
}

const scripts = { bash, zsh, fish } satisfies Record<Shell, (rows: readonly VerbRow[]) => string>;

/** In single quotes; `inside` spells a quote among them. */
const quoted = (text: string, inside = `'\\''`): string => `'${text.replaceAll("'", inside)}'`;

/** Patterns of a `case`: `'classify --model'|'classify -m'`. */
const patterns = ({ name }: VerbRow, { names }: FlagRow): string =>
  names.map((flag) => quoted(`${name} ${flag}`)).join('|');

/** Bash 3.2 and later. Files are readline's own completion, which takes over where the function offers nothing. */
function bash(rows: readonly VerbRow[]): string {
  const values = rows.flatMap((row) =>
    row.flags
      .filter(({ valued }) => valued)
      .map((flag) => {
        const act =
          flag.words.length > 0 ? `words=${quoted(flag.words.join(' '))} files=no` : flag.files ? ':' : 'files=no';
        return `    ${patterns(row, flag)}) ${act} ;;`;
      }),
  );
  const others = rows.map((row) => {
    const flags = row.flags.flatMap(({ names }) => names.slice(0, 1)).join(' ');
    const act = `words=${quoted(row.words.join(' '))}${row.files ? '' : '; files=no'}`;
    return `      ${quoted(row.name)}) case $cur in (-*) words=${quoted(flags)} ;; (*) ${act} ;; esac ;;`;
  });
  return `# Completion of \`residual\` for bash, by: residual completion bash
_residual() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} verb=\${COMP_WORDS[1]} words='' files=yes
  COMPREPLY=()
  # \`--engine=onnx\` arrives in three words.
  if [ "$cur" = = ]; then cur=''; elif [ "$prev" = = ]; then prev=\${COMP_WORDS[COMP_CWORD-2]}; fi
  if [ "$COMP_CWORD" -eq 1 ]; then verb='' words=${quoted([...rows.map(({ name }) => name), '--help', '--version'].join(' '))} files=no; fi
  case "$verb $prev" in
${values.join('\n')}
    *) case $verb in
${others.join('\n')}
    esac ;;
  esac
  if [ -n "$words" ]; then COMPREPLY=($(compgen -W "$words" -- "$cur")); fi
  if [ $files = no ]; then compopt +o default 2>/dev/null; fi
}
complete -o default -F _residual residual
`;
}

/** Zsh: by \`eval\` in ~/.zshrc, or as a file \`_residual\` in a folder of $fpath. */
function zsh(rows: readonly VerbRow[]): string {
  const described = (pairs: readonly (readonly [word: string, help: string])[]) =>
    pairs.map(([word, help]) => quoted(`${word.replaceAll(':', '\\:')}:${help.replaceAll(':', '\\:')}`)).join(' ');
  const offer = ({ words, files }: Completed) =>
    [...(words.length > 0 ? [`compadd -- ${words.join(' ')}`] : []), ...(files ? ['_files'] : [])].join('; ') || ':';
  const values = rows.flatMap((row) =>
    row.flags.filter(({ valued }) => valued).map((flag) => `    (${patterns(row, flag)}) ${offer(flag)}; return ;;`),
  );
  const others = rows.map((row) => {
    const flags = described(row.flags.flatMap(({ names, help }) => names.map((name) => [name, help] as const)));
    return `    (${row.name}) flags=(${flags}); if [[ $PREFIX == -* ]]; then _describe -o flag flags; else ${offer(row)}; fi ;;`;
  });
  return `#compdef residual
# Completion of \`residual\` for zsh, by: residual completion zsh
_residual() {
  local -a verbs flags
  verbs=(${described(rows.map(({ name, summary }) => [name, summary]))})
  if (( CURRENT == 2 )); then
    if [[ $PREFIX == -* ]]; then compadd -- --help --version; else _describe verb verbs; fi
    return
  fi
  case "$words[2] $words[CURRENT-1]" in
${values.join('\n')}
  esac
  case $words[2] in
${others.join('\n')}
  esac
}
if [[ $funcstack[1] == _residual ]]; then _residual "$@"; else compdef _residual residual; fi
`;
}

function fish(rows: readonly VerbRow[]): string {
  const text = (words: string) => quoted(words.replaceAll('\\', '\\\\'), "\\'");
  const lines = rows.flatMap((row) => {
    const within = `complete -c residual -n '__fish_seen_subcommand_from ${row.name}'`;
    const flags = row.flags.map(({ names: [long, short], help, valued, words, files }) =>
      [
        within,
        `-l ${long.slice(2)}`,
        ...(short === undefined ? [] : [`-s ${short.slice(1)}`]),
        ...(valued ? [files ? '-r -F' : '-x'] : []),
        // A tab ends a word and begins its description: none, or else each has that of the flag.
        ...(words.length > 0 ? [`-a '${words.map((word) => `${word}\\t`).join(' ')}'`] : []),
        `-d ${text(help)}`,
      ].join(' '),
    );
    return [
      `complete -c residual -n __fish_use_subcommand -a ${row.name} -d ${text(row.summary)}`,
      ...flags,
      ...(row.words.length > 0 ? [`${within} -a ${text(row.words.join(' '))}`] : []),
      ...(row.files ? [`${within} -F`] : []),
    ];
  });
  return `# Completion of \`residual\` for fish, by: residual completion fish
complete -c residual -f
complete -c residual -n __fish_use_subcommand -l help -s h -d 'print this help'
complete -c residual -n __fish_use_subcommand -l version -s V -d 'print the version'
${lines.join('\n')}
`;
}
