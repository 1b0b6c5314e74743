import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AnyTensor } from '../tensor.js';
import { describeAll, describeTensor, type Expected, pythonJson, refusal, scratch, shared } from '../testing.js';
import { writeFileAtomic } from './file.js';
import { openCheckpoint } from './open.js';
import { safetensorsBytes } from './safetensors.js';

const join8 = (chunks: Iterable<Uint8Array>) => new Uint8Array(Buffer.concat([...chunks]));

/** A file of this header (JSON or text) and so many bytes of data. */
function made(header: unknown, dataBytes: number, claimed?: bigint): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, claimed ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const f32 = (begin: number, end: number) => ({ dtype: 'F32', shape: [(end - begin) / 4], data_offsets: [begin, end] });

const samples: [string, AnyTensor][] = [
  ['a.bool', { dtype: 'bool', shape: [3], data: Uint8Array.of(1, 0, 1) }],
  ['b', { dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, -0, Number.NaN, 3.5) }],
  ['b.half', { dtype: 'float16', shape: [1], data: Uint16Array.of(0x3c00) }],
  ['b.bfloat', { dtype: 'bfloat16', shape: [1], data: Uint16Array.of(0x3f80) }],
  ['scalar', { dtype: 'int64', shape: [], data: BigInt64Array.of(-5n) }],
  ['empty', { dtype: 'float64', shape: [0, 7], data: new Float64Array(0) }],
];

describe('safetensors', () => {
  test('reads what it wrote, value for value', async () => {
    const bytes = join8(safetensorsBytes(samples, { note: 'schön' }));
    expect(new DataView(bytes.buffer).getBigUint64(0, true) % 8n).toBe(0n);
    const checkpoint = await openCheckpoint(bytes);
    expect(checkpoint).toMatchObject({ format: 'safetensors', metadata: { note: 'schön' } });
    expect(await describeAll(checkpoint)).toEqual(
      Object.fromEntries(samples.map(([name, tensor]) => [name, describeTensor(tensor)])),
    );
    expect(await refusal(checkpoint.read('scala'))).toMatchObject({ code: 'UNKNOWN_NAME' });
  });

  test('refuses to write a tensor that does not fit its shape, or a name twice', () => {
    const bad: AnyTensor = { dtype: 'float32', shape: [3], data: new Float32Array(2) };
    expect(() => [...safetensorsBytes([['x', bad]])]).toThrow(/needs 12 bytes but holds 8/);
    expect(() => [...safetensorsBytes([samples[0], samples[0]])]).toThrow(/stands twice/);
    expect(() => [...safetensorsBytes([['__metadata__', samples[0][1]]])]).toThrow(/reserved/);
  });

  test.each([
    ['a header of 2^60 bytes', made({}, 0, 2n ** 60n), /header claims 1152921504606846976 bytes/],
    ['a header beyond the file', made({}, 0, 100n), /header claims 100 bytes and the file has 10/],
    ['overlapping offsets', made({ a: f32(0, 8), b: f32(4, 12) }, 12), /b begins at 4 but a ends at 8: they overlap/],
    ['a hole', made({ a: f32(0, 4), b: f32(8, 12) }, 12), /a hole/],
    ['data after the last tensor', made({ a: f32(0, 4) }, 8), /end at byte 4 of its data, which has 8/],
    ['data cut off', made({ a: f32(0, 8) }, 4), /end at byte 8 of its data, which has 4/],
    [
      'a wrong size',
      made({ a: { dtype: 'F32', shape: [3], data_offsets: [0, 8] } }, 8),
      /needs 12 bytes but its data_offsets span 8/,
    ],
    ['falling offsets', made({ a: { dtype: 'F32', shape: [0], data_offsets: [8, 4] } }, 8), /needs 0 bytes/],
    [
      'a shape that overflows',
      made({ a: { dtype: 'U8', shape: [2 ** 52, 2 ** 52], data_offsets: [0, 0] } }, 0),
      /needs/,
    ],
    ['a negative shape', made({ a: { dtype: 'U8', shape: [-1, -4], data_offsets: [0, 4] } }, 4), /shape that is none/],
    [
      'a name twice',
      made(
        '{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        1,
      ),
      /names "a" twice/,
    ],
    ['an unknown type', made({ a: { dtype: 'F8_E4M3', shape: [1], data_offsets: [0, 1] } }, 1), /F8_E4M3/],
    ['a header that is no JSON', made('{"a":', 0), /no JSON/],
    ['a header nested a million deep', made(`{"a":${'['.repeat(1e6)}`, 0), /nests more than 100 deep/],
    ['a header of a million empty lists', made(`{"a":[${'[],'.repeat(1e6)}[]]}`, 0), /more than 2000000 parts/],
    ['metadata that is none', made('{"__metadata__":[]}', 0), /__metadata__ is no JSON object/],
  ])('refuses %s', async (_, bytes, message) => {
    expect(await refusal(openCheckpoint(bytes))).toMatchObject({
      code: 'WEIGHTS_FORMAT',
      message: expect.stringMatching(message),
    });
  });

  test('any change of the header gives a checkpoint or an error of ours', async () => {
    const bytes = join8(safetensorsBytes(samples, { note: 'x' }));
    const change = fc.record({ at: fc.nat(bytes.length - 1), to: fc.integer({ min: 0, max: 255 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { minLength: 1, maxLength: 4 }),
        fc.nat(bytes.length),
        async (changes, length) => {
          const broken = bytes.slice(0, length);
          for (const { at, to } of changes) if (at < length) broken[at] = to;
          await openCheckpoint(broken).then(describeAll, (error) => refusal(Promise.reject(error)));
        },
      ),
      { numRuns: 1000 },
    );
  });
});

describe.skipIf(!shared)('safetensors and other programs', () => {
  test('a reader in Python finds the same values in what is written here', async () => {
    const path = join(scratch(), 'x.safetensors');
    // The types and sizes that the Python reader knows.
    const known = samples.filter(([name]) => ['b', 'b.half', 'scalar'].includes(name));
    await writeFileAtomic(path, safetensorsBytes(known));
    const found = pythonJson<Expected>(
      `sys.path.insert(0, sys.argv[2]); import safetensors_io
print(json.dumps({name: described(array) for name, array in safetensors_io.load(sys.argv[1]).items()}))`,
      path,
      join(shared!, 'oracle'),
    );
    const expected = Object.fromEntries(known.map(([name, tensor]) => [name, describeTensor(tensor)]));
    expect(found).toEqual(expected);
  });
});
