import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { decode } from '#decode';
import { preprocess } from '../image/preprocess.js';
import { preset } from '../image/presets.js';
import { explainPreprocessing } from './preprocessing.js';

const cat = fileURLToPath(new URL('../../../cli/samples/cat.jpg', import.meta.url));
const plan = preset('torchvision', { height: 224, width: 224 });

test('says each step of the plan for the picture at hand', async () => {
  const { steps } = await explainPreprocessing(cat, plan);
  expect(steps).toMatchInlineSnapshot(`
    [
      "decode     as default: JPEG, 451×300, rgb, 8 bits",
      "resize     short side to 256, bilinear: 451×300 → 384×256",
      "crop       centre 224×224 from x 80, y 16: 384×256 → 224×224",
      "scale      value × 1/255",
      "normalize  (value − [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]",
      "input      [1, 3, 224, 224] float32, values −2.1179 … 2.64",
    ]
  `);
});

test('the PNG holds the very pixels the network gets', async () => {
  const { png } = await explainPreprocessing(cat, plan);
  const { pixels } = await decode(await png(), 'pillow');
  const { cropped } = await preprocess(cat, plan);
  expect([pixels.width, pixels.height]).toEqual([224, 224]);
  expect(
    Buffer.compare(
      Buffer.from(pixels.data.buffer, pixels.data.byteOffset, pixels.data.length),
      Buffer.from(cropped.data),
    ),
  ).toBe(0);
});
