import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ResidualError } from '../errors.js';
import { pythonJson, shared } from '../testing.js';
import { parseNpy } from './npy.js';

/** A file as np.save writes it. */
function npy(header: string, data: Uint8Array, version = 1): Uint8Array {
  const text = new TextEncoder().encode(header);
  const length = version === 1 ? [text.length & 255, text.length >> 8] : [text.length & 255, text.length >> 8, 0, 0];
  return Uint8Array.from([0x93, ...new TextEncoder().encode('NUMPY'), version, 0, ...length, ...text, ...data]);
}
const header = (descr: string, shape: string, order = 'False') =>
  `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${shape}, }          \n`;
const pixels = Uint8Array.from({ length: 12 }, (_, i) => i * 20);

test.each([1, 2, 3])('version %i; three axes are one picture', (version) => {
  expect(parseNpy(npy(header('|u1', '(3, 2, 2)'), pixels, version), 'a.npy')).toEqual({
    dtype: 'float32',
    shape: [1, 3, 2, 2],
    data: Float32Array.from(pixels),
  });
});

test.each([
  ['another file', new TextEncoder().encode('no array at all'), 'expected what np.save writes'],
  ['an empty file', new Uint8Array(), 'expected what np.save writes'],
  ['version 9', npy(header('|u1', '(3, 2, 2)'), pixels, 9), "NumPy's format 9 is not read"],
  ['a header that says it is long', npy('x'.repeat(12_000), pixels), 'cut off or too long'],
  ['a header that is none', npy('{}', pixels), 'cannot be read'],
  ['half precision', npy(header('<f2', '(3, 2, 2)'), pixels), 'of type <f2; expected <f4, <f8 or |u1'],
  ['pickled objects', npy(header('|O', '(3, 2, 2)'), pixels), 'of type |O'],
  ['a name of every object', npy(header('toString', '(3, 2, 2)'), pixels), 'of type toString'],
  ['Fortran order', npy(header('|u1', '(3, 2, 2)', 'True'), pixels), 'np.ascontiguousarray'],
  ['two axes', npy(header('|u1', '(6, 2)'), pixels), 'its array is [6, 2]; expected [C, H, W] or [N, C, H, W]'],
  ['no pictures', npy(header('|u1', '(0, 3, 2, 2)'), new Uint8Array()), 'its array is [0, 3, 2, 2]'],
  ['a size beyond numbers', npy(header('|u1', `(3, 2, ${'9'.repeat(30)})`), pixels), 'expected [C, H, W]'],
  ['too few values', npy(header('<f4', '(3, 2, 2)'), pixels), 'takes 48 bytes but 12 are there'],
  ['too many values', npy(header('|u1', '(3, 2, 1)'), pixels), 'takes 6 bytes but 12 are there'],
])('%s is refused', (_, bytes, message) => {
  expect(() => parseNpy(bytes, 'a.npy')).toThrow(
    expect.objectContaining({ code: 'IMAGE', message: expect.stringContaining(message) }),
  );
});

test('any damage is a refusal or an array', () => {
  const whole = npy(header('|u1', '(3, 2, 2)'), pixels);
  const change = fc.record({ at: fc.nat(whole.length - 1), to: fc.nat(255) });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 4 }), fc.nat(whole.length), (changes, length) => {
      const bytes = whole.slice(0, length);
      for (const { at, to } of changes) if (at < length) bytes[at] = to;
      try {
        expect(parseNpy(bytes, 'a.npy').data.length).toBeLessThanOrEqual(12);
      } catch (error) {
        if (!(error instanceof ResidualError)) throw error;
      }
    }),
    { numRuns: 1000 },
  );
});

describe.skipIf(!shared)('files of NumPy', () => {
  test.each(['float32', 'float64', 'uint8'])('%s', (type) => {
    const { bytes, values } = pythonJson<{ bytes: number[]; values: number[] }>(
      `
import io
array = (np.arange(48).reshape(2, 3, 2, 4) * 5).astype(sys.argv[1])
if sys.argv[1] != 'uint8': array = array / 7 - 3
file = io.BytesIO()
np.save(file, array)
print(json.dumps({'bytes': list(file.getvalue()), 'values': array.astype('float32').ravel().tolist()}))`,
      type,
    );
    const { shape, data } = parseNpy(Uint8Array.from(bytes), 'a.npy');
    expect([shape, [...data]]).toEqual([[2, 3, 2, 4], values]);
  });
});
