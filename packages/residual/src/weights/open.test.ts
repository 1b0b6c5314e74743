import { mkdirSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { startThread } from '#thread';
import type { AnyTensor } from '../tensor.js';
import { bytesOf, describeAll, refusal, runPython, scratch, shared } from '../testing.js';
import type { DamageApi } from './keras.test.worker.js';
import { writeKeras } from './keras-archive.test.helper.js';
import { openCheckpoint } from './open.js';
import { safetensorsBytes } from './safetensors.js';
import { bytesSource } from './source.js';
import { writeTar } from './torch-tar.test.helper.js';

const ascii = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const sample: [string, AnyTensor] = ['w', { dtype: 'float32', shape: [2], data: Float32Array.of(1, 2) }];
const safetensors = new Uint8Array(Buffer.concat([...safetensorsBytes([sample])]));

describe('openCheckpoint', () => {
  test('takes a path, bytes, a Blob and a source, whatever the name', async () => {
    const path = join(scratch(), 'weights.h5');
    writeFileSync(path, safetensors);
    const blob = new Blob([safetensors as Uint8Array<ArrayBuffer>]);
    for (const input of [path, safetensors, blob, bytesSource(safetensors)]) {
      const checkpoint = await openCheckpoint(input);
      expect(checkpoint.format).toBe('safetensors');
      expect((await checkpoint.read('w')).data).toEqual(Float32Array.of(1, 2));
      await checkpoint.close();
    }
  });

  test('closes the source of a file that it refuses', async () => {
    let closed = 0;
    const source = { ...bytesSource(ascii('nothing known'), 'x'), close: async () => void closed++ };
    await refusal(openCheckpoint(source));
    expect(closed).toBe(1);
  });

  test.each([
    ['an empty file', '', /is empty/],
    ['one byte', 'x', /begins with 78,/],
    ['text', 'hello, world', /no weight file known here; expected PyTorch/],
    ['zeros', '\0'.repeat(5000), /nothing but zeros/],
    ['a web page', '\n<!DOCTYPE html><html><body>Sign in', /a web page/],
    ['a git-lfs pointer', 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102', /git lfs pull/],
    ['the beginning of a tar', `${'x'.repeat(257)}ustar\x0000`, /not of PyTorch's/],
    ['gzip', String.fromCharCode(...gzipSync('hello')), /gunzip/],
    ['a PNG', '\x89PNG\r\n\x1a\n', /a PNG picture/],
    ['a JPEG', '\xff\xd8\xff\xe0\0\x10JFIF', /a JPEG picture/],
    ['a WebP', 'RIFF\0\0\0\0WEBPVP8 ', /a WebP picture/],
    ['a NumPy array', '\x93NUMPY\x01\0', /NumPy array/],
    ['ONNX', '\x08\x07\x12\x07pytorch', /ONNX/],
    ['a bare pickle', '\x80\x04]\x94.', /a bare Python pickle/],
    ['an empty zip', `PK\x05\x06${'\0'.repeat(18)}`, /a zip without a data\.pkl/],
    ['the beginning of a zip', 'PK\x03\x04hello', /zip container is broken/],
    ['HDF5 that is cut off', '\x89HDF\r\n\x1a\n\0\0', /the HDF5 file cannot be read \(/],
    [
      'the beginning of a legacy container',
      '\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.',
      /pickle has no end/,
    ],
  ])('refuses %s and says what it looks like', async (_, text, message) => {
    expect(await refusal(openCheckpoint(ascii(text)))).toMatchObject({
      code: 'WEIGHTS_FORMAT',
      message: expect.stringMatching(message),
    });
  });

  test('a bare pickle that names os.system is refused by name', async () => {
    for (const pickle of ['\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.', "cos\nsystem\n(S'ls'\ntR."])
      expect(await refusal(openCheckpoint(ascii(pickle)))).toMatchObject({
        code: 'WEIGHTS_UNSAFE',
        details: { global: 'os.system' },
      });
  });

  test('100 MB of zeros', async () => {
    const path = join(scratch(), 'zeros.pth');
    const file = await open(path, 'w');
    await file.truncate(100e6);
    await file.close();
    const before = process.memoryUsage().arrayBuffers;
    expect((await refusal(openCheckpoint(path))).message).toContain('zeros');
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1e6);
  });
});

/** Small files of every format, each with a nested dictionary, several types and a view. */
const smallFiles = `
import torch, h5py
folder = sys.argv[1]
base = torch.arange(24, dtype=torch.float32)
content = {'state_dict': {'a.weight': base.view(4, 6).t(), 'a.bias': base[:3].half(), 'n': torch.tensor(7)}, 'epoch': 3, 'best': np.float64(1.5)}
torch.save(content, f'{folder}/zip')
torch.save(content, f'{folder}/legacy', _use_new_zipfile_serialization=False)
import zipfile
with zipfile.ZipFile(f'{folder}/zip') as a, zipfile.ZipFile(f'{folder}/deflated', 'w', zipfile.ZIP_DEFLATED) as b:
    for name in a.namelist(): b.writestr(name, a.read(name))
for name, libver in (('keras', None), ('keras-latest', 'latest')):
    with h5py.File(f'{folder}/{name}', 'w', libver=libver) as f:
        f.attrs['layer_names'] = np.array([b'fc', b'relu']); f.attrs['model_config'] = json.dumps({'name': 'x'}); f.attrs['backend'] = 'tensorflow'
        g = f.create_group('fc'); g.attrs['weight_names'] = np.array([b'fc/kernel:0', b'fc/bias:0'])
        g.create_dataset('fc/kernel:0', data=np.arange(60, dtype='f4').reshape(10, 6), **({} if libver else dict(chunks=(4, 4), compression='gzip', shuffle=True)))
        g.create_dataset('fc/bias:0', data=np.ones(6, 'f2'))
        f.create_group('relu').attrs['weight_names'] = []
with h5py.File(f'{folder}/keras-dense', 'w', libver='latest') as f:
    f.attrs['layer_names'] = np.array([f'l{i}'.encode() for i in range(20)])
    for i in range(10): f.attrs[f'more{i}'] = 'x'
    for i in range(20): g = f.create_group(f'l{i}'); g.attrs['weight_names'] = np.array([b'w']); g['w'] = np.full(3, i, 'f4')
write_tar(f'{folder}/tar', **sample)
dense = {'class': 'Dense', 'name': 'fc', 'config': {'units': 3, 'use_bias': True, 'activation': 'softmax'}, 'from': [], 'vars': [np.ones((4, 3), 'f4'), np.ones(3, 'f4')]}
pool = {'class': 'GlobalAveragePooling2D', 'name': 'pool', 'from': []}
norm = {'class': 'BatchNormalization', 'name': 'bn', 'from': [], 'vars': [np.full(4, i, 'f4') for i in range(4)]}
net = {'class': 'Sequential', 'name': 'net', 'layers': [{'class': 'InputLayer', 'name': 'in', 'config': {'batch_shape': [None, 8, 8, 4]}, 'from': []}, norm, pool, dense]}
open(f'{folder}/variables', 'wb').write(weights_h5(net)); archive(f'{folder}/archive', description(net), weights_h5(net))
archive(f'{folder}/archive-deflated', description(net), weights_h5(net), zipfile.ZIP_DEFLATED)
with h5py.File(f'{folder}/datasets', 'w') as f: f['x/y'] = np.ones(3); f['x/z'] = f['x']
`;

describe.skipIf(!shared)('damaged files', () => {
  const folder = scratch();
  mkdirSync(folder, { recursive: true });
  if (shared) runPython(writeTar + writeKeras + smallFiles, folder);

  /** What a caller may meet: a checkpoint, all of whose tensors can be read or are refused, or one clear error. */
  const outcome = async (bytes: Uint8Array): Promise<'read' | 'refused'> => {
    try {
      await describeAll(await openCheckpoint(bytes));
      return 'read';
    } catch (error) {
      await refusal(Promise.reject(error));
      return 'refused';
    }
  };

  // Damage can send the HDF5 library in circles: its files are read in a thread, which is thrown away when one takes
  // long (openKeras does the same, with more patience). Circles end as a refusal.
  const damage = startThread<DamageApi>(new URL('./keras.test.worker.js', import.meta.url), { interruptible: true });
  afterAll(() => damage.terminate());
  const hdfOutcome = async (bytes: Uint8Array): Promise<'read' | 'refused'> => {
    await damage.call('leftOver', []); // Only now is a new thread up and the clock fair.
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve('late'), 1000);
    });
    const found = await Promise.race([damage.call('outcome', [bytes]), late]);
    clearTimeout(timer);
    if (found === 'late' || found === 'gave up') await damage.terminate();
    expect(found).not.toMatch(/[\r\n]/);
    return found === 'read' ? 'read' : 'refused';
  };

  test('what the HDF5 library opened for damaged files does not pile up', async () => {
    const original = bytesOf(join(folder, 'keras-dense'));
    const leftOver = [];
    for (let run = 0; run < 3; run++) {
      for (let at = 0; at < original.length; at += 500)
        await hdfOutcome(original.map((byte, i) => (i === at ? ~byte : byte)));
      leftOver.push(await damage.call('leftOver', []));
    }
    expect(leftOver[2]).toEqual(leftOver[0]);
  });

  describe.each([
    ['zip', outcome, 1],
    ['legacy', outcome, 1.2],
    ['deflated', outcome, 1],
    ['keras', hdfOutcome, 0.5],
    ['keras-latest', hdfOutcome, 0.5],
    ['keras-dense', hdfOutcome, 0.5],
    ['datasets', hdfOutcome, 0.5],
    ['tar', outcome, 1.2],
    ['variables', hdfOutcome, 0.5],
    ['archive', hdfOutcome, 1],
    ['archive-deflated', hdfOutcome, 0.5],
  ])('%s', (name, outcome, share) => {
    const original = shared ? bytesOf(join(folder, name)) : new Uint8Array(1);

    test('the whole file reads', async () => {
      expect(await outcome(original)).toBe('read');
    });

    test('cut off at any byte', async () => {
      await fc.assert(
        // A tar may end before its padding.
        fc.asyncProperty(fc.nat(original.findLastIndex((byte) => byte !== 0)), async (length) => {
          expect(await outcome(original.slice(0, length))).toBe('refused');
        }),
        { numRuns: 150 * share },
      );
    });

    test('any bits flipped, any bytes replaced', async () => {
      // Most of a small file is padding; half of the changes go where the structures are: bytes that are not zero.
      const busy = Array.from(original.keys()).filter((at) => original[at] !== 0);
      const at = fc.oneof(fc.nat(original.length - 1), fc.constantFrom(...busy));
      const change = fc.record({
        at,
        bits: fc.oneof(
          fc.integer({ min: 0, max: 7 }).map((bit) => 1 << bit),
          fc.integer({ min: 1, max: 255 }),
        ),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
          const broken = original.slice();
          for (const { at, bits } of changes) broken[at] ^= bits;
          await outcome(broken);
        }),
        { numRuns: 400 * share },
      );
    });

    test('numbers replaced by the extremes', async () => {
      const extremes = fc.constantFrom<readonly number[]>(
        [255, 255, 255, 255, 255, 255, 255, 255],
        [0, 0, 0, 0, 0, 0, 0, 64],
        [255, 255, 255, 127],
        [0, 0, 0, 0],
        [255, 255],
      );
      await fc.assert(
        fc.asyncProperty(fc.nat(original.length - 9), extremes, async (at, value) => {
          const broken = original.slice();
          broken.set(value, at);
          await outcome(broken);
        }),
        { numRuns: 300 * share },
      );
    });
  });

  test.each(['keras', 'datasets'])('%s, damaged, the whole way through openCheckpoint', async (name) => {
    const original = bytesOf(join(folder, name));
    expect(await outcome(original)).toBe('read');
    expect(await outcome(original.slice(0, 3000))).toBe('refused');
  });
});
