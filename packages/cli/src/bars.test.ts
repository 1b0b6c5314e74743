import fc from 'fast-check';
import stringWidth from 'string-width';
import { expect, test } from 'vitest';
import { bars } from './bars.js';

const plain = { width: 60, color: false };

test('draws a line for each class, as long as it is likely', () => {
  expect(
    bars(
      'elephant.jpg',
      [
        { label: 'African_elephant', probability: 0.874 },
        { label: 'tusker', probability: 0.112 },
        { label: 'warthog', probability: 0.00001 },
      ],
      plain,
    ),
  ).toMatchInlineSnapshot(`
    "elephant.jpg
      African_elephant  ███████████████████████████▏      87.4 %
      tusker            ███▌                              11.2 %
      warthog           ▏                                 <0.1 %
    "
  `);
});

test('says neither certain nor impossible of what is not', () => {
  const percent = (probability: number) =>
    bars('', [{ label: 'x', probability }], plain)
      .trimEnd()
      .split('  ')
      .pop();
  expect([1, 0.99999, 0.5, 0.0001, 0, Number.NaN].map(percent).map((text) => text?.trim())).toEqual([
    '100.0 %',
    '>99.9 %',
    '50.0 %',
    '<0.1 %',
    '0.0 %',
    'NaN %',
  ]);
});

test('colours only when asked', () => {
  const rows = [{ label: 'cat', probability: 0.5 }];
  expect(bars('a.jpg', rows, plain)).not.toContain('\u001b');
  expect(bars('a.jpg', rows, { width: 60, color: true })).toContain('\u001b[36m');
});

test('a name cannot break the line or move the cursor', () => {
  expect(bars('a\n\u001b[2Jb', [{ label: 'c\rd\u009b', probability: 1 }], plain).split('\n')).toHaveLength(3);
  expect(bars('a\u001b[2Jb', [], plain)).toBe('a\ufffd[2Jb\n');
});

test('every line is exactly as wide as asked, Chinese and long labels too', () => {
  const label = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('非洲象', '猫', 'a'.repeat(200), '象'.repeat(99)),
  );
  const row = fc.record({ label, probability: fc.double({ min: 0, max: 1, noNaN: true }) });
  fc.assert(
    fc.property(fc.array(row, { minLength: 1 }), fc.integer({ min: 40, max: 120 }), (rows, width) => {
      const lines = bars('title', rows, { width, color: false }).trimEnd().split('\n').slice(1);
      expect(lines.map((line) => stringWidth(line))).toEqual(rows.map(() => width));
    }),
  );
});
