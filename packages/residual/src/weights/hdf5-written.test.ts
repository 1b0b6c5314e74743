import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { pythonJson, scratch, shared } from '../testing.js';
import { type HdfFile, openHdf5 } from './hdf5.js';
import { constantParts } from './hdf5-written.js';

const write = `
import h5py
folder = sys.argv[1]
zeros, some = np.zeros((40, 30), 'f4'), np.random.default_rng(1).standard_normal((40, 30)).astype('f4')
kinds = dict(plain={}, packed=dict(compression='gzip', shuffle=True, fletcher32=True), growing=dict(maxshape=(None, None)),
             longer=dict(maxshape=(None, 30)), filled=dict(fillvalue=1.0))
for lib in ('earliest', 'latest'):
    with h5py.File(f'{folder}/{lib}.h5', 'w', libver=lib) as f:
        for kind, options in kinds.items():
            f.create_dataset(f'{kind}-zeros', data=zeros, chunks=(10, 10), **options)
            f.create_dataset(f'{kind}-ones', data=zeros + 1, chunks=(40, 30), **options)
            f.create_dataset(f'{kind}-never', (40, 30), 'f4', chunks=(10, 7), **options)
            f.create_dataset(f'{kind}-half', (40, 30), 'f4', chunks=(10, 10), **options)[:20] = some[:20]
        f['scalar'], f['small'], f['large'] = np.float32(0), zeros, np.zeros((200, 200), 'f4')
        f.create_dataset('large-never', (200, 200), 'f4')
print('null')
`;

/** What the library gives for what is nowhere in the file would be taken for weights of zero. */
describe.skipIf(!shared).each(['earliest', 'latest'])('HDF5 of the format %s', (format) => {
  const folder = scratch();
  if (shared) pythonJson(write, folder);
  const opened = async (): Promise<HdfFile> => {
    const bytes = readFileSync(join(folder, `${format}.h5`));
    const readInto = (target: Uint8Array, at: number) => target.set(bytes.subarray(at, at + target.length));
    return openHdf5({ name: 'made.h5', size: bytes.length, readInto });
  };

  test('values that were never written are refused by their dataset and place; zeros that were written are read', async () => {
    const file = await opened();
    const outcomes = file.leaves().map((path) => {
      const info = file.dataset(path);
      if (!info) throw new Error(`no dataset ${path}`);
      try {
        return [path, file.read(path, info).length / 4];
      } catch (error) {
        return [path, (error as Error).message];
      }
    });
    file.close();
    const refused = (path: string, at: string) =>
      `made.h5: the values of /${path} from [${at}] on were never written into the file; it is damaged or cut off, fetch it again`;
    const expected = ['plain', 'packed', 'growing', 'longer', 'filled'].flatMap((kind) => [
      [`/${kind}-zeros`, 1200],
      [`/${kind}-ones`, 1200],
      [`/${kind}-never`, refused(`${kind}-never`, '0, 0')],
      [`/${kind}-half`, refused(`${kind}-half`, '20, 0')],
    ]);
    expect(Object.fromEntries(outcomes)).toEqual({
      ...Object.fromEntries(expected),
      '/scalar': 1,
      '/small': 1200,
      '/large': 40_000,
      '/large-never': refused('large-never', '0, 0'),
    });
  });
});

test('parts of one value, at the rim too', () => {
  const [height, width] = [5, 7];
  const data = Float32Array.from({ length: height * width }, (_, i) => {
    const [y, x] = [Math.floor(i / width), i % width];
    return y >= 4 && x >= 6 ? 0.5 : y < 2 && x >= 3 && x < 6 ? 2 : i;
  });
  const info = { dtype: 'float32', shape: [height, width] } as const;
  const found = [...constantParts(new Uint8Array(data.buffer), info, [2, 3])];
  expect(found).toEqual([
    [0, 3],
    [4, 6],
  ]);
});
