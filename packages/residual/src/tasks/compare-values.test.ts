import { expect, test } from 'vitest';
import type { Plan } from '../image/plan.js';
import { preset } from '../image/presets.js';
import { chainFindings, chainOf } from './compare-values.js';
import { words } from './compare-words.js';

const size = { height: 224, width: 224 };
const ours = chainOf(preset('torchvision', size));
const shares: Plan = [
  { step: 'decode', as: 'default' },
  { step: 'scale', factor: 1 / 255, offset: 0 },
];

test.each([
  ['pixels 0–1', shares, 'mean and deviation applied against not applied'],
  ['pixels 0–255', preset('raw255', size), 'mean and deviation applied against not applied (values 0–255)'],
])('%s without mean and deviation are told apart', (_, plan, expected) => {
  expect(chainFindings(ours, chainOf(plan)).map((finding) => words(finding, 'a'))).toEqual([expected]);
});
