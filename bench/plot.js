// Bars by Vega, drawn without a browser.
import { parse, View } from 'vega';

/**
 * An SVG of horizontal bars `{ name, group, value }`, in the order given, values written beside them; a line marks 1. The
 * scale is logarithmic: a bar twice as long is not twice as fast, but equal steps are equal factors.
 */
export async function bars(rows, title) {
  const names = [...new Set(rows.map(({ name }) => name))];
  const groups = [...new Set(rows.map(({ group }) => group))];
  const least = Math.min(0.5, ...rows.map(({ value }) => value)) / 1.1;
  const most = Math.max(2, ...rows.map(({ value }) => value)) * 1.2;
  const place = { scale: 'y', field: 'name' };
  const within = { scale: 'within', field: 'group' };
  const view = new View(
    parse({
      $schema: 'https://vega.github.io/schema/vega/v6.json',
      width: 460,
      height: names.length * (groups.length * 13 + 8),
      padding: 8,
      background: 'white',
      title: { text: title, anchor: 'start' },
      data: [
        { name: 'rows', values: rows.map((row) => ({ ...row, text: row.value.toFixed(row.value < 10 ? 2 : 1) })) },
      ],
      scales: [
        { name: 'x', type: 'log', domain: [least, most], range: 'width', nice: false },
        { name: 'y', type: 'band', domain: names, range: 'height', padding: 0.15 },
        { name: 'within', type: 'band', domain: groups, range: [0, { signal: "bandwidth('y')" }] },
        { name: 'colour', type: 'ordinal', domain: groups, range: ['#4c78a8', '#f58518', '#54a24b', '#b279a2'] },
      ],
      axes: [
        { orient: 'bottom', scale: 'x', grid: true, values: [0.01, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32], format: '~g' },
        { orient: 'left', scale: 'y', ticks: false, labelPadding: 6 },
      ],
      legends: [{ fill: 'colour', orient: 'top', direction: 'horizontal' }],
      marks: [
        {
          type: 'rect',
          from: { data: 'rows' },
          encode: {
            enter: {
              x: { scale: 'x', value: least },
              x2: { scale: 'x', field: 'value' },
              y: { ...place, offset: within },
              height: { scale: 'within', band: 0.9 },
              fill: { scale: 'colour', field: 'group' },
            },
          },
        },
        {
          type: 'text',
          from: { data: 'rows' },
          encode: {
            enter: {
              x: { scale: 'x', field: 'value', offset: 3 },
              y: { ...place, offset: { scale: 'within', field: 'group', band: 0.5 } },
              baseline: { value: 'middle' },
              fontSize: { value: 9 },
              text: { field: 'text' },
            },
          },
        },
        {
          type: 'rule',
          encode: {
            enter: {
              x: { scale: 'x', value: 1 },
              y: { value: 0 },
              y2: { field: { group: 'height' } },
              stroke: { value: '#333' },
            },
          },
        },
      ],
    }),
    { renderer: 'none' },
  );
  const svg = await view.toSVG();
  view.finalize();
  return svg;
}
