import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { random } from '../random.js';
import { runPython, scratch, shared } from '../testing.js';
import { randAugment, trivialAugment } from './augment-policies.js';
import type { Pixels } from './pixels.js';

const [width, height] = [48, 40];
const picture: Pixels = (() => {
  const draw = random('policies');
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => 30 + ((i * 7) % 150) + 60 * draw());
  return { width, height, data };
})();

/** Draws that are given, one after the other. */
const given = (...numbers: number[]) => {
  let at = 0;
  return () => numbers[at++];
};

/** The draw by which the i-th of n is chosen. */
const pick = (i: number, n: number): number => (i + 0.5) / n;

/** Mean difference of bytes, and of how many it is not 0. */
function difference(ours: Pixels, file: string): { mean: number; share: number } {
  const theirs = readFileSync(file);
  const off = theirs.map((byte, i) => Math.abs(byte - ours.data[i]));
  return {
    mean: off.reduce((a, b) => a + b, 0) / off.length,
    share: off.reduce((n, one) => n + Number(one > 0), 0) / off.length,
  };
}

const names = [
  'Identity',
  'ShearX',
  'ShearY',
  'TranslateX',
  'TranslateY',
  'Rotate',
  'Brightness',
  'Color',
  'Contrast',
  'Sharpness',
  'Posterize',
  'Solarize',
  'AutoContrast',
  'Equalize',
];
const signed = new Set(names.slice(1, 10));
const strengths = [0, 1, 13, 22, 30];

/** timm's operations of growing effect at level 7 of 10, for each sign. */
const increasing = (sign: number): string[] => [
  'ImageOps.autocontrast(i)',
  'ImageOps.equalize(i)',
  'ImageOps.invert(i)',
  `i.rotate(${sign * 0.7 * 30}, resample=B)`,
  'ImageOps.posterize(i, 4 - int(0.7 * 4))',
  'ImageOps.solarize(i, 256 - int(0.7 * 256))',
  'i.point([min(255, v + int(0.7 * 110)) if v < 128 else v for v in range(256)] * 3)',
  ...['Color', 'Contrast', 'Brightness', 'Sharpness'].map(
    (name) => `ImageEnhance.${name}(i).enhance(${1 + sign * 0.63})`,
  ),
  `i.transform(i.size, Image.AFFINE, (1, ${sign * 0.21}, 0, 0, 1, 0), resample=B)`,
  `i.transform(i.size, Image.AFFINE, (1, 0, 0, ${sign * 0.21}, 1, 0), resample=B)`,
  `i.transform(i.size, Image.AFFINE, (1, 0, ${sign * 0.315} * i.size[0], 0, 1, 0), resample=B)`,
  `i.transform(i.size, Image.AFFINE, (1, 0, 0, 0, 1, ${sign * 0.315} * i.size[1]), resample=B)`,
];

// The reference programs run where the shared material is.
describe.skipIf(!shared)('policies', () => {
  const folder = shared ? scratch() : '';
  if (shared) {
    writeFileSync(join(folder, 'in'), picture.data);
    const timm = [1, -1].flatMap((sign) =>
      increasing(sign).map((python, n) => `save(f'rand.${n}.${sign}', ${python})`),
    );
    runPython(
      `
from PIL import Image, ImageOps, ImageEnhance
from torchvision.transforms import autoaugment as A, InterpolationMode
d = sys.argv[1]
B = Image.BILINEAR
i = Image.frombytes('RGB', (${width}, ${height}), open(f'{d}/in', 'rb').read())
save = lambda name, out: open(f'{d}/{name}', 'wb').write(out.tobytes())
space = A.TrivialAugmentWide()._augmentation_space(31)
assert list(space) == ${JSON.stringify(names)}
for n, (name, (values, signed)) in enumerate(space.items()):
  for k in ${JSON.stringify(strengths)}:
    for sign in [1, -1]:
      m = float(values[k]) if values.ndim > 0 else 0.0
      save(f'wide.{n}.{k}.{sign}', A._apply_op(i, name, m * sign if signed else m, InterpolationMode.BILINEAR, None))
${timm.join('\n')}
`,
      folder,
    );
  }

  test.each(names.flatMap((name, n) => strengths.map((k) => [name, n, k] as const)))(
    'trivial augment: %s (%i) at strength %i of 30 is what torchvision does',
    (name, n, k) => {
      for (const sign of signed.has(name) ? [1, -1] : [1]) {
        const ours = trivialAugment(picture, given(pick(n, 14), pick(k, 31), sign < 0 ? 0 : 0.9));
        const { mean, share } = difference(ours, join(folder, `wide.${n}.${k}.${sign}`));
        // torchvision's strengths are float32, and its shear goes through tan(atan(x)): a byte may round otherwise.
        expect(mean).toBeLessThan(0.02);
        expect(share).toBeLessThan(0.02);
      }
    },
  );

  test.each(increasing(1).map((python, n) => [python.replace(/\(i.*/, ''), n] as const))(
    'rand augment: %s (%i) at magnitude 7 is what timm does',
    (_, n) => {
      for (const sign of [1, -1]) {
        const draws = given(pick(n, 15), 0.9, 0.5, 0.5, sign < 0 ? 0 : 0.9);
        const ours = randAugment(picture, draws, { operations: 1, magnitude: 7, deviation: 0 });
        const { mean, share } = difference(ours, join(folder, `rand.${n}.${sign}`));
        expect(mean).toBeLessThan(0.005);
        expect(share).toBeLessThan(0.005);
      }
    },
  );
});

test('rand augment leaves half of its operations out and keeps magnitudes within 0 and 10', () => {
  const draw = random('half');
  let same = 0;
  for (let i = 0; i < 400; i++)
    same += Number(randAugment(picture, draw, { operations: 1, magnitude: 9, deviation: 5 }) === picture);
  expect(same).toBeGreaterThan(150);
  expect(same).toBeLessThan(250);
  // At magnitude −∞ the strength is 0: a rotation by nothing.
  const none = randAugment(picture, given(pick(3, 15), 0.9, 0.999999, 0.5, 0.9), {
    operations: 1,
    magnitude: 0,
    deviation: 9,
  });
  expect(none).toBe(picture);
});
