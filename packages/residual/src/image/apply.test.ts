import { expect, test } from 'vitest';
import { applyPlan, explainPlan, stagesOf, valueTables, withDecoding } from './apply.js';
import type { Decoded, Pixels } from './pixels.js';
import type { Plan } from './plan.js';
import { preset } from './presets.js';

const decodeStep = { step: 'decode', as: 'default' } as const;

const gradient = (width: number, height: number): Pixels => ({
  width,
  height,
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 7) % 256),
});

test('sizes: the long side is cut down, offsets round half to even', () => {
  const plan = preset('torchvision', { height: 224, width: 224 });
  const [, resized, cropped] = stagesOf(plan, { width: 525, height: 351 });
  expect(resized.after).toEqual({ width: 382, height: 256 });
  expect([cropped.left, cropped.top]).toEqual([79, 16]);
  const offset = (side: number) =>
    stagesOf([decodeStep, { step: 'centerCrop', height: 1, width: 10 }], { width: side, height: 1 })[1].left;
  // Python: [int(round(gap / 2)) for gap in range(8)]
  expect([10, 11, 12, 13, 14, 15, 16, 17].map(offset)).toEqual([0, 0, 1, 2, 2, 2, 3, 4]);
  expect([9, 8, 7].map(offset)).toEqual([0, -1, -1]);
});

test('a crop after a resize computes only what it shows: 20000×3 and 3×20000 take no gigabytes', () => {
  const plan = preset('torchvision', { height: 224, width: 224 });
  for (const picture of [gradient(20000, 3), gradient(3, 20000), gradient(1, 1)]) {
    const { input, cropped, stages } = applyPlan(picture, plan);
    expect([input.length, cropped.width, cropped.height]).toEqual([3 * 224 * 224, 224, 224]);
    expect(stages).toHaveLength(plan.length);
  }
  const uncropped = plan.filter(({ step }) => step !== 'centerCrop');
  expect(() => applyPlan(gradient(20000, 3), uncropped)).toThrow(/1706666×256 is over the limit/);
});

test('a crop fused with a resize has the bytes of one after the other, padding included', () => {
  const picture = gradient(50, 23);
  for (const [size, height, width] of [
    [20, 15, 18],
    [20, 20, 60],
    [9, 31, 10],
    [9, 30, 33],
  ]) {
    const shortSide = { step: 'resizeShortSide', size, filter: 'bicubic' } as const;
    const crop = { step: 'centerCrop', height, width } as const;
    const fused = applyPlan(picture, [decodeStep, shortSide, crop]);
    const resized = applyPlan(picture, [decodeStep, shortSide]).cropped;
    expect(fused.cropped).toEqual(applyPlan(resized, [decodeStep, crop]).cropped);
  }
});

test('the input is planar and follows the order of the channels', () => {
  const picture: Pixels = { width: 2, height: 1, data: Uint8Array.of(1, 2, 3, 4, 5, 6) };
  const input = (plan: Plan) => [...applyPlan(picture, [decodeStep, ...plan]).input];
  expect(input([])).toEqual([1, 4, 2, 5, 3, 6]);
  expect(input([{ step: 'reverseChannels' }])).toEqual([3, 6, 2, 5, 1, 4]);
  expect(input([{ step: 'reverseChannels' }, { step: 'normalize', mean: [1, 2, 3], deviation: [1, 2, 4] }])).toEqual([
    2, 5, 0, 1.5, -0.5, 0.25,
  ]);
});

test("scaling by 1/255 is ToTensor's division in float32, for every byte", () => {
  const [{ values }] = valueTables([decodeStep, { step: 'scale', factor: 1 / 255, offset: 0 }]);
  for (let byte = 0; byte < 256; byte++) expect(values[byte]).toBe(Math.fround(byte / 255));
});

test('a plan that cannot be carried out says why', () => {
  const picture = gradient(4, 4);
  expect(() => applyPlan(picture, [])).toThrow('a plan begins with its one step "decode"; received no step');
  expect(() => applyPlan(picture, [decodeStep, decodeStep])).toThrow(/received decode, decode/);
  const scale = { step: 'scale', factor: 2, offset: 0 } as const;
  const late: Plan = [decodeStep, scale, { step: 'centerCrop', height: 2, width: 2 }];
  expect(() => applyPlan(picture, late)).toThrow(/resizes and crops before it scales.*decode, scale, centerCrop/);
  expect(() => applyPlan(picture, [decodeStep, { step: 'resizeShortSide', size: 0, filter: 'box' }])).toThrow(
    "a plan's resizeShortSide: expected a whole number from 1 to 8192 for size but received 0",
  );
});

