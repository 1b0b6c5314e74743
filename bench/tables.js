// The arithmetic and the writing of tables, without any file or clock.

/** The middle value, between the middle two where there are two. */
export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

/** A table in Markdown; the first column is text, the others numbers. */
export function markdown(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i ? '---:' : '---'))), ...rows.map(line)].join('\n');
}

/** Comma-separated values; the columns are those that any row has. */
export function csv(rows) {
  const columns = [...new Set(rows.flatMap(Object.keys))];
  const cell = (value = '') => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  return [columns, ...rows.map((row) => columns.map((column) => row[column]))]
    .map((cells) => `${cells.map((value) => cell(value)).join(',')}\n`)
    .join('');
}

/** `1.13`, `9.0`, `24`: a ratio with the digits that mean something; a dash for none. */
export function ratio(value) {
  if (value === undefined || Number.isNaN(value)) return '–';
  return value.toFixed(value < 3 ? 2 : value < 20 ? 1 : 0);
}
