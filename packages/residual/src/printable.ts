/**
 * Text on one line without control, format or bidirectional characters: a name from a file cannot move the cursor, forge
 * a line or turn what is written after it. Line ends become a space, the rest U+FFFD. (Unicode's general categories Cc,
 * Cf, Zl, Zp; Cf holds the zero-width ones.)
 */
export const printable = (text: string): string =>
  text.replace(/[\r\n\p{Zl}\p{Zp}]\s*/gu, ' ').replace(/[\p{Cc}\p{Cf}]/gu, '\ufffd');