test.each([
  [{ step: 'normalize', mean: [1], deviation: [1, 1, 1] }, /three numbers for mean but received \[1\]/],
  [{ step: 'normalize', mean: [0, 0, Number.NaN], deviation: [1, 1, 1] }, /for mean but received \[0, 0, NaN\]/],
  [{ step: 'normalize', mean: [0, 0, 0], deviation: [1, 0, 1] }, /other than 0 for deviation but received \[1, 0, 1\]/],
  [{ step: 'normalize', mean: [0, 0, 0], deviation: [1, 1e-50, 1] }, /other than 0 for deviation/],
  [{ step: 'normalize', mean: [0, 0, 0], deviation: 1 }, /for deviation but received 1$/],
  [{ step: 'scale', factor: Number.NaN, offset: 0 }, /a number from −1e9 to 1e9 for factor but received NaN/],
  [{ step: 'scale', factor: 1, offset: Number.POSITIVE_INFINITY }, /1e9 for offset but received Infinity/],
  [{ step: 'scale', factor: 1 }, /1e9 for offset but received undefined/],
  [{ step: 'resize', height: 2, width: 2.5, filter: 'box' }, /from 1 to 8192 for width but received 2.5/],
  [{ step: 'resize', height: 2, width: 2, filter: 'cubic' }, /bicubic, lanczos for filter but received cubic/],
  [
    { step: 'resize', height: 2, width: 2, filter: 'box', antialias: true },
    /it has no antialias; it has: height, width/,
  ],
  [{ step: 'centerCrop', height: 1e6, width: 1e6 }, /for height but received 1000000/],
  [{ step: 'rotate' }, /a plan has no step "rotate"; there are: decode, resizeShortSide/],
  [{ step: 'toString' }, /a plan has no step "toString"/],
])('%j in a plan is refused', (step, message) => {
  const plan = [decodeStep, step] as unknown as Plan;
  expect(() => applyPlan(gradient(4, 4), plan)).toThrow(expect.objectContaining({ code: 'ARGUMENT' }));
  expect(() => applyPlan(gradient(4, 4), plan)).toThrow(message);
  expect(() => valueTables(plan)).toThrow(message);
});

test('a plan in words', () => {
  const decoded: Decoded = {
    pixels: gradient(351, 525),
    origin: {
      name: 'a.jpg',
      format: 'jpeg',
      width: 525,
      height: 351,
      turned: 6,
      colours: 'rgb',
      bits: 8,
      alpha: false,
    },
  };
  expect(explainPlan(preset('torchvision', { height: 224, width: 224 }), decoded)).toEqual([
    'decode     as default: JPEG, 525×351, rgb, 8 bits, turned clockwise by 90° (EXIF orientation 6)',
    'resize     short side to 256, bilinear: 351×525 → 256×382',
    'crop       centre 224×224 from x 16, y 79: 256×382 → 224×224',
    'scale      value × 1/255',
    'normalize  (value − [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]',
    'input      [1, 3, 224, 224] float32, values −2.1179 … 2.64',
  ]);
  const small = { ...decoded, pixels: gradient(32, 32), origin: { ...decoded.origin, turned: 1, alpha: true } };
  expect(explainPlan(withDecoding(preset('caffe', { height: 32, width: 32 }), 'pillow'), small)).toEqual([
    'decode     as pillow: JPEG, 525×351, rgb, 8 bits, transparency dropped',
    'resize     to 32×32, nearest, proportions given up: 32×32 already',
    'channels   RGB → BGR',
    'normalize  (value − [103.939, 116.779, 123.68]) / [1, 1, 1]',
    'input      [1, 3, 32, 32] float32, values −123.68 … 151.061',
  ]);
  expect(
    explainPlan(
      [decodeStep, { step: 'centerCrop', height: 40, width: 36 }, { step: 'scale', factor: 1 / 127.5, offset: -1 }],
      small,
    ).slice(1, 3),
  ).toEqual(['crop       centre 36×40 from x −2, y −4, black added: 32×32 → 36×40', 'scale      value × 1/127.5 − 1']);
});
