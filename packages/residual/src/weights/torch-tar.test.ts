import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bytesOf, describeAll, type Expected, pythonJson, refusal, scratch, shared } from '../testing.js';
import { openCheckpoint } from './open.js';
import { writeTar } from './torch-tar.test.helper.js';

/** Small containers: whole ones in several kinds of tar, and some that try a reader. */
const zoo = `
folder = sys.argv[1]
import torch
def put(name, **options): write_tar(f'{folder}/{name}', **{**sample, **options})
put('pax'); put('gnu', format=tarfile.GNU_FORMAT); put('ustar', format=tarfile.USTAR_FORMAT); put('dotted', prefix='./')
put('tied', change=lambda name, data: data[:-1] + p_str('tied') + b'h\\0s.' if name == 'pickle' else data)
put('views', views=[(100 + i, 7, i % 24, 1) for i in range(1000)] + [(10, 7, 4, 8)])
put('long', prefix='./' * 80, format=tarfile.GNU_FORMAT); put('long-pax', prefix='./' * 80)
one = lambda *tensor: {'w': (*tensor, False)}
put('beyond', tensors=one(7, 'Float', (25,), (1,), 0)); put('shifted', tensors=one(7, 'Float', (24,), (1,), 1))
put('strange', tensors=one(77, 'Float', (1,), (1,), 0)); put('negative', tensors=one(7, 'Float', (2,), (-1,), 3))
put('huge', tensors=one(7, 'Float', (2**40,), (0,), 0)); put('view-beyond', views=[(10, 7, 20, 8)])
put('evil', change=lambda name, data: b'\\x80\\x02cos\\nsystem\\n' + p_str(f'touch {folder}/executed') + b'\\x85R.' if name == 'pickle' else data)
put('evil-info', change=lambda name, data: b'\\x80\\x02c__builtin__\\neval\\n' + p_str('1') + b'\\x85R.' if name == 'sys_info' else data)
put('many', change=lambda name, data: pickle.dumps(10**9, 2) if name == 'storages' else data)
put('ranks', change=lambda name, data: data.replace(struct.pack('<ii', 0, -7), struct.pack('<ii', 65, -7)) if name == 'tensors' else data)
put('elements', change=lambda name, data: data.replace(struct.pack('<q', 24) + floats, struct.pack('<q', 2**62) + floats) if name == 'storages' else data)
put('version', info={'protocol_version': 1002}); put('big-endian', info={'little_endian': False})
put('unknown-key', change=lambda name, data: data.replace(p_str('1001'), p_str('9999')) if name == 'pickle' else data)
put('half-a-table', change=lambda name, data: data[:-30] if name == 'tensors' else data)
with tarfile.open(f'{folder}/other.tar', 'w') as archive:
    for name in ('weights.pth', 'readme.txt'): archive.addfile(tarfile.TarInfo(name), io.BytesIO())
with tarfile.open(f'{folder}/twice.tar', 'w') as archive:
    for name in ('pickle', 'pickle'): archive.addfile(tarfile.TarInfo(name), io.BytesIO())
print(json.dumps({name: of_torch(value.data) for name, value in torch.load(f'{folder}/pax', map_location='cpu').items()}))
`;

const readBack = `
import torch
print(json.dumps({name: of_torch(value.data) for name, value in torch.load(sys.argv[1], map_location='cpu').items()}))
`;

describe.skipIf(!shared)('the tar of 2016/17', () => {
  const folder = scratch();
  const expected = shared ? pythonJson<Expected>(writeTar + zoo, folder) : {};

  test.each(['pax', 'gnu', 'ustar', 'dotted', 'long', 'long-pax', 'views'])(
    '%s reads as PyTorch reads it',
    async (name) => {
      const checkpoint = await openCheckpoint(join(folder, name));
      expect(checkpoint).toMatchObject({ format: 'torch-tar', metadata: {} });
      const found = await describeAll(checkpoint);
      expect(found).toEqual(expected);
      expect(Object.keys(found)).toEqual(Object.keys(expected));
      await checkpoint.close();
    },
  );

  test('a Parameter that stands twice is one tensor under two names', async () => {
    const checkpoint = await openCheckpoint(join(folder, 'tied'));
    expect(await checkpoint.read('tied')).toEqual(await checkpoint.read('turned'));
    await checkpoint.close();
  });

  test('resnet18 reads as PyTorch reads it', async () => {
    const made = scratch();
    execFileSync(join(shared!, 'make-weights'), [made, '--tar'], { stdio: 'ignore' });
    const path = join(made, 'resnet18-pqf.tar.pth');
    const checkpoint = await openCheckpoint(path);
    const found = await describeAll(checkpoint);
    expect(found).toEqual(pythonJson<Expected>(readBack, path));
    expect(Object.keys(found)).toHaveLength(102);
    await checkpoint.close();
  });

  test.each([
    ['beyond', /tensor w ends at element 25 of its storage, which has 24/],
    ['shifted', /tensor w ends at element 25 of its storage/],
    ['strange', /its tensor 0 has no storage/],
    ['negative', /its tensor 0 has no storage, or sizes that are none/],
    ['huge', /its tensors claim 4398046511104 bytes/],
    ['view-beyond', /its view of a storage goes beyond it/],
    ['evil', /names os\.system, .* nothing was executed/],
    ['evil-info', /names __builtin__\.eval/],
    ['many', /it claims 1000000000 storages/],
    ['ranks', /its tensor 3 is cut off or has 65 dimensions/],
    ['elements', /storage 7 should have 4611686018427388000 elements/],
    ['version', /its container has version 1002; only 1000 is known/],
    ['big-endian', /written on a big-endian machine/],
    ['unknown-key', /a persistent id that makes no sense/],
    ['half-a-table', /its tensor 4 is cut off/],
    ['other.tar', /it is a tar archive, but not of PyTorch's .* \(it holds weights\.pth, readme\.txt\); unpack it/],
    ['twice.tar', /it has two members pickle/],
  ])('%s is refused', async (name, message) => {
    const error = await refusal(openCheckpoint(join(folder, name)));
    expect(error.message).toMatch(message);
    expect(error.code).toBe(name.startsWith('evil') ? 'WEIGHTS_UNSAFE' : 'WEIGHTS_FORMAT');
    expect(readdirSync(folder)).not.toContain('executed');
  });

  test('a header whose sum is wrong is damage; so is a tar that ends before its members do', async () => {
    const bytes = bytesOf(join(folder, 'ustar'));
    const broken = bytes.slice();
    broken[130] ^= 1;
    expect((await refusal(openCheckpoint(broken))).message).toContain('at byte 0 there should be a header of the tar');
    expect((await refusal(openCheckpoint(bytes.slice(0, 3600)))).message).toMatch(
      /member storages of the tar should have \d+ bytes but 16 are left of the 3600 of the file/,
    );
    expect((await refusal(openCheckpoint(bytes.slice(0, 1024)))).message).toContain(
      'its tar ends before its storages, tensors, pickle',
    );
  });
});
