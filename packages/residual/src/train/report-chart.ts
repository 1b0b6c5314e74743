/** One line of a chart. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Any colour of CSS. */
  readonly color: string;
}

const width = 460;
const height = 240;
const margin = { left: 52, right: 12, top: 12, bottom: 34 };

/** Text inside HTML and its attributes. */
export const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`).replace(/\p{Cc}/gu, ' ');

/**
 * A line chart as SVG, without scripts.
 * @param options.log the horizontal axis is logarithmic
 * @param options.percent vertical values are shares
 */
export function chart(
  series: readonly Series[],
  options: { readonly x: string; readonly y: string; readonly log?: boolean; readonly percent?: boolean },
): string {
  const drawn = series.map((one) => ({
    ...one,
    points: one.points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y)),
  }));
  const all = drawn.flatMap(({ points }) => points);
  if (all.length === 0) return '';
  const place = options.log ? Math.log10 : (x: number) => x;
  const [left, right] = range(all.map(([x]) => place(x)));
  const [bottom, top] = range(all.map(([, y]) => y));
  const across = (x: number) =>
    margin.left + ((place(x) - left) / (right - left)) * (width - margin.left - margin.right);
  const down = (y: number) =>
    height - margin.bottom - ((y - bottom) / (top - bottom)) * (height - margin.top - margin.bottom);
  const number = (value: number) => (options.percent ? `${short(100 * value, 3)} %` : short(value, 3));
  const rows = ticks(bottom, top).map(
    (y) =>
      `<line x1="${margin.left}" x2="${width - margin.right}" y1="${down(y)}" y2="${down(y)}" class="grid"/><text x="${margin.left - 6}" y="${down(y) + 4}" text-anchor="end">${number(y)}</text>`,
  );
  const columns = ticks(left, right).map((x) => {
    const value = options.log ? 10 ** x : x;
    return `<text x="${across(value)}" y="${height - margin.bottom + 16}" text-anchor="middle">${short(value, 2)}</text>`;
  });
  const lines = drawn.map(({ points, color, name }) => {
    const path = thinned(points).map(([x, y]) => `${across(x).toFixed(1)},${down(y).toFixed(1)}`);
    return path.length === 1
      ? `<circle cx="${path[0].split(',')[0]}" cy="${path[0].split(',')[1]}" r="3" fill="${color}"><title>${escaped(name)}</title></circle>`
      : `<polyline points="${path.join(' ')}" fill="none" stroke="${color}" stroke-width="1.6"><title>${escaped(name)}</title></polyline>`;
  });
  const legend = drawn.map(
    ({ name, color }, i) =>
      `<text x="${width - margin.right - 4}" y="${margin.top + 12 + 15 * i}" text-anchor="end" fill="${color}" class="legend">${escaped(name)}</text>`,
  );
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(options.y)} by ${escaped(options.x)}">${rows.join('')}${columns.join('')}${lines.join('')}${legend.join('')}<text x="${(width + margin.left) / 2}" y="${height - 4}" text-anchor="middle">${escaped(options.x)}</text></svg>`;
}

/** A number with so many digits that count; `8e6` where it would not fit beside the axis. */
function short(value: number, digits: number): string {
  const plain = String(Number(value.toPrecision(digits)));
  if (plain.length <= 6) return plain;
  const [mantissa, power] = value.toExponential(digits - 1).split('e');
  return `${Number(mantissa)}e${Number(power)}`;
}

function range(values: readonly number[]): [number, number] {
  const [least, most] = values.reduce(([a, b], x) => [Math.min(a, x), Math.max(b, x)], [values[0], values[0]]);
  return least === most ? [least - (Math.abs(least) || 1) / 2, most + (Math.abs(most) || 1) / 2] : [least, most];
}

/** About five round numbers inside a range. */
function ticks(least: number, most: number): number[] {
  const rough = (most - least) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough) ?? rough;
  const found: number[] = [];
  for (let value = Math.ceil(least / step) * step; value <= most + step * 1e-9; value += step) found.push(value);
  return found;
}

/** A line of thousands of points is drawn by its means. */
function thinned(points: Series['points'], most = 400): Series['points'] {
  if (points.length <= most) return points;
  return Array.from({ length: most }, (_, i) => {
    const part = points.slice(Math.floor((i * points.length) / most), Math.floor(((i + 1) * points.length) / most));
    const mean = (axis: 0 | 1) => part.reduce((sum, point) => sum + point[axis], 0) / part.length;
    return [mean(0), mean(1)] as const;
  });
}
