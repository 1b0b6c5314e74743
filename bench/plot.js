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

/**
 * An SVG of lines through rows `{ x, y, series, dash }`: a colour for each series, dashes where `dash` is not the first of
 * its values.
 */
export async function lines(rows, { title, x, y, log = false }) {
  const series = [...new Set(rows.map((row) => row.series))];
  const dashes = [...new Set(rows.map(({ dash }) => dash))];
  const view = new View(
    parse({
      $schema: 'https://vega.github.io/schema/vega/v6.json',
      width: 520,
      height: 300,
      padding: 8,
      background: 'white',
      title: { text: title, anchor: 'start' },
      data: [{ name: 'rows', values: rows }],
      scales: [
        { name: 'x', type: 'linear', domain: { data: 'rows', field: 'x' }, range: 'width', nice: true },
        {
          name: 'y',
          type: log ? 'log' : 'linear',
          domain: { data: 'rows', field: 'y' },
          range: 'height',
          nice: true,
          zero: !log,
        },
        {
          name: 'colour',
          type: 'ordinal',
          domain: series,
          range: ['#4c78a8', '#f58518', '#54a24b', '#b279a2', '#e45756', '#72b7b2', '#9d755d', '#bab0ac'],
        },
        { name: 'dash', type: 'ordinal', domain: dashes, range: [[], [5, 4], [2, 2]] },
      ],
      axes: [
        { orient: 'bottom', scale: 'x', title: x },
        { orient: 'left', scale: 'y', title: y, grid: true, ...(log ? { format: '.0e', tickCount: 6 } : {}) },
      ],
      legends: [
        { stroke: 'colour', symbolType: 'stroke', orient: 'right' },
        ...(dashes.length > 1 ? [{ strokeDash: 'dash', symbolType: 'stroke', orient: 'right' }] : []),
      ],
      marks: [
        {
          type: 'group',
          from: { facet: { name: 'line', data: 'rows', groupby: ['series', 'dash'] } },
          marks: [
            {
              type: 'line',
              from: { data: 'line' },
              encode: {
                enter: {
                  x: { scale: 'x', field: 'x' },
                  y: { scale: 'y', field: 'y' },
                  stroke: { scale: 'colour', field: 'series' },
                  strokeDash: { scale: 'dash', field: 'dash' },
                  strokeWidth: { value: 1.5 },
                },
              },
            },
          ],
        },
      ],
    }),
    { renderer: 'none' },
  );
  const svg = await view.toSVG();
  view.finalize();
  return svg;
}
