import pc from 'picocolors';
import stringWidth from 'string-width';
import { printable } from './terminal.js';

/** A class and how likely it is, 0 to 1. */
export interface BarRow {
  readonly label: string;
  readonly probability: number;
}

const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/**
 * A bar chart of one picture, one line a class:
 *
 *     elephant.jpg
 *       African_elephant  ██████████████████████████▎  87.4 %
 *       tusker            ███▍                         11.2 %
 *
 * A full bar is a probability of 1. Labels keep to 40 % of the width and are cut with `…`; wide characters count as
 * two columns.
 */
export function bars(
  title: string,
  rows: readonly BarRow[],
  { width, color }: { width: number; color: boolean },
): string {
  const { bold, cyan, dim } = pc.createColors(color);
  const labels = rows.map((row) => fit(printable(row.label), Math.floor(width * 0.4)));
  const labelColumns = Math.max(0, ...labels.map((label) => stringWidth(label)));
  const barColumns = width - 2 - labelColumns - 2 - 2 - '100.0 %'.length;
  const lines = rows.map(({ probability }, row) => {
    const bar = barOf(probability, barColumns);
    const label = labels[row] + ' '.repeat(labelColumns - stringWidth(labels[row]));
    const percent = percentOf(probability).padStart('100.0 %'.length);
    return `  ${row === 0 ? bold(label) : label}  ${cyan(bar)}${' '.repeat(barColumns - bar.length)}  ${dim(percent)}`;
  });
  return `${[bold(printable(title)), ...lines].join('\n')}\n`;
}

/** Whole blocks and one of eighths; something that is not zero shows at least an eighth. */
function barOf(probability: number, columns: number): string {
  const share = Number.isFinite(probability) ? Math.min(1, Math.max(0, probability)) : 0;
  const parts = Math.max(share > 0 ? 1 : 0, Math.round(share * columns * 8));
  return '█'.repeat(parts >> 3) + eighths[parts & 7];
}

/** `87.4 %`; never `100.0 %` or `0.0 %` for what is neither. */
function percentOf(probability: number): string {
  if (!Number.isFinite(probability)) return 'NaN %';
  if (probability > 0 && probability < 0.0005) return '<0.1 %';
  if (probability < 1 && probability >= 0.9995) return '>99.9 %';
  return `${(probability * 100).toFixed(1)} %`;
}

/** Cuts text to so many columns, never inside a character. */
function fit(text: string, columns: number): string {
  if (stringWidth(text) <= columns) return text;
  let kept = '';
  let used = 1;
  for (const character of text) {
    used += stringWidth(character);
    if (used > columns) break;
    kept += character;
  }
  return `${kept}…`;
}
