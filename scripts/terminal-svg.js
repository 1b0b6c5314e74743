// Draws what a command prints, colours included, as an SVG for the README:
//
//   FORCE_COLOR=1 COLUMNS=72 npm run --silent demo | node scripts/terminal-svg.js 'npm run demo' > docs/demo.svg
import { text } from 'node:stream/consumers';

const [command = ''] = process.argv.slice(2);
const lines = [`$ ${command}`, ...(await text(process.stdin)).replace(/\n+$/, '').split('\n')];
const [charWidth, lineHeight, margin] = [8.43, 20, 18];

const escapeCode = '\u001b';
const style = new RegExp(`(${escapeCode}\\[[\\d;]*m)`, 'g');
const xml = (part) => part.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]);
const colours = { 31: '#ff7b72', 32: '#7ee787', 33: '#e3b341', 36: '#56d4dd', 90: '#8b949e' };

/** One line's runs of equal style, each placed by its column so that no font can shift what follows. */
function draw(line, y) {
  let [column, colour, bold, dim] = [0, '#e6edf3', false, false];
  let out = '';
  for (const part of line.split(style)) {
    const codes = part.startsWith(escapeCode) ? part.slice(2, -1).split(';') : undefined;
    if (!codes) {
      const look = `fill="${dim ? '#8b949e' : colour}"${bold ? ' font-weight="600"' : ''}`;
      const leading = part.length - part.trimStart().length;
      const x = margin + (column + leading) * charWidth;
      const shown = part.trim();
      if (shown)
        out += `<text x="${x.toFixed(1)}" y="${y}" textLength="${([...shown].length * charWidth).toFixed(1)}" ${look}>${xml(shown)}</text>`;
      column += [...part].length;
      continue;
    }
    for (const code of codes.map(Number)) {
      if (code === 0) [colour, bold, dim] = ['#e6edf3', false, false];
      else if (code === 1) bold = true;
      else if (code === 2) dim = true;
      else if (code === 22) [bold, dim] = [false, false];
      else if (code === 39) colour = '#e6edf3';
      else colour = colours[code] ?? colour;
    }
  }
  return out;
}

const plain = lines.map((line) => [...line.replaceAll(style, '')].length);
const width = Math.ceil(2 * margin + Math.max(...plain) * charWidth);
const height = 2 * margin + lines.length * lineHeight;
console.log(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="14" xml:space="preserve">
<title>${xml(command)}</title>
<rect width="${width}" height="${height}" rx="10" fill="#0d1117"/>
${lines
  .map((line, i) => draw(line, margin + 14 + i * lineHeight))
  .filter(Boolean)
  .join('\n')}
</svg>`);
