/** What every verb is given besides its arguments and options. */
export interface Context {
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** Reports an error and goes on: one line on stderr, or a JSON object with --json. */
  readonly report: (error: unknown) => void;
  /** Tells of something that was decided for the user, on stderr. */
  readonly note: (text: string) => void;
}
