/**
 * Text on one line without control, format or bidirectional characters: a name from a file cannot move the cursor, forge
 * a line or turn what is written after it. Line ends become a space, the rest U+FFFD. (Unicode's general categories Cc,
 * Cf, Zl, Zp; Cf holds the zero-width ones.)
 */
export const printable = (text: string): string =>
  text.replace(/[\r\n\p{Zl}\p{Zp}]\s*/gu, ' ').replace(/[\p{Cc}\p{Cf}]/gu, '\ufffd');

/** A path as a shell takes it back: in quotes where it has more than letters, digits and what stands in plain paths. */
export const inShell = (path: string): string =>
  /^[\p{L}\p{N}/\\._:@%+=,-]+$/u.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
