import fc from 'fast-check';
import { expect, test } from 'vitest';
import { applyPlan } from './apply.js';
import { isPlan, type Plan } from './plan.js';
import { preset, presetNames } from './presets.js';

test('every preset is a plan, also as JSON', () => {
  for (const name of presetNames) {
    const plan = preset(name, { height: 48, width: 64 });
    expect(isPlan(JSON.parse(JSON.stringify(plan)))).toBe(true);
  }
});

test.each([
  [null],
  [{}],
  ['decode'],
  [[]],
  [[null]],
  [[['decode']]],
  [[{ step: 'decode', as: 'other' }]],
  [[{ step: 'scale', factor: 1, offset: 0 }]],
  [Array(101).fill({ step: 'decode', as: 'default' })],
])('%j is none', (value) => {
  expect(isPlan(value)).toBe(false);
});

test('what passes for a plan can be carried out', () => {
  const number = fc.oneof(fc.integer({ min: -2, max: 40 }), fc.double());
  const filter = fc.constantFrom('box', 'nearest', 'bilinear', 'cubic');
  const three = fc.array(number, { minLength: 2, maxLength: 3 });
  const step = fc.oneof(
    fc.record({ step: fc.constant('resize'), height: number, width: number, filter }),
    fc.record({ step: fc.constant('resizeShortSide'), size: number, filter }),
    fc.record({ step: fc.constant('centerCrop'), height: number, width: number }),
    fc.record({ step: fc.constant('scale'), factor: number, offset: number }),
    fc.record({ step: fc.constant('normalize'), mean: three, deviation: three }),
    fc.record({ step: fc.constantFrom('reverseChannels', 'decode', 'turn') }),
  );
  const pixels = { width: 5, height: 4, data: Uint8Array.from({ length: 60 }, (_, i) => i * 4) };
  fc.assert(
    fc.property(fc.array(step, { maxLength: 4 }), (steps) => {
      const plan = [{ step: 'decode', as: 'pillow' }, ...steps];
      if (!isPlan(plan)) return;
      expect(applyPlan(pixels, plan as Plan).input.every((value) => !Number.isNaN(value))).toBe(true);
    }),
    { numRuns: 500 },
  );
});
