import type { Shape } from '../tensor.js';
import { type Graph, inferShapes } from './graph.js';
import { type Bar, outline, type Piece, type Stage } from './outline.js';
import { compact, summary } from './summary.js';

/**
 * The network as an SVG, as papers and tutorials draw it: a row a stage, each residual block a box with its
 * convolutions, the shortcut as an arc above them (solid for the input itself, dashed with its layers where it changes
 * the shape) and the sum ⊕. Equal neighbours are drawn once, as `×3`. Sizes are height × width × channels.
 *
 * Readable on light and dark pages: it brings its own background and follows `prefers-color-scheme`.
 *
 * @throws GRAPH when the layers do not fit together.
 * @example await writeFile('resnet50.svg', drawing(resnet50()));
 */
export function drawing(graph: Graph): string {
  const stages = outline(graph);
  const { totals } = summary(graph);
  const [{ name: inputName, shape: inputShape }] = graph.inputs;

  const ends = {
    first: pill(`${inputName} ${size(inputShape)}`),
    last: pill(results(graph)),
  };
  const page = flow(stages, ends);
  const height = page.bottom + margin;
  const title = short(graph.name, 30);
  const costs = `${compact(totals.trainable)} trainable parameters · ${compact(totals.macs)} multiply-adds`;

  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${page.width} ${n(height)}" width="${page.width}" height="${n(height)}" role="img">`,
    `<title>${text(`${title}: ${costs}`)}</title>`,
    `<style>${style}</style>`,
    `<rect class="page" width="${page.width}" height="${n(height)}" rx="12"/>`,
    `<text class="title" x="${margin}" y="${margin + 20}">${text(title)}</text>`,
    `<text class="costs" x="${margin}" y="${margin + 40}">${text(costs)}</text>`,
    ...page.parts,
    '</svg>',
    '',
  ].join('\n');
}

/** `logits 1000`. */
function results(graph: Graph): string {
  const shapes = inferShapes(graph);
  return graph.outputs.map(({ name, value }) => `${name} ${size(shapes[value])}`).join(', ');
}

const margin = 24;
/** Where the pieces begin, right of the stages' names. */
const left = 148;
/** Rows are broken here, unless one piece alone is wider. */
const right = 1100;
const barHeight = 38;
const gap = 16;
const arcRise = 44;
const sumRadius = 9;

/** Something with a size that can be put on a row at an x, the row's middle line being at y. */
interface Placed {
  width: number;
  above: number;
  below: number;
  draw(x: number, y: number): string[];
}

/** Lays the pieces out like words: rows from left to right, every stage on a new row. */
function flow(
  stages: readonly Stage[],
  ends: { first: Placed; last: Placed },
): { parts: string[]; width: number; bottom: number } {
  const rows: { stage?: Stage; hue: number; items: Placed[] }[] = [];
  stages.forEach((stage, s) => {
    const hue = s === 0 || (s === stages.length - 1 && stage.name === undefined) ? 0 : ((s - 1) % 4) + 1;
    const items = arrange(stage);
    if (s === 0) items.unshift(ends.first);
    if (s === stages.length - 1) items.push(ends.last);
    let row: (typeof rows)[number] = { stage, hue, items: [] };
    rows.push(row);
    let x = left;
    for (const item of items) {
      if (row.items.length && x + item.width > right) {
        row = { hue, items: [] };
        rows.push(row);
        x = left;
      }
      row.items.push(item);
      x += item.width + 1.5 * gap;
    }
  });

  const parts: string[] = [];
  let top = margin + 66;
  let width = 480;
  let tail: { x: number; y: number; bottom: number } | undefined;
  for (const { stage, hue, items } of rows) {
    const y = top + Math.max(...items.map((item) => item.above));
    const bottom = y + Math.max(...items.map((item) => item.below));
    parts.push(`<g class="h${hue}">`);
    if (tail) parts.push(turn(tail, { x: left - 6, y }, (tail.bottom + top) / 2));
    if (stage) {
      const label = stage.name ?? (stage === stages.at(-1) && stages[0].name !== undefined ? 'head' : undefined);
      if (label !== undefined)
        parts.push(`<text class="stage" x="${margin}" y="${n(y - 3)}">${text(short(label, 12))}</text>`);
      parts.push(
        `<text class="size" x="${margin}" y="${n(label === undefined ? y + 4 : y + 14)}">${size(stage.shape)}</text>`,
      );
    }
    let x = left;
    items.forEach((item, i) => {
      parts.push(...item.draw(x, y));
      x += item.width;
      if (i < items.length - 1) {
        parts.push(arrow(x, x + 1.5 * gap, y));
        x += 1.5 * gap;
      }
    });
    parts.push('</g>');
    width = Math.max(width, x + 14 + margin);
    tail = { x, y, bottom };
    top = bottom + 30;
  }
  return { parts, width: Math.ceil(width), bottom: top - 30 };
}

