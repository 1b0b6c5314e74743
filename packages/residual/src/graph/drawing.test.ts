import { describe, expect, test } from 'vitest';
import { build, family } from '../models/resnet.js';
import { add, batchNorm, conv2d, dense, flatten, globalAvgPool, input, network, relu, type Value } from './build.js';
import { drawing } from './drawing.js';
import { type Bar, outline, type Piece } from './outline.js';

const write = ({ label, marks }: Bar) => [label, ...marks].join(' ');

/** `main / shortcut` of a block; the label of a bar. */
const words = (piece: Piece) =>
  piece.kind === 'bar'
    ? write(piece.bar)
    : `${[...piece.before, ...piece.main].map(write).join(' | ')} / ${piece.shortcut.map(write).join(' | ')}`;

const sketch = (graph: Parameters<typeof outline>[0]) =>
  outline(graph).map(({ name, shape, groups }) => [
    name,
    shape.slice(1).join('×'),
    ...groups.map((group) => `${group.length} · ${words(group[0])}`),
  ]);

describe('the outline', () => {
  test('of ResNet-50 reads as He et al. 2015a, table 1', () => {
    expect(sketch(build('resnet50')).slice(0, 3)).toEqual([
      ['stem', '64×112×112', '1 · 7×7, 64, /2 BN ReLU', '1 · 3×3 max, /2'],
      [
        'layer1',
        '256×56×56',
        '1 · 1×1, 64 BN ReLU | 3×3, 64 BN ReLU | 1×1, 256 BN / 1×1, 256 BN',
        '2 · 1×1, 64 BN ReLU | 3×3, 64 BN ReLU | 1×1, 256 BN / ',
      ],
      [
        'layer2',
        '512×28×28',
        '1 · 1×1, 128 BN ReLU | 3×3, 128, /2 BN ReLU | 1×1, 512 BN / 1×1, 512, /2 BN',
        '3 · 1×1, 128 BN ReLU | 3×3, 128 BN ReLU | 1×1, 512 BN / ',
      ],
    ]);
  });

  test('of a pre-activation network starts the projection behind BatchNorm and ReLU', () => {
    const [, layer1] = outline(build('keras-resnet50v2'));
    const [first, second, third] = layer1.groups.map(([piece]) => piece);
    expect(first).toMatchObject({ before: [{ label: 'BN', marks: ['ReLU'] }], shortcut: [{ label: '1×1, 256' }] });
    expect(second).toMatchObject({ before: [], shortcut: [] });
    expect(third).toMatchObject({ before: [], shortcut: [{ label: 'subsample, /2' }] });
  });

  test('of shortcut A shows the zeros', () => {
    expect(sketch(build('resnet20'))[2]).toContain('1 · 3×3, 32, /2 BN ReLU | 3×3, 32 BN / subsample, /2 zeros to 32');
  });

  test('of a plain network has no blocks', () => {
    expect(sketch(build('plain20'))[2]).toEqual([
      'layer2',
      '32×16×16',
      '1 · 3×3, 32, /2 BN ReLU',
      '5 · 3×3, 32 BN ReLU',
    ]);
  });

  test('holds every layer of every member of the family exactly once', () => {
    for (const name of Object.keys(family)) {
      const graph = build(name);
      const layers = outline(graph).flatMap(({ groups }) =>
        groups
          .flat()
          .flatMap((piece) =>
            piece.kind === 'bar'
              ? piece.bar.layers
              : [...piece.before, ...piece.main, ...piece.shortcut].flatMap((bar) => bar.layers).concat(piece.layers),
          ),
      );
      expect(layers.toSorted(), name).toEqual(graph.nodes.map((node) => node.name).toSorted());
    }
  });

  const unit = (x: Value, filters: number) => relu(batchNorm(conv2d(x, filters, { kernel: 3, padding: 1 })));

  test('finds residual blocks without names, whichever side of the sum the shortcut stands on', () => {
    const stem = unit(input({ height: 8, width: 8 }), 4);
    const once = relu(add(unit(stem, 4), stem));
    const twice = relu(add(once, unit(once, 4)));
    const found = sketch(network('unnamed', { x: flatten(twice) })).flat();
    expect(found).toContain('2 · 3×3, 4 BN ReLU / ');
  });

  test('of a tangle says what reads from what', () => {
    const p = conv2d(input({ height: 8, width: 8 }), 4, { name: 'p' });
    const q = conv2d(p, 4, { name: 'q' });
    const r = conv2d(q, 4, { name: 'r' });
    const graph = network('tangle', { x: add(add(p, q, { name: 's' }), r, { name: 't' }) });
    const sources = outline(graph).flatMap(({ groups }) =>
      groups.flat().map((piece) => piece.kind === 'bar' && piece.bar.from),
    );
    expect(sources).toEqual([undefined, undefined, undefined, ['p', 'q'], ['s', 'r']]);
  });

  test('of two heads does not chain them', () => {
    const pooled = globalAvgPool(input({ height: 8, width: 8 }), { name: 'pooled' });
    const a = dense(pooled, 2);
    const bars = outline(network('heads', { a, b: dense(pooled, 5) })).flatMap(({ groups }) => groups.flat());
    expect(bars.at(-1)).toMatchObject({ bar: { label: 'dense 5', from: ['pooled'] } });
  });
});

