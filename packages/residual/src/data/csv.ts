import { ResidualError } from '../errors.js';

/**
 * The rows of a CSV file (RFC 4180: quotes, quotes doubled inside, line ends inside quotes), empty lines left out. The
 * separator is the first of comma, tab and semicolon that the first line has outside quotes.
 * @throws DATA for a quote that is not closed.
 */
export function parseCsv(text: string, file: string): { readonly line: number; readonly cells: string[] }[] {
  const body = text.replace(/^\ufeff/, '');
  const firstLine = /^[^\r\n]*/.exec(body.replace(/"[^"]*"/g, ''))?.[0] ?? '';
  const separator = [',', '\t', ';'].find((sign) => firstLine.includes(sign)) ?? ',';
  const rows: { line: number; cells: string[] }[] = [];
  let cells: string[] = [];
  let cell = '';
  let quoted = false;
  let line = 1;
  let began = 1;
  const endRow = (): void => {
    cells.push(cell);
    if (cells.length > 1 || cells[0].trim() !== '') rows.push({ line: began, cells: cells.map((one) => one.trim()) });
    cells = [];
    cell = '';
    began = line;
  };
  for (let i = 0; i < body.length; i++) {
    const sign = body[i];
    if (sign === '\n') line++;
    if (quoted) {
      if (sign !== '"') cell += sign;
      else if (body[i + 1] === '"') {
        cell += '"';
        i++;
      } else quoted = false;
    } else if (sign === '"' && cell.trim() === '') {
      quoted = true;
      cell = '';
    } else if (sign === separator) {
      cells.push(cell);
      cell = '';
    } else if (sign === '\n') endRow();
    else if (sign !== '\r') cell += sign;
  }
  if (quoted)
    throw new ResidualError('DATA', `${file}: line ${began}: a quote is not closed; the file may be cut off`, { file });
  endRow();
  return rows;
}