/** A stage's pieces: equal ones drawn each where all of them fit on a row, else once with their number. */
function arrange({ groups }: Stage): Placed[] {
  const place = (group: readonly Piece[]) => {
    const [piece] = group;
    if (piece.kind === 'bar') return repeated(single(piece.bar), group.length);
    const blocks = group.flatMap((same) => (same.kind === 'residual' && same.block) || []);
    return residual(piece, blocks, group.length);
  };
  const each = groups.flat().map((piece) => place([piece]));
  const whole = each.reduce((sum, item) => sum + item.width + 1.5 * gap, left - 1.5 * gap);
  return whole <= right ? each : groups.map(place);
}

/** A bar alone, with what it reads from where that needs saying. */
function single(bar: Bar): Placed {
  const from = bar.from && `from ${short(bar.from.join(' and '), 40)}`;
  const width = Math.max(barWidth(bar), from ? textWidth(from, 10) : 0);
  return {
    width,
    above: barHeight / 2,
    below: barHeight / 2 + (from ? 14 : 0),
    draw: (x, y) => [
      drawBar(bar, x, y, barHeight, width),
      ...(from ? [`<text class="caption" x="${n(x)}" y="${n(y + barHeight / 2 + 11)}">${text(from)}</text>`] : []),
    ],
  };
}

/** The same thing `times` times over: drawn as a small stack. */
function repeated(item: Placed, times: number): Placed {
  if (times === 1) return item;
  const badge = `×${times}`;
  const width = textWidth(badge, 13) + 18;
  return {
    ...item,
    width: item.width + width,
    draw: (x, y) => [
      ...item.draw(x, y),
      `<text class="times" x="${n(x + item.width + 7)}" y="${n(y + 5)}">${badge}</text>`,
    ],
  };
}

function residual(piece: Extract<Piece, { kind: 'residual' }>, blocks: readonly string[], times: number): Placed {
  const { before, main, shortcut, after } = piece;
  const pad = 16;
  const branch = before.length ? 10 : 0;
  const along = (bars: readonly Bar[]) => bars.reduce((sum, bar) => sum + barWidth(bar) + gap, 0);
  const split = pad + along(before) + (before.length ? branch - gap / 2 : 0);
  const joint = split + gap + along(main) + sumRadius;
  const afterWidth = after.length ? textWidth(after.join(' '), 9) + 16 : 0;
  const inner = joint + sumRadius + (afterWidth ? 8 + afterWidth : 0) + pad - 4;
  const caption =
    blocks.length > 1 ? `${short(blocks[0], 22)} … ${short(blocks.at(-1)!, 22)}` : short(blocks[0] ?? '', 44);
  const pills = shortcut.map((bar) => ({ bar, width: barWidth(bar) }));
  const pillsWidth = pills.reduce((sum, pill) => sum + pill.width + 8, -8);
  const captionWidth = textWidth(caption, 10) + 2 * pad + (times > 1 ? 32 : 0);
  const width = Math.max(inner, split + pillsWidth + 70, captionWidth);
  const above = barHeight / 2 + arcRise + (shortcut.length ? 22 : 8);
  const below = barHeight / 2 + 24;

  const stack = times > 1 ? (times > 2 ? 8 : 4) : 0;
  const draw = (x: number, y: number): string[] => {
    const parts: string[] = [];
    const box = (shift: number) =>
      `<rect class="box" x="${n(x + shift)}" y="${n(y - above + shift)}" width="${n(width)}" height="${n(above + below)}" rx="12"/>`;
    for (let shift = stack; shift >= 0; shift -= 4) parts.push(box(shift));

    const [from, to] = [x + split, x + joint];
    const line = y - barHeight / 2 - arcRise + (shortcut.length ? 4 : 14);
    parts.push(arc(from, to, y, line, shortcut.length > 0));
    let at = (from + to) / 2 - pillsWidth / 2;
    for (const { bar, width: pillWidth } of pills) {
      parts.push(drawBar(bar, at, line, 30));
      at += pillWidth + 8;
    }

    at = x + pad;
    parts.push(`<path class="line" d="M${n(x)} ${n(y)}H${n(to - sumRadius)}"/>`);
    for (const bar of before) {
      parts.push(drawBar(bar, at, y));
      at += barWidth(bar) + gap;
    }
    parts.push(`<circle class="dot" cx="${n(from)}" cy="${n(y)}" r="2.5"/>`);
    at = from + gap;
    for (const bar of main) {
      parts.push(tip(at, y), drawBar(bar, at, y));
      at += barWidth(bar) + gap;
    }
    parts.push(tip(to - sumRadius, y), sum(to, y));
    parts.push(`<path class="line" d="M${n(to + sumRadius)} ${n(y)}H${n(x + width + stack)}"/>`);
    if (after.length) {
      const start = to + sumRadius + 8;
      parts.push(
        `<rect class="after" x="${n(start)}" y="${n(y - 9)}" width="${n(afterWidth)}" height="18" rx="9"/>`,
        `<text class="marks" x="${n(start + afterWidth / 2)}" y="${n(y + 3)}">${text(after.join(' '))}</text>`,
      );
    }
    if (caption) parts.push(`<text class="caption" x="${n(x + pad)}" y="${n(y + below - 9)}">${text(caption)}</text>`);
    if (times > 1)
      parts.push(`<text class="times end" x="${n(x + width - 12)}" y="${n(y + below - 8)}">×${times}</text>`);
    return parts;
  };
  return { width: width + stack, above, below: below + stack, draw };
}