/** Tags nest, attributes are quoted, and no `<` or bare `&` stands in text. */
function isWellFormed(xml: string): boolean {
  const open: string[] = [];
  const rest = xml.replace(
    /<(\/?)([a-z]+)((?: [A-Za-z-]+="[^"<]*")*)(\/?)>/g,
    (_all, closes, tag, _attributes, empty) => {
      if (closes && open.pop() !== tag) open.push('broken');
      if (!closes && !empty) open.push(tag);
      return '';
    },
  );
  return !open.length && !/[<>]|&(?!#\d+;)/.test(rest);
}

describe('the drawing', () => {
  test('of every member is well-formed, not wider than a page, and the same each time', () => {
    for (const name of Object.keys(family)) {
      const svg = drawing(build(name));
      expect(isWellFormed(svg), name).toBe(true);
      expect(svg).not.toMatch(/NaN|undefined|Infinity/);
      expect(Number(/width="(\d+)"/.exec(svg)?.[1]), name).toBeLessThan(1160);
      expect(drawing(build(name))).toBe(svg);
    }
  });

  test('shows name, costs, sizes, projection and repetition', () => {
    const svg = drawing(build('resnet152'));
    for (const shown of ['resnet152', '60.19 M trainable parameters · 11.514 G multiply-adds', '56×56×256', '×35'])
      expect(svg).toContain(`>${shown}<`);
    expect(svg.match(/class="arc dashed"/g)).toHaveLength(4);
    expect(svg.match(/class="arc"/g)).toHaveLength(4);
  });

  test('draws each block where they fit: 8 arcs in ResNet-18, 3 of them dashed; none in plain18', () => {
    expect(drawing(build('resnet18')).match(/class="arc( dashed)?"/g)).toHaveLength(8);
    expect(drawing(build('resnet18')).match(/class="arc dashed"/g)).toHaveLength(3);
    expect(drawing(build('plain18'))).not.toContain('class="arc');
  });

  test('escapes names', () => {
    const x = conv2d(input({ height: 4, width: 4, name: '</svg>' }), 1, { name: '"<script>&\u0000\ud800' });
    const svg = drawing(network(`it's & <b>`, { ']]>': x }));
    expect(isWellFormed(svg)).toBe(true);
    expect(svg).toContain('it&#39;s &#38; &#60;b&#62;');
    expect(svg).not.toMatch(/[\0\ud800]/);
  });

  test('the check for well-formedness can fail', () => {
    for (const bad of ['<a><b></a></b>', '<a>&</a>', '<a>', '<a b=c></a>']) expect(isWellFormed(bad)).toBe(false);
  });
});