/** The shortcut: from the line at `from`, over the bars, down into the sum at `to`. */
function arc(from: number, to: number, y: number, top: number, dashed: boolean): string {
  const r = 18;
  const end = y - sumRadius - 1;
  const d = `M${n(from)} ${n(y)}V${n(top + r)}Q${n(from)} ${n(top)} ${n(from + r)} ${n(top)}H${n(to - r)}Q${n(to)} ${n(top)} ${n(to)} ${n(top + r)}V${n(end)}`;
  return `<path class="arc${dashed ? ' dashed' : ''}" d="${d}"/><path class="head strong" d="M${n(to - 4)} ${n(end - 6)}L${n(to)} ${n(end)}L${n(to + 4)} ${n(end - 6)}Z"/>`;
}

const sum = (x: number, y: number): string =>
  `<circle class="sum" cx="${n(x)}" cy="${n(y)}" r="${sumRadius}"/><path class="plus" d="M${n(x - 5)} ${n(y)}H${n(x + 5)}M${n(x)} ${n(y - 5)}V${n(y + 5)}"/>`;

function drawBar(bar: Bar, x: number, y: number, height = barHeight, width = barWidth(bar)): string {
  const middle = n(x + width / 2);
  const marks = bar.marks.join(' · ');
  const about = `${short(bar.layers.join(', '), 200)} → ${size(bar.shape)}, ${bar.parameters.toLocaleString('en-US')} parameters`;
  const weighty = bar.parameters > 0 ? 'bar' : 'bar light';
  return [
    `<g><title>${text(about)}</title>`,
    `<rect class="${weighty}" x="${n(x)}" y="${n(y - height / 2)}" width="${n(width)}" height="${height}" rx="6"/>`,
    `<text class="label" x="${middle}" y="${n(marks ? y - 1 : y + 4)}">${text(bar.label)}</text>`,
    marks ? `<text class="marks" x="${middle}" y="${n(y + 11)}">${text(marks)}</text>` : '',
    '</g>',
  ].join('');
}

/** An end of the network: its input or its result. */
function pill(label: string): Placed {
  const shown = short(label, 40);
  const width = textWidth(shown, 11) + 22;
  return {
    width,
    above: 13,
    below: 13,
    draw: (x, y) => [
      `<rect class="pill" x="${n(x)}" y="${n(y - 13)}" width="${n(width)}" height="26" rx="13"/>`,
      `<text class="io" x="${n(x + width / 2)}" y="${n(y + 4)}">${text(shown)}</text>`,
    ],
  };
}

const arrow = (x: number, to: number, y: number): string =>
  `<path class="line" d="M${n(x)} ${n(y)}H${n(to - 2)}"/>${tip(to, y)}`;

const tip = (x: number, y: number): string =>
  `<path class="head" d="M${n(x - 6)} ${n(y - 3.5)}L${n(x)} ${n(y)}L${n(x - 6)} ${n(y + 3.5)}Z"/>`;

/** From the end of a row to the beginning of the next. */
function turn(from: { x: number; y: number }, to: { x: number; y: number }, between: number): string {
  const r = 8;
  const [outer, inner] = [from.x + 14, to.x - 14];
  const d = [
    `M${n(from.x)} ${n(from.y)}H${n(outer - r)}Q${n(outer)} ${n(from.y)} ${n(outer)} ${n(from.y + r)}`,
    `V${n(between - r)}Q${n(outer)} ${n(between)} ${n(outer - r)} ${n(between)}`,
    `H${n(inner + r)}Q${n(inner)} ${n(between)} ${n(inner)} ${n(between + r)}`,
    `V${n(to.y - r)}Q${n(inner)} ${n(to.y)} ${n(inner + r)} ${n(to.y)}H${n(to.x + 4)}`,
  ];
  return `<path class="line" d="${d.join('')}"/>${tip(to.x + 6, to.y)}`;
}

const barWidth = (bar: Bar): number =>
  Math.max(52, textWidth(bar.label, 12) + 18, textWidth(bar.marks.join(' · '), 9) + 16);

/** A generous guess: the reader's font is not known. */
const textWidth = (s: string, points: number): number => [...s].length * points * 0.6;

/** `56×56×256`, as papers write it; a vector is its length. */
function size([, ...rest]: Shape): string {
  const [channels, ...spatial] = rest;
  return [...spatial, channels].join('×');
}

const n = (x: number): string => String(Math.round(x * 10) / 10);

const short = (s: string, most: number): string => {
  const letters = [...s];
  return letters.length > most ? `${letters.slice(0, most - 1).join('')}…` : s;
};

/** Names come from files: what XML cannot hold is replaced, the rest escaped. */
const text = (s: string): string =>
  s.replace(/[\p{Cc}\p{Surrogate}\ufffe\uffff]/gu, '\ufffd').replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

/** Fill and edge of bars, then of boxes, for stages in turn: grey (stem and head), purple, green, orange, blue. */
const hues = {
  light: [
    ['#eaeef2', '#8c959f', '#f6f8fa', '#d0d7de'],
    ['#e6dafc', '#8250df', '#faf7ff', '#d8c7f7'],
    ['#d0f0d6', '#2da44e', '#f3fbf5', '#b2dfbb'],
    ['#ffdfd0', '#d4622a', '#fff8f4', '#f3c7b3'],
    ['#d3e7fd', '#2f7ddb', '#f4f9ff', '#b6d4f6'],
  ],
  dark: [
    ['#262c36', '#6e7681', '#12171e', '#30363d'],
    ['#3a2a66', '#a371f7', '#171229', '#43337a'],
    ['#163f25', '#3fb950', '#0c1b13', '#215330'],
    ['#4f2817', '#f0883e', '#20140d', '#63331f'],
    ['#15355f', '#58a6ff', '#0b1828', '#204a7c'],
  ],
} as const;

const theme = (
  colours: (typeof hues)[keyof typeof hues],
  page: string,
  ink: string,
  faint: string,
  line: string,
): string =>
  [
    `.page{fill:${page}}text{fill:${ink}}.costs,.size,.caption,.marks{fill:${faint}}`,
    `.line,.arc,.sum,.plus{stroke:${line}}.head,.dot{fill:${line}}.sum,.after{fill:${page}}.after,.pill{stroke:${line}}.pill{fill:${page}}`,
    ...colours.map(
      ([bar, edge, box, rim], h) =>
        `.h${h} .bar{fill:${bar};stroke:${edge}}.h${h} .light{fill:${page}}.h${h} .box{fill:${box};stroke:${rim}}.h${h} .stage,.h${h} .times{fill:${h ? edge : ink}}.h${h} .arc{stroke:${edge}}.h${h} .strong{fill:${edge}}`,
    ),
  ].join('');

const style = [
  'text{font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}',
  '.title{font-size:22px;font-weight:600}.costs{font-size:13px}.stage{font-size:14px;font-weight:600}.size{font-size:12px}',
  '.label{font-size:12px;text-anchor:middle}.marks{font-size:9px;text-anchor:middle}.io{font-size:11px;text-anchor:middle}',
  '.caption{font-size:10px}.times{font-size:13px;font-weight:600}.end{text-anchor:end}',
  '.line,.arc,.plus{fill:none;stroke-width:1.2}.arc{stroke-width:1.8}.dashed{stroke-dasharray:5 4}.sum{stroke-width:1.4}',
  theme(hues.light, '#ffffff', '#1f2328', '#59636e', '#6e7781'),
  `@media (prefers-color-scheme:dark){${theme(hues.dark, '#0d1117', '#e6edf3', '#9198a1', '#8b949e')}}`,
].join('');
